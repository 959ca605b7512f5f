"""Parts of a recorded step, printed as CUDA.

Operations that round are printed as the step has them. The compiler must not contract them.

References
----------
NVIDIA, CUDA C++ programming guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portadnn.backends.recording import Call, Recording, Slot, _max, _take
from portadnn.backends.schedule import Part, Schedule, Unprintable, reduces

THREADS = 256  # threads in a block
BLOCKS = 1056  # the most blocks of a part whose threads take several entries
LARGEST_INT = 2**31 - 1
KEPT = 16  # values of a thread that stay in registers from one loop to the next

TYPES = {"float32": "float", "float64": "double", "bool": "bool", "int32": "int",
         "int64": "long long"}  # fmt: skip
# {f} is 'f' for float32, else ''; a comparison with NaN is false, and a maximum with NaN is NaN
FORMS = {
    "add": "({0} + {1})", "subtract": "({0} - {1})", "multiply": "({0} * {1})",
    "divide": "({0} / {1})", "negative": "(-{0})", "absolute": "fabs{f}({0})",
    "square": "({0} * {0})", "sqrt": "sqrt{f}({0})", "exp": "exp{f}({0})",
    "expm1": "expm1{f}({0})", "log": "log{f}({0})", "log2": "log2{f}({0})",
    "log1p": "log1p{f}({0})", "tanh": "tanh{f}({0})", "floor": "floor{f}({0})",
    "rint": "rint{f}({0})",
    "copysign": "copysign{f}({0}, {1})", "isfinite": "isfinite({0})", "isnan": "({0} != {0})",
    "greater": "({0} > {1})", "greater_equal": "({0} >= {1})", "less": "({0} < {1})",
    "less_equal": "({0} <= {1})", "equal": "({0} == {1})", "not_equal": "({0} != {1})",
    "logical_and": "({0} && {1})", "bitwise_and": "({0} & {1})", "logical_or": "({0} || {1})",
    "bitwise_or": "({0} | {1})", "logical_not": "(!{0})", "invert": "(!{0})",
    "sign": "({0} > 0 ? 1 : {0} < 0 ? -1 : {0} == 0 ? 0 : {0})",
    "_maximum": "({0} >= {1} || {0} != {0} ? {0} : {1})",
    "_minimum": "({0} <= {1} || {0} != {0} ? {0} : {1})",
    "_where": "({0} ? {1} : {2})", "_masked": "({0} ? {1} : 0)", "_cast": "{0}", "_filled": "{1}",
}  # fmt: skip


_LEAST = "-__int_as_float(0x7f800000)"


@dataclass(eq=False)
class Kernel:
    """The source of one launch, and the roots whose addresses it takes, in order."""

    schedule: Schedule
    parts: list[Part]
    stored: set[int]  # slots that others read
    rows: dict[int, int]  # the entries of a row, for roots with a row for each step
    roots: list[int] = field(default_factory=list)
    blocks: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        body, self.level = [], self.parts[0].level
        for i, part in enumerate(self.parts):
            lines, count = _Printed(self, part).lines()
            self.blocks, first = self.blocks + count, self.blocks
            body += [f"{'} else ' if i else ''}if (blockIdx.x < {self.blocks}) {{"]
            body += [f"const int block = blockIdx.x - {first}, blocks = {count};", *lines]
        likes = self.schedule.recording.likes
        takes = [f"{TYPES[likes[n].dtype.name]}* p{i}" for i, n in enumerate(self.roots)]
        shared = [
            f"__shared__ {t} {t}_room[{THREADS}];" for t in ("float", "double")
            if any(f"{t}_room" in line for line in body)
        ]  # fmt: skip
        start = [
            "const int thread = threadIdx.x;", "const long long s = *step;",
            "if (blockIdx.x == 0 && thread == 0) *next = s + more;",
        ]  # fmt: skip
        takes = ["const long long* step", "long long* next", "long long more", *takes]
        lines = [f"run({', '.join(takes)}) {{", *start, *shared, *body, "}", "}", ""]
        head = f'extern "C" __global__ void __launch_bounds__({THREADS})'
        self.source = "\n".join([head, *lines])

    def entry(self, n: int, row: str, column: str) -> str:
        """The C expression for an entry of a slot."""
        recording = self.schedule.recording
        root = recording.root(n)
        if root not in self.roots:
            self.roots.append(root)
        offset, (down, right) = layout(recording, n)
        wide = "ll" if recording.likes[root].size > LARGEST_INT else ""
        terms = [
            f"{x} * {k}{wide}" if k != 1 else x
            for x, k in ((row, down), (column, right))
            if k and x != "0"
        ]
        terms += [f"s * {self.rows[root]}"] if root in self.rows else []
        terms += [str(offset)] if offset or not terms else []
        return f"p{self.roots.index(root)}[{' + '.join(terms)}]"


def layout(recording: Recording, n: int) -> tuple[int, tuple[int, int]]:
    """A slot's offset in its root, and its strides from row to row and column to column."""

    def seen(n: int) -> Any:
        of, function = recording.views.get(n, (n, None))
        return recording.likes[n] if function is None else function(seen(of))

    root, x = recording.likes[recording.root(n)], seen(n)
    start = x.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    strides = (0, 0, *(s if k > 1 else 0 for s, k in zip(x.strides, x.shape, strict=True)))
    return start // x.itemsize, tuple(s // x.itemsize for s in strides[-2:])


