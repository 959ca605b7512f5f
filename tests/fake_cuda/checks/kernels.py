"""Kernels of our own on the stand-in."""

import cupy as cp
import numpy as np

from .support import is_refused


def raw_kernel(body, parameters, code=""):
    source = f'{code} extern "C" __global__ void f({parameters}) {{ {body} }}'
    return cp.RawKernel(source, "f")


def check_shared_memory():
    body = """extern __shared__ float s[]; int t = threadIdx.x; s[t] = x[t];
              __syncthreads(); x[t] = s[n - 1 - t];"""
    x = cp.arange(8, dtype="f4")
    raw_kernel(body, "float* x, int n")((1,), (8,), (x, np.int32(8)), shared_mem=32)
    assert x.get().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def check_exchanges_in_a_warp():
    exchanges = {
        "__shfl_sync(~0u, t, 5)": [5 + t // 32 * 32 for t in range(64)],
        "__shfl_sync(~0u, t, 1, 8)": [1 + t // 8 * 8 for t in range(64)],
        "__shfl_up_sync(~0u, t, 3)": [t - 3 if t % 32 >= 3 else t for t in range(64)],
        "__shfl_down_sync(~0u, t, 3)": [t + 3 if t % 32 < 29 else t for t in range(64)],
        "__shfl_xor_sync(~0u, t, 17)": [t ^ 17 for t in range(64)],
        "__popc(__ballot_sync(~0u, t % 3 == 1))": [11] * 32 + [10] * 32,
        "__any_sync(~0u, t == 40)": [0] * 32 + [1] * 32,
        "__all_sync(~0u, t < 32)": [1] * 32 + [0] * 32,
    }
    for expression, expected in exchanges.items():
        x = cp.zeros(64, "i4")
        body = f"int t = threadIdx.x; x[t] = {expression};"
        raw_kernel(body, "int* x")((1,), (64,), (x,))
        assert x.get().tolist() == expected, expression


def check_grids():
    x = cp.zeros((2, 3, 4, 5, 6, 7), "i4")  # blocks and threads, in the order z, y, x
    body = """int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
              int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
              int i = thread + blockDim.x * blockDim.y * blockDim.z * block; x[i] += i;"""
    raw_kernel(body, "int* x")((4, 3, 2), (7, 6, 5), (x,))
    np.testing.assert_array_equal(x.get().ravel(), np.arange(x.size))
    # a kernel that does not ask for its place still runs in every thread
    n = cp.zeros(1, "i4")
    raw_kernel("atomicAdd(n, 2);", "int* n")((3,), (4,), (n,))
    assert n.get()[0] == 24
    assert is_refused(raw_kernel("", "int* n"), (1,), (1025,), (n,))


def check_atomic_operations():
    x = cp.zeros(3)
    cp.add.at(x, cp.asarray([0, 2, 0, 0]), cp.asarray([1.0, 2.0, 3.0, 4.0]))
    assert x.get().tolist() == [8, 0, 2]


def check_mistakes_in_kernels():
    try:
        raw_kernel("no;", "").compile()
    except cp.cuda.compiler.CompileException as error:
        assert "'no' was not declared" in str(error)
    else:
        raise AssertionError("the kernel was compiled")
