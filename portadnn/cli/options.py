"""Options and exit codes that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter, Token

from portadnn.errors import InputError

EXIT_DIVERGED = 1
EXIT_WRONG = 1  # of a check: what was checked did not pass
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

MOST_LAYERS = 10_000  # of a width that is repeated

Dtype = Literal["float32", "float64"]
Split = Literal["train", "test"]

BackendOption = Annotated[
    str,
    Parameter(
        name="--backend",
        help="numpy, cupy, torch, jax, dask or strict, with a device after a colon if need be "
        "(cupy:1, torch:cuda, jax:gpu); auto takes a working GPU through CuPy, else NumPy.",
    ),
]


def _whole_number(_type: object, tokens: Sequence[Token]) -> int:
    return int(tokens[0].value)  # 2.9 is a mistake, not 3


WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
JsonOption = Annotated[
    bool,
    Parameter(name="--json", negative="", help="Print one JSON object on stdout, nothing else."),
]


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


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
