"""NumPy's own files: NPY, one array, and NPZ, several. Pickles are never read."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from portadnn.data.files import check_size, open_regular
from portadnn.data.readers.records import PARTS, Records, Wanted, check_lengths, pick
from portadnn.errors import InputError

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"


def read_npy(path: Path, wanted: Wanted) -> Records:
    """The examples of an NPY file, and the labels of the file that ``wanted`` names."""
    if wanted.labels is None and wanted.labelled:
        raise InputError(f"{path} holds no labels: give the file of the labels after it")
    with open_regular(path) as file:
        examples = _array(file, os.fstat(file.fileno()).st_size, str(path))
    labels = None
    if wanted.labels is not None:
        with open_regular(wanted.labels) as file:
            labels = _array(file, os.fstat(file.fileno()).st_size, str(wanted.labels))
    return check_lengths(Records(examples, labels, source=str(path)))


def read_npz(path: Path, wanted: Wanted) -> Records:
    """Examples and labels of an NPZ file, by their names: see ``pick``."""
    with open_regular(path) as file, _opened(file, path) as archive:
        try:
            entries = {e.filename.removesuffix(".npy"): e for e in archive.infolist()}
            shapes = {}
            for name, entry in entries.items():
                with archive.open(entry) as content:
                    shapes[name] = _header(content, entry.file_size, f"{path}: {name}")[0]
            x, y = pick(shapes, wanted, path)
            if y is None and wanted.labelled:
                raise InputError(f"{path} holds no labels beside {x}")
            arrays = []
            for name in filter(None, (x, y)):
                entry = entries[name]
                with archive.open(entry) as content:
                    arrays.append(_array(content, entry.file_size, f"{path}: {name}"))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
                OSError) as error:  # fmt: skip
            raise InputError(f"{path} is a damaged NPZ file: {error}") from error
    labels = arrays[1] if len(arrays) > 1 else None
    return check_lengths(Records(arrays[0], labels, source=str(path)))


def has_test(path: Path) -> bool:
    """Whether an NPZ file holds arrays for both training and testing."""
    with open_regular(path) as file, _opened(file, path) as archive:
        names = [e.filename.lower() for e in archive.infolist()]
    return all(any(part in name for name in names) for part in PARTS)


def _opened(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is a damaged NPZ file: {error}") from error


def _header(file: IO[bytes], size: int, what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype of an array, to which the rest of ``size`` bytes belongs."""
    formats = np.lib.format
    try:
        version = formats.read_magic(file)
        read: Any = formats.read_array_header_1_0 if version == (1, 0) else (
            formats.read_array_header_2_0
        )  # fmt: skip
        shape, fortran, dtype = read(file)
    except (
        ValueError,
        SyntaxError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{what} is not an array of NumPy, or damaged: {text}") from error
    if dtype.hasobject or dtype.names:
        raise InputError(f"{what} holds {dtype}: expected numbers or texts")
    if not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise InputError(f"{what} has shape {shape}: it is damaged")
    needed = math.prod(shape) * dtype.itemsize
    check_size(f"{what} has shape {shape} and", needed, "an array of NumPy")
    if not 0 <= size - needed < 2**20:  # what is left is the header
        raise InputError(
            f"{what} has {size} bytes, but its shape {shape} needs {needed}: it is damaged"
        )
    return shape, fortran, dtype


def _array(file: IO[bytes], size: int, what: str) -> np.ndarray:
    shape, fortran, dtype = _header(file, size, what)
    content = file.read(math.prod(shape) * dtype.itemsize)
    try:
        array = np.frombuffer(content, dtype, math.prod(shape)).reshape(
            shape, order="F" if fortran else "C"
        )
    except ValueError as error:
        raise InputError(f"{what} is cut short: {error}") from error
    return array.astype(dtype.newbyteorder("="), copy=False)
