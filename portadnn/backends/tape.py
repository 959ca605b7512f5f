"""A step of NumPy calls, recorded once, then repeated with little Python between the calls.

A pure step makes the same calls every time, so one step is run with stand-ins for its arrays that
note every call, as a compiler traces a program. The calls are then repeated in a flat loop that
writes into buffers made beforehand: no allocation, no dictionaries, no checks. The bits are those
of the step itself.

The list of calls is changed in three ways. Calls whose results nobody reads are left out. A buffer
is used again after its last reader, and a state is updated in place if possible. Long runs of
elementwise calls go over their arrays a block at a time, so that a block stays in the processor's
cache from the first call to the last.

References
----------
Frostig, Johnson and Leary, Compiling machine learning programs via high-level tracing (2018).
"""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portadnn.backends.program import program_of
from portadnn.backends.recording import Call, Recording, Slot, Stand, Untraceable, _where
from portadnn.backends.threads import SMALL_PRODUCT, one_thread
from portadnn.backends.trees import flatten, unflatten

LARGEST_CACHE = 32  # recordings, which hold no arrays


@dataclass(eq=False)
class Tape:
    """A recorded step that can be repeated."""

    recording: Recording
    state: list[int]
    inputs: list[int]
    shared: list[int]
    new_state: list[int]
    outputs: list[int]
    structures: tuple[Any, Any]
    place: dict[int, int] = field(default_factory=dict)  # the buffer of each slot that is written

    def __post_init__(self) -> None:
        self._order_calls()
        self._place_in_buffers()
        self.lasting = set(self._needed(self.new_state))  # the calls that the next step needs

    @functools.cached_property
    def largest_product(self) -> int:
        """The multiplications of the largest product of matrices."""
        likes = self.recording.likes
        shapes = [
            [likes[n].shape for n in call.reads()]
            for call in self.recording.calls
            if call.function is np.matmul
        ]
        return max((x[0] * x[1] * y[1] for x, y in shapes), default=0)

    def _needed(self, results: Iterable[int]) -> list[Call]:
        """The calls that make ``results``, in order."""
        recording = self.recording
        wanted = {recording.root(n) for n in results}
        needed = []
        for call in reversed(recording.calls):
            if recording.root(call.out) in wanted:
                needed.append(call)
                wanted |= {recording.root(n) for n in call.reads()}
        return needed[::-1]

    def _order_calls(self) -> None:
        """Drop calls whose result is never read; hoist scalar calls, which would split runs."""
        recording, given = self.recording, {*self.inputs}
        calls = self._needed((*self.new_state, *self.outputs))
        scalar = [c for c in calls if c.elementwise and recording.likes[c.out].size == 1]
        first = [c for c in scalar if given >= {*c.reads()}]
        recording.calls = first + self._sunk([c for c in calls if c not in first])
        recording.kept = {recording.root(n) for n in (*self.new_state, *self.outputs)}

    def _sunk(self, calls: list[Call]) -> list[Call]:
        """The calls, each elementwise call right before its first reader, to make longer runs."""
        root, likes = self.recording.root, self.recording.likes
        reads = {call: {root(n) for n in call.reads()} for call in calls}
        following: list[Call] = []  # the last first
        for call in reversed(calls):
            out, at = root(call.out), len(following)
            for i in reversed(range(len(following))) if call.elementwise else ():
                later = following[i]
                written = root(later.out)
                if out in reads[later] or out == written:
                    if later.elementwise and likes[later.out].shape == likes[call.out].shape:
                        at = i + 1
                    break
                if written in reads[call]:
                    break
            following.insert(at, call)
        return following[::-1]

    def _place_in_buffers(self) -> None:
        """Give every written slot a buffer, named by the first slot that had it."""
        recording = self.recording
        root = recording.root
        last_read: dict[int, int] = {}
        for i, call in enumerate(recording.calls):
            for n in (*call.reads(), call.out):
                last_read[root(n)] = i
        end = len(recording.calls)
        for n in (*self.new_state, *self.outputs):
            last_read[root(n)] = end
        given = {*self.state, *self.inputs, *self.shared}
        # the old state that each new state may overwrite
        home: dict[int, int] = {}
        for old, new in zip(self.state, self.new_state, strict=True):
            if new not in given and new not in recording.views and new not in home:
                home[new] = old
        free: dict[Any, list[int]] = {}
        for i, call in enumerate(recording.calls):
            out = root(call.out)
            dying = {root(n) for n in call.reads() if last_read[root(n)] == i}
            if out not in self.place and out not in given:
                like = recording.likes[out]
                kind = like.shape, like.dtype, like.strides
                old = home.get(out, -1)
                same = old >= 0 and kind == (
                    recording.likes[old].shape,
                    recording.likes[old].dtype,
                    recording.likes[old].strides,
                )
                done = last_read.get(old, -1) < i or (
                    old in dying
                    and call.elementwise
                    and call.function is not _where  # which writes before it has read all
                    and self._only_whole(call, old)
                )
                if same and done:
                    self.place[out] = old
                elif free.get(kind):
                    self.place[out] = free[kind].pop()
                else:
                    self.place[out] = out
            for n in dying - given - {out}:
                like = recording.likes[n]
                buffer = self.place.get(n, -1)
                if buffer >= 0 and buffer not in given:
                    free.setdefault((like.shape, like.dtype, like.strides), []).append(buffer)

    def _only_whole(self, call: Call, slot: int) -> bool:
        """Whether a call reads a slot as it is, not through a view: then it may overwrite it."""
        return all(n == slot for n in call.reads() if self.recording.root(n) == slot)

    def repeat(self, state: Any, inputs: Any, shared: Any, every_output: bool) -> tuple[Any, Any]:
        """Run the step once per leading index of ``inputs``."""
        likes = self.recording.likes
        given, stacked = flatten(state)[0], flatten(inputs)[0]
        n = len(stacked[0])
        arrays: dict[int, Any] = dict(zip(self.shared, flatten(shared)[0], strict=True))
        for number, x in zip(self.state, given, strict=True):
            arrays[number] = np.empty_like(likes[number])
            arrays[number][...] = x
        for number in self.inputs:
            arrays[number] = np.empty_like(likes[number])
        for buffer in set(self.place.values()) - arrays.keys():
            arrays[buffer] = np.empty_like(likes[buffer])
        for number, buffer in self.place.items():
            arrays[number] = arrays[buffer]

        # a recursive closure would be a reference cycle, which keeps the buffers alive
        array = functools.partial(_array, arrays, self.recording.views)
        calls = []
        for call in self.recording.calls:
            operands = [array(x.number) if isinstance(x, Slot) else x for x in call.arguments]
            calls.append((call, operands, array(call.out)))
        kept = [np.empty((n, *likes[number].shape), likes[number].dtype) for number in self.outputs]
        ends = [(rows, array(number)) for rows, number in zip(kept, self.outputs, strict=True)]
        moves = self._moves(array)
        starts = [(arrays[number], rows) for number, rows in zip(self.inputs, stacked, strict=True)]
        whole = quiet = program_of(calls, self.recording)
        if not every_output and n > 2:
            lasting = [c for c in calls if c[0] in self.lasting]
            quiet = program_of(lasting, self.recording)
        for i in range(n):
            for target, rows in starts:
                target[...] = rows[i]
            recorded = every_output or i in (0, n - 1)
            for function, arguments in whole if recorded else quiet:
                function(*arguments)
            for rows, value in ends:
                rows[i] = value if recorded else np.nan
            for target, value in moves:
                target[...] = value
        states, outputs = self.structures
        new = iter([arrays[number] for number in self.state])
        return unflatten(states, new), unflatten(outputs, iter(kept))

    def _moves(self, array: Callable[[int], Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Copies (target, source) of the new state, in an order that overwrites no source."""
        moves = [
            (array(old), array(new))
            for old, new in zip(self.state, self.new_state, strict=True)
            if array(old) is not array(new)
        ]
        ordered: list[tuple[np.ndarray, np.ndarray]] = []
        while moves:
            ready = [
                i
                for i, (target, _) in enumerate(moves)
                if not any(
                    np.may_share_memory(target, value)
                    for j, (_, value) in enumerate(moves)
                    if j != i
                )
            ]
            if ready:
                ordered.append(moves.pop(ready[0]))
            else:  # a cycle, which needs a copy
                target, value = moves.pop()
                between = np.empty_like(value)
                ordered.insert(0, (between, value))
                moves.append((target, between))
        return ordered


def _array(arrays: dict[int, Any], views: dict[int, Any], number: int) -> Any:
    """The array of a slot, which may be a view of another."""
    if number not in arrays:
        of, function = views[number]
        arrays[number] = function(_array(arrays, views, of))
    return arrays[number]


_TAPES: OrderedDict[Any, Tape | None] = OrderedDict()


def tape_for(step: Any, state: Any, inputs: Any, shared: Any) -> Tape | None:
    """The tape of a step, recorded if it is new; None if it cannot be recorded."""
    parts = [flatten(tree) for tree in (state, inputs, shared)]
    kinds = tuple(  # the inputs without the axis of the steps: a recording serves any number
        None if x is None else (x.shape[skip:], x.dtype, x.strides[skip:])
        for (leaves, _), skip in zip(parts, (0, 1, 0), strict=True)
        for x in leaves
    )
    structures = tuple(structure for _, structure in parts)
    key = step, kinds, structures
    if key not in _TAPES:
        _TAPES[key] = _record(step, state, inputs, shared)
        if len(_TAPES) > LARGEST_CACHE:
            _TAPES.popitem(last=False)
    return _TAPES[key]


def repeat(
    step: Any, state: Any, inputs: Any, shared: Any, every_output: bool = True
) -> tuple[Any, Any] | None:
    """As ``Backend.repeat``, by a tape; None if the step cannot be recorded."""
    tape = tape_for(step, state, inputs, shared)
    if tape is None:
        return None
    with one_thread if tape.largest_product <= SMALL_PRODUCT else contextlib.nullcontext():
        return tape.repeat(state, inputs, shared, every_output)


def _record(step: Any, state: Any, inputs: Any, shared: Any) -> Tape | None:
    return tape_of(Tape, Recording(), step, state, _first(inputs), shared)


def _first(inputs: Any) -> Any:
    leaves, structure = flatten(inputs)
    return unflatten(structure, iter([x[0] for x in leaves]))


def tape_of(
    kind: type[Tape], recording: Recording, step: Any, state: Any, inputs: Any, shared: Any
) -> Any:
    """The tape of a step, from the inputs of one step; None if it cannot be recorded."""

    def stands(leaves: list[Any]) -> list[Any]:
        return [None if x is None else recording.stand(x) for x in leaves]

    groups, trees = [], []
    for tree in (state, inputs, shared):
        leaves, structure = flatten(tree)
        groups.append(stands(leaves))
        trees.append(unflatten(structure, iter(groups[-1])))
    try:
        new_state, outputs = step(*trees)
    except Untraceable:
        return None
    (new, structure), (made, output_structure) = flatten(new_state), flatten(outputs)
    if not all(isinstance(x, Stand) for x in (*new, *made)) or structure != flatten(state)[1]:
        return None
    given, inputs_, data = ([-1 if x is None else x.number for x in group] for group in groups)
    return kind(
        recording,
        given,
        inputs_,
        data,
        [x.number for x in new],
        [x.number for x in made],
        (structure, output_structure),
    )
