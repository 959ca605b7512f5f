"""Seam 1: every function takes the array namespace ``xp``, or finds it from its arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from array_api_compat import (
    array_namespace,
    is_jax_namespace,
    is_numpy_namespace,
    is_torch_namespace,
)

from portadnn.errors import InputError
from portadnn.network.precision import full_precision, is_full

Array: TypeAlias = Any
Arrays: TypeAlias = Mapping[str, Array]  # parameters, gradients or slots, by name


@dataclass(frozen=True)
class Inside:
    """A namespace whose functions compute inside a scope, whatever the caller's settings are."""

    raw: Any
    scope: Callable[[], AbstractContextManager[Any]]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.raw, name)
        if isinstance(found, type) or not callable(found):
            return found

        @functools.wraps(found)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.scope():
                return found(*args, **kwargs)

        return inside


def resolve(xp: Any, *arrays: Array) -> Any:
    """``xp`` itself, or, if it is None, the array namespace that ``arrays`` share.

    The training loop resolves it once and passes it down, so the step does no look-up. The caller
    may have told PyTorch to round products, by autocast for example, or NumPy to raise on
    underflow. The namespace that is found ignores both settings.

    Raises
    ------
    TypeError
        If the arrays are of several libraries, or of none.
    InputError
        If their dtype is one that the namespace cannot compute with now (JAX's float64 while
        x64 is off, which JAX would silently round to float32).
    """
    if xp is not None:
        return xp
    xp = array_namespace(*arrays)
    floating = xp.__array_namespace_info__().dtypes(kind="real floating")
    for x in arrays:
        if xp.isdtype(x.dtype, "real floating") and x.dtype not in floating.values():
            remedy = (
                "work inside jax.enable_x64(True), or inside "
                'portadnn.get_backend("jax", dtype="float64").scope()'
                if is_jax_namespace(xp)
                else "convert it to float32 or float64"
            )
            raise InputError(
                f"an array of {x.dtype} was given, but {xp.__name__} computes only in "
                f"{', '.join(floating)} now: {remedy}"
            )
    if is_torch_namespace(xp) and not is_full(xp, kind := arrays[0].device.type):
        return Inside(xp, functools.partial(full_precision, xp, kind))
    if is_numpy_namespace(xp) and xp.geterr()["under"] != "ignore":
        return Inside(xp, functools.partial(xp.errstate, under="ignore"))
    return xp
