"""Make a ``Dataset`` of X and y in their usual forms: arrays, lists, tables of columns."""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.data.dataset import Dataset
from portadnn.data.labels import read_labels
from portadnn.errors import InputError


def as_dataset(
    X: Any,
    y: Any = None,
    *,
    columns: tuple[str, ...] = (),
    raw: bool = False,
    **known: Any,
) -> tuple[Dataset, dict[str, tuple[Any, ...]]]:
    """Rows and their labels as a dataset, and what a model keeps of them.

    Parameters
    ----------
    X : array of numbers, shape (m, ...), or table of numbers
        A table, such as a DataFrame, has named columns; uint8 in it is not scaled.
    y : array, shape (m,) or (m, K), optional
        As for ``read_labels``, which sees what is to be learned.
    raw : bool
        Whether a table stays one, also with texts and gaps, to be preprocessed.
    columns, **known
        From an earlier training: the columns, and classes and task for ``read_labels``.

    Returns
    -------
    data : Dataset
    kept : dict
        ``columns`` and ``values``, as for ``Model``.

    Raises
    ------
    InputError
        If they are not as above; the message names the column or the row.
    """
    if isinstance(X, Dataset):
        raise InputError("X is a Dataset, which has its labels: leave y out")
    for name, x in {"X": X, "y": y}.items():
        if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
            raise InputError(f"{name} has masked values: leave their rows out, or put values in "
                             f"their places with {name}.filled(...)")  # fmt: skip
    rows, found = _as_rows(X, raw)
    if found and columns and found != columns:
        wanted = ", ".join(columns)
        raise InputError(f"X has the columns {', '.join(found)}: expected {wanted}, in this order")
    if y is None:
        return Dataset(rows, None, ()), {"columns": found}
    y = y.to_numpy() if hasattr(y, "to_numpy") else to_host(y)
    y = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    if y.dtype.kind == "O":
        texts = isinstance(y.flat[0], str) if y.size else False
        for i, label in enumerate(y.flat):
            if _is_missing(label):
                raise InputError(f"y has no label at {i}: leave that row out")
            if not (isinstance(label, str) if texts else isinstance(label, Real | np.bool_)):
                raise InputError(
                    f"y holds {label!r} at {i}: expected texts alone, or numbers alone"
                )
        y = np.asarray(y.tolist())
    labels = read_labels(y, source="y", m=len(rows) if rows.ndim else None, **known)
    values = tuple(np.unique(y).tolist()) if labels.values.dtype.kind == "i" else ()
    data = Dataset(rows, labels.values, labels.classes, head=labels.head)
    return data, {"columns": found, "values": values if len(values) == len(data.classes) else ()}


def _as_rows(X: Any, raw: bool) -> tuple[Any, tuple[str, ...]]:
    """X as an array of numbers, or a structured one, and the names of its columns if it has any."""
    labels = getattr(X, "column_names", getattr(X, "columns", None))
    if labels is not None:
        names = tuple(map(str, labels))
        if not names:
            raise InputError("X has no columns: expected some to learn from")
        if len(set(names)) < len(names):
            raise InputError(f"X has two columns of one name: {', '.join(names)}")
        found = {name: _column(X[x], name, raw) for x, name in zip(labels, names, strict=True)}
        if not raw:
            return np.stack(list(found.values()), axis=1), names
        table = np.empty(len(found[names[0]]), [(name, x.dtype) for name, x in found.items()])
        for name, x in found.items():
            table[name] = x
        return table, names
    try:
        rows = np.asarray(to_host(X.toarray() if hasattr(X, "toarray") else X))
    except ValueError as error:
        raise InputError(f"X has rows of different lengths: {error}") from error
    if rows.dtype.kind in "OUST" and rows.ndim == 2:
        columns = enumerate(np.asarray(X, dtype=object).T)
        rows = np.stack([_column(x, str(j)) for j, x in columns], axis=1)
    return rows, ()


def _column(column: Any, name: str, raw: bool = False) -> np.ndarray:
    """A column in float64; an InputError shows the first value that is not a number.

    A raw column may have texts; a missing value is then "" or NaN, as in the data of ``load``.
    """
    given = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    if given.dtype.kind in "buif":
        numbers = given.astype(np.float64)
        missing = np.isnan(numbers)
    else:
        missing = np.asarray([_is_missing(x) for x in given], dtype=bool)
        texts = np.asarray([isinstance(x, str) for x in given], dtype=bool)
        if raw and texts.any() and (texts | missing).all():
            return np.asarray([x if text else "" for x, text in zip(given, texts, strict=True)])
        numbers = np.asarray([_number(x) for x in given])
    wrong = ~np.isfinite(numbers) & ~(raw & missing)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"column {name} of X holds {str(given[i])!r} in row {i}: expected finite numbers. Fill "
            f"gaps and make numbers of words and dates, or train with "
            f"preprocess='standardise:missing=median'"
        )
    return numbers


def _is_missing(x: Any) -> bool:
    """Whether a cell is empty: None, NaN, and the marks of pandas."""
    nan = isinstance(x, float | np.floating) and math.isnan(x)
    return x is None or nan or type(x).__name__ in ("NAType", "NaTType")


def _number(x: Any) -> float:
    try:
        return float(x) if isinstance(x, Real | Decimal | np.bool_) else math.nan
    except OverflowError:
        return math.inf
