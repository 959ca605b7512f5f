"""Dask: arrays in chunks of examples, for data that one array cannot hold."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import is_dask_array

from portadnn.backends.base import Backend, LibraryReport, check_device, importing


class DaskBackend(Backend):
    """Dask over NumPy chunks. Training persists each step, so the task graph stays small."""

    library = "dask"

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        _import(name)
        import array_api_compat.dask.array as xp

        check_device(name, device, ("", "cpu"))
        return cls(cls.library, xp, "cpu", getattr(xp, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        return LibraryReport(_import("dask").__version__, ("cpu",), "NumPy chunks")

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        # NumPy's own switch, errstate, does not reach the scheduler's threads
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
            yield

    @staticmethod
    def owns(x: Any) -> bool:
        return is_dask_array(x)

    def _settle(self, result: Any) -> Any:
        import dask

        return dask.persist(result)[0]

    def _from_host(self, host: np.ndarray) -> Any:
        import dask.array

        # whole columns: a chunk holds some examples with all their values
        chunks: Any = (-1, "auto") if host.ndim == 2 else "auto"
        if not host.size:  # Dask cannot choose chunks for an empty array
            chunks = -1
        return dask.array.from_array(host, chunks=chunks)

    @staticmethod
    def _to_host(x: Any) -> np.ndarray:
        return np.asarray(x.compute())


def _import(name: str) -> Any:
    with importing(name, "Dask with its arrays", "pip install 'dask[array]'"):
        import array_api_compat.dask.array  # noqa: F401 (it may be what fails)
        import dask
    return dask
