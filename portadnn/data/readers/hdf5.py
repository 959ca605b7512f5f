"""HDF5: the course's layout, or any two named datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from portadnn.data.foreign import open_hdf5, read_array
from portadnn.data.hdf5 import has_split, read_course
from portadnn.data.readers.records import PARTS, Records, Wanted, check_lengths, pick
from portadnn.errors import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read(path: Path, wanted: Wanted) -> Records:
    """Examples and labels, by the course's names or by those that ``pick`` finds."""
    with open_hdf5(path) as file:
        course = "list_classes" in file or any(f"{part}_set_x" in file for part in PARTS)
        arrays = {} if course else _arrays(file)
    if course and not wanted.target:
        found = read_course(path, wanted.part, labelled=wanted.labelled, stream=wanted.stream)
        return Records(found.examples, found.labels, (), found.classes, found.source)
    x, y = pick(arrays, wanted, path)
    if y is None and wanted.labelled:
        raise InputError(f"{path} holds no labels beside {x}")
    with open_hdf5(path) as file:
        numbers: dict[str, Any] = {"kinds": "uif", "expected": "an array of numbers (m, ...)"}
        examples = read_array(file, x, **numbers, stream=wanted.stream)
        labels = None
        if y is not None:
            labels = read_array(file, y, kinds="buifSO", expected="labels, numbers or texts")
            if labels.dtype.kind in "SO":
                labels = np.asarray([
                    t.decode("utf-8", "replace") if isinstance(t, bytes) else str(t)
                    for t in labels.reshape(-1)
                ]).reshape(labels.shape)  # fmt: skip
    return check_lengths(Records(examples, labels, source=str(path)))


def has_test(path: Path) -> bool:
    """Whether the file holds training and test data."""
    if has_split(path, "test"):
        return True
    with open_hdf5(path) as file:
        names = [name.lower() for name in _arrays(file)]
    return all(any(part in name for name in names) for part in PARTS)


def _arrays(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """The shapes of the datasets that lie in the file itself, at most two groups down."""
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and name.count("/") < 3 and len(found) < 1000:
            found[name] = tuple(item.shape or ())

    file.visititems(visit)
    return found
