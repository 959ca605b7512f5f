"""Rows that stay in a file until they are asked for: data larger than memory.

What a library must unpack first is written once, as plain rows, to a file without a name, which the
system removes when the process ends, however it ends.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from portadnn.data.digest import heading, little
from portadnn.data.files import memory
from portadnn.errors import InputError

BLOCK = 2**22  # bytes that a pass reads at once
_PREADV = hasattr(os, "preadv")
# each wraps the blocks of a pass, and gets the pass's name and number of blocks: a progress bar
passes: list[Callable[[Iterator[Any], str, int], Iterator[Any]]] = []


def streams(stream: bool | None, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array is to stay in its file: as asked for, or beyond half of the memory."""
    size = math.prod(shape) * max(dtype.itemsize, 4)  # narrower values become float32
    return bool(shape) and (size > memory() / 2 if stream is None else stream)


class _Open:
    """A file that is open as long as somebody holds it."""

    def __init__(self, file: Any) -> None:
        self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        os.close(self.number)


class Stored:
    """An array (m, ...) in a file, or some of its rows.

    ``x[rows]`` reads rows, by a slice or by an array of indices. It can be read by several threads.

    Parameters
    ----------
    file : file object
        Stays open in a copy of its own.
    offset : int
        Where the first row begins.
    shape, dtype
        Those of the array, which is stored in C order.
    source : str
        The name of the data in messages.
    """

    def __init__(
        self, file: Any, offset: int, shape: tuple[int, ...], dtype: Any, source: Any
    ) -> None:
        self._open, self._lock = _Open(file), threading.Lock()
        self._file = io.FileIO(self._open.number, "rb", closefd=False)
        self.shape, self.stored, self.source = tuple(shape), np.dtype(dtype), str(source)
        self.dtype = self.stored.newbyteorder("=")
        self.offset = offset
        self._row = math.prod(self.shape[1:]) * self.stored.itemsize
        self._rows: np.ndarray | None = None
        self._limits: tuple[float, float] = ()  # type: ignore[assignment]
        self._sha256 = ""
        self._found = self._state()
        whole = offset + self._row * self.shape[0]
        if self._found[0] < whole:
            raise InputError(
                f"{self.source} has {self._found[0]:,} bytes: expected {whole:,} for its shape "
                f"{self.shape}"
            )

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def only(self, rows: np.ndarray) -> Stored:
        """An array of those rows, which also stay in the file."""
        made = copy.copy(self)
        made._rows = rows if self._rows is None else self._rows[rows]
        made.shape = (len(rows), *self.shape[1:])
        return made

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            numbers = np.arange(*rows.indices(len(self)))
        elif len(rows) and not -len(self) <= np.min(rows) <= np.max(rows) < len(self):
            raise IndexError(f"{self.source} has the rows 0 to {len(self) - 1}")
        else:
            numbers = np.where(rows < 0, rows + len(self), rows)
        if self._rows is not None:
            numbers = self._rows[numbers]
        self._check_state()
        return self._read(numbers).astype(self.dtype, copy=False)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self.shape[1:]), self.stored)
        view = found.reshape(-1).view(np.uint8).data
        if len(rows) and (np.diff(rows) == 1).all():
            self._fill(view, int(rows[0]))
            return found
        row = self._row
        order = np.argsort(rows, kind="stable")  # as they lie in the file
        for place, number in zip(order.tolist(), rows[order].tolist(), strict=True):
            self._fill(view[place * row : (place + 1) * row], number)
        return found

    def _fill(self, view: memoryview, row: int) -> None:
        """Read from the start of a row on; a memory map would crash if the file was cut short."""
        at = self.offset + row * self._row
        while view:
            if _PREADV:
                count = os.preadv(self._open.number, [view], at)
            else:  # Windows: a thread at a time
                with self._lock:
                    self._file.seek(at)
                    count = self._file.readinto(view)
            if not count:
                self._check_state()
                raise InputError(
                    f"{self.source} ends in row {row + 1}, although it has {len(self):,}: it was "
                    f"cut short"
                )
            view, at = view[count:], at + count

    def _check_state(self) -> None:
        if self._state() != self._found:
            raise InputError(f"{self.source} was changed while it was read: start again")

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._open.number)
        return found.st_size, found.st_mtime_ns

    def blocks(self, what: str) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order, and the number of the first of each block; ``what`` is being done."""
        step = max(1, BLOCK // max(self._row, 1))
        starts = range(0, len(self), step)
        found: Iterator[Any] = ((start, self[start : start + step]) for start in starts)
        for wrapped in passes:
            found = wrapped(found, f"{what} {self.source}", len(starts))
        return found

    def min(self) -> float:
        """The smallest number; if these are some rows, that of all rows in the file."""
        self.check()
        return self._limits[0]

    def max(self) -> float:
        """The largest number."""
        self.check()
        return self._limits[1]

    def check(self) -> None:
        """One pass over the file, once: InputError if a number is not finite."""
        if self._limits or self.dtype.names:
            return
        lows, highs, state = [], [], hashlib.sha256(heading("array", self.dtype, self.shape))
        for start, block in self.blocks("reading"):
            if self.dtype.kind == "f" and not np.isfinite(block).all():
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])
                row = start + index[0]
                raise InputError(
                    f"{self.source}: example {row} holds {block[index]} at index "
                    f"{(row, *index[1:])}: expected finite numbers"
                )
            lows.append(float(block.min()))
            highs.append(float(block.max()))
            state.update(little(block))
        self._limits, self._sha256 = (min(lows), max(highs)), state.hexdigest()

    def digest(self) -> str:
        """``digest({"array": x})`` of the array in memory."""
        if self._rows is None and self._limits:
            return self._sha256
        state = hashlib.sha256(heading("array", self.dtype, self.shape))
        for _, block in self.blocks("reading"):
            state.update(little(block))
        return state.hexdigest()


class Mapped(Stored):
    """Rows in a file of our own, which nobody can cut short; a table, column by column."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._maps = {
            name: np.memmap(self._file, dtype, "r", start, self.shape)
            for name, (start, dtype) in _regions(self.stored, self.shape).items()
        }

    def __getitem__(self, rows: slice | np.ndarray | str) -> np.ndarray:
        if not isinstance(rows, str):
            return super().__getitem__(rows)
        column = self._maps[rows]
        found = np.array(column) if self._rows is None else np.take(column, self._rows)
        return found.astype(self.dtype[rows], copy=False)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if self.dtype.names is None:
            return np.take(self._maps[""], rows, axis=0)
        found = np.empty(len(rows), self.dtype)
        for name, column in self._maps.items():
            found[name] = np.take(column, rows)
        return found


