"""What CuPy does on the stand-in, checked. test_fake_cuda.py runs this and reads the outcomes.

    FAKE_CUDA_DEVICES=2 FAKE_CUDA_LATE=0 run PYTHON checks.py [NAME]

Each check prints a line of JSON: its name, and why it failed or null.
"""

import ctypes
import json
import os
import sys
import traceback

import cupy as cp
import numpy as np
from events import on_stand_in, recorded  # this folder is the script's

SHAPES = ((1, 5), (7, 3), (1000, 33), (3, 5000), (5000, 3))


def drawn(shape, dtype="f8"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def is_refused(function, *args, error=Exception):
    try:
        function(*args)
    except error:
        return True
    return False


# ---- arrays ----


def check_reductions():
    for shape in SHAPES:
        h = drawn(shape)
        d = cp.asarray(h)
        for axis in (None, 0, 1):
            for name in ("sum", "argmax"):
                found = getattr(d, name)(axis=axis).get()
                # sums of 33000 numbers in another order: their errors are far below 1e-11
                np.testing.assert_allclose(found, getattr(h, name)(axis=axis), atol=1e-11)
        np.testing.assert_allclose(d.cumsum().get(), h.cumsum(), atol=1e-11)


def check_masks():
    for shape in SHAPES:  # the scan of a mask exchanges values within warps
        h = drawn(shape)
        mask = h > 0.3
        d = cp.asarray(h)
        np.testing.assert_array_equal(d[cp.asarray(mask)].get(), h[mask])
        d[cp.asarray(mask)] = 7
        np.testing.assert_array_equal(d.get(), np.where(mask, 7, h))


def check_sorts():
    for shape in SHAPES:
        h = drawn(shape)
        d = cp.asarray(h)
        np.testing.assert_array_equal(cp.sort(d, axis=0).get(), np.sort(h, axis=0))
        np.testing.assert_array_equal(cp.argsort(d, axis=1).get(), np.argsort(h, axis=1))
    keys = np.array([[3, 1, 2, 1], [0, 1, 0, 1]])
    np.testing.assert_array_equal(cp.lexsort(cp.asarray(keys)).get(), np.lexsort(keys))


def check_products():
    for dtype in ("f8", "f4"):
        for shape in ((1, 5), (7, 3), (200, 33), (3, 500)):
            d = cp.asarray(drawn(shape, dtype))
            pairs = (
                (d, d.T),
                (d.T, d),
                (d[:, :2].T, d[:, 1:3]),
                (d[None], d.T[None]),
                (cp.stack([d, 2 * d]), d.T),
            )
            for a, b in pairs:
                found, A, B = cp.matmul(a, b), a.get(), b.get()
                assert found.dtype == dtype
                # the classical bound for each of two sums of k products in any order
                bound = 2 * A.shape[-1] * np.finfo(dtype).eps * np.matmul(abs(A), abs(B))
                assert (abs(found.get() - np.matmul(A, B)) <= bound).all()
    # sums go in the order of k, without fused multiply-add
    a, b = drawn((3, 300), "f4"), drawn((300, 2), "f4")
    expected = np.zeros((3, 2), "f4")
    for k in range(300):
        expected += a[:, k : k + 1] * b[k : k + 1]
    np.testing.assert_array_equal(cp.matmul(cp.asarray(a), cp.asarray(b)).get(), expected)


def check_float16():
    h = drawn((9, 4), "f2")
    np.testing.assert_array_equal((cp.asarray(h) + 1).get(), h + np.float16(1))


def check_subnormal_numbers():
    tiny = cp.asarray(np.float32([1e-20, 1e-10]))
    expected = [0, np.float32(1e-10) ** 2]  # the first is flushed, as on a GPU
    np.testing.assert_array_equal((tiny * tiny).get(), np.float32(expected))
    tiny = cp.asarray([1e-160])
    assert (tiny * tiny).get()[0] == 1e-160 * 1e-160 > 0


def check_fresh_memory():
    cp.get_default_memory_pool().free_all_blocks()  # else the pool gives what was written before
    assert cp.isnan(cp.empty(1000)).all()
    assert cp.isnan(cp.empty(1000, "f4")).all()


# ---- kernels ----


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


# ---- devices ----


def check_names():
    assert on_stand_in()
    for i in range(2):
        assert "stand-in" in cp.cuda.runtime.getDeviceProperties(i)["name"].decode()
    from portadnn.backends.cupy import CupyBackend

    devices = CupyBackend.report().devices
    assert len(devices) == 2
    assert all("stand-in" in device for device in devices)


def check_devices():
    assert cp.cuda.runtime.getDeviceCount() == 2
    x = cp.ones((2, 2))
    with cp.cuda.Device(1):
        y = cp.asarray(x) + 1
        assert y.device.id == 1
        assert float(cp.matmul(y, y)[0, 0]) == 8
    assert is_refused(cp.add, x, y)
    for a, b, out in ((x, y, x + 1), (y, x, x + 1), (x, x, y)):
        assert is_refused(lambda a, b, out: cp.matmul(a, b, out=out), a, b, out)
    assert is_refused(cp.cuda.Device(2).use)


# ---- streams ----


def check_late_work():
    pinned = np.frombuffer(cp.cuda.alloc_pinned_memory(8), "f8", 1)
    pinned[:] = 0
    x = cp.ones(1)
    cp.cuda.Device().synchronize()
    x.data.copy_to_host_async(ctypes.c_void_p(pinned.ctypes.data), 8)
    is_late = os.environ["FAKE_CUDA_LATE"] == "1"
    assert pinned[0] == (0 if is_late else 1)
    cp.cuda.Device().synchronize()
    assert pinned[0] == 1
    # pageable memory is read before the copy returns
    h = np.ones(1)
    x.data.copy_from_host_async(ctypes.c_void_p(h.ctypes.data), 8)
    h[:] = 5
    assert x.get()[0] == 1


def check_replays_of_a_graph():
    a, b, c = cp.ones((3, 3)), cp.zeros((3, 3)), cp.zeros((3, 3))

    def work():
        cp.add(a, b, out=c)
        cp.multiply(c, 2.0, out=c)
        cp.copyto(b, c)

    work()  # kernels are compiled and loaded, which a capture forbids
    b.fill(0)
    stream = cp.cuda.Stream(non_blocking=True)
    product = product_on(stream)
    cp.cuda.Device().synchronize()
    with stream, recorded() as events:
        stream.begin_capture()
        work()
        assert is_refused(cp.matmul, a, b, error=NotImplementedError)  # by CuPy itself
        product(b, a, c)
        graph = stream.end_capture()
        assert b.get()[0, 0] == 0
        found = []
        for _ in range(3):
            graph.launch()
            found.append((b.get()[0, 0], c.get()[0, 0]))
    assert found == [(2, 6), (6, 18), (14, 42)]
    lines = [str(event) for event in events]
    assert [lines.count(x) for x in ("capture begin", "capture end 4", "graph 4")] == [1, 1, 3]


def product_on(stream):
    """cuBLAS by ctypes, which CuPy does not keep from being captured."""
    cublas = ctypes.CDLL("libcublas.so.12")
    handle, one, zero = ctypes.c_void_p(), ctypes.c_double(1), ctypes.c_double(0)
    cublas.cublasCreate_v2(ctypes.byref(handle))
    cublas.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr))

    def product(a, b, out):
        A, B, C = (ctypes.c_void_p(x.data.ptr) for x in (a, b, out))
        alpha, beta = ctypes.byref(one), ctypes.byref(zero)
        assert cublas.cublasDgemm_v2(handle, 0, 0, 3, 3, 3, alpha, A, 3, B, 3, beta, C, 3) == 0

    return product


