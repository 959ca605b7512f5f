"""Products of CuPy matrices, made by calls of cuBLAS on a handle of our own.

CuPy refuses products while a stream is captured for a CUDA graph, because cuBLAS could
allocate memory then. A handle with its own workspace allocates none. Products outside of a graph
are made in the same way, so that they have the same bits.

References
----------
NVIDIA, cuBLAS library, sections CUDA Graphs Support, cublasSetWorkspace and cublasGemmEx,
https://docs.nvidia.com/cuda/cublas/
"""

from __future__ import annotations

import ctypes
import functools
import threading
from dataclasses import dataclass
from typing import Any

from portadnn.backends.base import Wrapped

WORKSPACE = 2**25  # bytes, as cuBLAS recommends for Hopper
LARGEST = 2**31 - 1  # cuBLAS counts in 32 bits
_REF, _POINTER, _INT = ctypes.byref, ctypes.c_void_p, ctypes.c_int
# for each dtype: its cudaDataType, the scalars 1 and 0, and the cublasComputeType for each compute
# type of CuPy: default, pedantic, and TF32, which is treated as the default
_KINDS: dict[str, tuple[int, Any, Any, dict[int, int]]] = {
    "float32": (0, _REF(ctypes.c_float(1)), _REF(ctypes.c_float(0)), {1: 68, 2: 69, 7: 68}),
    "float64": (1, _REF(ctypes.c_double(1)), _REF(ctypes.c_double(0)), {1: 70, 2: 71}),
}
CUPY_TF32, CUBLAS_TF32 = 7, 77
_MATRIX = _POINTER, _INT, _INT  # address, dtype, leading dimension

_STACK = *_MATRIX, ctypes.c_longlong  # and the stride between matrices


@dataclass(frozen=True)
class WithProducts(Wrapped):
    """CuPy's namespace, with matrix products that can be captured and can take TF32."""

    tf32: bool = False

    def matmul(self, x: Any, y: Any, out: Any = None, number: int = 0) -> Any:
        """``x @ y``, by CuPy unless both are matrices of one dtype that cuBLAS can read.

        ``out``, if given, has their dtype and is C-contiguous. If it has r times the rows of the
        product, the summed axis is divided into r parts, and the products of the parts are written
        one below the other. Concurrent products, on several streams, need different numbers.
        """
        import cupy
        from cupy._core._routines_linalg import get_compute_type

        kind = _KINDS.get(str(x.dtype))
        if kind is None or y.dtype != x.dtype or x.ndim != 2 or y.ndim != 2:
            return self._by_cupy(x, y, out)
        (m, k), (rows, n) = x.shape, y.shape
        left, right = _layout(x), _layout(y)
        number, one, zero, computations = kind
        tf32 = self.tf32 and x.dtype == cupy.float32
        how = CUBLAS_TF32 if tf32 else computations.get(get_compute_type(x.dtype))
        handle = _handle(cupy.cuda.runtime.getDevice(), threading.get_ident(), number)
        if rows != k or not (left and right and how and handle):
            return self._by_cupy(x, y, out)
        out = cupy.empty((m, n), x.dtype) if out is None else out
        # cuBLAS is column-major, so it computes the product of the transposed matrices
        if (parts := out.shape[0] // m) > 1:
            k //= parts
            across, down = (
                k * y.strides[0] // y.dtype.itemsize,
                k * x.strides[1] // x.dtype.itemsize,
            )
            handle.call(
                "cublasGemmStridedBatchedEx", right[0], left[0], n, m, k, one, y.data.ptr, number,
                right[1], across, x.data.ptr, number, left[1], down, zero, out.data.ptr, number, n,
                m * n, parts, how, -1,
            )  # fmt: skip
            return out
        handle.call(
            "cublasGemmEx", right[0], left[0], n, m, k, one, y.data.ptr, number, right[1],
            x.data.ptr, number, left[1], zero, out.data.ptr, number, n, how, -1,
        )  # fmt: skip
        return out

    def _by_cupy(self, x: Any, y: Any, out: Any) -> Any:
        """CuPy's own product, without TF32 even if ``CUPY_TF32`` is set."""
        from cupy._core import get_compute_type, set_compute_type

        mode = get_compute_type(x.dtype)
        if mode != CUPY_TF32:
            return self.raw.matmul(x, y, out=out)
        set_compute_type(x.dtype, 1)  # the default
        try:
            return self.raw.matmul(x, y, out=out)
        finally:
            set_compute_type(x.dtype, mode)


def _layout(x: Any) -> tuple[int, int] | None:
    """Whether cuBLAS must transpose ``x`` (0 or 1), and the leading dimension of ``x``."""
    (rows, columns), (down, right) = x.shape, (s // x.dtype.itemsize for s in x.strides)
    if not 0 < rows * columns <= LARGEST:
        return None
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, down if rows > 1 else columns
    if (down == 1 or rows == 1) and (right >= rows or columns == 1):
        return 1, right if columns > 1 else rows
    return None


class _Handle:
    """cuBLAS on one device, for one thread."""

    def __init__(self) -> None:
        import cupy

        cupy.cuda.device.get_cublas_handle()  # so that CuPy has loaded its library
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        self.library = ctypes.CDLL(f"libcublas.so.{major}")
        self.library.cublasGemmEx.argtypes = (
            _POINTER, *[_INT] * 5, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX, _INT, _INT
        )  # fmt: skip
        self.library.cublasGemmStridedBatchedEx.argtypes = (
            _POINTER, *[_INT] * 5, _POINTER, *_STACK, *_STACK, _POINTER, *_STACK, *[_INT] * 3
        )  # fmt: skip
        self.pointer, self.stream = _POINTER(), -1
        self.workspace = cupy.cuda.alloc(WORKSPACE)
        status = self.library.cublasCreate_v2(ctypes.byref(self.pointer))
        if status:
            raise RuntimeError(f"cublasCreate failed (status {status})")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of cuBLAS on CuPy's current stream."""
        import cupy

        stream = cupy.cuda.get_current_stream().ptr
        if stream != self.stream:
            self._call("cublasSetStream_v2", _POINTER(stream))
            # cublasSetStream resets the workspace
            workspace = _POINTER(self.workspace.ptr), ctypes.c_size_t(WORKSPACE)
            self._call("cublasSetWorkspace_v2", *workspace)
            self.stream = stream
        self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(self.pointer, *arguments)
        if status:
            raise RuntimeError(f"{name} failed (status {status})")


@functools.cache
def _handle(device: int, thread: int, number: int) -> _Handle | None:
    """A handle for this device and thread; None if CuPy's cuBLAS is not found by its name."""
    try:
        return _Handle()
    except OSError:
        return None
