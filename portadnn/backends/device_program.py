"""A recorded step as launches of generated kernels and of cuBLAS.

The step is recorded without computing, its elementwise calls and sums are printed as CUDA, and
every array that more than one launch needs has a buffer. The new state overwrites the old one if
nothing reads the old one later. Kernels are compiled with IEEE rounding, without contraction, and
are kept on disk.

References
----------
NVIDIA, NVRTC, https://docs.nvidia.com/cuda/nvrtc/
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.arithmetic import Reproducible, reproducible
from portadnn.backends.graphs import same
from portadnn.backends.kernels import THREADS, Kernel
from portadnn.backends.normal import Normal
from portadnn.backends.recording import Recording
from portadnn.backends.schedule import Part, Schedule, Unprintable, reduces, split
from portadnn.backends.tape import _array, tape_of
from portadnn.backends.trees import flatten

SHARE = 2.0**-4
OPTIONS = ("--fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")


class Program:
    """A step that is bound to its buffers. A call launches the step on the device.

    Parameters
    ----------
    step : callable
        A ``functools.partial`` with a CuPy namespace as its keyword ``xp``.
    state, inputs, shared : trees of arrays
        The inputs are those of one step. The new state is written over ``state``.
    rows : list of arrays
        For each input, an array with a row for each step.
    counter : array
        The number of the current row.
    room : int
        The number of rows.

    Attributes
    ----------
    outputs : list of arrays
        One for each output, with a row for each step.
    form
        The structure of the outputs.
    """

    def __init__(
        self, step: Any, state: Any, inputs: Any, shared: Any, rows: list[Any], counter: Any,
        room: int,
    ) -> None:  # fmt: skip
        import cupy

        xp = step.keywords["xp"]
        import array_api_compat.numpy as plain

        self.exact = isinstance(xp, Reproducible)
        self.matmul = (xp.raw if isinstance(xp, Reproducible) else xp).matmul
        on_host = reproducible(plain) if isinstance(xp, Reproducible) else plain
        same = functools.partial(step.func, *step.args, **step.keywords | {"xp": on_host})
        with np.errstate(all="ignore"):
            tape = tape_of(Normal, Recording(in_rows=True), same, state, inputs, shared)
        if tape is None:
            raise Unprintable("the step cannot be recorded")
        self.tape, self.recording, self.form = tape, tape.recording, tape.structures[1]
        homes = dict(zip(tape.new_state, tape.state, strict=True))
        self.schedule = Schedule(self.recording, homes)
        self.readers = self.schedule.readers()
        likes = self.recording.likes
        self.outputs = [cupy.zeros((room, *likes[n].shape), likes[n].dtype) for n in tape.outputs]
        self.arrays = dict(zip(tape.state, flatten(state)[0], strict=True))
        self.arrays |= zip(tape.shared, flatten(shared)[0], strict=True)
        self.arrays |= zip(tape.inputs, rows, strict=True)
        self.arrays |= zip(tape.outputs, self.outputs, strict=True)
        self.in_rows = {n: likes[n].size for n in (*tape.inputs, *tape.outputs)}
        self.counter, self.counters = counter, cupy.zeros(3, cupy.int64)
        self.work: list[Any] = []
        self.after: list[Any] = []
        for old, new in zip(tape.state, tape.new_state, strict=True):
            if old != new and self._in_place(old, new):
                self.arrays[new] = self.arrays[old]
            elif old != new:
                self.arrays[new] = cupy.empty(likes[new].shape, likes[new].dtype)
                self.after.append((self.arrays[old], self.arrays[new]))
        self.terms = max((x for like in likes for x in like.shape), default=1)
        self._build()

    def __call__(self) -> None:
        for work in self.work:
            work()
        for old, new in self.after:
            old[...] = new
        if self.alone:
            self.counter += 1

    def agrees(self, old: list[Any], found: list[Any], plain: list[Any]) -> bool:
        """Whether the results of the program agree with those of the step's own calls.

        In reproducible arithmetic the bits must be the same. In fast arithmetic sums have another
        order. The 2-norm of an array's error may be SHARE of its change in the step, plus the
        rounding of the longest sum. The error of a wrong program is as large as the change.
        """
        import cupy

        if self.exact:
            return all(map(same, found, plain))
        before = [*old, *(None for _ in found[len(old) :])]
        for x, y, z in zip(found, plain, before, strict=True):
            x, y = x.astype(float), y.astype(float)
            finite = cupy.isfinite(y)
            if not bool(((x == y) | finite | ((x != x) & (y != y))).all()):
                return False
            change = y if z is None else y - z
            off, changed, size = (
                cupy.sqrt((cupy.where(finite, a, 0.0) ** 2).sum()) for a in (x - y, change, y)
            )
            rounding = self.terms * float(np.finfo(found[0].dtype).eps)
            if not bool(off <= SHARE * changed + rounding * size):
                return False
        return True

    def _in_place(self, old: int, new: int) -> bool:
        """Whether the new state may be written over the old one."""
        ((level, writer, _),) = self.schedule.makers[new]
        likes = self.recording.likes
        if writer is None or likes[old].strides != likes[new].strides:
            return False
        phases, inner = self.schedule.phases(writer), self.schedule.is_inner(writer, new)
        for at, part, n, _ in self.readers.get(old, []):
            if at < level:
                continue
            if part is not writer or n != old:
                return False
            later = any(
                phases[c.out] - reduces(c) > phases[new] for _, c in part.calls if old in c.reads()
            )
            if inner and writer.axis is not None and later:
                return False
        return True

    def _stored(self, part: Part) -> set[int]:
        """The slots of a part that something else reads."""
        lasting = {*self.tape.new_state, *self.tape.outputs}
        return {
            n for n in part.makes()
            if n in lasting or n in self.recording.views or any(
                reader is not part or read != n
                for _, reader, read, _ in self.readers.get(self.recording.root(n), [])
            )
        }  # fmt: skip

    def _build(self) -> None:
        schedule = self.schedule
        levels = {part.level for part in schedule.parts} | {level for level, _ in schedule.products}
        launches: list[tuple[int, Any]] = []
        for level in sorted(levels):
            launches += [(level, call) for at, call in schedule.products if at == level]
            for parts in split(part for part in schedule.parts if part.level == level):
                stored = set().union(*map(self._stored, parts))
                launches.append((level, Kernel(schedule, parts, stored, self.in_rows)))
        self._allocate(launches)
        self.kernels = [launch for _, launch in launches if isinstance(launch, Kernel)]
        self.functions = dict(
            zip(self.kernels, compiled([k.source for k in self.kernels]), strict=True)
        )
        self.alone = self.kernels[0].level == self.kernels[-1].level
        for _, together in itertools.groupby(launches, key=lambda item: item[0]):
            first, *others = [self._launched(launch, i) for i, (_, launch) in enumerate(together)]
            self.work.append(_SideBySide(first, others) if others else first)

    def _launched(self, launch: Any, number: int) -> Any:
        """A function without arguments that launches a kernel or a product."""
        if not isinstance(launch, Kernel):
            x, y = (_array(self.arrays, self.recording.views, n) for n in launch.reads())
            return functools.partial(self.matmul, x, y, self.arrays[launch.out], number)
        # the first level reads the counter, the last kernel sets it, all other kernels read a copy
        copy, nowhere = self.counters[1:2], self.counters[2:]
        read, write, more = copy, nowhere, 0
        if launch.level == self.kernels[0].level:
            read, write = self.counter, copy
        elif launch is self.kernels[-1]:
            write, more = self.counter, 1
        arrays = (self.arrays[n] for n in launch.roots)
        run = self.functions[launch]
        return functools.partial(
            run, (launch.blocks,), (THREADS,), (read, write, np.int64(more), *arrays)
        )

    def _allocate(self, launches: list[tuple[int, Any]]) -> None:
        """Give memory to every array of the launches, and give it again after the last use."""
        import cupy

        root, uses = self.recording.root, []
        for level, launch in launches:
            reads = [] if isinstance(launch, Kernel) else [root(n) for n in launch.reads()]
            uses += [(level, n) for n in (launch.roots if not reads else [*reads, launch.out])]
        last = {n: level for level, n in uses}
        free: list[Any] = []
        held: dict[int, Any] = {}
        for level, n in uses:
            free += [held.pop(m) for m in [*held] if last[m] < level]
            if n not in self.arrays:
                like = self.recording.likes[n]
                size = max(like.nbytes, 1)
                fits = [i for i, x in enumerate(free) if size <= x.size <= 2 * size]
                held[n] = free.pop(fits[0]) if fits else cupy.empty(size, cupy.uint8)
                room = held[n][: like.nbytes].view(like.dtype)
                self.arrays[n] = room.reshape(like.shape)


class _SideBySide:
    """Launches that do not depend on each other, each on a stream of its own."""

    def __init__(self, first: Any, others: list[Any]) -> None:
        import cupy

        def event() -> Any:
            return cupy.cuda.Event(disable_timing=True)

        # these must live as long as a graph that captured them
        self.first, self.start = first, event()
        self.others = [(work, cupy.cuda.Stream(non_blocking=True), event()) for work in others]

    def __call__(self) -> None:
        import cupy

        main = cupy.cuda.get_current_stream()
        self.start.record(main)
        for work, stream, end in self.others:
            stream.wait_event(self.start)
            with stream:
                work()
            end.record(stream)
        self.first()
        for _, _, end in self.others:
            main.wait_event(end)


def compiled(sources: list[str]) -> list[Any]:
    """The functions of kernels, read from the disk or compiled, several at a time."""
    import cupy
    from cupy.cuda import function

    def load(binary: bytes) -> Any:
        module = function.Module()
        module.load(binary)
        return module.get_function("run")

    with ThreadPoolExecutor() as pool:
        return [*map(load, pool.map(_binary, sources, [cupy.cuda.Device().id] * len(sources)))]


@functools.lru_cache(maxsize=256)
def _binary(source: str, number: int) -> bytes:
    import cupy
    from cupy.cuda import compiler, nvrtc

    with cupy.cuda.Device(number) as device:
        key = repr((source, OPTIONS, device.compute_capability, nvrtc.getVersion()))
        folder = os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache"
        path = Path(folder, f"portadnn-{hashlib.sha256(key.encode()).hexdigest()}")
        with contextlib.suppress(OSError):
            return path.read_bytes()
        binary: bytes = compiler.compile_using_nvrtc(source, OPTIONS)[0]
        with contextlib.suppress(OSError):  # if it cannot be kept, it is compiled again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(binary)
            os.replace(file.name, path)
        return binary
