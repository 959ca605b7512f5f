"""CuPy, on a CUDA device that has shown that it works."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

from portadnn.backends.base import (
    Backend,
    BackendUnavailableError,
    LibraryReport,
    check_device,
    first_line,
    importing,
)


class CupyBackend(Backend):
    """CuPy on one CUDA device."""

    library = "cupy"

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        cupy, count = _import(name)
        with importing(name, "array-api-compat for CuPy", "pip install -U array-api-compat"):
            import array_api_compat.cupy as xp
        check_device(name, device, ("", *map(str, range(count))))
        cuda_device = cupy.cuda.Device(int(device or 0))
        _probe(name, cupy, cuda_device)
        return cls(cls.full_name(cuda_device), xp, cuda_device, getattr(xp, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        cupy, count = _import("cupy")
        _probe("cupy", cupy, cupy.cuda.Device(0))
        names = (cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(count))
        runtime = cupy.cuda.runtime.runtimeGetVersion()
        return LibraryReport(
            cupy.__version__,
            tuple(f"{i} ({name})" for i, name in enumerate(names)),
            f"CUDA runtime {_cuda_version(runtime)}, driver {_driver_text()}",
        )

    def synchronize(self, *arrays: Any) -> None:
        self.device.synchronize()

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self.device

    @staticmethod
    def owns(x: Any) -> bool:
        return is_cupy_array(x)

    @staticmethod
    def device_name(device: Any) -> str:
        return str(device.id) if device.id else ""

    @staticmethod
    def _to_host(x: Any) -> np.ndarray:
        return x.get()


def _import(name: str) -> tuple[Any, int]:
    """CuPy and the number of devices that it sees, 1 or more."""
    try:
        import cupy
    except Exception as error:  # a wheel for another CUDA fails in ways of its own
        raise BackendUnavailableError(
            name, f"CuPy cannot be imported ({first_line(error)})", _advice()
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise BackendUnavailableError(
            name, f"CuPy {cupy.__version__} finds no CUDA device ({first_line(error)})", _advice()
        ) from error
    if count == 0:
        raise BackendUnavailableError(name, "there is no CUDA device", _advice())
    return cupy, count


def _probe(name: str, cupy: Any, device: Any) -> None:
    """An elementwise kernel, a product and a copy back: what fails is kept as the reason."""
    try:
        with device:
            x = cupy.arange(4, dtype=cupy.float32).reshape(2, 2)
            found = (cupy.matmul(x, x) + cupy.exp(x - x)).get()
        expected = np.asarray([[3, 4], [7, 12]], np.float32)
        if not np.array_equal(found, expected):
            raise ArithmeticError(f"a 2 x 2 product gave {found.tolist()}, not 3, 4, 7, 12")
    except Exception as error:
        raise BackendUnavailableError(
            name,
            f"CuPy {cupy.__version__} failed its probe on {device!r} ({first_line(error)})",
            _advice(),
        ) from error


def _advice() -> str:
    """What to install, from the CUDA version that the driver takes."""
    version = _driver_version()
    if version is None:
        return (
            "No NVIDIA driver was found (libcuda.so.1): install the GPU's driver, then "
            "pip install 'cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]', or take the backend 'numpy'"
        )
    wheel = "cupy-cuda13x" if version >= 13000 else "cupy-cuda12x"
    return (
        f"The NVIDIA driver takes CUDA up to {_cuda_version(version)}: in a fresh environment "
        f"pip install '{wheel}[ctk]' (only one cupy wheel may be installed)"
    )


def _driver_version() -> int | None:
    version = ctypes.c_int()
    try:
        status = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return version.value if status == 0 and version.value else None


def _driver_text() -> str:
    version = _driver_version()
    return "unknown" if version is None else f"for CUDA {_cuda_version(version)}"


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
