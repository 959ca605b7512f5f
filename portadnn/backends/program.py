"""The calls of a tape as what is to be called: elementwise runs by blocks, on several threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from portadnn.backends.recording import Recording, Slot

BLOCK_BYTES = (
    2**18
)  # of an operand: the cache holds some, and threads seldom wait for Python's lock
SMALLEST_SHARE = 2**19  # entries that a thread computes, for it takes 50 us to set it to work
MOST_THREADS = 4  # more of them wait for Python's lock

Program: TypeAlias = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class Team:
    """Makes programs, and has the threads that they need; a context, at whose end these stop.

    Parameters
    ----------
    threads : callable
        How many there may be.
    """

    def __init__(self, threads: Callable[[], int]) -> None:
        self._threads = threads
        self._helpers: ThreadPoolExecutor | None = None

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._helpers is not None:
            self._helpers.shutdown()

    def program(self, calls: list[Any], recording: Recording) -> Program:
        """The calls, each with its operands and what it writes, in order."""
        program: Program = []
        users: dict[int, int] = {}
        for call, _, _ in calls:
            for n in {recording.root(n) for n in (*call.reads(), call.out)}:
                users[n] = users.get(n, 0) + 1
        for (size, _), group in itertools.groupby(calls, key=_run_key):
            run = list(group)
            block = BLOCK_BYTES // run[0][2].dtype.itemsize
            if size < 2 * block or len(run) < 2:
                program += [(call.function, (*operands, out)) for call, operands, out in run]
                continue
            inside: dict[int, int] = {}
            for call, _, _ in run:
                for n in {*call.reads(), call.out}:
                    inside[n] = inside.get(n, 0) + 1
            # what begins and ends in the run needs the room of one block
            passing = {
                n
                for n in {call.out for call, _, _ in run}
                if inside[n] == users[n] and n not in recording.kept
            }
            shares = min(self._most(size * len(run)), size // block)
            blocks = [slice(i, min(i + block, size)) for i in range(0, size, block)]
            bounds = [len(blocks) * i // shares for i in range(shares + 1)]
            parts = [
                _in_blocks(run, blocks[start:stop], passing, recording)
                for start, stop in itertools.pairwise(bounds)
            ]
            program += parts[0] if shares == 1 else [(self._at_once, tuple(parts))]
        return program

    def _most(self, work: int) -> int:
        """How many threads are worth their while for so many entries."""
        shares = work // SMALLEST_SHARE
        return 1 if shares < 2 else max(1, min(shares, self._threads(), MOST_THREADS))

    def _at_once(self, mine: Program, *others: Program) -> None:
        if self._helpers is None:
            # a thread has NumPy's settings of errors for itself
            settings = np.geterr()
            self._helpers = ThreadPoolExecutor(
                MOST_THREADS - 1, initializer=lambda: np.seterr(**settings)
            )
        futures = [self._helpers.submit(_run, program) for program in others]
        _run(mine)
        for future in futures:
            future.result()


def _run(program: Program) -> None:
    for function, arguments in program:
        function(*arguments)


def _in_blocks(
    run: list[Any], blocks: list[slice], passing: set[int], recording: Recording
) -> Program:
    """The calls of a run on one block after the other."""
    longest = max(block.stop - block.start for block in blocks)
    room = {n: np.empty(longest, recording.likes[n].dtype) for n in passing}
    program: Program = []
    for block in blocks:
        for call, operands, out in run:
            numbers = [x.number if isinstance(x, Slot) else None for x in call.arguments]
            parts = tuple(_part(x, n, block, room) for x, n in zip(operands, numbers, strict=True))
            program.append((call.function, (*parts, _part(out, call.out, block, room))))
    return program


def _part(x: Any, number: int | None, block: slice, room: dict[int, np.ndarray]) -> Any:
    """An operand's block."""
    if number in room:
        return room[number][: block.stop - block.start]
    if not isinstance(x, np.ndarray):
        return x
    return x.reshape(-1)[block] if x.size > 1 else x.reshape(())


def _run_key(item: Any) -> tuple[int, Any]:
    """Calls of one key may be made a block at a time: elementwise ones on arrays of one layout."""
    call, operands, out = item
    alike = call.elementwise and all(
        not isinstance(x, np.ndarray)
        or x.size == 1
        or (x.shape == out.shape and x.flags.c_contiguous)
        for x in (*operands, out)
    )
    return (out.size, out.shape) if alike and out.size > 1 else (0, id(call))
