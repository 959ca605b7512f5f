"""Parts of a declaration that cannot be written as text: arrays, generators, your own rules."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from portadnn.errors import InputError

SHA256 = "sha256:"  # begins the text of a part


class Part:
    """A part that cannot be written as text, such as an array. Its digest stands for it.

    Parameters
    ----------
    value : object
    text : str, optional
        The text of a part whose value is elsewhere.
    """

    def __init__(self, value: Any, text: str | None = None) -> None:
        self.value = value
        if text is not None:
            self.text = text

    @functools.cached_property
    def text(self) -> str:
        """Its SHA-256 and its class."""
        from portadnn.training.digests import digest_of

        return f"{SHA256}{digest_of(self.value)} of {type(self.value).__name__}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Part({self.text!r})"


class Table(dict):
    """A table of a declaration: nobody changes it, so that it can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def names_part(value: Any) -> bool:
    """Whether a value that was read from a text stands for a part."""
    return isinstance(value, str) and value.startswith(SHA256)


def held(name: str, value: Any) -> Any:
    """A setting as a declaration holds it: a text, numbers, or a part."""
    if isinstance(value, str | bool | int | float | Part | None):
        return value
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise InputError(
                f"{name} has the key {wrong[0]!r}: expected texts, such as {str(wrong[0])!r}"
            )
        return Table({str(key): held(name, item) for key, item in value.items()})
    if getattr(value, "shape", None) == () and hasattr(value, "tolist"):
        return held(name, value.tolist())
    if name in ("data", "validation", "sample_weight"):  # read only if somebody asks
        return Part(value)
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return held(name, value.tolist())
    if isinstance(value, Iterable):
        return tuple(held(name, item) for item in value)
    if _is_said(name, value):
        return str(value)
    part = Part(value)
    if name == "rng":
        _ = part.text  # digest a generator before it moves on; other parts are digested when asked
    return part


def _is_said(name: str, value: Any) -> bool:
    """Whether the text of a rule names an equal rule of the same class."""
    again = _read(name, str(value))
    return type(again) is type(value) and again == value


@functools.lru_cache(maxsize=256)  # ``partial_fit`` declares its run again in every call
def _read(name: str, text: str) -> Any:
    """The rule that a text names, or None."""
    from portadnn.network.initializers import as_initializer
    from portadnn.training.lbfgs import as_solver
    from portadnn.training.schedules import as_schedule

    readers = {"optimizer": as_solver, "schedule": as_schedule, "init": as_initializer}
    with contextlib.suppress(KeyError, InputError):
        return readers[name](text)
    return None


def value_of(name: str, value: Any) -> Any:
    """The value itself, or that of a part; an InputError if only its digest is known."""
    if not isinstance(value, Part):
        return value
    if value.value is None:
        raise InputError(f"{name} is {value.text}: only this digest of it is known")
    return value.value
