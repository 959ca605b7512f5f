"""NumPy's own files: NPY, one array, and NPZ, several. Pickles are never read."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from portadnn.data.files import open_regular
from portadnn.data.foreign import Budget, read_values, reading
from portadnn.data.readers.records import PARTS, Records, Wanted, check_lengths, pick
from portadnn.errors import InputError

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
LONGEST_HEADER = 10_000  # bytes; NumPy reads no longer ones either


def read_npy(path: Path, wanted: Wanted) -> Records:
    """The examples of an NPY file, and the labels of the file that ``wanted`` names."""
    if wanted.labels is None and wanted.labelled:
        raise InputError(f"{path} holds no labels: give the file of the labels after it")
    labels = None if wanted.labels is None else _whole(wanted.labels)
    examples, beside = _whole(path, wanted.stream), str(wanted.labels or "")
    return check_lengths(Records(examples, labels, source=str(path), labels_in=beside))


def read_npz(path: Path, wanted: Wanted) -> Records:
    """Examples and labels of an NPZ file, by their names: see ``pick``."""
    with _opened(path) as archive:
        entries = {e.filename.removesuffix(".npy"): e for e in archive.infolist()}
        shapes = {}
        for name, entry in entries.items():
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{path}: {name} is compressed in another way than deflate")
            with archive.open(entry) as content:
                shapes[name] = _header(content, f"{path}: {name}")[0]
        x, y = pick(shapes, wanted, path)
        if y is None and wanted.labelled:
            raise InputError(f"{path} holds no labels beside {x}")
        budget = Budget(path, path.stat().st_size)
        arrays = []
        for name in filter(None, (x, y)):
            with archive.open(entries[name]) as content:
                arrays.append(_array(content, name, budget, wanted.stream if name == x else False))
    labels = arrays[1] if len(arrays) > 1 else None
    return check_lengths(Records(arrays[0], labels, source=str(path)))


def has_test(path: Path) -> bool:
    """Whether an NPZ file holds arrays for both training and testing."""
    with _opened(path) as archive:
        names = [e.filename.lower() for e in archive.infolist()]
    return all(any(part in name for name in names) for part in PARTS)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    fault = "is a damaged NPZ file"
    with open_regular(path) as file, reading(path, fault), zipfile.ZipFile(file) as archive:
        yield archive


def _whole(path: str | os.PathLike[str], stream: bool | None = False) -> Any:
    with open_regular(path) as file:
        return _array(file, "the array", Budget(path, os.fstat(file.fileno()).st_size), stream)


def _header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype of an array; its values follow in the file."""
    with reading(what, "is not an array of NumPy, or damaged"):
        start = file.read(8)
        count = file.read(2 if start[6:7] == b"\1" else 4)
        length = int.from_bytes(count, "little")
        if length > LONGEST_HEADER:
            raise InputError(f"its header has {length} bytes: expected {LONGEST_HEADER} at most")
        head = io.BytesIO(start + count + file.read(length))
        formats = np.lib.format
        version = formats.read_magic(head)
        read: Any = formats.read_array_header_1_0 if version == (1, 0) else (
            formats.read_array_header_2_0
        )  # fmt: skip
        with warnings.catch_warnings():
            # Python 2 wrote "(10L,)"; NumPy reads it, and warns without the name of the file
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = read(head)
        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise InputError(f"its shape is {shape}"[:200])
    if dtype.kind not in "buifSU" or not dtype.itemsize:
        raise InputError(f"{what} holds {dtype}: expected numbers or texts")
    return shape, fortran, dtype


def _array(file: IO[bytes], what: str, budget: Budget, stream: bool | None = False) -> Any:
    shape, fortran, dtype = _header(file, f"{budget.path}: {what}")
    if stream and fortran and len(shape) > 1:
        raise InputError(
            f"{budget.path}: {what} is stored in Fortran order, in which a row is not in one "
            f"piece: save numpy.ascontiguousarray of it"
        )
    stream = False if fortran else stream
    array = read_values(file, shape[:: -1 if fortran else 1], dtype, what, budget, stream)
    return array.T if fortran else array
