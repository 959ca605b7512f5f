"""Choosing a backend by name, and saying what this machine has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from portadnn.backends import registry
from portadnn.backends.base import (
    ARITHMETICS,
    DTYPES,
    Backend,
    BackendUnavailableError,
    LibraryReport,
)
from portadnn.backends.registry import CLASSES, library_of
from portadnn.choice import known_name
from portadnn.errors import InputError

logger = logging.getLogger("portadnn")


def get_backend(
    name: str | Backend = "auto", *, dtype: Any = None, arithmetic: str | None = None
) -> Backend:
    """The backend of that name.

    Parameters
    ----------
    name : str or Backend
        ``library`` or ``library:device``: "numpy", "cupy", "cupy:1", "torch", "torch:cuda", "jax",
        "jax:gpu", "dask", "strict", "strict:device1". Without a device it is the library's own
        default. "auto" takes CuPy where a GPU works, else NumPy, and logs which and why.
    dtype : {"float32", "float64"}, optional
        float32 where nothing is said.
    arithmetic : {"fast", "reproducible"}, optional
        The library's own, which is the default, or one that gives the same bits on every backend,
        see ``portadnn.arithmetic``.

    Raises
    ------
    BackendUnavailableError
        If it cannot run here: the cause and the fix. It never falls back in silence.
    InputError
        If the name, the device, the dtype or the arithmetic is unknown, or a Backend is given with
        another dtype or arithmetic.

    Examples
    --------
    >>> get_backend("numpy", dtype="float64").dtype_name
    'float64'
    """
    if isinstance(name, Backend):
        if dtype is not None and _dtype_name(dtype) != name.dtype_name:
            raise InputError(
                f"dtype is {_dtype_name(dtype)}, but the backend given computes in "
                f"{name.dtype_name}: expected the same, or the backend by its name"
            )
        if arithmetic not in (None, name.arithmetic):
            raise InputError(
                f"arithmetic is {arithmetic!r}, but that of the backend given is "
                f"{name.arithmetic}: expected the same, or the backend by its name"
            )
        return name
    arithmetic = "fast" if arithmetic is None else arithmetic
    if known_name("arithmetic", arithmetic, ARITHMETICS) == "reproducible":
        return get_backend(name, dtype=dtype).reproducible()
    dtype = "float32" if dtype is None else dtype
    if name == "auto":
        backend, reason = choose_backend(dtype=dtype)
        logger.info("backend auto: %s (%s)", backend.name, reason)
        return backend
    library, colon, device = str(name).partition(":")
    library = known_name("backend", library, (*CLASSES,) if colon else ("auto", *CLASSES))
    return registry.library(library).connect(name, device, _dtype_name(dtype))


def choose_backend(*, dtype: Any = "float32") -> tuple[Backend, str]:
    """What "auto" takes, and why: CuPy where a GPU works, else NumPy."""
    try:
        backend = get_backend("cupy", dtype=dtype)
        return backend, f"{backend.device_text} works"
    except BackendUnavailableError as error:
        return get_backend("numpy", dtype=dtype), f"no GPU: {error.cause}"


def backend_of(x: Any) -> Backend:
    """The backend on which the array ``x`` lives, in its dtype.

    Raises
    ------
    TypeError
        If ``x`` is an array of no supported library, or not of float32 or float64.
    """
    library = library_of(x)
    if library is None:
        raise TypeError(
            f"{type(x).__name__} is not an array of {', '.join(CLASSES)}: convert it, for "
            f"example with numpy.asarray, or name a backend"
        )
    dtype = str(x.dtype).rpartition(".")[2]
    if dtype not in DTYPES:
        raise TypeError(
            f"the array has dtype {x.dtype}: expected {' or '.join(DTYPES)} "
            f"(convert it, or name a backend)"
        )
    return get_backend(library.full_name(library.device_of(x)), dtype=dtype)


@dataclass(frozen=True)
class BackendStatus:
    """A backend on this machine: usable, or the reason and the fix."""

    name: str
    usable: bool
    report: LibraryReport | None = None
    cause: str = ""
    fix: str = ""


def list_backends() -> list[BackendStatus]:
    """Every backend: usable with its version and devices, or why not. Imports every library."""
    statuses = []
    for name in CLASSES:
        try:
            get_backend(name)
            statuses.append(BackendStatus(name, True, registry.library(name).report()))
        except BackendUnavailableError as error:
            statuses.append(BackendStatus(name, False, cause=error.cause, fix=error.fix))
    return statuses


def _dtype_name(dtype: Any) -> str:
    name = getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
    return known_name("dtype", name, DTYPES)
