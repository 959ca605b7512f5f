"""The SHA-256 of values that have no text: it stands for a part of a declaration."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from portadnn.backends.base import to_host
from portadnn.data.digest import digest
from portadnn.data.stored import Stored
from portadnn.errors import InputError


def digest_of(value: Any) -> str:
    """The SHA-256 of a value that has no text: array, data, generator, or object with fields.

    Two objects of one class are equal if all their fields are; ``source``, where data came from, is
    no part of them. A function counts by its name, an array of any library by its values.

    Raises
    ------
    InputError
        If a part of an object's state cannot be read.
    """
    try:
        text = json.dumps(_plain(value), sort_keys=True)
    except RecursionError:
        kind = type(value).__name__
        raise InputError(
            f"the fields of a {kind} cannot be read, because it refers to itself"
        ) from None
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
    if isinstance(value, Stored):
        return value.digest()
    value = to_host(value)
    if hasattr(value, "__array__"):
        value = np.asarray(value)
        if value.dtype.hasobject:
            raise InputError(f"an array has dtype {value.dtype}: expected numbers")
        return digest({"array": value})
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.random.RandomState):
        return {kind: _plain(value.get_state(legacy=False))}
    if isinstance(value, np.random.Generator):
        return {kind: _plain(value.bit_generator.state)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    names = {field.name for field in fields}
    slots = {slot for base in type(value).__mro__ for slot in vars(base).get("__slots__", ())}
    if slots - names or not (slots or hasattr(value, "__dict__")):
        raise InputError(
            f"the fields of a {kind} cannot be read: expected a dataclass, or a class without slots"
        )
    # a plain subclass of a dataclass has more than the fields
    names |= getattr(value, "__dict__", {}).keys()
    names -= {"source", *(field.name for field in fields if not field.init)}
    return {kind: {name: _plain(getattr(value, name)) for name in names}}
