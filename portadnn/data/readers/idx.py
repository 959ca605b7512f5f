"""IDX, the format of MNIST and its followers, with and without gzip.

http://yann.lecun.com/exdb/mnist/ describes it: two zero bytes, a byte for the type and one for the
number of dimensions, the dimensions as big-endian 32-bit numbers, and the values.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from portadnn.data.files import check_size, open_regular
from portadnn.data.readers.records import Records, Wanted, check_lengths
from portadnn.errors import InputError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
TEST = ("t10k", "test")  # what stands in the name of a file of test data in place of "train"


def is_idx(head: bytes) -> bool:
    """Whether a file that begins with these bytes, uncompressed, is one."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES and head[3] > 0


def read(path: Path, wanted: Wanted) -> Records:
    """The examples of an IDX file, and the labels of a given file or of the one beside it."""
    if wanted.part == "test" and (other := sibling(path)) is not None:
        path, wanted = other, Wanted(labelled=wanted.labelled)
    examples = read_array(path)
    if examples.ndim == 1:
        raise InputError(
            f"{path} has shape {examples.shape}, which looks like labels: expected the examples "
            f"first, and then the labels"
        )
    labels = wanted.labels or _labels_beside(path)
    if labels is None and wanted.labelled:
        raise InputError(f"{path} holds no labels: give the file of the labels after it")
    values = None if labels is None else read_array(labels)
    return check_lengths(Records(examples, values, source=str(path)))


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


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file.

    Raises
    ------
    InputError
        If it is none, is cut short, or is longer than it says.
    """
    with open_regular(path) as raw, _inflated(raw, path) as file:
        head = _exactly(file, 4, path)
        if not is_idx(head):
            raise InputError(f"{path} is not an IDX file: its first bytes are {head.hex()}")
        shape = struct.unpack(f">{head[3]}I", _exactly(file, 4 * head[3], path))
        dtype = np.dtype(TYPES[head[2]])
        size = math.prod(shape) * dtype.itemsize
        check_size(f"{path} has shape {shape} and", size, "an IDX file")
        content = _exactly(file, size, path)
        if file.read(1):
            raise InputError(f"{path} has more bytes than its shape {shape} needs: it is damaged")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _inflated(raw: IO[bytes], path: str | os.PathLike[str]) -> Iterator[Any]:
    head = raw.read(2)
    raw.seek(0)
    if head != GZIP:
        yield raw
        return
    try:
        with gzip.GzipFile(fileobj=raw) as file:
            yield file
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from error


def _exactly(file: IO[bytes], size: int, path: str | os.PathLike[str]) -> bytes:
    """So many bytes; read in pieces, for a file may hold less than it says."""
    pieces, missing = [], size
    while missing:
        piece = file.read(min(missing, 2**24))
        if not piece:
            raise InputError(f"{path} ends {missing} bytes too early: it is damaged")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _labels_beside(path: Path) -> Path | None:
    """The file of the labels by MNIST's names, as train-labels-idx1 beside train-images-idx3."""
    name = path.name.replace("images", "labels", 1)
    for dimensions in ("idx3", "idx2", "idx4"):
        name = name.replace(dimensions, "idx1", 1)
    other = path.with_name(name)
    return other if other != path and other.exists() else None
