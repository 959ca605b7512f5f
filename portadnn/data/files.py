"""How a file is written, whole or not at all, and how one is opened to be read."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

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
            f"{root}.h5. `portadnn export` writes a model in other formats"
        )


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[io.BytesIO]:
    """A file in memory that replaces ``path`` when the block ends without an error.

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
        with open(temporary, "xb", opener=open_new) as file:
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
        with contextlib.suppress(OSError):  # the rename has moved it
            temporary.unlink()
    sync_directory(path.parent)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Bring the names in a directory to the disk, if the system can."""
    try:
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:  # Windows and some file systems cannot; the files are there
        if error.errno in (errno.EIO, errno.ENOSPC):
            text = "%s: a power cut may lose what was just written there (%s)"
            logging.getLogger("portadnn").warning(text, path, error.strerror)


def open_new(path: str, flags: int) -> int:
    """An opener for files to write, which follows no link."""
    return os.open(path, flags | _NEW, 0o666)


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
            if error.errno is None:  # a library raised it, about the content
                raise
            raise InputError(f"{path}: {error.strerror}: it cannot be read") from error


def _check_name(path: str | os.PathLike[str]) -> None:
    """Raise InputError if no file can have that name, for example because of a NUL."""
    try:
        with contextlib.suppress(OSError):
            os.lstat(path)
    except ValueError as error:
        raise InputError(
            f"{os.fspath(path)!r} cannot be the name of a file ({error}): expected another name"
        ) from error


_GROUPS = "/sys/fs/cgroup"  # groups of version 2; a container sees its own there

# each is called with a number of bytes before that memory is taken; a process with limits puts a
# function here that raises its own error
before_memory: list[Callable[[int], None]] = []


def check_size(what: str, size: int, expected: str) -> None:
    """Raise InputError if so many bytes are more than the machine's memory."""
    if size > (most := memory()):
        raise InputError(
            f"{what} {size / 2**30:.1f} GiB, more than this machine's {most / 2**30:.1f} GiB: "
            f"expected {expected}"
        )
    for allow in before_memory:
        allow(size)


def memory() -> int:
    """The bytes of memory of this machine, or of the control group that the process is in."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not tell
        return 2**36
    own = Path(_GROUPS)
    with contextlib.suppress(OSError):
        told = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        own /= told.rpartition("::")[2].strip("/\n")
    limits = [x / "memory.max" for x in (own, *own.parents) if x.is_relative_to(_GROUPS)]
    for limit in (*limits, Path(_GROUPS) / "memory" / "memory.limit_in_bytes"):  # in version 1
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            most = min(most, int(limit.read_text(encoding="ascii")))
    return most
