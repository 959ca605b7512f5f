"""A recorded step, rewritten for launches on a device.

Then every call makes an array of its own, every sum goes over one axis, and a concatenation is
written piece by piece.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from portadnn.backends import schedule
from portadnn.backends.recording import Call, Slot, _cast, _concat, _max, _sum
from portadnn.backends.schedule import Unprintable, shape_of
from portadnn.backends.tape import Tape

# a product with fewer tiles of 128 x 128 entries is made in parts, to keep more of a GPU busy
TILES = 66


class Normal(Tape):
    """A tape whose calls each make an array of their own, with sums over one axis."""

    def __post_init__(self) -> None:
        self.renamed: dict[int, int] = {}
        self.makers: set[int] = set()
        calls = self._needed((*self.new_state, *self.outputs))
        self.recording.calls = []
        for call in calls:
            self._add(call)
        self.new_state = [
            n if n == old else self._copy(n)
            for old, n in zip(self.state, self.new_state, strict=True)
        ]
        self.outputs = [self._copy(n) for n in self.outputs]

    def _slot(self, n: int) -> int:
        """The slot that now has the value of the slot ``n`` of the recording."""
        views = self.recording.views
        if n in self.renamed:
            return self.renamed[n]
        if n not in views:
            return n
        of, function = views[n]
        if (now := self._slot(of)) == of:
            return n
        like = self.recording.likes[n]
        made = self._new(like.dtype, like.shape)
        views[made] = now, function
        return made

    def _new(self, dtype: Any, shape: tuple[int, ...]) -> int:
        return self.recording.stand(np.empty(shape, dtype)).number

    def _copy(self, n: int) -> int:
        like = self.recording.likes[n]
        out = self._new(like.dtype, like.shape)
        self._write(_cast, (Slot(self._slot(n)),), out)
        return out

    def _write(self, function: Any, arguments: tuple[Any, ...], out: int) -> None:
        self.recording.calls.append(Call(function, arguments, out, True))
        self.makers.add(out)

    def _add(self, call: Call) -> None:
        likes, views = self.recording.likes, self.recording.views
        arguments = tuple(
            Slot(self._slot(x.number)) if isinstance(x, Slot) else x for x in call.arguments
        )
        out = call.out
        if out in views or out in {*self.state, *self.inputs, *self.shared}:
            raise Unprintable("a call that writes into a part of an array, or into an argument")
        if call.function is _concat:
            start, axis = 0, call.arguments[0]
            for piece in arguments[1:]:
                like = likes[piece.number]
                stop = start + like.shape[axis]
                key = (*[slice(None)] * axis, slice(start, stop))
                part = self._new(like.dtype, like.shape)
                views[part] = out, functools.partial(_part, key)
                self._write(_cast, (piece,), part)
                start = stop
        elif call.function in (_sum, _max):
            self._reduce(call.function, arguments, out)
        elif call.function is np.matmul:
            self._product(tuple(self._buffered(x) for x in arguments), out)
        else:
            if out in self.makers:  # in place
                self.renamed[out] = self._new(likes[out].dtype, likes[out].shape)
                out = self.renamed[out]
            self._write(call.function, arguments, out)
        self.makers.add(out)

    def _buffered(self, x: Slot) -> Slot:
        """The operand of a product, copied if it is a row of the inputs, which change every step.

        The copy keeps the memory order, because the bits of the product may depend on it.
        """
        root = self.recording.root(x.number)
        if root not in self.inputs:
            return x
        if root not in self.renamed:
            self.renamed[root] = self._copy(root)
        return Slot(self._slot(x.number))

    def _product(self, operands: tuple[Slot, ...], out: int) -> None:
        """A product, made as a sum of several if its result is too small to keep a GPU busy."""
        likes = self.recording.likes
        (m, k), n, made = likes[operands[0].number].shape, likes[out].shape[1], out
        tiles, parts = -(-m // 128) * -(-n // 128), 1
        if m * k * n > schedule.SMALL and likes[out].dtype == np.float32:
            while (
                parts < 8
                and k >= 128 * parts
                and 2 * parts * tiles <= TILES
                and k % (2 * parts) == 0
            ):
                parts *= 2
        if parts > 1:
            made = self._new(likes[out].dtype, (parts * m, n))
        self._write(np.matmul, operands, made)
        pieces = []
        for i in range(parts if parts > 1 else 0):
            pieces.append(self._new(likes[out].dtype, (m, n)))
            self.recording.views[pieces[-1]] = (
                made,
                functools.partial(_part, (slice(i * m, i * m + m),)),
            )
        for i, piece in enumerate(pieces[1:], start=1):
            total = out if i == parts - 1 else self._new(likes[out].dtype, (m, n))
            self._write(np.add, (Slot(pieces[0]), Slot(piece)), total)
            pieces[0] = total

    def _reduce(self, function: Any, arguments: tuple[Any, ...], out: int) -> None:
        x, axis, _ = arguments
        like = self.recording.likes[x.number]
        axes = range(like.ndim) if axis is None else np.atleast_1d(axis)
        rows, columns = shape_of(like)
        wanted = {int(a) % like.ndim + 2 - like.ndim for a in axes}
        n, dtype = x.number, self.recording.likes[out].dtype
        shape = [rows, columns]
        if wanted == {0, 1} and 1 in shape:
            wanted = {shape.index(1) ^ 1} if shape != [1, 1] else {1}
        for a in sorted(wanted, reverse=True):
            shape[a] = 1
            made = self._new(dtype, tuple(shape))
            self._write(function, (Slot(n), a, True), made)
            n = made
        like = self.recording.likes[out]
        if like.size == 1 or like.ndim == 2:
            self.renamed[out] = n  # not a view, because the step may write into it
        else:
            key = tuple(0 if a in wanted else slice(None) for a in (0, 1))
            self.recording.views[out] = n, functools.partial(_part, key)


def _part(key: Any, x: Any) -> Any:
    return x[key]