class _Printed:
    """The lines of a part."""

    def __init__(self, kernel: Kernel, part: Part) -> None:
        self.kernel, self.part, self.schedule = kernel, part, kernel.schedule
        self.recording, self.likes = kernel.schedule.recording, kernel.schedule.recording.likes
        (rows, columns), axis = part.shape, part.axis
        self.length = 1
        if axis == 2:
            first = part.calls[0][1]
            x, y = (layout(self.recording, n)[1] for n in first.reads())
            self.length = self.likes[first.reads()[0]].shape[1]
            self.along = x[1] == 1 and y[0] == 1  # contiguous along the sum
            self.lanes = (32 if self.along else 8) if self.length > KEPT else 1
        elif axis == 1:
            self.length, self.along, self.lanes = columns, True, 256 if columns > 64 else 32
        elif axis == 0:
            self.length, self.along = rows, False
            width = min(8, 1 << (columns - 1).bit_length())
            self.lanes = 1 if rows <= KEPT else THREADS // width
        else:
            self.along, self.lanes = True, 1
        self.entries = columns if axis == 0 else rows if axis == 1 else rows * columns
        self.outers = THREADS // self.lanes
        self.turns = -(-self.length // self.lanes)
        self.kept = self.turns <= KEPT
        if max(self.entries, self.length) + BLOCKS * THREADS > LARGEST_INT:
            raise Unprintable(f"an array of {rows} x {columns} entries, which 32 bits cannot count")

    def lines(self) -> tuple[list[str], int]:
        part, axis = self.part, self.part.axis
        columns = part.shape[1]
        inner = {n for n in part.makes() if axis is not None and self.schedule.is_inner(part, n)}
        self.phase = self.schedule.phases(part)
        self.inner = inner
        split = (
            [
                "const int lane = thread % {0}, own = thread / {0};",
                "const int own = thread % {1}, lane = thread / {1};",
            ]
        )[not self.along].format(self.lanes, self.outers)
        out = [split]
        if axis is None:
            blocks = min(-(-self.entries // THREADS), BLOCKS)
            out += [
                f"for (int o = block * {THREADS} + thread; o < {self.entries}; ",
                f"o += blocks * {THREADS}) {{",
            ]
            out += ["const bool live = true;"]
        else:
            blocks = -(-self.entries // self.outers)
            out += [f"const int at = block * {self.outers} + own, o = min(at, {self.entries - 1});"]
            out += [f"const bool live = at < {self.entries};", "{"]
        if axis in (None, 2):
            out += [f"const int r = o / {columns}, c = o % {columns};"]
        # row and column of an entry inside and outside of the loop along the axis
        self.at, self.flat = ("r", "c"), ("r", "c")
        if axis in (0, 1):
            self.at, self.flat = (("i", "o"), ("0", "o")) if axis == 0 else (("o", "i"), ("o", "0"))
        self.names: dict[int, str] = {}
        stores: list[str] = []
        for phase in range(max(self.phase.values()) + 1):
            outer = [
                c
                for _, c in part.calls
                if c.out not in inner and self._begins(c) == phase and not reduces(c)
            ]
            for call in outer:
                out += self._made(call, self.flat, self.names)
                if call.out in self.kernel.stored:
                    where = self.kernel.entry(call.out, *self.flat)
                    stores += [f"if (live && lane == 0) {where} = v{call.out};"]
            out += self._loop(phase)
        wait = ["__syncthreads();"] if stores and self.lanes > 1 else []  # others may still read
        return [*out, *wait, *stores, "}"], blocks

    def _begins(self, call: Call) -> int:
        return self.phase[call.out] - reduces(call)

    def _loop(self, phase: int) -> list[str]:
        """The loop along the axis that makes the inner values and the sums of a phase."""
        calls = [c for _, c in self.part.calls if self._begins(c) == phase]
        reductions = [c for c in calls if reduces(c)]
        inner = [c for c in calls if c.out in self.inner]
        if not inner and not reductions:
            return []
        names = dict(self.names)
        before, within = [], []
        for call in inner:
            within += self._made(call, self.at, names)
            crosses = any(
                self._begins(c) > phase for _, c in self.part.calls if call.out in c.reads()
            )
            if crosses and self.kept:
                before += [f"{self._type(call.out)} w{call.out}[{self.turns}];"]
                within += [f"w{call.out}[j] = v{call.out};"]
            if call.out in self.kernel.stored or (crosses and not self.kept):
                within += [f"if (live) {self.kernel.entry(call.out, *self.at)} = v{call.out};"]
        after: list[str] = []
        for call in reductions:
            n, t = call.out, self._type(call.out)
            if t not in ("float", "double"):
                raise Unprintable(f"a sum of {t}")
            if call.function is np.matmul:
                x, y = call.reads()
                value = f"{self.kernel.entry(x, 'r', 'i')} * {self.kernel.entry(y, 'i', 'c')}"
            else:
                value = self._value(call.reads()[0], self.at, names, within)
            form = FORMS["_maximum" if call.function is _max else "add"]
            before += [f"{t} v{n} = {_LEAST if call.function is _max else '0'};"]
            within += [f"const {t} x{n} = {value};", f"v{n} = {form.format(f'v{n}', f'x{n}')};"]
            if self.lanes > 1:
                after += self._over_lanes(f"v{n}", f"{t}_room", form)
            if n in self.kernel.stored:
                after += [f"if (live && lane == 0) {self.kernel.entry(n, *self.flat)} = v{n};"]
            self.names[n] = f"v{n}"
        unroll = ["#pragma unroll"] if self.kept else []
        loop = f"for (int j = 0, i = lane; j < {self.turns}; ++j, i += {self.lanes}) "
        guard = f"if (i < {self.length}) " if self.length % self.lanes else ""
        return [*before, *unroll, loop + guard + "{", *within, "}", *after]

    def _over_lanes(self, value: str, room: str, form: str) -> list[str]:
        next_lane = 1 if self.along else self.outers
        other = f"{room}[thread + d * {next_lane}]"
        return [
            f"{room}[thread] = {value};", "__syncthreads();",
            f"for (int d = {self.lanes // 2}; d > 0; d /= 2) {{",
            f"if (lane < d) {room}[thread] = {form.format(f'{room}[thread]', other)};",
            "__syncthreads();", "}",
            f"{value} = {room}[thread - lane * {next_lane}];", "__syncthreads();",
        ]  # fmt: skip

    def _type(self, n: int) -> str:
        return TYPES[self.likes[n].dtype.name]

    def _made(self, call: Call, at: tuple[str, str], names: dict[int, str]) -> list[str]:
        """The lines that make a call's value."""
        lines: list[str] = []
        t = self._type(call.out)
        if call.function is _take:
            x, indices, axis = call.arguments
            index = self.kernel.entry(indices.number, "0", at[axis])
            lines += [f"const int k{call.out} = {index};"]
            place = list(at)
            place[axis] = f"k{call.out}"
            value = self.kernel.entry(x.number, *place)
        else:
            values = [
                self._value(x.number, at, names, lines) if isinstance(x, Slot)
                else _literal(x, self.likes[call.out].dtype)
                for x in call.arguments
            ]  # fmt: skip
            kinds = [self.likes[n].dtype for n in call.reads()] + [self.likes[call.out].dtype]
            suffix = "f" if next((k for k in kinds if k.kind == "f"), None) == np.float32 else ""
            if call.function.__name__ not in FORMS:
                raise Unprintable(call.function.__name__)
            value = FORMS[call.function.__name__].format(*values, f=suffix)
        names[call.out] = f"v{call.out}"
        return [*lines, f"const {t} v{call.out} = ({t}){value};"]

    def _value(self, n: int, at: tuple[str, str], names: dict[int, str], lines: list[str]) -> str:
        if n in names:
            return names[n]
        if n in self.inner and self.kept:
            return f"w{n}[j]"
        names[n] = f"v{n}"
        lines += [f"const {self._type(n)} v{n} = {self.kernel.entry(n, *at)};"]
        return names[n]


def _literal(x: Any, dtype: np.dtype) -> str:
    if isinstance(x, np.ndarray | np.generic):
        if x.size != 1:
            raise Unprintable("an array that the step makes itself")
        x, dtype = x.item(), x.dtype
    if dtype.kind != "f":
        return str(int(x))
    value = float(dtype.type(x))
    t = TYPES[dtype.name]
    if not math.isfinite(value):
        bits = int(np.float32(value).view(np.int32))
        return f"({t})__int_as_float({bits})"
    return f"({value.hex()}{'f' if t == 'float' else ''})"
