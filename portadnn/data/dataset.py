"""Labelled examples, one row each, and the one place that turns rows into columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples, their labels and the names of the classes.

    Parameters
    ----------
    examples : array of numbers, shape (m, ...)
        One row per example, for example (m, 64, 64, 3) images. uint8 is scaled to [0, 1] by 1/255
        when it becomes ``X``; any other dtype is taken as it is.
    labels : array of int, shape (m,), or None
        0 .. C-1; None where they are not known.
    classes : sequence of str
        The names of the C classes.
    source : str
        Where it came from, for messages.

    Raises
    ------
    InputError
        If shapes, dtypes, values or labels are not as above; the message gives the index.
    """

    examples: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    source: str = "the data"

    def __post_init__(self) -> None:
        examples = np.asarray(self.examples)
        classes = tuple(str(name) for name in self.classes)
        if examples.dtype.kind not in "uif":
            raise InputError(
                f"{self.source}: examples have dtype {examples.dtype}: expected numbers"
            )
        if examples.ndim < 2:
            raise InputError(
                f"{self.source}: examples have shape {examples.shape}: expected (m, ...), "
                f"one row per example"
            )
        if examples.size == 0:
            raise InputError(f"{self.source}: examples have shape {examples.shape}: they are empty")
        if examples.dtype.kind == "f" and not np.isfinite(examples).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(examples))[0])
            raise InputError(
                f"{self.source}: example {index[0]} holds {examples[index]} at index {index}: "
                f"expected finite numbers"
            )
        object.__setattr__(self, "examples", examples)
        object.__setattr__(self, "classes", classes)
        if self.labels is not None:
            object.__setattr__(self, "labels", self._check_labels(np.asarray(self.labels)))

    def _check_labels(self, labels: np.ndarray) -> np.ndarray:
        m, C = len(self.examples), len(self.classes)
        if labels.shape != (m,):
            raise InputError(
                f"{self.source}: labels have shape {labels.shape} for {m} examples: expected ({m},)"
            )
        if labels.dtype.kind not in "uif":
            raise InputError(
                f"{self.source}: labels have dtype {labels.dtype}: expected integers 0..{C - 1}"
            )
        wrong = ~((labels >= 0) & (labels < C) & (labels == np.floor(labels)))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise InputError(
                f"{self.source}: label {index} is {labels[index]}: expected integers 0..{C - 1}, "
                f"for the {C} classes {_abridge(self.classes)}"
            )
        return labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.examples.shape[1:]

    @property
    def n_x(self) -> int:
        """The number of values of one example."""
        return math.prod(self.input_shape)

    @property
    def scaled(self) -> bool:
        """Whether the examples are uint8, which are scaled by 1/255."""
        return self.examples.dtype == np.uint8

    @property
    def head(self) -> str:
        """The head for these classes: one sigmoid unit for two, softmax for more."""
        if len(self.classes) < 2:
            raise InputError(
                f"{self.source} has {len(self.classes)} class: expected two or more to tell apart"
            )
        return "sigmoid" if len(self.classes) == 2 else "softmax"

    def columns(self, dtype: str) -> np.ndarray:
        """``X`` of shape (n_x, m): one column per example, uint8 scaled to [0, 1].

        Its memory stays sample-major, so the transpose costs nothing.
        """
        rows = self.examples.reshape(len(self), -1)
        self.check_range(dtype)
        return (np.divide(rows, 255, dtype=dtype) if self.scaled else rows.astype(dtype)).T

    def check_alike(self, other: Dataset) -> None:
        """Raise InputError unless ``other`` has examples of the same kind, and the same classes."""
        for what, ours, theirs in (
            ("examples of shape", self.input_shape, other.input_shape),
            ("uint8 examples:", self.scaled, other.scaled),
            ("the classes", self.classes, other.classes),
        ):
            if ours != theirs:
                raise InputError(
                    f"{other.source} has {what} {theirs}, but {self.source} has {ours}: "
                    f"expected the same"
                )

    def check_range(self, dtype: str) -> None:
        """Raise InputError where a value is too large for the dtype."""
        largest = max(abs(float(self.examples.max())), abs(float(self.examples.min())))
        if largest > float(np.finfo(dtype).max):
            raise InputError(
                f"{self.source} holds values up to {largest:g}, too large for {dtype}: scale them"
            )

    def targets(self, dtype: str) -> np.ndarray:
        """``Y``: (1, m) of 0 and 1 for two classes, one-hot (C, m) for more."""
        if self.labels is None:
            raise InputError(f"{self.source} has no labels")
        if self.head == "sigmoid":
            return self.labels[None, :].astype(dtype)
        return (self.labels == np.arange(len(self.classes))[:, None]).astype(dtype)


def _abridge(names: tuple[Any, ...]) -> str:
    return ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
