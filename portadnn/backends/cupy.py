"""CuPy, on a CUDA device that has passed a probe."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

from portadnn.backends import graphs
from portadnn.backends.base import (
    DTYPES,
    Backend,
    BackendUnavailableError,
    LibraryReport,
    Step,
    check_device,
    first_line,
    importing,
)
from portadnn.backends.cublas import WithProducts
from portadnn.backends.device_program import Program
from portadnn.backends.survival import answer_to, crash_of


class CupyBackend(Backend):
    """CuPy on one CUDA device."""

    library = "cupy"
    no_memory = ("cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED")

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        cupy, count = _import(name)
        with importing(name, "array-api-compat for CuPy", "pip install -U array-api-compat"):
            import array_api_compat.cupy as xp
        check_device(name, device, ("", *map(str, range(count))))
        cuda_device = cupy.cuda.Device(int(device or 0))
        _probe(name, cupy, cuda_device)
        name = cls.full_name(cuda_device)
        return cls(name, WithProducts(xp), cuda_device, getattr(xp, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        cupy, count = _import("cupy")
        _probe("cupy", cupy, cupy.cuda.Device(0))
        runtime = cupy.cuda.runtime.runtimeGetVersion()
        return LibraryReport(
            cupy.__version__,
            tuple(f"{i} ({_device_name(cupy, i)})" for i in range(count)),
            f"CUDA runtime {_cuda_version(runtime)}, driver {_driver_text()}",
        )

    @property
    def device_text(self) -> str:
        import cupy

        return f"CUDA device {self.device.id} ({_device_name(cupy, self.device.id)})"

    @property
    def regroups(self) -> bool:
        return Program is not None and self.arithmetic == "fast"  # by generated kernels

    def precision_modes(self) -> dict[str, str]:
        from cupy._core import _accelerator, _routines_linalg

        modes = {}
        for name in DTYPES:
            compute_type = _routines_linalg.get_compute_type(np.dtype(name))
            text = _routines_linalg.compute_type_to_str(compute_type)
            text = text.removeprefix("COMPUTE_TYPE_").lower()
            modes[f"cupy {name} products"] = "default" if text == "tf32" else text  # see cublas.py
        if self.matmul:
            modes["cupy float32 products"] = self.matmul
        accelerators = [
            *(f"reduction {n}" for n in _accelerator.get_reduction_accelerators()),
            *(f"routine {n}" for n in _accelerator.get_routine_accelerators()),
        ]
        return modes | {"cupy accelerators": ", ".join(accelerators) or "none"}

    def _tf32(self) -> Any:
        capable = int(self.device.compute_capability) >= 80
        return replace(self.xp, tf32=True) if capable else None

    def synchronize(self, *arrays: Any) -> None:
        self.device.synchronize()

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return self.device

    def repeat(
        self, step: Step, state: Any, inputs: Any, shared: Any = (), *, every_output: bool = True
    ) -> tuple[Any, Any]:
        with self.scope():
            found = graphs.repeat(
                step, state, inputs, shared, graphs.capture_by_cupy, Program, rounds=self.regroups
            )
        return super().repeat(step, state, inputs, shared) if found is None else found

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
    except Exception as error:  # a wheel for another CUDA may raise any error
        absent = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        how = "is not installed" if absent else f"cannot be imported ({first_line(error)})"
        raise BackendUnavailableError(name, f"CuPy {how}", _advice()) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise BackendUnavailableError(
            name, f"CuPy {cupy.__version__} finds no CUDA device ({first_line(error)})", _advice()
        ) from error
    if count == 0:
        raise BackendUnavailableError(name, "there is no CUDA device", _advice())
    return cupy, count


@functools.cache  # CUDA answers slowly, and this is asked for every array of CuPy
def _device_name(cupy: Any, number: int) -> str:
    return cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()


def _probe(name: str, cupy: Any, device: Any) -> None:
    """Compute in another process, which may crash, then in this one; raise if either fails."""
    try:
        number = int(device.id)
        about = (
            f"CuPy {cupy.__version__} in {os.path.dirname(str(getattr(cupy, '__file__', None)))}, "
            f"driver {_driver_version()}, device {number} ({_device_name(cupy, number)})"
        )
        crash = crash_of(f"from portadnn.backends.cupy import compute; compute({number})", about)
        if not crash:
            compute(number)
            return
        problem = f"crashed Python in its probe ({crash}; delete {answer_to(about)} to probe again)"
    except Exception as error:
        problem = f"failed its probe on {device!r} ({first_line(error)})"
    raise BackendUnavailableError(name, f"CuPy {cupy.__version__} {problem}", _advice())


def compute(number: int) -> None:
    """Run an elementwise kernel, a product and a copy to the host on that device.

    Raises
    ------
    ArithmeticError
        If the numbers are wrong. Errors of CuPy itself are passed on.
    """
    import cupy

    with cupy.cuda.Device(number):
        x = cupy.arange(4, dtype=cupy.float32).reshape(2, 2)
        found = (cupy.matmul(x, x) + cupy.exp(x - x)).get()
    if not np.array_equal(found, np.asarray([[3, 4], [7, 12]], np.float32)):
        raise ArithmeticError(f"a 2 x 2 product gave {found.tolist()}, not 3, 4, 7, 12")


def _advice() -> str:
    """What to install for the CUDA version that the driver supports."""
    version = _driver_version()
    if version is None:
        return (
            "No NVIDIA driver was found (libcuda.so.1): install the GPU's driver, then "
            "pip install 'cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]', or take the backend 'numpy'"
        )
    wheel = "cupy-cuda13x" if version >= 13000 else "cupy-cuda12x"
    return (
        f"The NVIDIA driver supports CUDA up to {_cuda_version(version)}: in a fresh environment "
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
