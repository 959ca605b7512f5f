"""One number for many arrays: equal digests are equal bits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays, on any machine: sorted names, dtypes, shapes, values.

    Parameters
    ----------
    arrays : mapping of str to array
        On the host. Values count as little-endian bytes in C order, so neither the byte order nor
        the order of memory matters.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> digest({"b1": np.zeros((1, 1))})[:8]
    'af68110b'
    """
    state = hashlib.sha256()
    for name in sorted(arrays):
        x = np.asarray(arrays[name])
        little = x.astype(x.dtype.newbyteorder("<"), copy=False)
        state.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
        state.update(little.tobytes())
    return state.hexdigest()


def digest_of(value: Any) -> str:
    """The SHA-256 of what no text says: arrays, data, a generator, an object and its fields.

    Two objects of one class are equal if all their fields are; ``source``, where data came from, is
    no part of them. A function counts by its name.
    """
    text = json.dumps(_plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A JSON value that differs if the value does."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return digest({"array": value})
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.random.RandomState):
        return {kind: _plain(value.get_state(legacy=False))}
    if isinstance(value, np.random.Generator):
        return {kind: _plain(value.bit_generator.state)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
    else:
        names = list(vars(value))
    return {kind: {name: _plain(getattr(value, name)) for name in names if name != "source"}}
