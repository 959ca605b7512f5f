"""Bad input, said plainly: what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

# control characters, line ends, marks that reverse the reading direction, lone surrogates
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def safe_text(text: str) -> str:
    """A text from outside, made safe to print in one line: control characters become escapes.

    >>> print(safe_text("cat\\x1b[2J"))
    cat\\x1b[2J
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class InputError(ValueError):
    """The caller's input cannot be used; nothing was started and nothing was written.

    ``safe_text`` makes the message one line, because it may quote an untrusted file.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(safe_text(message))


class OutOfMemoryError(InputError, MemoryError):
    """There is not enough memory. The message says how much was wanted, and what to do."""


class Carried(BaseException):
    """An exception with attributes, which pickle carries to other processes as they are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return kind.__new__(kind, *args)  # __init__ would make the message a second time


def unknown_name(kind: str, given: object, known: Iterable[str], meant: str = "") -> InputError:
    """The error for an unknown name, with the name that is meant, or the nearest one.

    >>> str(unknown_name("activation", "relo", ["relu", "tanh"]))
    "unknown activation 'relo': did you mean 'relu'? Known: relu, tanh"
    """
    known = list(known)
    nearest = [meant] if meant else difflib.get_close_matches(str(given), known, n=1)
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    return InputError(f"unknown {kind} {given!r}{hint} Known: {', '.join(known)}")
