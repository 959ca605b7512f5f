"""NumPy, the reference backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

from portadnn.backends import tape
from portadnn.backends.base import Backend, LibraryReport, Step, check_device, quiet_numpy
from portadnn.backends.recording import Stand, noted


class NumpyBackend(Backend):
    """NumPy on the CPU."""

    library = "numpy"

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        import array_api_compat.numpy as xp

        check_device(name, device, ("", "cpu"))
        return cls(cls.library, xp, "cpu", getattr(xp, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        return LibraryReport(np.__version__, ("cpu",), describe_blas())

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return quiet_numpy()

    def asarray(self, x: Any, *, dtype: str | None = None) -> Any:
        if type(x) is np.ndarray and x.dtype == (dtype or self.dtype_name):
            return x  # fast, because a prediction of one row asks for every parameter
        return super().asarray(x, dtype=dtype)

    def on_host(
        self, function: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: str, *arrays: Any
    ) -> Any:
        if any(isinstance(x, Stand) for x in arrays):
            return noted(function, shape, dtype, arrays)
        return function(*arrays)

    def single_thread(self) -> contextlib.AbstractContextManager[Any] | None:
        from threadpoolctl import threadpool_limits

        return threadpool_limits(1, user_api="blas")

    def repeat(
        self, step: Step, state: Any, inputs: Any, shared: Any = (), *, every_output: bool = True
    ) -> tuple[Any, Any]:
        found = tape.repeat(step, state, inputs, shared, every_output)
        return super().repeat(step, state, inputs, shared) if found is None else found

    @staticmethod
    def owns(x: Any) -> bool:
        return is_numpy_array(x)


def describe_blas() -> str:
    """Which BLAS NumPy's products run on: library, version, kernel and threads."""
    pool = blas_pool()
    if pool is None:
        return "BLAS not recognised"
    kernel = pool.get("architecture", "unknown")
    threads = pool["num_threads"]
    return (
        f"BLAS {pool['internal_api']} {pool['version']}, {kernel} kernel, "
        f"{threads} thread{'s' if threads != 1 else ''}"
    )


def running_kernel() -> str | None:
    """The kernel of NumPy's OpenBLAS in this process, or None if its BLAS is another."""
    pool = blas_pool()
    if pool is None or pool["internal_api"] != "openblas":
        return None
    return pool.get("architecture")


def blas_pool() -> dict[str, Any] | None:
    """The entry of threadpoolctl for NumPy's BLAS, or None."""
    from threadpoolctl import threadpool_info

    np.matmul(np.ones((2, 2)), np.ones((2, 2)))  # loads the library
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # other packages bring libraries of their own; the path of NumPy's contains "numpy"
    numpys = [pool for pool in pools if "numpy" in pool["filepath"]] or pools
    return numpys[0] if numpys else None
