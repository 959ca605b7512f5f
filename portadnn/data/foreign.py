"""Untrusted files: the size of a file limits the memory that it may take.

Every reader of a file that a user names opens it here, and takes memory from its budget.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from portadnn.data.files import before_memory, memory, open_regular
from portadnn.data.stored import BLOCK, Stored, spooled, streams
from portadnn.errors import InputError, OutOfMemoryError, safe_text

MEBI = 2**20
LARGEST_CHUNK = 64 * MEBI
_INFLATION = 1032  # the largest ratio of deflate
_FILTERS = {
    getattr(h5py.h5z, f"FILTER_{name.upper()}"): name
    for name in ("deflate", "shuffle", "fletcher32", "lzf")
}


def library(name: str, extra: str) -> Any:
    """A module of another project, or an InputError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        project = name.partition(".")[0]
        raise InputError(
            f"this needs {project} ({error}): install it with pip install 'portadnn[{extra}]'"
        ) from error


class Budget:
    """The bytes that may be read out of a file of ``size`` bytes.

    They are ``ratio * size + spare``, but not more than the memory. The default ratio is the
    largest of deflate.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int,
        spare: int = MEBI,
        ratio: int = _INFLATION,
    ) -> None:
        self.path, self.unpacked = path, ratio * size + spare
        self.left = min(self.unpacked, memory())

    def take(self, what: str, size: int, more: int = 0) -> None:
        """Count ``size`` bytes; ``more`` are needed for a moment. InputError if too few."""
        if size > self.left:
            raise InputError(
                f"{self.path}: {what} would take {size / MEBI:,.1f} MiB: expected "
                f"{self.left / MEBI:,.1f} MiB at most, from the file's size and the memory"
            )
        self.left -= size
        for allow in before_memory:
            allow(size + more)


@contextlib.contextmanager
def reading(what: object, fault: str = "is damaged") -> Iterator[None]:
    """Turn any error in the block into an InputError that names a file, or a part of it."""
    try:
        yield
    except InputError as error:
        if safe_text(str(what)) in str(error):
            raise
        raise InputError(f"{what} {fault}: {error}") from error
    except MemoryError as error:
        raise OutOfMemoryError(f"{what} cannot be read: there is not enough memory") from error
    except Exception as error:  # libraries raise all kinds if content is damaged
        raise InputError(f"{what} {fault}: {str(error) or type(error).__name__}") from error


def read_values(
    file: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    what: str,
    budget: Budget,
    stream: bool | None = False,
) -> Any:
    """An array from the rest of the file; messages call it ``what``.

    If ``stream`` says so, see ``streams``, it stays in the file, or in an unpacked copy if the file
    is packed.
    """
    size = math.prod(shape) * dtype.itemsize
    if streams(stream, shape, dtype):
        if isinstance(file, io.BufferedReader):
            if os.fstat(file.fileno()).st_size > file.tell() + size:
                raise InputError(_longer(budget, what, shape))
            return Stored(file, file.tell(), shape, dtype, budget.path)
        if size > budget.unpacked:
            budget.take(f"{what}, of shape {shape},", size)
        return spooled(_unpacked(file, shape, dtype, what, budget), shape, dtype, budget.path)
    budget.take(f"{what}, of shape {shape},", size)
    content = np.empty(size, np.uint8)  # takes memory only as it is filled: the size may be wrong
    at = 0
    while at < size:
        count = file.readinto(content.data[at : at + 2**24])
        if not count:
            raise InputError(f"{budget.path}: {what} ends {size - at} bytes too early")
        at += count
    if file.read(1):
        raise InputError(_longer(budget, what, shape))
    return content.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _unpacked(
    file: Any, shape: tuple[int, ...], dtype: np.dtype, what: str, budget: Budget
) -> Iterator[np.ndarray]:
    """The rows of an array in a packed file, a block at a time."""
    row = math.prod(shape[1:])
    for start in range(0, shape[0], step := max(1, BLOCK // max(row * dtype.itemsize, 1))):
        count = min(step, shape[0] - start)
        content = file.read(count * row * dtype.itemsize)
        if len(content) < count * row * dtype.itemsize:
            raise InputError(f"{budget.path}: {what} ends too early, in row {start + 1} or later")
        yield np.frombuffer(content, dtype).reshape(count, *shape[1:])
    if file.read(1):
        raise InputError(_longer(budget, what, shape))


def _longer(budget: Budget, what: str, shape: tuple[int, ...]) -> str:
    return f"{budget.path}: {what} has more bytes than its shape {shape} needs"


class Hdf5File(h5py.File):
    """An untrusted HDF5 file, and the budget of what may be read out of it."""

    budget: Budget


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str], image: bytes | None = None) -> Iterator[Hdf5File]:
    """An HDF5 file to read; whatever is wrong with it is an InputError that names it.

    Parameters
    ----------
    image : bytes, optional
        What the file holds, if it was read before: then the path is only a name.
    """
    options: dict[str, Any] = {}
    if image is None:
        with open_regular(path) as content:
            size = os.fstat(content.fileno()).st_size
    else:
        size, options = len(image), {"driver": "fileobj", "fileobj": io.BytesIO(image)}
    with reading(path):
        try:
            file = Hdf5File(path, "r", **options)
        except OSError as error:
            is_hdf5 = image is not None or h5py.is_hdf5(path)
            kind = "is a damaged HDF5 file" if is_hdf5 else "is not an HDF5 file"
            raise InputError(f"{path} {kind} ({error})") from error
        with file:
            file.budget = Budget(path, size)
            yield file


def read_array(
    file: Hdf5File,
    name: str,
    *,
    kinds: str,
    expected: str,
    fits: Callable[[tuple[int, ...]], bool] = lambda shape: True,
    stream: bool | None = False,
) -> Any:
    """The dataset ``name``, read whole, or left in the file if ``stream`` says so.

    Parameters
    ----------
    kinds : str
        The NumPy dtype kinds that are allowed, for example "uif" for numbers.
    expected : str
        What it should be, for messages.
    fits : callable
        Whether its shape is as expected.

    Raises
    ------
    InputError
        If it is missing, of another kind or shape, kept in another file, incomplete, packed by
        other filters, or larger than the budget. No memory is taken then.
    """
    where = f"{file.filename}: {name}"
    with reading(where):
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            link = file.get("/".join(parts[:depth]), getlink=True)
            if link is None:
                raise InputError(
                    f"{where} is missing: expected {expected}; the file holds {names_in(file)}"
                )
            if not isinstance(link, h5py.HardLink):  # a link may lead to any file of this machine
                raise InputError(f"{where} is a link to another place: expected {expected}")
        found = file[name]
        fault = _fault(found, kinds) or ("" if fits(found.shape) else f"has shape {found.shape}")
        if fault:
            raise InputError(f"{where} {fault}: expected {expected}")
        if found.dtype.kind in "uif" and streams(stream, found.shape, found.dtype):
            return _left(found, file.filename)
        item = found.dtype.itemsize
        size, chunk = math.prod(found.shape) * item, math.prod(found.chunks or ()) * item
        file.budget.take(f"{name}, of shape {found.shape},", size, 3 * chunk)
        if found.dtype.kind != "O":
            return found[()]
        texts = np.empty(found.shape, object)
        for index in np.ndindex(found.shape):  # one at a time: each may have any length
            texts[index] = found[index]
            file.budget.take(name, len(texts[index]))
        return texts


def _left(found: h5py.Dataset, path: Any) -> Stored:
    """The rows of a dataset: where they are, or unpacked if they are in chunks."""
    offset = found.id.get_offset()
    if found.chunks is None and offset is not None:
        with open_regular(path) as file:
            rows = Stored(file, offset, found.shape, found.dtype, path)
        if rows[:1].tobytes() == found[:1].astype(rows.dtype).tobytes():  # the offset is right
            return rows
    row, chunk = found[:1].nbytes, (found.chunks or (1,))[0]
    step = -(-max(1, BLOCK // max(row, 1)) // chunk) * chunk  # whole chunks
    blocks = (found[start : start + step] for start in range(0, len(found), step))
    return spooled(blocks, found.shape, found.dtype, path)


def read_attribute(file: Hdf5File, name: str, kind: type, *, default: Any = None) -> Any:
    """An attribute of the file: one value of that type (str, int or bool), or the default."""
    where = f"{file.filename}: attribute {name}"
    with reading(where):
        if name not in file.attrs:
            if default is not None:
                return default
            raise InputError(f"{where} is missing")
        found = file.attrs.get_id(name)
        text = h5py.check_string_dtype(found.dtype) is not None
        kinds = {str: "", int: "ui", bool: "b"}[kind]
        if found.shape != () or not (kind is str if text else found.dtype.kind in kinds):
            about = f"shape {found.shape} and dtype {found.dtype}"
            raise InputError(f"{where} has {about}: expected one {kind.__name__}")
        value = file.attrs[name]
        return value.decode() if isinstance(value, bytes) else kind(value)


def names_in(file: h5py.File) -> str:
    """The first names in a file, for messages."""
    names = list(itertools.islice(file, 11))
    return ", ".join(sorted(names[:10]) + ["..."] * (len(names) > 10)) or "nothing"


def _fault(found: Any, kinds: str) -> str:
    """What is wrong with a dataset or how its values are stored, or ''."""
    if not isinstance(found, h5py.Dataset):
        return "is a group"
    if found.external or found.is_virtual:
        return "is kept in other files"
    dtype, texts = found.dtype, "O" in kinds
    objects = dtype.kind == "O" and not h5py.check_string_dtype(dtype)
    if dtype.kind not in kinds or (texts and (objects or h5py.check_enum_dtype(dtype))):
        return f"has dtype {dtype}" + " of HDF5's own" * (dtype.kind in kinds)
    if found.shape is None:
        return "has shape None and no size"
    stored = found.id.get_create_plist()
    filters = [stored.get_filter(i)[0] for i in range(stored.get_nfilters())]
    if not set(filters) <= _FILTERS.keys() or len(set(filters)) < len(filters):
        names = ", ".join(_FILTERS.get(number, f"number {number}") for number in filters)
        return f"has the filters {names} (known, each once: {', '.join(_FILTERS.values())})"
    item = 16 if dtype.kind == "O" else found.id.get_type().get_size()  # a text lies elsewhere
    if found.chunks is None:
        size, whole = found.id.get_storage_size(), math.prod(found.shape) * item
        return "" if size == whole else f"has {size:,} of its {whole:,} bytes in the file"
    raw = math.prod(found.chunks) * item
    if raw > LARGEST_CHUNK // (64 if dtype.kind == "O" else 1):  # texts are read one at a time
        return f"has chunks of {raw / MEBI:,.1f} MiB"
    sizes: list[int] = []
    found.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    if max(sizes, default=0) > raw + raw // 1000 + 64:  # deflate can make noise so much longer
        return f"has a chunk of {max(sizes):,} bytes, which would be {raw:,} when unpacked"
    count = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
    return "" if len(sizes) == count else f"has {len(sizes):,} of its {count:,} chunks in the file"
