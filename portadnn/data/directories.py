"""A directory that one process at a time fills, with files that are replaced together.

docs/runs.md says what is promised.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from portadnn.data.files import open_new, sync_directory
from portadnn.errors import InputError

logger = logging.getLogger("portadnn")

LOCK = ".portadnn-lock"
NEW, READY = ".portadnn-new", ".portadnn-ready"  # folders of new files: unfinished, and complete
_BYTE = 2**30  # the byte that Windows locks; it is behind the text, so that others can read that


@contextlib.contextmanager
def claimed(directory: Path, option: str) -> Iterator[None]:
    """Lock an existing directory, and clean up what a killed process left in it.

    The system gives the lock back when the process ends, however it ends.

    Raises
    ------
    InputError
        If another process holds it, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_lock_file(directory, option))
            _clean_up(directory)
        except OSError as error:
            raise InputError(
                f"the directory {directory} cannot be written ({error.strerror}): choose another "
                f"{option}"
            ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                _clean_up(directory)  # a signal may have come between two files


@contextlib.contextmanager
def replaced_together(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder whose files replace all files of these names when the block ends without an error.

    The directory must be claimed. If the process is killed, the next claim finds all old files or
    moves all new ones, in the order of ``names``. A name without a new file is removed.

    Raises
    ------
    InputError
        If a file cannot be written. All old files are as they were.
    """
    new, names = directory / NEW, list(names)
    try:
        new.mkdir()
        yield new
        for name in names:
            if (directory / name).exists() and not (new / name).exists():
                (new / name).touch()  # empty: the old file is to go
        sync_directory(new)
        os.replace(new, directory / READY)  # from here on the new files count
        sync_directory(directory)
    except OSError as error:
        raise InputError(
            f"the files in {directory} cannot be replaced ({error.strerror}): they are as they were"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for last in (False, True):
        try:
            _put_in_place(directory, names)
            return
        except OSError as error:
            if last:
                raise InputError(
                    f"the files in {directory} cannot be replaced ({error.strerror}): the new ones "
                    f"are in {READY}, and the next run there puts them in place"
                ) from error


def present(path: str | os.PathLike[str]) -> Path:
    """The path of the valid file of this name, also if a kill came between the renames."""
    path = Path(path)
    ready = path.parent / READY / path.name
    with contextlib.suppress(OSError):
        if ready.stat().st_size:
            return ready
    return path


def _put_in_place(directory: Path, names: Iterable[str] = ()) -> None:
    """Move the files that are ready to their names, and remove those that are to go."""
    ready = directory / READY
    for path in [*(ready / name for name in names), *ready.glob("*")]:
        if path.exists():
            if path.stat().st_size:
                os.replace(path, directory / path.name)
            else:
                (directory / path.name).unlink(missing_ok=True)
                path.unlink()
    sync_directory(directory)
    ready.rmdir()


def _clean_up(directory: Path) -> None:
    """Finish or discard what a killed process began."""
    for path in directory.glob(".portadnn-*.tmp"):
        path.unlink(missing_ok=True)
    shutil.rmtree(directory / NEW, ignore_errors=True)
    if (directory / READY).exists():
        _put_in_place(directory)


@contextlib.contextmanager
def _lock_file(directory: Path, option: str) -> Iterator[None]:
    """A locked file in the directory, with the number of this process in it."""
    path, locked, tries = directory / LOCK, False, 0
    while not locked:
        file = open(path, "a+b", buffering=0, opener=open_new)  # noqa: SIM115
        try:
            _lock(file)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                file.seek(0)
                holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
                file.close()
                raise InputError(
                    f"{directory} is in use by another run (process {holder}): wait for its end, "
                    f"or choose another {option}"
                ) from None
            logger.warning("%s has no locks (%s): start no other run there", directory, error)
        with contextlib.suppress(FileNotFoundError):  # the last holder may have removed it by now
            locked = os.path.samestat(os.fstat(file.fileno()), path.stat())
        tries += 1
        locked |= tries == 20  # on some file systems a file's number changes
        if not locked:
            file.close()
    with file:
        try:
            with contextlib.suppress(OSError):  # the number is for people
                file.truncate(0)
                file.write(f"{os.getpid()}\n".encode())
            yield
        finally:
            if os.name == "nt":
                file.close()  # Windows removes no open file
            with contextlib.suppress(OSError):
                path.unlink()


def _lock(file: IO[bytes]) -> None:
    """Lock it for this process without waiting; OSError if another holds it."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        try:
            import msvcrt
        except ImportError:
            raise OSError(errno.ENOSYS, "none in this system") from None
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
