"""The calls of a tape as a list of functions; runs of elementwise calls go block by block."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from portadnn.backends.recording import Recording, Slot

BLOCK = 2**14  # entries, so that the operands of a run of calls fit a cache of 1 MiB
FEWEST_BLOCKS = 2

Program: TypeAlias = list[tuple[Callable[..., Any], tuple[Any, ...]]]


def program_of(calls: list[Any], recording: Recording) -> Program:
    """The functions in order, each with its operands and its output."""
    program: Program = []
    users: dict[int, int] = {}
    for call, _, _ in calls:
        for n in {recording.root(n) for n in (*call.reads(), call.out)}:
            users[n] = users.get(n, 0) + 1
    for (size, _), group in itertools.groupby(calls, key=_run_key):
        run = list(group)
        if not size or len(run) < 2:
            program += [(call.function, (*operands, out)) for call, operands, out in run]
            continue
        room = _rooms(run, users, recording)
        parts = []
        for call, operands, out in run:
            slots = zip((*operands, out), (*call.arguments, Slot(call.out)), strict=True)
            parts.append((call.function, [_part(x, slot, room) for x, slot in slots]))
        for start in range(0, size, BLOCK):
            block = slice(start, min(start + BLOCK, size))
            first = slice(0, block.stop - start)
            for function, given in parts:
                taken = [x if r is None else x[first if r else block] for x, r in given]
                program.append((function, tuple(taken)))
    return program


def _rooms(run: list[Any], users: dict[int, int], recording: Recording) -> dict[int, np.ndarray]:
    """Buffers of one block for arrays that only the run uses; each is used again when free."""
    inside: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, (call, _, _) in enumerate(run):
        for n in {*call.reads(), call.out}:
            inside[n] = inside.get(n, 0) + 1
            last[n] = i
    rooms: dict[int, np.ndarray] = {}
    free: dict[Any, list[np.ndarray]] = {}
    for i, (call, _, _) in enumerate(run):
        out = call.out
        if out not in rooms and inside[out] == users[out] and out not in recording.kept:
            dtype = recording.likes[out].dtype
            waiting = free.get(dtype)
            rooms[out] = waiting.pop() if waiting else np.empty(BLOCK, dtype)
        for n in {*call.reads(), out}:
            if n in rooms and last[n] == i:
                free.setdefault(rooms[n].dtype, []).append(rooms[n])
    return rooms


def _part(x: Any, argument: Any, room: dict[int, np.ndarray]) -> tuple[Any, bool | None]:
    """An operand, and its kind: one block (True), a whole array (False) or a scalar (None)."""
    number = argument.number if isinstance(argument, Slot) else None
    if number in room:
        return room[number], True
    if not isinstance(x, np.ndarray):
        return x, None
    return (x.reshape(-1), False) if x.size > 1 else (x.reshape(()), None)


def _run_key(item: Any) -> tuple[int, Any]:
    """Calls with one key may go block by block: elementwise calls on arrays of one layout."""
    call, operands, out = item
    if out.size < FEWEST_BLOCKS * BLOCK:  # too short for blocks
        return 0, id(call)
    alike = call.elementwise and all(
        not isinstance(x, np.ndarray)
        or x.size == 1
        or (x.shape == out.shape and x.flags.c_contiguous)
        for x in (*operands, out)
    )
    return (out.size, out.shape) if alike else (0, id(call))
