"""In the place of cupy.cuda.thrust: NumPy sorts, because the device's memory is the host's."""

import ctypes
import math

import numpy as np

available = True
_cuda = ctypes.CDLL("libcuda.so.1")


def get_build_version():
    return 0


def sort(dtype, data_start, keys_start, shape):
    _begin("thrust_sort")
    _array(data_start, dtype, shape).sort(axis=-1, kind="stable")


def argsort(dtype, idx_start, data_start, keys_start, shape):
    _begin("thrust_argsort")
    order = np.argsort(_array(data_start, dtype, shape), axis=-1, kind="stable")
    _array(idx_start, np.intp, shape)[...] = order


def lexsort(dtype, idx_start, keys_start, k, n):
    _begin("thrust_lexsort")
    _array(idx_start, np.intp, (n,))[...] = np.lexsort(_array(keys_start, dtype, (k, n)))


def _begin(name):
    """A sort runs at once: it is no work on a stream, so a capture cannot record it."""
    if _cuda.fake_cuda_forbidden_in_capture(1):
        raise RuntimeError("a sort waits for the device, which a capture forbids")
    _cuda.fake_cuda_log(b"launch %s", name.encode())
    _cuda.fake_cuda_catch_up()


def _array(start, dtype, shape):
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(start), dtype).reshape(shape)
