"""Bad input, said plainly: what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """The caller's input cannot be used; nothing was started and nothing was written."""


class Carried(BaseException):
    """An exception with attributes, which pickle carries to other processes as they are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return kind.__new__(kind, *args)  # __init__ would make the message a second time


def unknown_name(kind: str, given: object, known: Iterable[str], meant: str = "") -> InputError:
    """The error for a name that is in no table, with the one that is meant, or the nearest.

    >>> str(unknown_name("activation", "relo", ["relu", "tanh"]))
    "unknown activation 'relo': did you mean 'relu'? Known: relu, tanh"
    """
    known = list(known)
    nearest = [meant] if meant else difflib.get_close_matches(str(given), known, n=1)
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    return InputError(f"unknown {kind} {given!r}{hint} Known: {', '.join(known)}")
