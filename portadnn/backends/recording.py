"""The NumPy calls of a step as a list: the step runs on stand-ins that note every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

_BITS = {4: np.int32, 8: np.int64}
_FEW = 1024  # entries; below, np.copyto with a mask is faster than three calls on bits


class Untraceable(TypeError):
    """The step cannot be recorded: it reads values, or calls an unknown function."""


@dataclass(eq=False)
class Call:
    """One call of the step, whose last argument is ``out``; a ``Slot`` stands for an array."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    out: int
    elementwise: bool

    def reads(self) -> list[int]:
        """The slots of its operands."""
        return [x.number for x in self.arguments if isinstance(x, Slot)]


@dataclass(frozen=True)
class Slot:
    """An operand by its number."""

    number: int


class Stand(NDArrayOperatorsMixin):
    """A stand-in for an array of the step; ``value`` has its shape and strides, but no memory."""

    __array_priority__ = 1e6

    def __init__(self, recording: Recording, number: int, value: np.ndarray) -> None:
        self.recording, self.number, self.value = recording, number, value

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    device = "cpu"

    @property
    def T(self) -> Stand:
        return self.recording.view(self, lambda x: x.T)

    mT = T

    def astype(self, dtype: Any, *, copy: bool = True) -> Stand:
        if self.dtype == dtype and not copy:
            return self
        target = self.recording.made(np.empty_like, [self.value], dtype)
        return self.recording.call(_cast, (self,), True, target)

    def __getitem__(self, key: Any) -> Stand:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, slice | int | type(...) | None) for part in parts):
            raise Untraceable(f"index {key!r}")
        if ... not in parts:
            parts = (*parts, ...)  # so that a single entry is also a view
        return self.recording.view(self, lambda x: x[parts])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        out = keywords.pop("out", (None,))
        if method != "__call__" or ufunc.nout != 1 or keywords:
            raise Untraceable(f"{ufunc.__name__}.{method}")
        function = _EXTREMA.get(ufunc, ufunc)
        return self.recording.call(function, inputs, ufunc.signature is None, out[0])

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        function, args = _with_out(function, args, keywords)
        return self.recording.call(function, args, function in (_masked, _where, np.rint))

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise Untraceable("the step converts an array")

    def __bool__(self) -> bool:
        raise Untraceable("the step reads a value")

    __hash__ = None  # type: ignore[assignment]


def _where(condition: Any, x: Any, y: Any, out: np.ndarray) -> None:
    bits = _BITS.get(out.dtype.itemsize)
    if out.size < _FEW or bits is None or not x.dtype == y.dtype == out.dtype:
        np.copyto(out, y)
        np.copyto(out, x, where=condition)
        return
    # y ^ condition (x ^ y) on the bits: a branch on every entry takes 10 times as long
    made = out.view(bits)
    np.bitwise_xor(x.view(bits), y.view(bits), out=made)
    np.multiply(made, condition, out=made)
    np.bitwise_xor(made, y.view(bits), out=made)


def _masked(condition: Any, x: Any, out: np.ndarray) -> None:
    # the bits of x times 0 or 1: np.where branches on every entry, 15 times slower
    bits = _BITS[out.dtype.itemsize]
    np.multiply(x.view(bits), condition, out=out.view(bits))


def _maximum(x: Any, y: Any, out: np.ndarray) -> None:
    np.maximum(x, y, out=out)  # these two ufuncs alone do not take out as a third argument


def _minimum(x: Any, y: Any, out: np.ndarray) -> None:
    np.minimum(x, y, out=out)


_EXTREMA: dict[Any, Callable[..., None]] = {np.maximum: _maximum, np.minimum: _minimum}


def _cast(x: Any, out: np.ndarray) -> None:
    np.copyto(out, x, casting="unsafe")  # as astype does


def _take(x: Any, indices: Any, axis: int, out: np.ndarray) -> None:
    np.take(x, indices, axis, out, "clip")  # other modes copy once more


def _concat(axis: int, *arrays: Any) -> None:
    np.concatenate(arrays[:-1], axis=axis, out=arrays[-1])


def _filled(x: Any, value: Any, out: np.ndarray) -> None:
    out[...] = value


def _sum(x: Any, axis: Any, keepdims: bool, out: np.ndarray) -> None:
    np.add.reduce(x, axis, out=out, keepdims=keepdims)


def _max(x: Any, axis: Any, keepdims: bool, out: np.ndarray) -> None:
    np.maximum.reduce(x, axis, out=out, keepdims=keepdims)


def _with_out(function: Any, args: Any, keywords: Any) -> tuple[Any, tuple[Any, ...]]:
    """The same call as a function that writes into its last argument."""
    known = {name: x for name, x in keywords.items() if x is not None and name != "device"}
    axis, keepdims = known.pop("axis", None), known.pop("keepdims", False)
    if known:
        raise Untraceable(f"{function.__name__} with {', '.join(known)}")
    if function is np.where and len(args) == 3:
        condition, x, y = args
        stands = isinstance(condition, Stand) and isinstance(x, Stand)
        if stands and isinstance(y, float) and str(y) == "0.0" and x.dtype.kind == "f":
            return (_masked, (condition, x)) if condition.shape == x.shape else (_where, args)
        return _where, args
    if function in (np.sum, np.max) and len(args) == 1:
        return _sum if function is np.sum else _max, (args[0], axis, keepdims)
    if function is np.round and len(args) == 1:
        return np.rint, args
    if function is np.take and len(args) == 2:
        return _take, (*args, axis)
    if function is np.concatenate and len(args) == 1:
        return _concat, (axis or 0, *args[0])
    if function in (np.zeros_like, np.ones_like) and len(args) == 1:
        return _filled, (args[0], 0.0 if function is np.zeros_like else 1.0)
    if function is np.full_like and len(args) == 2:
        return _filled, args
    raise Untraceable(function.__name__)


