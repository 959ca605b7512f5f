"""Reading the HDF5 layout of the course's image files."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import resources
from typing import Any

import h5py
import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.data.files import check_hdf5_name, open_hdf5, read_array, whole_file
from portadnn.errors import InputError

SPLITS = ("train", "test")


def load_dataset(
    path: str | os.PathLike[str], split: str | None = None, *, labelled: bool = True
) -> Dataset:
    """A dataset from an HDF5 file in the layout of the well-known course.

    The file holds ``{split}_set_x`` (m, ...), ``{split}_set_y`` (m,) with labels 0..C-1, and
    ``list_classes`` (C,), names or numbers. The split is "train" or "test".

    Parameters
    ----------
    path : path of the file
    split : {"train", "test"}, optional
        Needed only where the file holds both.
    labelled : bool
        Whether labels are needed; False reads them where they are.

    Raises
    ------
    InputError
        If the file or anything in it is not as above; the message names it.
    """
    with open_hdf5(path) as file:
        split = split or _only_split(file)
        x, y = f"{split}_set_x", f"{split}_set_y"
        examples = read_array(
            file, x, kinds="uif", expected="an array of numbers of shape (m, ...), rank 2 or more"
        )
        if examples.ndim < 2:
            raise InputError(
                f"{path}: {x} has shape {examples.shape}, rank {examples.ndim}: "
                f"expected (m, ...), rank 2 or more, one row per example"
            )
        labels = None
        if labelled or y in file:
            labels = read_array(file, y, kinds="uif", expected="integer labels of shape (m,)")
            if labels.ndim != 1:
                raise InputError(
                    f"{path}: {y} has shape {labels.shape}, rank {labels.ndim}: "
                    f"expected (m,), rank 1, one label per example"
                )
            if len(labels) != len(examples):
                raise InputError(
                    f"{path}: {x} has {len(examples)} examples but {y} has {len(labels)} labels: "
                    f"expected as many"
                )
        names = read_array(
            file,
            "list_classes",
            kinds="SOuifb",
            expected="the names of the classes, or numbers, (C,)",
        )
        if names.ndim != 1 or len(names) == 0:
            raise InputError(f"{path}: list_classes has shape {names.shape}: expected (C,)")
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
            replace(load_dataset(path, split), source=f"the embedded digits ({split})")
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
    names = ", ".join(sorted(file)) or "nothing"
    raise InputError(
        f"{file.filename}: train_set_x is missing: expected train_set_x or test_set_x of shape "
        f"(m, ...); the file holds {names}"
    )


def _decode(name: Any) -> str:
    if isinstance(name, bytes):
        return name.decode("utf-8", errors="replace")
    whole = isinstance(name, np.floating) and name.is_integer()
    return str(int(name) if whole else name)
