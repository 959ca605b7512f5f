"""IDX, the format of MNIST and its followers, with and without gzip.

http://yann.lecun.com/exdb/mnist/ describes it: two zero bytes, a byte for the type and one for the
number of dimensions, the dimensions as big-endian 32-bit numbers, and the values.
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.data.files import open_regular
from portadnn.data.foreign import Budget, read_values, reading
from portadnn.data.readers.records import Records, Wanted, check_lengths
from portadnn.errors import InputError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
MOST_DIMENSIONS = 16
TEST = ("t10k", "test")  # names of test files have one of these in place of "train"


def is_idx(head: bytes) -> bool:
    """Whether a file that begins with these bytes, uncompressed, is one."""
    known = len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES
    return known and 0 < head[3] <= MOST_DIMENSIONS


def read(path: Path, wanted: Wanted) -> Records:
    """The examples of an IDX file, and the labels of a given file or of the one beside it."""
    if wanted.part == "test" and (other := sibling(path)) is not None:
        path, wanted = other, Wanted(labelled=wanted.labelled, stream=wanted.stream)
    elif wanted.part == "test" and not any(word in path.name for word in TEST):
        raise InputError(f"{path} has no test data: expected a file beside it whose name has "
                         f"{' or '.join(TEST)} in place of train")  # fmt: skip
    examples = read_array(path, wanted.stream)
    if examples.ndim == 1:
        raise InputError(
            f"{path} has shape {examples.shape}, which looks like labels: expected the examples "
            f"first, and then the labels"
        )
    labels = wanted.labels or _labels_beside(path)
    if labels is None and wanted.labelled:
        raise InputError(f"{path} holds no labels: give the file of the labels after it")
    values = None if labels is None else read_array(labels)
    beside = str(labels or "")
    return check_lengths(Records(examples, values, source=str(path), labels_in=beside))


def has_test(path: Path) -> bool:
    """Whether the test data lie beside the training data."""
    return sibling(path) is not None


def sibling(path: Path) -> Path | None:
    """The file of test data that belongs to a file of training data, if it is there."""
    for word in TEST:
        other = path.with_name(path.name.replace("train", word, 1))
        if other != path and other.exists():
            return other
    return None


def read_array(path: str | os.PathLike[str], stream: bool | None = False) -> Any:
    """The array in an IDX file, which stays there if ``stream`` says so.

    Raises
    ------
    InputError
        If it is none, is cut short, or is longer than it says.
    """
    with open_regular(path) as raw, reading(path):
        packed = raw.read(2) == GZIP
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        budget = Budget(path, os.fstat(raw.fileno()).st_size)
        head = file.read(4)
        if not is_idx(head):
            raise InputError(f"{path} is not an IDX file: its first bytes are {head.hex()}")
        shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
        return read_values(file, shape, np.dtype(TYPES[head[2]]), "the array", budget, stream)


def _labels_beside(path: Path) -> Path | None:
    """The file of the labels by MNIST's names, as train-labels-idx1 beside train-images-idx3."""
    name = path.name.replace("images", "labels", 1)
    for dimensions in ("idx3", "idx2", "idx4"):
        name = name.replace(dimensions, "idx1", 1)
    other = path.with_name(name)
    return other if other != path and other.exists() else None