def check_what_spoils_a_capture():
    a = cp.ones(3)
    a + a  # compiles the kernel
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        assert is_refused(stream.synchronize)
        assert is_refused(stream.end_capture)
        stream.begin_capture()
        assert is_refused(cp.sort, a)
        assert is_refused(stream.end_capture)
        stream.begin_capture(cp.cuda.runtime.streamCaptureModeGlobal)
        assert is_refused(cp.cuda.runtime.malloc, 8)
        assert is_refused(stream.end_capture)
    assert is_refused(stream.end_capture)  # there is none
    blocking = cp.cuda.Stream()
    with blocking:
        blocking.begin_capture()
    assert is_refused(cp.add, a, a)  # on the legacy stream, which waits for the blocking one
    with blocking:
        assert is_refused(blocking.end_capture)
    assert (a + a).get().tolist() == [2, 2, 2]


def check_forks_of_a_capture():
    a, c = cp.ones(3), cp.zeros(3)
    cp.add(a, a, out=c)
    c.fill(0)
    stream, other = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    with stream:
        stream.begin_capture()
        forked = stream.record()
        other.wait_event(forked)
        with other:
            cp.add(a, a, out=c)
        stream.wait_event(other.record())
        graph = stream.end_capture()
        assert c.get()[0] == 0
        graph.launch()
        assert c.get()[0] == 2
    assert is_refused(other.wait_event, forked)  # its capture has ended


# ---- the log ----


def check_events():
    x = cp.ones((2, 3))
    (x + x), cp.matmul(x, x.T)
    cp.cuda.Device().synchronize()
    stream = cp.cuda.Stream(non_blocking=True)
    with recorded() as events:
        (x + x).get()
        x.data.copy_to_host(ctypes.c_void_p(np.empty(6).ctypes.data), 8)
        with recorded() as products:
            cp.matmul(x, x.T)
        cp.cuda.Device().synchronize()
        stream.record().synchronize()
        x.data.memset_async(0, 48)
        stream.launch_host_func(lambda _: None, None)
        cp.cuda.runtime.free(cp.cuda.runtime.malloc(100))
        cp.cuda.runtime.freeHost(cp.cuda.runtime.hostAlloc(200, 0))
    found = [str(event) for event in events if event != ("malloc", "", ("512",))]
    assert found == [
        "launch cupy_add__float64_float64_float64 1x6",
        "copy d2h 48 async",
        "sync stream",
        "copy d2h 8 sync",
        "sync device",
        "sync event",
        "memset 48",
        "host",
        "malloc 100",
        "pinned 200",
    ], found
    counts = events.launches, events.copies, events.memsets, events.products
    assert counts == (1, 2, 1, 0)
    assert (events.operations, events.synchronisations) == (4, 4)
    assert [str(p) for p in products if p.kind != "malloc"] == ["product gemmEx float64 2x2x3 x1"]


def main():
    functions = {k.removeprefix("check_"): f for k, f in globals().items() if k[:6] == "check_"}
    for name in sys.argv[1:] or functions:
        failure = None
        try:
            functions[name]()
        except Exception:
            failure = traceback.format_exc()
        print(json.dumps([name, failure]), flush=True)


if __name__ == "__main__":
    main()
