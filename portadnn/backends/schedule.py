"""The calls of a recorded step, grouped into parts of launches, and the parts into levels.

A part has one thread, or one row or column of threads, for each entry of its frame. The frame is
the shape of the arrays of its calls. If a part has a sum or a maximum over one axis, every thread
loops along that axis. Later calls on the sum, or on arrays of the frame's shape, join the part. A
small product is a sum over a third axis. Parts that do not depend on each other share a launch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from portadnn.backends.recording import Call, Recording, _max, _sum, _take

SMALL = 2**21  # multiplications; larger products are calls of cuBLAS
LONGEST = 120  # the most calls of a part or a kernel, so that it compiles in a second


class Unprintable(TypeError):
    """The step has a call that cannot be printed."""


def shape_of(like: Any) -> tuple[int, int]:
    """The shape as a matrix; a vector is one row."""
    if like.ndim > 2:
        raise Unprintable(f"an array of shape {like.shape}")
    return (1, 1, *like.shape)[-2:]


def reduces(call: Call) -> bool:
    return call.function in (_sum, _max, np.matmul)


@dataclass(eq=False)
class Part:
    """Calls that one part of a launch makes.

    ``axis`` is the axis of its sums and maxima, 2 if it begins with a product, None for neither.
    """

    level: int
    shape: tuple[int, int]
    axis: int | None = None
    calls: list[tuple[int, Call]] = field(default_factory=list)  # with their places in the step

    def reads(self) -> set[int]:
        return {n for _, call in self.calls for n in call.reads()}

    def makes(self) -> set[int]:
        return {call.out for _, call in self.calls}


Readers: TypeAlias = dict[int, list[tuple[int, Part | None, int, Call]]]


@dataclass(eq=False)
class Schedule:
    """The calls of a recording by levels. Parts of one level do not depend on each other.

    ``homes`` maps the slot of each new state to that of the old one. If possible, the new one is
    made after the last read of the old one.
    """

    recording: Recording
    homes: dict[int, int]
    parts: list[Part] = field(default_factory=list)
    products: list[tuple[int, Call]] = field(default_factory=list)
    makers: dict[int, list[tuple[int, Part | None, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        calls = list(enumerate(self.recording.calls))
        for place, call in sorted(calls, key=lambda item: item[1].out in self.homes):
            if call.function is np.matmul and not self._printed(call):
                level = 1 + self._level(call)
                self.products.append((level, call))
                self._made(call, level, None)
            else:
                part = self._part_of(call)
                part.calls.append((place, call))
                self._made(call, part.level, part)
        self._sink()
        self._delay()

    def _printed(self, call: Call) -> bool:
        x, y = (self.recording.likes[n] for n in call.reads())
        return x.shape[0] * x.shape[1] * y.shape[1] <= SMALL

    def _made(self, call: Call, level: int, part: Part | None) -> None:
        root = self.recording.root(call.out)
        self.makers.setdefault(root, []).append((level, part, call.out))

    def _makers_of(self, n: int) -> list[tuple[int, Part | None, int]]:
        return self.makers.get(self.recording.root(n), [])

    def _level(self, call: Call) -> int:
        return max((m[0] for n in call.reads() for m in self._makers_of(n)), default=0)

    def _part_of(self, call: Call) -> Part:
        axis, shape = self._frame(call)
        base, old = self._level(call), self.homes.get(call.out)
        for part in self.parts:
            if (
                part.level == base
                and self._last_to_read(old, part)
                and any(maker[1] is part for n in call.reads() for maker in self._makers_of(n))
            ):
                outside = all(
                    level < base or (other is part and made == n)
                    for n in call.reads()
                    for level, other, made in self._makers_of(n)
                )
                if outside and self._joins(part, call, axis, shape):
                    return part
        if old is not None:
            base = max([base, *(reader[0] for reader in self.readers().get(old, []))])
        reads = {self.recording.root(n) for n in call.reads()}
        for part in self.parts:
            near = math.prod(shape) == 1 or reads & {*map(self.recording.root, part.reads())}
            if part.level == base + 1 and near and self._joins(part, call, axis, shape):
                return part
        part = Part(base + 1, shape, axis)
        self.parts.append(part)
        return part

    def _last_to_read(self, old: int | None, part: Part) -> bool:
        readers = [] if old is None else self.readers().get(old, [])
        return all(reader[0] < part.level or reader[1] is part for reader in readers)

    def _frame(self, call: Call) -> tuple[int | None, tuple[int, int]]:
        """The axis and the frame that a call needs."""
        likes = self.recording.likes
        if call.function is np.matmul:
            return 2, shape_of(likes[call.out])
        if call.function in (_sum, _max):
            axis = call.arguments[1]
            return int(axis), shape_of(likes[call.reads()[0]])
        lines = call.function is _take and likes[call.reads()[0]].ndim == 2
        if call.function is _take and not (lines and call.arguments[2] in (0, 1)):
            raise Unprintable("a take that is not of rows or columns")
        return None, shape_of(likes[call.out])

    def _joins(self, part: Part, call: Call, axis: int | None, shape: tuple[int, int]) -> bool:
        if len(part.calls) >= LONGEST or axis == 2:
            return False
        own, reads = part.makes(), call.reads()
        inner = {n for n in own if self.is_inner(part, n)}
        if axis is not None:
            if part.shape != shape or part.axis not in (None, axis) or own & {*reads} - inner:
                return False
            part.axis = axis
            return True
        if shape == part.shape:
            return True
        flat = part.axis in (0, 1) and shape == self.outer(part)
        return flat and call.function is not _take and not inner & {*reads}

    def outer(self, part: Part) -> tuple[int, int]:
        """The frame without the axis of its sums."""
        rows, columns = part.shape
        return (1, columns) if part.axis == 0 else (rows, 1)

    def phases(self, part: Part) -> dict[int, int]:
        """How many sums, one after the other, each value of a part depends on."""
        found: dict[int, int] = {}
        for _, call in part.calls:
            known = max((found.get(n, 0) for n in call.reads()), default=0)
            found[call.out] = known + reduces(call)
        return found

    def is_inner(self, part: Part, n: int) -> bool:
        """Whether a part makes an entry of ``n`` for each step along its axis."""
        call = next(call for _, call in part.calls if call.out == n)
        if call.function in (_sum, _max):
            return False
        return part.axis != 2 and shape_of(self.recording.likes[n]) == part.shape

    def readers(self) -> Readers:
        """For every root, its readers: the level, the part, the slot and the call of each."""
        found: Readers = {}
        work = [(part.level, part, call) for part in self.parts for _, call in part.calls]
        for level, part, call in [*work, *((level, None, c) for level, c in self.products)]:
            for n in call.reads():
                found.setdefault(self.recording.root(n), []).append((level, part, n, call))
        return found

    def _sink(self) -> None:
        """Move a call into the only part that reads its value, so that the value is not stored."""
        readers = self.readers()
        for part in reversed(list(self.parts)):
            for place, call in reversed(list(part.calls)):
                plain = call.function not in (_sum, _max, _take, np.matmul)
                if plain and (place, call) in part.calls and self._sink_call(part, call, readers):
                    readers = self.readers()
        self.parts = [part for part in self.parts if part.calls]

    def _sink_call(self, part: Part, call: Call, readers: Readers) -> bool:
        recording, shape = self.recording, shape_of(self.recording.likes[call.out])
        targets = {(reader, n == call.out) for _, reader, n, _ in readers.get(call.out, [])}
        target = next(iter(targets))[0] if len(targets) == 1 else None
        if not target or target is part or (target, False) in targets or target.shape != shape:
            return False
        moved, waiting = {call.out}, [call]
        while waiting:  # and the calls whose values nothing else reads
            for n in {recording.root(n): n for n in waiting.pop().reads()}.values():
                if n in moved or not any(m[1] is part for m in self._makers_of(n)):
                    continue
                made = next((c for _, c in part.calls if c.out == n), call)
                if (
                    made is call
                    or made.function in (_sum, _max, _take, np.matmul)
                    or shape_of(recording.likes[n]) != shape
                    or any(c.out not in moved for *_, c in readers[n])
                ):
                    return False
                moved.add(n)
                waiting.append(made)
        if len(target.calls) + len(moved) > LONGEST:
            return False
        sunk = [item for item in part.calls if item[1].out in moved]
        part.calls = [item for item in part.calls if item not in sunk]
        target.calls = sorted(sunk + target.calls, key=lambda item: item[0])
        self.makers |= {n: [(target.level, target, n)] for n in moved}
        return True

    def _delay(self) -> None:
        """Move a part that can wait to the level of a part that cannot: they share a launch."""
        last = max((x.level for x in self.parts), default=0)
        readers = self.readers()

        def latest(part: Part, wait: Callable[[Part], int]) -> int:
            found = last
            for n in part.makes():
                for level, reader, *_ in readers.get(self.recording.root(n), []):
                    if reader is not part:
                        found = min(found, (level if reader is None else wait(reader)) - 1)
            return found

        late: dict[Part, int] = {}
        for part in sorted(self.parts, key=lambda x: -x.level):
            late[part] = latest(part, late.__getitem__)
        fixed = {part.level for part in self.parts if late[part] == part.level}
        for part in sorted(self.parts, key=lambda x: -x.level):
            until = latest(part, lambda x: x.level)
            part.level = min((t for t in fixed if part.level <= t <= until), default=part.level)


def split(parts: Iterable[Part]) -> list[list[Part]]:
    """The parts of one level as kernels that are not too long."""
    kernels: list[list[Part]] = []
    for part in parts:
        if kernels and sum(len(p.calls) for p in [*kernels[-1], part]) <= LONGEST:
            kernels[-1].append(part)
        else:
            kernels.append([part])
    return kernels