def _regions(dtype: np.dtype, shape: tuple[int, ...]) -> dict[str, tuple[int, np.dtype]]:
    """The offset and dtype of each column of a table; any other array counts as one column."""
    columns = {name: dtype[name] for name in dtype.names} if dtype.names else {"": dtype}
    at, found = 0, {}
    for name, kind in columns.items():
        found[name] = at, kind
        at += -(-math.prod(shape) * kind.itemsize // 64) * 64  # aligned
    return found


def spooled(
    blocks: Iterable[np.ndarray], shape: tuple[int, ...], dtype: Any, source: Any
) -> Stored:
    """Rows that are given a block at a time, in a file of our own.

    Raises
    ------
    InputError
        If the disk does not hold them, or they are not as many as the shape says.
    """
    dtype, named = np.dtype(dtype), os.environ.get("TMPDIR")
    # the folder of large temporary files; /tmp may lie in memory
    folder = named or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
    size, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(folder).free
    advice = "set TMPDIR to a folder on a disk that has more"
    if not size:
        raise InputError(f"{source} has shape {shape}, so it is empty: expected a row or more")
    if size > free:
        raise InputError(
            f"{source} takes {size / 2**30:.1f} GiB when unpacked, but {folder} has "
            f"{free / 2**30:.1f} GiB: {advice}"
        )
    count, row = 0, math.prod(shape[1:])
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for block in blocks:
                for name, (start, kind) in _regions(dtype, shape).items():
                    part = np.ascontiguousarray(block[name] if name else block, kind)
                    content = part.reshape(-1).view(np.uint8).data
                    file.seek(start + count * row * kind.itemsize)
                    while content:
                        content = content[file.write(content) :]
                count += len(block)
            if count != shape[0]:
                raise InputError(f"{source} has {count:,} rows: expected {shape[0]:,}")
            return Mapped(file, 0, shape, dtype, source)
    except OSError as error:
        if error.errno is None:  # a library raised it, about the content
            raise
        raise InputError(
            f"{source} cannot be unpacked to {folder} ({error.strerror}): {advice}"
        ) from error
