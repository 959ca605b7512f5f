"""What a reader finds in a file, before its labels are interpreted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.errors import InputError

PARTS = ("train", "test")
# the usual names of examples and labels; "train" and "test" may stand beside them
EXAMPLES = ("x", "X", "images", "data", "examples", "features")
LABELS = ("y", "Y", "labels", "label", "targets", "target")


@dataclass(frozen=True, eq=False)
class Records:
    """What a file holds of one part of the data.

    Attributes
    ----------
    examples : array or Stored, shape (m, ...)
        Numbers, or a structured array: a table, with a field of float64 or of text for each column.
        A number that is missing is NaN, a text that is missing "".
    labels : array, shape (m,) or (m, K), or None
        In any form that ``read_labels`` takes.
    names : tuple of str
        The names of the columns of the labels.
    classes : tuple of str
        Their names in order, if the file has them; the labels are then 0..C-1.
    source : str
        The name of the data in messages.
    labels_in : str
        The file of the labels, if they have one of their own.
    """

    examples: Any
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    source: str = "the data"
    labels_in: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a reader is asked for.

    Attributes
    ----------
    part : {"train", "test"}, optional
        None is the only part that the file has, or the training part.
    target : tuple of str
        The names of what is to be learned: columns, or one dataset.
    labels : path, optional
        The file with the labels, if they have a file of their own.
    size : tuple of int, optional
        Height and width of pictures.
    labelled : bool
        Whether labels must be there.
    stream : bool, optional
        Whether examples stay in the file; None leaves them there if they are larger than half of
        the memory.
    texts, columns : tuple of str
        The columns of a CSV file that are texts, and those that are known; see ``load_dataset``.
    """

    part: str | None = None
    target: tuple[str, ...] = ()
    labels: Any = None
    size: tuple[int, int] | None = None
    labelled: bool = True
    stream: bool | None = None
    texts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def pick(
    arrays: Mapping[str, tuple[int, ...]], wanted: Wanted, path: Any
) -> tuple[str, str | None]:
    """The names of the examples and of the labels among named arrays of one file.

    Parameters
    ----------
    arrays : dict of str to tuple of int
        Shapes by names.
    wanted : Wanted
    path : path
        The file, for messages.

    Raises
    ------
    InputError
        If it is not clear which is which.
    """
    parts = {part: [n for n in arrays if part in n.lower()] for part in PARTS}
    named = [part for part in PARTS if parts[part]]
    part = wanted.part or (named[0] if named else None)
    if part in named:
        here = parts[part]
    elif wanted.part == "test" or (named and part is not None):
        raise InputError(f"{path} has no {part} data: it holds {_listed(arrays)}")
    else:
        here = list(arrays)
    labels = [n for n in here if n in wanted.target]
    if wanted.target and not labels:
        raise InputError(f"{path} does not hold {wanted.target[0]!r}: it holds {_listed(arrays)}")
    rest = [n for n in here if n not in labels]
    examples = rest
    if len(rest) > 1:  # by the usual names, or by the number of values
        examples = [n for n in rest if _plain(n) in EXAMPLES]
        labels = labels or [n for n in rest if _plain(n) in LABELS]
        if not examples and len(rest) == 2 and not labels:
            sizes = {n: int(np.prod(arrays[n][1:], dtype=object)) for n in rest}
            small, large = sorted(rest, key=sizes.__getitem__)
            if sizes[small] < sizes[large]:
                examples, labels = [large], [small]
    if len(examples) != 1 or len(labels) > 1:
        shapes = _listed(f"{n} {shape}" for n, shape in arrays.items())
        what, then = " and which the labels", "Say the labels' name with --target NAME"
        if wanted.target:
            what, then = "", "Call the examples X, or leave other arrays out"
        raise InputError(
            f"{path}: it is not clear which array holds the examples{what}; it holds {shapes}: "
            f"expected the names X and y, or two arrays. {then}"
        )
    return examples[0], labels[0] if labels else None


def _listed(names: Iterable[str]) -> str:
    first = list(itertools.islice(names, 11))
    return ", ".join(first[:10] + ["..."] * (len(first) > 10)) or "nothing"


def _plain(name: str) -> str:
    """The name without the part: "x_train" and "train_set_x" are "x"."""
    part = "|".join(PARTS)
    return re.sub(rf"^({part})_(set_)?|_({part})$", "", name, count=1, flags=re.IGNORECASE)


def check_lengths(records: Records) -> Records:
    """The records, or an InputError if there are not as many labels as examples."""
    m, labels = records.examples.shape[:1], records.labels
    if labels is not None and labels.shape[:1] != m and labels.shape != (1, *m):
        raise InputError(
            f"{records.source} has examples of shape {records.examples.shape} but labels of shape "
            f"{labels.shape}: expected as many"
        )
    return records
