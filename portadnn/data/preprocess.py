"""Numbers from the rows of a table: fitted on the training rows alone, saved in the model."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from portadnn.choice import as_text, choose
from portadnn.data.dataset import Dataset
from portadnn.data.stored import spooled
from portadnn.errors import InputError

logger = logging.getLogger("portadnn")

FEW_CATEGORIES = 20  # a column may have so many, however few the rows are
MANY_CATEGORIES = 100  # more give a warning
MOST_CATEGORIES = 10_000
NUMBER = re.compile(r"\s*[-+]?\d*[.,]?\d+(e[-+]?\d+)?\s*", re.IGNORECASE)
LARGEST = 1e150  # squares of larger numbers may have no finite sum


@dataclass(frozen=True)
class Standardise:
    """Numbers get mean 0 and standard deviation 1, and texts a 0 or 1 for each category.

    Parameters
    ----------
    missing : {"refuse", "median"}
        What to do with a number that is missing: refuse it with its row and column, or put the
        median of the training rows in its place. A text that is missing is a category of its own
        with "median".
    unknown : {"refuse", "ignore"}
        What to do with a text that no training row has: refuse it, or give it no category.
    """

    missing: str = "refuse"
    unknown: str = "refuse"

    def __post_init__(self) -> None:
        for name, known in (("missing", ("refuse", "median")), ("unknown", ("refuse", "ignore"))):
            if getattr(self, name) not in known:
                raise InputError(
                    f"preprocess: {name} is {getattr(self, name)!r}: expected {' or '.join(known)}"
                )


@dataclass(frozen=True)
class Plain:
    """Numbers stay as they are."""


@dataclass(frozen=True)
class Pixels:
    """All columns are whole numbers 0..255, and become uint8, which is scaled by 1/255."""


KINDS = {"standardise": Standardise, "none": Plain, "pixels": Pixels}


def as_preprocess(given: Any) -> Any:
    """An instance of ``KINDS``, from itself or from a text such as "standardise:missing=median"."""
    return choose("preprocess", given, KINDS, tuple(KINDS.values()))


def preprocess_text(given: Any) -> str:
    """The text from which ``as_preprocess`` makes the same."""
    name = next(name for name, kind in KINDS.items() if type(given) is kind)
    return as_text(name, given)


@dataclass(frozen=True)
class Column:
    """A column of a table as it was when fitted.

    Attributes
    ----------
    name : str
    mean, scale : float
        The mean is subtracted from numbers, and the scale divides them.
    fill : float or None
        Takes the place of a missing number.
    categories : tuple of str or None
        The categories of texts; None for numbers.
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    fill: float | None = None
    categories: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """How many numbers an example has of it."""
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True)
class Preprocess:
    """Numbers from the rows of a table.

    Attributes
    ----------
    columns : tuple of Column
        The columns, in the order that the rows must have.
    unknown : {"refuse", "ignore"}
    pixels : bool
        Whether the numbers are 0..255 and become uint8.
    targets : tuple of str
        The names of the columns that were learned, for files that hold them beside the others.
    scaling : tuple of (float, float)
        Mean and standard deviation of each value to predict, if the network learns them
        standardised; see ``targets_of`` and ``in_units``.
    """

    columns: tuple[Column, ...]
    unknown: str = "refuse"
    pixels: bool = False
    targets: tuple[str, ...] = ()
    scaling: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fitted(cls, data: Dataset, given: Any, targets: Sequence[str] = ()) -> Preprocess:
        """Fit to the examples of ``data``, a table.

        Parameters
        ----------
        data : Dataset
            The training rows. Values that they have for the head "identity" are standardised, too.
        given : Standardise, Plain or Pixels
        targets : sequence of str
            The names of the targets, to keep with it.

        Raises
        ------
        InputError
            If a column cannot be used; the message names row and column.
        """
        rows = _as_table(data)
        if not isinstance(given, Standardise):
            columns = tuple(map(Column, rows.dtype.names or ()))
            return cls(columns, pixels=isinstance(given, Pixels), targets=tuple(targets))
        fit = [_column(rows[name], name, given, data.source) for name in rows.dtype.names or ()]
        scaling: list[tuple[float, float]] = []
        if data.head == "identity" and data.labels is not None:
            names = data.classes or [f"y{i}" for i in range(1, data.outputs + 1)]
            for name, values in zip(names, data.targets("float64"), strict=True):
                c = _column(values, name, given, data.source)
                scaling.append((c.mean, c.scale))
        return cls(tuple(fit), given.unknown, False, tuple(targets), tuple(scaling))

    @property
    def of_targets(self) -> Preprocess:
        """A copy without columns, for examples that are preprocessed already."""
        return replace(self, columns=())

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number that comes out; "colour=red" of a category."""
        return tuple(
            c.name if c.categories is None else f"{c.name}={category or '(missing)'}"
            for c in self.columns
            for category in (c.categories if c.categories is not None else ("",))
        )

    def __call__(self, data: Dataset) -> Dataset:
        """The same examples as numbers: float64, or uint8 for pixels.

        They are (m, n), or of the shape of arrays of numbers, so that pictures stay pictures.

        Raises
        ------
        InputError
            If the columns have other names, another order or other types, or a value is missing or
            unknown.
        """
        if not self.columns:
            return data
        if data.stored:
            return self._stored(data)
        names = [c.name for c in self.columns]
        numbers = data.table is None and data.n_x == len(names)
        rows = _as_table(data, names if numbers else None)
        if not numbers:
            self._check_names(rows.dtype.names or (), data.source)
        made = self._as_pixels(rows, data.source) if self.pixels else self._made(rows, data.source)
        numbers &= made.shape[1] == data.n_x  # no texts were fitted
        return replace(data, examples=made.reshape(data.examples.shape) if numbers else made)

    def _stored(self, data: Dataset) -> Dataset:
        """The same for rows that stay in a file; the numbers are in another file."""
        blocks = data.examples.blocks("preprocessing")
        parts = (
            replace(data, examples=x, labels=None, source=f"{data.source}, from row {i + 1} on")
            for i, x in blocks
        )
        shape = len(data), sum(c.width for c in self.columns)
        kind = np.uint8 if self.pixels else np.float64
        made = spooled((self(part).examples for part in parts), shape, kind, data.source)
        return replace(data, examples=made)

    def _made(self, rows: np.ndarray, source: str) -> np.ndarray:
        made = np.zeros((len(rows), sum(c.width for c in self.columns)))
        start = 0
        for c in self.columns:
            values = _of_kind(rows[c.name], c, source)
            if c.categories is None:
                made[:, start] = (_filled(values, c, source) - c.mean) / c.scale
            else:
                self._mark(made[:, start : start + c.width], values, c, source)
            start += c.width
        return made

    def _check_names(self, found: tuple[str, ...], source: str) -> None:
        """Raise InputError unless the columns are those that were fitted, in their order."""
        names = [c.name for c in self.columns]
        there, wanted = set(found), set(names)
        missing = [name for name in names if name not in there]
        more = [name for name in found if name not in wanted]
        if missing or more:
            what = f"lacks the column {missing[0]!r}" if missing else f"has a column {more[0]!r}"
            raise InputError(f"{source} {what}: expected the columns {_listed(names)}")
        if list(found) != names:
            raise InputError(
                f"{source} has the columns {_listed(found)}: expected the order {_listed(names)}"
            )

    def _as_pixels(self, rows: np.ndarray, source: str) -> np.ndarray:
        made = np.empty((len(rows), len(self.columns)), dtype=np.uint8)
        for i, c in enumerate(self.columns):
            values = _of_kind(rows[c.name], c, source)
            wrong = ~((values >= 0) & (values <= 255) & (values == np.floor(values)))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise InputError(
                    f"{source}: row {row + 1}, column {c.name!r} is {values[row]:g}: expected "
                    f"whole numbers 0..255 for preprocess pixels"
                )
            made[:, i] = values
        return made

    def _mark(self, made: np.ndarray, values: np.ndarray, c: Column, source: str) -> None:
        index = {category: i for i, category in enumerate(c.categories or ())}
        found, places = np.unique(values, return_inverse=True)
        at = np.asarray([index.get(str(text), -1) for text in found])[places]
        unknown = at < 0
        if unknown.any() and self.unknown == "refuse":
            row = int(np.argmax(unknown))
            what = repr(str(values[row])) if values[row] else "empty"
            raise InputError(
                f"{source}: row {row + 1}, column {c.name!r} is {what}: expected "
                f"{_listed([n for n in index if n])}. To give unknown texts no category, train "
                f"with preprocess standardise:unknown=ignore"
            )
        known = np.flatnonzero(~unknown)
        made[known, at[known]] = 1.0

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> Preprocess:
        """From what ``to_json`` gave."""
        columns = []
        for c in text["columns"]:
            categories = c["categories"]
            given = c | {"categories": None if categories is None else tuple(map(str, categories))}
            columns.append(Column(**given))
        targets = tuple(map(str, text["targets"]))
        scaling = tuple((mean, scale) for mean, scale in text.get("scaling", ()))
        made = cls(tuple(columns), str(text["unknown"]), bool(text["pixels"]), targets, scaling)
        numbers = [x for c in columns for x in (c.mean, c.scale, c.fill) if x is not None]
        numbers += itertools.chain(*scaling)
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
            raise InputError("the preprocessing holds numbers that are not finite")
        names = [c.name for c in columns]
        texts = all(isinstance(name, str) for name in names)
        whole = all(c.scale and c.width for c in columns)
        if not (texts and names and len({*names}) == len(names) and whole):
            raise InputError(
                "the preprocessing has no columns, a column twice, or one whose scale is 0"
            )
        return made


def targets_of(
    data: Dataset, dtype: str, preprocess: Preprocess | None, rows: slice = slice(None)
) -> np.ndarray:
    """``Y`` (n_L, m) as the network learns it: values are standardised, if they were fitted."""
    if preprocess is None or not preprocess.scaling:
        return data.targets(dtype, rows)
    mean, scale = np.asarray(preprocess.scaling).T[..., None]
    return ((data.targets("float64", rows) - mean) / scale).astype(dtype)


def in_units(AL: np.ndarray, preprocess: Preprocess | None) -> np.ndarray:
    """Outputs (n_L, m) of the network in the units of the labels: ``targets_of`` undone."""
    if preprocess is None or not preprocess.scaling:
        return AL
    mean, scale = np.asarray(preprocess.scaling).T[..., None]
    return AL.astype(np.float64) * scale + mean


def _as_table(data: Dataset, names: Sequence[str] | None = None) -> np.ndarray:
    """The examples as a structured array; arrays of numbers have the columns x1, x2, ..."""
    if data.table is not None:
        return data.examples
    if data.stored:
        raise InputError(
            f"{data.source}: only tables can be preprocessed if the examples stay in their file: "
            f"leave preprocess out"
        )
    rows = data.examples.reshape(len(data), -1)
    names = names or [f"x{i}" for i in range(1, data.n_x + 1)]
    table = np.empty(len(rows), [(name, rows.dtype) for name in names])
    for name, column in zip(names, rows.T, strict=True):
        table[name] = column
    return table


def _column(values: np.ndarray, name: str, given: Standardise, source: str) -> Column:
    if values.dtype.kind == "U":
        found = tuple(map(str, np.unique(values)))
        if found[0] == "" and given.missing == "refuse":
            raise _missing(values == "", name, source)
        most = min(MOST_CATEGORIES, max(FEW_CATEGORIES, len(values) // 2))
        if len(found) > most:
            words = [x for x in found if x and not NUMBER.fullmatch(x)]
            if 0 < 2 * len(words) < len(found):
                row = int(np.argmax(values == words[0])) + 1
                raise InputError(
                    f"{source}: row {row}, column {name!r} is {words[0]!r}, but most others are "
                    f"numbers: expected numbers alone. Leave cells without a number empty"
                )
            raise InputError(
                f"{source}: column {name!r} holds {len(found)} different texts in {len(values)} "
                f"rows: expected at most {most} categories. If it names the rows, or is free text, "
                f"remove the column from the file"
            )
        if len(found) > MANY_CATEGORIES:
            logger.warning(
                "%s: column %r holds %d different texts, and each becomes a value of its own. "
                "Remove the column if they are not categories", source, name, len(found),
            )  # fmt: skip
        return Column(name, categories=found)
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        raise _infinite(numbers, name, source)
    if (large := np.abs(numbers) > LARGEST).any():
        row = int(np.argmax(large))
        raise InputError(
            f"{source}: row {row + 1}, column {name!r} is {numbers[row]:g}: expected numbers of at "
            f"most {LARGEST:g}. Take another unit, or the logarithm"
        )
    known = numbers[~np.isnan(numbers)]
    fill = None
    if given.missing == "median":
        fill = float(np.median(known)) if len(known) else 0.0
        numbers = np.where(np.isnan(numbers), fill, numbers)
    elif len(known) < len(numbers):
        raise _missing(np.isnan(numbers), name, source)
    # exactly rounded sums: the same on every machine, whatever order NumPy adds in
    mean = math.fsum(numbers) / len(numbers)
    # times a power of two, which rounds nothing: the squares of very small numbers would be 0
    power = math.frexp(np.max(np.abs(numbers - mean)))[1]
    squares = np.square(np.ldexp(numbers - mean, -power))
    deviation = math.ldexp(math.sqrt(math.fsum(squares) / len(numbers)), power)
    # a constant column, up to rounding, has nothing to divide by
    constant = deviation <= 10 * np.finfo(np.float64).eps * abs(mean)
    return Column(name, mean, 1.0 if constant else deviation, fill)


def _missing(where: np.ndarray, name: str, source: str) -> InputError:
    return InputError(
        f"{source}: row {int(np.argmax(where)) + 1} has no value in column {name!r} (rows without "
        f"one: {int(np.sum(where))}): fill it, or train with preprocess "
        f"standardise:missing=median"
    )


def _infinite(numbers: np.ndarray, name: str, source: str) -> InputError:
    row = int(np.argmax(np.isinf(numbers)))
    return InputError(
        f"{source}: row {row + 1}, column {name!r} is {numbers[row]}: expected a finite number"
    )


def _of_kind(values: np.ndarray, c: Column, source: str) -> np.ndarray:
    """The values of a column; InputError if they are not texts or numbers, as they were fitted."""
    if (values.dtype.kind == "U") == (c.categories is not None):
        return values
    if c.categories is None:
        raise InputError(f"{source}: column {c.name!r} holds texts: expected numbers, as in "
                         f"training, or as preprocess none and pixels need")  # fmt: skip
    whole = values.dtype.kind == "f" and (np.isnan(values) | (values == np.floor(values))).all()
    if not whole:
        raise InputError(f"{source}: column {c.name!r} holds numbers: expected texts, as in "
                         f"training")  # fmt: skip
    # numbers of a DataFrame or a Parquet file may be categories; a gap has no type
    return np.asarray(["" if np.isnan(x) else f"{x:.0f}" for x in values])


def _filled(values: np.ndarray, c: Column, source: str) -> np.ndarray:
    numbers = values.astype(np.float64)
    if c.fill is not None:
        numbers = np.where(np.isnan(numbers), c.fill, numbers)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        if np.isnan(numbers[wrong]).all():
            raise _missing(wrong, c.name, source)
        raise _infinite(numbers, c.name, source)
    return numbers


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
