"""Choose a backend by its name, and list the backends of this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from portadnn.backends import registry
from portadnn.backends.base import (
    ARITHMETICS,
    DTYPES,
    MATMULS,
    Backend,
    BackendUnavailableError,
    LibraryReport,
)
from portadnn.backends.registry import CLASSES, library_of
from portadnn.choice import known_name
from portadnn.errors import InputError

logger = logging.getLogger("portadnn")


def get_backend(
    name: str | Backend = "auto",
    *,
    dtype: Any = None,
    arithmetic: str | None = None,
    matmul: str | None = None,
) -> Backend:
    """The backend of that name.

    Parameters
    ----------
    name : str or Backend
        ``library`` or ``library:device``: "numpy", "cupy", "cupy:1", "torch", "torch:cuda", "jax",
        "jax:gpu", "dask", "strict", "strict:device1". Without a device it is the library's own
        default. "auto" takes CuPy if a GPU works, else NumPy, and logs which and why. ``train``
        also takes NumPy if it estimates that NumPy is faster.
    dtype : {"float32", "float64"}, optional
        Default: float32.
    arithmetic : {"fast", "reproducible"}, optional
        The library's own, which is the default, or one that gives the same bits on every backend,
        see ``portadnn.arithmetic``.
    matmul : {"plain", "tf32"}, optional
        Products in the dtype, which is the default, or products of float32 whose operands an NVIDIA
        GPU may round to TF32. Nothing else uses TF32.

    Raises
    ------
    BackendUnavailableError
        If it cannot run here, with the cause and the fix. No other backend takes its place.
    InputError
        If the name, the device, the dtype, the arithmetic or the mode of products is unknown, the
        device does not have TF32, or a Backend is given with another dtype, arithmetic or mode.

    Examples
    --------
    >>> get_backend("numpy", dtype="float64").dtype_name
    'float64'
    """
    if isinstance(name, Backend):
        asked = {
            "dtype": (dtype and _dtype_name(dtype), name.dtype_name),
            "arithmetic": (arithmetic, name.arithmetic),
            "matmul": (matmul, name.matmul or "plain"),
        }
        for what, (given, has) in asked.items():
            if given not in (None, has):
                raise InputError(
                    f"{what} is {given}, but the given backend has {has}: expected the "
                    f"same, or the name of a backend"
                )
        return name
    exact = known_name("arithmetic", arithmetic or "fast", ARITHMETICS) == "reproducible"
    if known_name("matmul", matmul or "plain", MATMULS) == "tf32":
        if exact:
            raise InputError(
                "matmul tf32 cannot be combined with reproducible arithmetic, whose products are "
                "exact: take matmul plain, or fast arithmetic"
            )
        return get_backend(name, dtype=dtype).tf32()
    if exact:
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
    """The backend that "auto" takes, and why: CuPy if a GPU works, else NumPy."""
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
        If no supported library has made ``x``, or its dtype is not float32 or float64.
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
