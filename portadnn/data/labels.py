"""Labels as a file or a user has them, as the numbers that a head learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from portadnn.data.heads import head_for
from portadnn.errors import InputError, safe_text, unknown_name

TASKS = ("classification", "multilabel", "regression", "counts")
HEADS = {"multilabel": "sigmoid", "regression": "identity", "counts": "poisson"}
FEW = 20  # up to so many different whole numbers are classes, whatever they are
MANY = 1000  # and up to so many, if they are 0, 1, 2, ... or 1, 2, 3, ...


class Labels(NamedTuple):
    """Labels as a ``Dataset`` takes them.

    Attributes
    ----------
    values : array, shape (m,) or (m, K)
        0..C-1 for classes, 0 and 1 for several labels that may go together, else numbers.
    classes : tuple of str
        Names of the classes, or of the labels or values.
    head : str
        A head of ``portadnn.network.losses``.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    head: str


def read_labels(
    raw: np.ndarray,
    names: Sequence[str] = (),
    *,
    task: str | None = None,
    classes: Sequence[str] = (),
    source: str = "the data",
    m: int | None = None,
) -> Labels:
    """What is to be learned, from labels in any of the usual forms.

    Parameters
    ----------
    raw : array, shape (m,), (m, 1), (1, m) or (m, K)
        Texts, truth values or numbers: a class for each example; a column of 0 and 1 for each class
        or for each label; or values.
    names : sequence of str
        The names of the K columns, if they have any.
    task : {"classification", "multilabel", "regression", "counts"}, optional
        None infers it: texts, truth values, one-hot rows and whole numbers that are few (at most 20
        different ones, or 0, 1, 2, ... or 1, 2, 3, ... without a gap) are classes; several columns
        of 0 and 1 are labels that may go together; other numbers are values.
    classes : sequence of str, optional
        For classification, the names of the classes that are known from the training data.
    source : str
        What to call the data in messages.
    m : int, optional
        The number of examples: with one of them, (1, K) are its K labels.

    Raises
    ------
    InputError
        If the labels do not fit the task, one is missing, or one is none of the known classes.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    raw = np.asarray(raw)
    if raw.ndim == 2 and (raw.shape[1] == 1 or (len(raw) == 1 and m != 1)):
        raw = raw.reshape(-1)
    if raw.size == 0:
        raise InputError(f"{source}: there are no examples: labels have shape {raw.shape}")
    if raw.ndim not in (1, 2):
        raise InputError(f"{source}: labels have shape {raw.shape}: expected (m,) or (m, K)")
    _check_whole(raw, source)
    binary = raw.dtype.kind != "U" and bool(np.isin(raw, (0, 1)).all())
    one_hot = raw.ndim == 2 and binary and bool((raw.sum(axis=1) == 1).all())
    if task is None:
        if raw.ndim == 2:
            task = "classification" if one_hot else "multilabel" if binary else "regression"
        else:
            task = "classification" if _are_classes(raw) else "regression"
    if task == "classification":
        if one_hot:
            named = tuple(names) or tuple(map(str, range(raw.shape[1])))
            raw = np.asarray(named)[np.argmax(raw, axis=1)]
            classes = tuple(classes) or named
        elif raw.ndim == 2:
            raise InputError(
                f"{source}: the {raw.shape[1]} columns of labels are not one-hot: expected one "
                f"column, or exactly one 1 in each row; several labels at once are the task "
                f"multilabel"
            )
        found = tuple(map(_name, np.unique(raw)))
        if len(set(found)) < len(found):
            raise InputError(f"{source}: two classes have the same name: {', '.join(found)}")
        classes = tuple(classes) or found
        return Labels(_numbered(raw, classes, source), classes, head_for(len(classes), source))
    if raw.dtype.kind == "U":
        raise InputError(f"{source}: labels are texts such as {str(raw.flat[0])!r}: expected "
                         f"numbers for the task {task}")  # fmt: skip
    if task == "multilabel" and not binary:
        raise InputError(f"{source}: labels hold {_first_not(raw, np.isin(raw, (0, 1)))}: expected "
                         f"0 and 1 for the task multilabel")  # fmt: skip
    columns = 1 if raw.ndim == 1 else raw.shape[1]
    default = tuple(f"y{i}" for i in range(1, columns + 1))
    named = tuple(classes) or tuple(names) or default
    return Labels(raw.astype(np.float64), named, HEADS[task])


def task_of(head: str, outputs: int) -> str:
    """The task that a network with so many outputs of a head was trained for."""
    if head == "softmax" or (head == "sigmoid" and outputs == 1):
        return "classification"
    return next(task for task, other in HEADS.items() if other == head)


def _numbered(raw: np.ndarray, classes: Sequence[str], source: str) -> np.ndarray:
    """The number of the class of each label, by the names of the classes."""
    index = {name: i for i, name in enumerate(classes)}
    found, places = np.unique(raw, return_inverse=True)
    names = list(map(_name, found))
    for name in names:
        if name not in index:
            shown = ", ".join(list(classes)[:10]) + (", ..." if len(classes) > 10 else "")
            raise InputError(f"{source}: the label {name!r} is not a known class: expected {shown}")
    return np.asarray([index[name] for name in names], dtype=np.int64)[places]


def _are_classes(raw: np.ndarray) -> bool:
    if raw.dtype.kind in "Ub":
        return True
    found = np.unique(raw)
    if (found != np.floor(found)).any():
        return False
    steps = found[0] in (0, 1) and found[-1] - found[0] == len(found) - 1
    return len(found) <= FEW or (len(found) <= MANY and bool(steps))


def _check_whole(raw: np.ndarray, source: str) -> None:
    """Raise InputError if a label is missing, or of a kind that no head learns."""
    if raw.dtype.kind not in "Ubuif":
        raise InputError(f"{source}: labels have dtype {raw.dtype}: expected texts or numbers")
    wrong = raw == "" if raw.dtype.kind == "U" else ~np.isfinite(raw)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        infinite = raw.dtype.kind == "f" and np.isinf(raw[at])
        what = "has a label that is not finite" if infinite else "has no label"
        raise InputError(f"{source}: row {int(at[0]) + 1} {what}")


def _name(label: np.generic) -> str:
    whole = isinstance(label, np.floating) and float(label).is_integer()
    return safe_text(str(int(label) if whole else label))  # as a Dataset has it


def _first_not(raw: np.ndarray, right: np.ndarray) -> str:
    return str(raw[tuple(np.argwhere(~right)[0])])
