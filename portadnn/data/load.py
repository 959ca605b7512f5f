"""A labelled dataset from any file or folder that a reader knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from portadnn.choice import known_name
from portadnn.data.dataset import Dataset
from portadnn.data.foreign import reading
from portadnn.data.isolated import read_isolated
from portadnn.data.labels import Labels, read_labels
from portadnn.data.readers.formats import format_of, never
from portadnn.data.readers.records import PARTS, Wanted
from portadnn.errors import InputError


def load_dataset(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    target: str | Sequence[str] = (),
    labels: str | os.PathLike[str] | None = None,
    size: Sequence[int] | None = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    labelled: bool = True,
    isolated: bool = False,
    stream: bool | None = None,
    texts: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Dataset:
    """Examples, and what is to be learned of them, from a file or a folder.

    Parameters
    ----------
    path : path
        HDF5, in the layout of the well-known course or with any two named datasets, CSV, Parquet,
        NPZ, NPY, IDX, or a folder with a sub-folder of pictures for each class; the content tells
        which.
    split : {"train", "test"}, optional
        The part of the data to read. Default the only one that it has, or "train"; a file in the
        course's layout that holds both needs it.
    target : str or sequence of str
        The columns to learn, or the name of the dataset of labels.
    labels : path, optional
        The file with the labels, if they have one of their own.
    size : (height, width), optional
        The size of pictures; default the size that all of them have.
    task : {"classification", "multilabel", "regression", "counts"}, optional
        Default the one that the labels suggest, see ``read_labels``.
    classes : sequence of str, optional
        The classes, labels or values that are known from the training data.
    labelled : bool
        Whether labels are wanted; False leaves them unread, whatever they hold.
    isolated : bool
        Read in a process of its own, with limits: for files of strangers, because one changed bit
        can make a library crash or run for ever.
    stream : bool, optional
        Whether the examples stay in the file, for data larger than memory; see docs/data.md.
        Default if they would take more than half of the memory.
    texts : sequence of str, optional
        The columns of a CSV file that are texts, also if all of them look like numbers.
    columns : sequence of str, optional
        The columns that are known from the training data: a first row with them has the names.

    Raises
    ------
    InputError
        If the file or anything in it cannot be used; the message names file and place.

    Examples
    --------
    >>> load_dataset("cats.h5", "train")  # doctest: +SKIP
    >>> load_dataset("flights.csv", target="delay")  # doctest: +SKIP
    >>> load_dataset("x.npy", labels="y.npy")  # doctest: +SKIP
    """
    if isolated:
        if stream:
            raise InputError(f"{path}: an isolated process hands over all examples, so they cannot "
                             f"stay in the file: leave isolated or stream out")  # fmt: skip
        given = {name: x for name, x in locals().items() if name not in ("path", "isolated")}
        given |= {"labels": None if labels is None else os.fsdecode(labels), "stream": False}
        return read_isolated(f"{__name__}.load_dataset", path, **given)
    path = Path(path)
    sides = None if size is None else (int(size[0]), int(size[1]))
    targets = (target,) if isinstance(target, str) else tuple(target)
    wanted = Wanted(split, targets, labels, sides, labelled, stream, tuple(texts), tuple(columns))
    if len({*targets}) < len(targets):
        raise InputError(f"the targets are {', '.join(targets)}: expected each name once")
    if split is not None:
        known_name("split", split, PARTS)
    found = format_of(path)
    if split == "test" and found.has_test is never:
        raise InputError(f"{path} has no test data: {found.title} has one part. Leave split out")
    records = found.read(path, wanted)
    named = records.classes or tuple(classes)
    if records.labels is None or not labelled:
        return Dataset(records.examples, None, named, records.source)
    if records.classes and task in (None, "classification"):
        return Dataset(records.examples, records.labels, named, records.source)
    beside, source = records.labels_in, records.source
    source = f"{beside} (labels of {source})" if beside else source
    with reading(source):  # a text may hold invalid characters
        made: Labels = read_labels(
            records.labels,
            records.names,
            task=task,
            classes=classes,
            source=source,
        )
        return Dataset(records.examples, made.values, made.classes, records.source, made.head)


def has_test(path: str | os.PathLike[str], *, isolated: bool = False) -> bool:
    """Whether there are test data in, or beside, the training data at ``path``."""
    if isolated:
        return read_isolated(f"{__name__}.has_test", path)
    path = Path(path)
    return format_of(path).has_test(path)
