"""Labelled examples, one row each, and the one place that turns rows into columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.choice import known_name
from portadnn.data.heads import head_for, meaning_of
from portadnn.data.stored import Stored
from portadnn.errors import InputError, safe_text
from portadnn.network.losses import HEADS, get_head

BLOCK = 2**18  # entries that are looked at in one go


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples, their labels and the names of the classes.

    Parameters
    ----------
    examples : array of numbers, shape (m, ...)
        One row per example, for example (m, 64, 64, 3) images. uint8 is scaled to [0, 1] by 1/255
        when it becomes ``X``; any other dtype is taken as it is. A structured array (m,) is a
        table, of numbers and texts: a ``Preprocess`` makes numbers of it. Rows that stay in a file
        are a ``Stored``.
    labels : array of int, shape (m,), or None
        0 .. C-1; None if they are not known. Several labels that may go together (head "sigmoid")
        are (m, K) of 0 and 1; values (the heads "identity" and "poisson") are numbers, (m,) or
        (m, K).
    classes : sequence of str
        The names of the C classes, or of the K labels or values; values need none. Control
        characters in a name become escapes.
    source : str
        Where it came from, for messages.
    head : str, optional
        What is to be learned, a head of ``portadnn.network.losses``. Default "sigmoid" for two
        classes and "softmax" for more.

    Raises
    ------
    InputError
        If shapes, dtypes, values or labels are not as above; the message gives the index.
    """

    examples: Any
    labels: np.ndarray | None
    classes: tuple[str, ...]
    source: str = "the data"
    head: str | None = None

    def __post_init__(self) -> None:
        examples: Any = self.examples
        stored = isinstance(examples, Stored)
        examples = examples if stored else np.asarray(examples)
        classes = tuple(safe_text(str(name)) for name in self.classes)
        object.__setattr__(self, "source", safe_text(str(self.source)))
        shape = f"{self.source}: examples have shape {examples.shape}"
        table = examples.dtype.names is not None and examples.ndim == 1
        if not table and examples.dtype.kind not in "uif":
            raise InputError(
                f"{self.source}: examples have dtype {examples.dtype}: expected numbers"
            )
        if not table and examples.ndim < 2:
            raise InputError(f"{shape}: expected (m, ...), one row per example")
        if examples.size == 0:
            raise InputError(f"{shape}: they are empty")
        if stored:
            examples.check()
        elif examples.dtype.kind == "f" and not all_finite(examples):
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(examples))[0])
            raise InputError(
                f"{self.source}: example {index[0]} holds {examples[index]} at index {index}: "
                f"expected finite numbers"
            )
        object.__setattr__(self, "examples", examples)
        object.__setattr__(self, "classes", classes)
        if self.head is not None:
            object.__setattr__(self, "head", known_name("head", self.head, HEADS))
        elif len(classes) > 1:
            object.__setattr__(self, "head", head_for(len(classes)))
        if self.labels is not None:
            object.__setattr__(self, "labels", self._check_labels(np.asarray(self.labels)))

    def _check_labels(self, labels: np.ndarray) -> np.ndarray:
        m, C, meaning = len(self.examples), len(self.classes), None
        low, high, expected = 0.0, C - 1.0, f"integers 0..{C - 1}"
        if self.head is not None:  # some heads have values, or labels that may go together
            meaning, row = meaning_of(self.head), get_head(self.head)
            if meaning.probabilities is None or (labels.ndim == 2 and not row.exclusive):
                low, high = row.low, row.high
                expected = f"finite numbers from {low:g} to {high:g}"
            else:
                meaning = None
        if labels.shape != (m,) and (meaning is None or labels.ndim != 2 or len(labels) != m):
            raise InputError(
                f"{self.source}: labels have shape {labels.shape} for {m} examples: expected ({m},)"
                f"{'' if meaning is None else f', or ({m}, K) for K names'}"
            )
        if labels.dtype.kind not in ("uif" if meaning is None else "buif"):
            raise InputError(
                f"{self.source}: labels have dtype {labels.dtype}: expected {expected}"
            )
        if meaning is not None and C not in meaning.names(labels[0].size):
            raise InputError(f"{self.source}: {C} names for {labels[0].size} labels of an example")
        right = np.isfinite(labels) & (labels >= low) & (labels <= high)
        if meaning is None:
            right &= labels == np.floor(labels)
        if not right.all():
            index = tuple(int(i) for i in np.argwhere(~right)[0])
            what = f"{self.head} head" if meaning else f"{C} classes {_abridge(self.classes)}"
            raise InputError(
                f"{self.source}: label {index[0]} is {labels[index]}: expected {expected}, for the "
                f"{what}"
            )
        return labels.astype(np.int64 if meaning is None else np.float64)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def table(self) -> tuple[str, ...] | None:
        """The names of the columns, if the examples are the rows of a table."""
        return self.examples.dtype.names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.examples.shape[1:] if self.table is None else (len(self.table),)

    @property
    def n_x(self) -> int:
        """The number of values of one example."""
        return math.prod(self.input_shape)

    @property
    def scaled(self) -> bool:
        """Whether the examples are uint8, which are scaled by 1/255."""
        return self.examples.dtype == np.uint8

    @property
    def outputs(self) -> int:
        """The number of outputs of a network that learns these labels."""
        return len(self.targets("float32", slice(1)))

    @property
    def stored(self) -> bool:
        """Whether the examples stay in a file until they are asked for."""
        return isinstance(self.examples, Stored)

    def columns(self, dtype: str, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """``X`` of shape (n_x, m): one column per example of ``rows``, uint8 scaled to [0, 1].

        ``X`` is a transposed view of rows, so the transpose costs nothing. It shares the memory of
        the examples if they have the dtype and are in C order.

        Raises
        ------
        InputError
            If the examples are a table, or a value is too large for the dtype.
        """
        if self.table is not None:
            raise InputError(f"{self.source} is a table: preprocess it first")
        examples = self.examples[rows]
        self._check_range(examples, dtype)
        # in one memory order, whatever the caller's: the bits of a product depend on it
        flat = np.ascontiguousarray(examples.reshape(len(examples), self.n_x))
        if flat.dtype == dtype:
            return flat.T
        with np.errstate(under="ignore"):  # a float64 may underflow, and np.seterr may raise
            return (np.divide(flat, 255, dtype=dtype) if self.scaled else flat.astype(dtype)).T

    def check_alike(self, other: Dataset, part: str) -> None:
        """Raise InputError unless ``other`` has examples, classes and labels of the same kind.

        ``part`` says what ``other`` is for, such as "validation"; these data are to train on.
        """
        sizes = [None if x.labels is None else x.labels[0].size for x in (self, other)]
        for what, ours, theirs in (
            ("examples of shape", self.input_shape, other.input_shape),
            ("uint8 examples:", self.scaled, other.scaled),
            ("the classes", self.classes, other.classes),
            ("labels for the head", self.head, other.head),
            ("labels per example:", *(sizes if None not in sizes else (0, 0))),
        ):
            if ours != theirs:
                raise InputError(
                    f"{other._called(part)} has {what} {theirs}, but {self._called('training')} "
                    f"has {ours}: expected the same"
                )

    def _called(self, part: str) -> str:
        return f"the {part} data" if self.source == Dataset.source else self.source

    def check_range(self, dtype: str) -> None:
        """Raise InputError if a value is too large for the dtype."""
        self._check_range(self.examples, dtype)

    def _check_range(self, examples: np.ndarray, dtype: str) -> None:
        narrower = examples.dtype.itemsize <= np.dtype(dtype).itemsize
        if examples.dtype.kind != "f" or narrower or not examples.size:
            return
        largest = max(abs(float(examples.max())), abs(float(examples.min())))
        if largest > float(np.finfo(dtype).max):
            raise InputError(
                f"{self.source} holds values up to {largest:g}, too large for {dtype}: scale them"
            )

    def targets(self, dtype: str, rows: slice = slice(None)) -> np.ndarray:
        """``Y`` of ``rows``, (n_L, m): 0 and 1 for two classes, one-hot for more, else labels."""
        if self.labels is None:
            raise InputError(f"{self.source} has no labels")
        head = self.head or head_for(len(self.classes), self.source)
        return meaning_of(head).targets(self.labels[rows], len(self.classes)).astype(dtype)

    def learnt(self, dtype: str) -> np.ndarray:
        """``Y`` as ``fit`` takes it: of more than two classes their numbers, (1, m)."""
        if self.labels is None or not get_head(str(self.head)).exclusive:
            return self.targets(dtype)
        return self.labels.astype(np.int32)[None, :]


def all_finite(rows: np.ndarray) -> bool:
    """Whether all entries are finite; looks at some rows at a time, so no large copy is made."""
    n = max(BLOCK * len(rows) // max(rows.size, 1), 1)
    return all(bool(np.isfinite(rows[i : i + n]).all()) for i in range(0, len(rows), n))


def _abridge(names: tuple[Any, ...]) -> str:
    return ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
