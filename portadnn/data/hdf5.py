"""Reading the HDF5 layout of the course's image files."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import resources
from typing import Any

import h5py
import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.data.files import check_hdf5_name, whole_file
from portadnn.data.foreign import names_in, open_hdf5, read_array
from portadnn.errors import InputError

SPLITS = ("train", "test")
MOST_NAMES = 1_000_000


def read_course(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    labelled: bool = True,
    stream: bool | None = False,
) -> Dataset:
    """A dataset from an HDF5 file in the layout of the well-known course.

    The file holds ``{split}_set_x`` (m, ...), ``{split}_set_y`` (m,) with labels 0..C-1, and
    ``list_classes`` (C,), names or numbers. The split is "train" or "test".

    Parameters
    ----------
    path : path of the file
    split : {"train", "test"}, optional
        Needed only if the file holds both.
    labelled : bool
        Whether labels are wanted; False leaves them unread.
    stream : bool, optional
        As for ``load_dataset``.

    Raises
    ------
    InputError
        If the file or anything in it is not as above; the message names it.
    """
    with open_hdf5(path) as file:
        split = split or _only_split(file)
        x, y = f"{split}_set_x", f"{split}_set_y"
        examples = read_array(
            file,
            x,
            kinds="uif",
            expected="an array of numbers of shape (m, ...), rank 2 or more, one row per example",
            fits=lambda shape: len(shape) >= 2,
            stream=stream,
        )
        labels = None
        if labelled:
            m = len(examples)
            labels = read_array(
                file,
                y,
                kinds="uif",
                expected=f"integer labels of shape ({m},), one for each example of {x}",
                fits=lambda shape: shape == (m,),
            )
        names = read_array(
            file,
            "list_classes",
            kinds="SOuifb",
            expected=f"the names of the classes, or numbers, (C,), {MOST_NAMES:,} at most",
            fits=lambda shape: len(shape) == 1 and 0 < shape[0] <= MOST_NAMES,
        )
        return Dataset(examples, labels, tuple(map(_decode, names)), source=f"{path} ({split})")


def has_split(path: str | os.PathLike[str], split: str) -> bool:
    """Whether the file holds that split."""
    with open_hdf5(path) as file:
        return f"{split}_set_x" in file


def load_digits() -> tuple[Dataset, Dataset]:
    """The embedded default: 1,797 handwritten digits as 8x8 images, in ten classes.

    Returns
    -------
    train, test : Dataset
        1,437 and 360 examples of a fixed split, stratified by class.

    References
    ----------
    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository
    (1998), https://doi.org/10.24432/C50P49, CC BY 4.0; made by scripts/make_digits.
    """
    with resources.as_file(resources.files("portadnn.data") / "digits.h5") as path:
        train, test = (
            replace(read_course(path, split), source=f"the embedded digits ({split})")
            for split in SPLITS
        )
    return train, test


def write_dataset(path: str | os.PathLike[str], **splits: Dataset) -> None:
    """Write datasets in the same layout: ``write_dataset(path, train=..., test=...)``."""
    check_hdf5_name(path)
    with whole_file(path) as content, h5py.File(content, "w") as file:
        for split, data in splits.items():
            file.create_dataset(f"{split}_set_x", data=data.examples, compression="gzip")
            if data.labels is not None:
                file.create_dataset(f"{split}_set_y", data=data.labels)
            names = np.asarray([name.encode() for name in data.classes])
            if "list_classes" not in file:
                file.create_dataset("list_classes", data=names)


def _only_split(file: h5py.File) -> str:
    present = [split for split in SPLITS if f"{split}_set_x" in file]
    if len(present) == 1:
        return present[0]
    if present:
        raise InputError(f"{file.filename} holds train_set_x and test_set_x: say which split")
    raise InputError(
        f"{file.filename}: train_set_x is missing: expected train_set_x or test_set_x of shape "
        f"(m, ...); the file holds {names_in(file)}"
    )


def _decode(name: Any) -> str:
    if isinstance(name, bytes):
        return name.decode("utf-8", errors="replace")
    whole = isinstance(name, np.floating) and name.is_integer()
    return str(int(name) if whole else name)
