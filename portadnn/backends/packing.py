"""Small calls of one kind as one call: their arrays lie side by side in another.

A call of NumPy on 100 entries takes as long as one on a single entry, and reproducible arithmetic
makes some 60 of them for the units of every product. Those of all weights do not need each other,
nor those of all gradients of weights.

References
----------
Larsen and Amarasinghe, Exploiting superword level parallelism with multimedia instruction sets
(2000).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from portadnn.backends import recording as made_by
from portadnn.backends.recording import Call, Recording, Slot

SMALL = 2048  # entries; a call on more is worth its own price
# rounded as IEEE 754 says: an entry has the same bits wherever it lies
EXACT: set[Any] = {np.add, np.subtract, np.multiply, np.divide, np.sqrt, np.absolute, np.rint}
EXACT |= {np.floor, np.less, np.greater, np.logical_not, made_by._cast, made_by._masked}
EXACT |= {made_by._where, made_by._maximum, made_by._minimum}


def packed(recording: Recording, given: set[int]) -> list[Call]:
    """The calls of a recording, in an order that may be another; ``given`` slots are not moved."""
    calls, likes, fixed = recording.calls, recording.likes, given | recording.kept
    roots = [recording.root(n) for n in range(len(likes))]
    operands = [(*call.arguments, Slot(call.out)) for call in calls]
    sizes = [likes[call.out].size for call in calls]
    home: dict[int, tuple[int, int]] = {}  # the pack of a slot, and where in it the slot begins

    def kind(x: Any, size: int) -> Any:
        """The pack of an operand, -1 if it may get one; a single entry; None for all else."""
        if not isinstance(x, Slot):
            return "constant" if isinstance(x, np.ndarray) and x.size == 1 else None
        like, root = likes[x.number], roots[x.number]
        in_order = like.flags.c_contiguous and (x.number == root or size in (1, *like.shape))
        if like.size == size == likes[root].size and in_order and root not in fixed:
            return home.get(root, (-1,))[0], like.dtype
        return x if like.size == 1 else None

    def ends(i: int, after: int) -> list[int]:
        slots = (roots[x.number] for x in operands[i] if isinstance(x, Slot))
        return [home[r][1] + after * likes[r].size for r in slots if r in home]

    def joined(run: list[int]) -> Call | None:
        """The calls as one, or None if what they have at one place does not lie side by side."""
        made: list[Any] = []
        starts = [0, *itertools.accumulate(sizes[i] for i in run)]
        for place, first in enumerate(operands[run[0]]):
            found = [operands[i][place] for i in run]
            if isinstance(first, np.ndarray):  # each call's own number
                each = [np.full((1, sizes[i]), x) for i, x in zip(run, found, strict=True)]
                made.append(first if len({*map(bytes, found)}) == 1 else np.concatenate(each, 1))
                continue
            if first == kinds[run[0]][place]:  # the same entry in all
                made.append(first)
                continue
            slots = [roots[x.number] for x in found]
            dtype = likes[first.number].dtype
            if not home.keys() & {*slots} and len({*slots}) == len(slots):
                pack = recording.row(starts[-1], dtype)
                for r, a, b in zip(slots, starts, starts[1:], strict=False):
                    home[r], shape = (pack, a), likes[r].shape
                    recording.views[r] = pack, lambda x, a=a, b=b, s=shape: x[0, a:b].reshape(s)
            pack, begin = home.get(slots[0], (-1, 0))
            if [home.get(r) for r in slots] != [(pack, begin + a) for a in starts[:-1]]:
                return None
            made.append(Slot(recording.row(starts[-1], dtype)))
            part = slice(begin, begin + starts[-1])
            recording.views[made[-1].number] = pack, lambda x, part=part: x[:, part]
        return Call(calls[run[0]].function, tuple(made[:-1]), made[-1].number, True)

    before, times = _times(calls, roots)
    nodes: list[tuple[list[int], Call]] = []
    kinds: dict[int, tuple[Any, ...]] = {}
    in_time = sorted(range(len(calls)), key=times.__getitem__)
    for _, level in itertools.groupby(in_time, times.__getitem__):
        alike: dict[Any, list[int]] = {}
        for i in level:
            kinds[i] = tuple(kind(x, sizes[i]) for x in operands[i])
            fits = calls[i].function in EXACT and sizes[i] <= SMALL and None not in kinds[i]
            fits = fits and isinstance(kinds[i][-1], tuple)
            alike.setdefault((calls[i].function, kinds[i]) if fits else i, []).append(i)
        runs: list[list[int]] = []  # in each, those that have a place lie one after the other
        for members in alike.values():
            for i in sorted(members, key=lambda i: ends(i, 0)):
                if runs and runs[-1][-1] in members and ends(runs[-1][-1], 1) == ends(i, 0):
                    runs[-1].append(i)
                else:
                    runs.append([i])
        for run in runs:
            call = joined(run) if len(run) > 1 else None
            nodes += [(run, call)] if call else [([i], calls[i]) for i in run]
    at: dict[int, int] = {}  # as soon after their old places as what they need allows
    reader = dict.fromkeys(range(len(calls)), len(calls))  # the place of the first that needs each
    for run, _ in nodes:
        at |= dict.fromkeys(run, max(*run, -1, *(at[j] for i in run for j in before[i])))
    for run, call in reversed(nodes):  # elementwise ones right before that, to be a run with it
        first = min(reader[i] for i in run)
        if call.elementwise and sizes[run[0]] > 1 and first < len(calls):
            at |= dict.fromkeys(run, first)
        for j in (j for i in run for j in before[i]):
            reader[j] = min(reader[j], at[run[0]])
    return [call for _, call in sorted(nodes, key=lambda node: at[node[0][0]])]


def _times(calls: list[Call], roots: list[int]) -> tuple[list[set[int]], list[tuple[int, int]]]:
    """The calls that come before each, and its time: calls of one time do not need each other.

    A time is a stage, which ends with a product of matrices, and a step in it. What no product
    comes before is in the first stage if two follow, all else in the last one that it can be in.
    """
    before: list[set[int]] = []
    writer: dict[int, int] = {}
    readers: dict[int, set[int]] = {}
    for i, call in enumerate(calls):
        reads, out = {roots[n] for n in call.reads()}, roots[call.out]
        before.append({writer[r] for r in {*reads, out} if r in writer} | readers.pop(out, set()))
        for r in reads:
            readers.setdefault(r, set()).add(i)
        writer[out] = i
        if getattr(call.function, "in_order", False):  # it may wait for another process
            before[i] |= {writer[-1]} if -1 in writer else set()
            writer[-1] = i
    product = [call.function is np.matmul for call in calls]
    up, down, left = ([0] * len(calls) for _ in range(3))  # the last: steps to the stage's end
    for i, needed in enumerate(before):
        up[i] = max((up[j] + product[j] for j in needed), default=0)
    for i in reversed(range(len(calls))):
        for j in before[i]:
            down[j] = max(down[j], down[i] + product[i])
    last = max(map(sum, zip(up, product, down, strict=True)))
    both = zip(up, product, down, strict=True)
    stage = [last - b - p if a or b < 2 else 0 for a, p, b in both]
    here = [[j for j in before[i] if stage[j] == stage[i]] for i in range(len(calls))]
    for i in reversed(range(len(calls))):
        for j in here[i]:
            left[j] = max(left[j], left[i] + 1)
    times: list[tuple[int, int]] = []
    for i, near in enumerate(here):
        step = max((times[j][1] + 1 for j in near), default=-left[i] if stage[i] else 0)
        times.append((stage[i], step))
    return before, times
