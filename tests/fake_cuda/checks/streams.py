"""Late work, captures and graphs."""

import ctypes
import os

import cupy as cp
import numpy as np
from fake_cuda.events import recorded

from .support import is_refused


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
    assert is_refused(other.wait_event, forked)  # the capture has ended
