"""Files that are either whole or not there, and HDF5 that is read with suspicion."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from portadnn.errors import InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, renamed to ``path`` when the block ends well, removed when it does not.

    A reader sees the old file or the new one, whatever happens in between.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to read; whatever is wrong with it is an InputError that names it."""
    path = Path(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{path}: {what}: expected an HDF5 file") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        kind = "is a damaged HDF5 file" if h5py.is_hdf5(path) else "is not an HDF5 file"
        raise InputError(f"{path} {kind} ({error})") from error
    with file:
        try:
            yield file
        except InputError:
            raise
        except (
            OSError,
            RuntimeError,
            KeyError,
            TypeError,
        ) as error:  # what h5py raises of damaged content
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
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if found.size is None or found.nbytes > memory:
        size = "no size" if found.size is None else f"{found.nbytes / 2**30:.1f} GiB"
        raise InputError(
            f"{where} has shape {found.shape} and {size}, more than this machine's "
            f"{memory / 2**30:.1f} GiB: expected {expected}"
        )
    return found[()]
