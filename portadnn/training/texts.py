"""Reading one setting of a run, from a text of the command line or a value of a TOML file.

Every reader takes a value and its name for messages. It returns the value that the library takes,
or raises an InputError. Names and limits are checked by the library.
"""

from __future__ import annotations

import contextlib
import functools
import reprlib
from collections.abc import Callable
from typing import Any

from portadnn.choice import known_name
from portadnn.errors import InputError

MOST_LAYERS = 10_000  # the most layers that one width may be repeated for, as in 64x3


def text(value: Any, what: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{what} is {_shown(value)}: expected a text")
    return value.strip()


def path(value: Any, what: str) -> str:
    """A path that a file can have and TOML can hold."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"{what} is {_shown(value)}: expected the path of a file")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} is {_shown(value)}: expected a path in UTF-8") from None
    return value


def names(value: Any, what: str) -> tuple[str, ...]:
    """Names: a list, or a text with commas between them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise InputError(f"{what} is {_shown(value)}: expected names with commas between them")
    return tuple(item.strip() for item in items if item.strip())


def size(value: Any, what: str) -> tuple[int, int]:
    """Height and width: "64", "48x64", or a list of two numbers."""
    items = value.lower().split("x") if isinstance(value, str) else value
    items = list(items) if isinstance(items, list | tuple) else [items]
    sides: tuple[int, ...] = ()
    with contextlib.suppress(InputError):
        sides = tuple(whole(item, what) for item in items) * (2 if len(items) == 1 else 1)
    if len(sides) != 2 or not all(1 <= side <= 10_000 for side in sides):
        raise InputError(f"{what} is {_shown(value)}: expected a size such as 64, or 48x64 for a "
                         f"height of 48 and a width of 64")  # fmt: skip
    return sides[0], sides[1]


def whole_or_auto(value: Any, what: str) -> int | str:
    """A whole number, or "auto"."""
    return "auto" if value == "auto" else whole(value, what)


def whole(value: Any, what: str) -> int:
    """A whole number that fits 64 bits."""
    n = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            n = int(value)
    if not isinstance(n, int) or isinstance(n, bool) or abs(n) >= 2**64:
        raise InputError(f"{what} is {_shown(value)}: expected a whole number below 2**64")
    return n


def number(value: Any, what: str) -> float:
    """A number."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    raise InputError(f"{what} is {_shown(value)}: expected a number")


def one_or_list(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A reader of one value, or of several: a list, or a text with commas."""

    @functools.wraps(read)  # keeps the type of one value, for the help
    def read_several(value: Any, what: str) -> Any:
        if isinstance(value, str) and "," in value:
            value = value.split(",")
        if isinstance(value, list):
            return tuple(read(item, f"{what}, entry {i},") for i, item in enumerate(value, 1))
        return read(value, what)

    return read_several


def layers(value: Any, what: str) -> tuple[int, ...]:
    """The widths of the hidden layers: a list, or a text such as "20,7,5" or "none"."""
    if isinstance(value, str):
        return parse_layers(value, what)
    items = value if isinstance(value, list) else [value]
    widths = [whole(item, what) for item in items]
    return parse_layers(",".join(map(str, widths)) or "none", what)


def parse_layers(text: str, what: str = "--layers") -> tuple[int, ...]:
    """The widths of layers: "20,7,5" is (20, 7, 5), "none" is (), "9x3" is "9,9,9".

    >>> parse_layers("64, 32x2")
    (64, 32, 32)

    Raises
    ------
    InputError
        If a width is not an integer above 0.
    """
    if text.strip().lower() == "none":
        return ()
    widths = []
    for part in text.split(","):
        numbers = [number.strip() for number in part.split("x")]
        if len(numbers) > 2 or not all(map(_is_short_number, numbers)):
            raise InputError(
                f"{what} {text}: {part.strip()!r} is not a width: expected whole numbers "
                f"above 0 with commas between them, such as 20,7,5 or 64x3,10 (or none)"
            )
        width, times = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 1
        if width < 1:
            raise InputError(f"{what} {text}: a layer has width {width}: expected 1 or more")
        if not 1 <= times <= MOST_LAYERS:
            raise InputError(f"{what} {text}: {times} layers: expected 1 to {MOST_LAYERS}")
        widths += [width] * times
    return tuple(widths)


def draw(value: Any, what: str) -> int | str:
    """What draws the initial weights: a seed of ``default_rng``, or "randomstate:SEED"."""
    from portadnn.network.initializers import as_rng

    if not isinstance(value, str) or ":" not in value:
        try:
            return whole(value, what)
        except InputError as error:
            raise InputError(f"{error}, or a text such as randomstate:1") from None
    try:
        as_rng(value.strip())
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    return value.strip()


def truth(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{what} is {_shown(value)}: expected true or false")
    return value


def sha256(value: Any, what: str) -> str:
    """A SHA-256 in hexadecimal digits."""
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise InputError(f"{what} is {_shown(value)}: expected a SHA-256 of 64 hexadecimal digits")
    return value


def nothing(value: Any, what: str) -> Any:
    """Refuse a text: this setting has none."""
    raise InputError(f"{what} is {_shown(value)}: it has no text: give it to portadnn.train")


def share_or_path(value: Any, what: str) -> float | str:
    """A share of the data, or the path of a file."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return path(value, what)
    return number(value, what)


def class_weight(value: Any, what: str) -> str | dict[str, float]:
    """ "balanced", or weights by the names of classes: a table, or a text of NAME=WEIGHT."""
    if isinstance(value, dict):
        return {name: number(weight, f"{what}, class {name!r},") for name, weight in value.items()}
    if text(value, what) == "balanced":
        return "balanced"
    weights: dict[str, float] = {}
    for pair in value.split(","):
        name, equals, weight = pair.rpartition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(
                f"{what} is {_shown(value)}: expected balanced, or NAME=WEIGHT with commas "
                f"between them"
            )
        if name in weights:
            raise InputError(f"{what} is {_shown(value)}: {name} is given twice")
        weights[name] = number(weight, f"{what}, class {name!r},")
    return weights


def dtype(value: Any, what: str) -> str:
    """ "float32" or "float64"."""
    from portadnn.backends import DTYPES

    return known_name(what, text(value, what), DTYPES)


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # Python prints no number of thousands of digits
        return f"a {type(value).__name__} too long to print"