@dataclass(eq=False)
class Recording:
    """The calls of a step, and what its arrays look like; nothing is computed.

    ``likes`` has an array without memory for every slot, ``views`` how a slot is a view of another,
    ``kept`` the slots that are read after the calls. The result of a call has the memory order
    that NumPy gives it, or C order if ``in_rows``.
    """

    in_rows: bool = False

    likes: list[np.ndarray] = field(default_factory=list)
    views: dict[int, tuple[int, Callable[..., Any]]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)

    def stand(self, value: np.ndarray) -> Stand:
        """A stand-in for an array, of the same dtype, shape and strides."""
        self.likes.append(_without_memory(value.dtype, value.shape, value.strides))
        return Stand(self, len(self.likes) - 1, self.likes[-1])

    def made(self, function: Any, values: list[Any], dtype: Any = None) -> Stand:
        """A stand-in for the result of a call; a call on small arrays tells its memory order."""
        small = _result_of(function, [_small(x) for x in values])
        shape = _shape_of(function, values)
        strides, size = [0] * len(shape), np.dtype(dtype or small.dtype).itemsize
        order = range(len(shape))
        if not self.in_rows:
            order = sorted(order, key=lambda axis: -small.strides[axis])  # type: ignore[assignment]
        for axis in reversed(order):
            strides[axis], size = size, size * shape[axis]
        return self.stand(_without_memory(dtype or small.dtype, shape, strides))

    def view(self, x: Stand, function: Callable[..., Any]) -> Stand:
        """A stand-in for a part of another array."""
        made = self.stand(function(x.value))
        self.views[made.number] = x.number, function
        return made

    def call(
        self, function: Any, args: Any, elementwise: bool, target: Stand | None = None
    ) -> Stand:
        """Note the call."""
        values = [x.value if isinstance(x, Stand) else x for x in args]
        if target is None:
            target = self.made(function, values)
        floats = target.value.dtype if target.value.dtype.kind == "f" else None
        if elementwise:  # a Python number takes the dtype of the array that it meets
            met = floats or next(x.dtype for x in values if isinstance(x, np.ndarray))
            values = [x if isinstance(x, np.ndarray) else np.asarray(x, met) for x in values]
        operands = tuple(
            Slot(x.number) if isinstance(x, Stand) else value
            for x, value in zip(args, values, strict=True)
        )
        self.calls.append(Call(function, operands, target.number, elementwise))
        return target

    def root(self, number: int) -> int:
        """The slot whose memory a slot is a view of."""
        while number in self.views:
            number = self.views[number][0]
        return number


def noted(function: Any, shape: tuple[int, ...], dtype: str, arrays: tuple[Any, ...]) -> Stand:
    """A stand-in for the result of a function of arrays that is called in every step."""

    def call(*arguments: Any) -> None:
        arguments[-1][...] = function(*arguments[:-1])

    recording = next(x.recording for x in arrays if isinstance(x, Stand))
    target = recording.stand(np.empty(shape, dtype))
    return recording.call(call, arrays, False, target)


def _result_of(function: Any, values: list[Any]) -> np.ndarray:
    """An array like the result of the call, in the same memory order."""
    if function is _where:
        return np.empty_like(np.where(*values))
    if function is _take:
        return np.empty_like(np.take(*values))
    if function is _concat:
        return np.empty_like(np.concatenate(values[1:], axis=values[0]))
    if function is _filled:
        return np.empty_like(values[0])
    if function is _masked:
        condition, x = values
        return np.empty_like(np.where(condition, x, 0.0))
    if function in (_maximum, _minimum):
        return np.empty_like(np.maximum(*values))
    if function in (_sum, _max):
        x, axis, keepdims = values
        made = np.add.reduce if function is _sum else np.maximum.reduce
        return np.empty_like(np.asarray(made(x, axis, keepdims=keepdims)))
    return np.empty_like(np.asarray(function(*values)))


def _shape_of(function: Any, values: list[Any]) -> tuple[int, ...]:
    shapes = [x.shape for x in values if isinstance(x, np.ndarray)]
    if function is np.matmul:
        return shapes[0][:-1] + shapes[1][1:]
    if function is _take:
        x, indices, axis = values
        return (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if function is _concat:
        axis, *arrays = values
        whole = list(shapes[0])
        whole[axis] = sum(x.shape[axis] for x in arrays)
        return tuple(whole)
    if function in (_sum, _max):
        x, axis, keepdims = values
        axes = {a % x.ndim for a in (range(x.ndim) if axis is None else np.atleast_1d(axis))}
        kept = [1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes]
        return tuple(kept)
    return np.broadcast_shapes(*shapes)


def _small(x: Any) -> Any:
    """An array like ``x``, in its order of memory, with axes of at most 2 entries."""
    if not isinstance(x, np.ndarray):
        return x
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    shape = [min(x.shape[axis], 2) for axis in order]
    # floats are 1, so no division by 0; indices are 0
    made = np.ones(shape, x.dtype) if x.dtype.kind == "f" else np.zeros(shape, x.dtype)
    return made.transpose(np.argsort(order))


def _without_memory(dtype: Any, shape: tuple[int, ...], strides: Any) -> np.ndarray:
    """An array of that shape, dtype and strides that holds a single entry."""
    return np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides)
