"""How a file is written, whole or not at all, and HDF5 that is read with suspicion."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from portadnn.errors import InputError

# Windows does not have these. Without O_NONBLOCK, opening a pipe waits for a writer
_NEW = getattr(os, "O_NOFOLLOW", 0)
_OLD = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


_SUFFIXES = {
    "HDF5": ".h5 .hdf5", "ONNX": ".onnx", "PyTorch": ".pt .pth .ckpt .bin", "Keras": ".keras",
    "safetensors": ".safetensors", "pickle": ".pkl .pickle .joblib", "NumPy": ".npz .npy",
    "TensorFlow": ".pb .tflite", "MATLAB": ".mat", "text": ".json .toml .yaml .csv .txt",
}  # fmt: skip


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The format whose suffix a path has, or None if no format is known by it."""
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    return next((name for name, known in _SUFFIXES.items() if suffix in known.split()), None)


def check_hdf5_name(path: str | os.PathLike[str]) -> None:
    """Raise InputError if a file of HDF5 would have the suffix of another format."""
    root, suffix = os.path.splitext(os.fsdecode(path))
    if (other := format_of(path)) not in (None, "HDF5"):
        raise InputError(
            f"{root}{suffix}: {suffix} is for {other} files, and this would be HDF5: write "
            f"{root}.h5. Another format can hold the arrays, which a model has as its parameters"
        )


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[io.BytesIO]:
    """A file in memory that replaces ``path`` when the block ends well.

    A reader sees the old file or the new one, whatever happens in between; see docs/file-format.md.

    Raises
    ------
    InputError
        If the file cannot be written. The old file is as it was, and nothing else is left.
    """
    _check_name(path)
    path = Path(path)
    content = io.BytesIO()
    temporary = path.parent / f".portadnn-{secrets.token_hex(16)}.tmp"
    try:
        yield content
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is a directory or a device: expected the name of a file")
        with open(temporary, "xb", opener=lambda p, flags: os.open(p, flags | _NEW, 0o666)) as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        what = error.strerror or error
        raise InputError(f"{path} cannot be written ({what}): choose another place") from error
    except MemoryError as error:
        raise InputError(f"{path} cannot be written: there is not enough memory") from error
    finally:
        with contextlib.suppress(OSError):  # after the rename there is none
            temporary.unlink()
    with contextlib.suppress(OSError):  # Windows and some file systems cannot; the file is there
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to read as bytes; InputError if it cannot be read or is not a regular file."""
    _check_name(path)
    try:
        file = open(path, "rb", opener=lambda p, flags: os.open(p, flags | _OLD))  # noqa: SIM115
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{path}: {what}: expected a file to read") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{path} is a pipe or a device: expected a regular file")
        try:
            yield file
        except OSError as error:
            if error.errno is None:  # a library's, about the content
                raise
            raise InputError(f"{path}: {error.strerror}: it cannot be read") from error


def _check_name(path: str | os.PathLike[str]) -> None:
    """Raise InputError if no file can have that name, for example because of a NUL."""
    try:
        os.lstat(path)
    except OSError:
        pass
    except ValueError as error:
        raise InputError(
            f"{os.fspath(path)!r} is not a file's name ({error}): expected another name"
        ) from error


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str], image: bytes | None = None) -> Iterator[h5py.File]:
    """An HDF5 file to read; whatever is wrong with it is an InputError that names it.

    Parameters
    ----------
    image : bytes, optional
        What the file holds, if it was read before: then the path is only a name.
    """
    options = {} if image is None else {"driver": "fileobj", "fileobj": io.BytesIO(image)}
    if image is None:
        with open_regular(path):
            pass
    try:
        file = h5py.File(path, "r", **options)
    except OSError as error:
        is_hdf5 = image is not None or h5py.is_hdf5(path)
        kind = "is a damaged HDF5 file" if is_hdf5 else "is not an HDF5 file"
        raise InputError(f"{path} {kind} ({error})") from error
    with file:
        try:
            yield file
        except InputError:
            raise
        except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
            # h5py raises all of these when the content is damaged
            raise InputError(f"{path} is damaged: {error}") from error


def read_array(file: h5py.File, name: str, *, kinds: str, expected: str) -> np.ndarray:
    """The dataset ``name``, read whole.

    Parameters
    ----------
    kinds : str
        The NumPy dtype kinds that are allowed, for example "uif" for numbers.
    expected : str
        What it should be, for messages.

    Raises
    ------
    InputError
        If it is missing, of another kind, kept in another file, or larger than the memory.
    """
    where = f"{file.filename}: {name}"
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        link = file.get("/".join(parts[:depth]), getlink=True)
        if link is None:
            names = ", ".join(sorted(file)) or "nothing"
            raise InputError(f"{where} is missing: expected {expected}; the file holds {names}")
        if not isinstance(link, h5py.HardLink):  # it may lead to any file of this machine
            raise InputError(f"{where} is a link to another place: expected {expected}")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{where} is a group: expected {expected}")
    if found.external or found.is_virtual:
        raise InputError(f"{where} is kept in other files: expected {expected}")
    if found.dtype.kind not in kinds:
        raise InputError(f"{where} has dtype {found.dtype}: expected {expected}")
    if found.size is None:
        raise InputError(f"{where} has shape {found.shape} and no size: expected {expected}")
    check_size(f"{where} has shape {found.shape} and", found.nbytes, expected)
    return found[()]


def check_size(what: str, size: int, expected: str) -> None:
    """Raise InputError if so many bytes are more than the machine's memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not tell
        memory = 2**36
    if size > memory:
        raise InputError(
            f"{what} {size / 2**30:.1f} GiB, more than this machine's {memory / 2**30:.1f} GiB: "
            f"expected {expected}"
        )
