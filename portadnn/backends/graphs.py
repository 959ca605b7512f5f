"""A step on a CUDA device as a CUDA graph: recorded once, launched without Python in between.

A step of small layers is a hundred launches, each of which costs more time on the host than on the
GPU. A graph is one launch. It reads and writes the memory that it was recorded with, so it has
buffers of its own: the state, and the inputs and outputs of as many steps as a chunk has. It counts
the steps itself, so nothing is copied between two of them. After recording, its bits are compared
once with those of the step itself. It is used only if they are the same.

References
----------
PyTorch, CUDA semantics, section CUDA Graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html;
NVIDIA, CUDA C++ programming guide, section CUDA Graphs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from portadnn.backends.trees import flatten, unflatten
from portadnn.network.examples import shared_number

FEWEST_STEPS = 8  # fewer steps are made without a graph
MOST_STEPS = 128  # the buffers hold inputs and outputs of at most so many
MOST_BYTES = 2**25  # for the inputs in the buffers, unless the fewest steps need more
WARM_UP = 3  # steps before the recording, in which libraries set up what cannot be recorded
LARGEST_CACHE = 4

logger = logging.getLogger("portadnn")


class Unsuitable(RuntimeError):
    """The step cannot be a graph, or its graph gives other bits."""


class _Rows:
    """Room for an array like ``x`` for each step of a chunk.

    The axes of ``x`` keep their order in memory, because the bits of a product may depend on it.
    """

    def __init__(self, x: Any, room: int, xp: Any) -> None:
        strides = x.stride() if hasattr(x, "stride") else x.strides
        order = sorted(range(x.ndim), key=lambda axis: -strides[axis])
        self.back = sorted(range(x.ndim), key=order.__getitem__)
        self.order = (0, *(1 + axis for axis in order))
        shape = (room, *(x.shape[axis] for axis in order))
        self.array = xp.zeros(shape, dtype=x.dtype, device=x.device)
        self.turned = xp.permute_dims
        self.first = self.turned(self.array[0, ...], self.back)

    def fill(self, rows: Any) -> None:
        self.array[: len(rows)] = self.turned(rows, self.order)

    def at(self, step: Any) -> Any:
        """A copy of the row of a step. The number of the step is an array on the device."""
        return self.turned(self.array[step][0], self.back)


class Graph:
    """A recorded step.

    Parameters
    ----------
    inputs : dict or tuple of arrays
        As for ``Backend.repeat``. The first steps fill the buffers for the recording.
    capture : callable
        ``capture(run)`` returns a function that repeats the work of ``run()`` on the GPU.
    program : callable, optional
        Makes a ``Program`` for these buffers. The program replaces the step's own calls.
    """

    def __init__(
        self,
        step: Any,
        state: Any,
        inputs: Any,
        shared: Any,
        capture: Callable[..., Any],
        program: Callable[..., Any] | None = None,
    ) -> None:
        (old, structure), (stacked, form) = flatten(state), flatten(inputs)
        self.xp = xp = array_namespace(*old)
        self.structure = structure
        size = sum(x.nbytes for x in stacked) // len(stacked[0])
        self.room = max(FEWEST_STEPS, min(MOST_STEPS, MOST_BYTES // max(size, 1)))
        self.state = [xp.asarray(x, copy=True) for x in old]
        self.inputs = [_Rows(x[0], self.room, xp) for x in stacked]
        self.outputs: list[Any] = []
        self.step = xp.zeros_like(self.state[0].reshape(-1)[:1], dtype=xp.int64)  # in the chunk
        self._fill(old, [x[:FEWEST_STEPS] for x in stacked])

        def run() -> None:
            given = [rows.at(self.step) for rows in self.inputs]
            new, outputs = step(
                unflatten(structure, iter(self.state)), unflatten(form, iter(given)), shared
            )
            (made, made_structure), (found, self.form) = flatten(new), flatten(outputs)
            self.outputs = self.outputs or [
                xp.zeros((self.room, *x.shape), dtype=x.dtype, device=x.device) for x in found
            ]
            for rows, x in zip(self.outputs, found, strict=True):
                rows[self.step] = x[None, ...]
            home = {_address(x): i for i, x in enumerate(self.state) if 0 not in x.shape}
            if made_structure != structure or any(
                home.get(_address(x), i) != i for i, x in enumerate(made)
            ):
                raise Unsuitable("its new state swaps arrays of the old one")
            for buffer, x in zip(self.state, made, strict=True):
                buffer[...] = x
            self.step += 1

        self.program = program and program(
            step, unflatten(structure, iter(self.state)),
            unflatten(form, iter([rows.first for rows in self.inputs])), shared,
            [rows.array for rows in self.inputs], self.step, self.room,
        )  # fmt: skip
        if self.program:
            self.outputs, self.form = self.program.outputs, self.program.form
        self._launch = capture(self.program or run)
        self._check(step, state, unflatten(form, iter([x[0] for x in stacked])), shared)

    def _check(self, step: Any, state: Any, given: Any, shared: Any) -> None:
        new, outputs = step(state, given, shared)
        old, plain = flatten(state)[0], [*flatten(new)[0], *flatten(outputs)[0]]
        found = self._once(self._launch, old, given)
        expected = self._once(self.program, old, given) if self.program else plain
        if not all(map(same, found, expected)):
            raise Unsuitable("its graph gives other bits")
        if self.program and not self.program.agrees(old, found, plain):
            raise Unsuitable("its generated kernels give other results than its calls")

    def _once(self, run: Callable[[], Any], state: list[Any], given: Any) -> list[Any]:
        self._fill(state, [x[None, ...] for x in flatten(given)[0]])
        run()
        return [self.xp.asarray(x, copy=True) for x in (*self.state, *(x[0] for x in self.outputs))]

    def _fill(self, state: list[Any], inputs: list[Any]) -> None:
        """Copy a state, if one is given, and the inputs of a chunk into the buffers."""
        for buffer, x in zip(self.state, state, strict=False):
            buffer[...] = x
        for rows, x in zip(self.inputs, inputs, strict=True):
            rows.fill(x)
        self.step[...] = 0

    def repeat(self, state: Any, inputs: Any, n: int) -> tuple[Any, Any]:
        """As ``Backend.repeat``."""
        stacked, first, kept = flatten(inputs)[0], flatten(state)[0], []
        for start in range(0, n, self.room):
            stop = min(start + self.room, n)
            self._fill([] if start else first, [x[start:stop] for x in stacked])
            for _ in range(start, stop):
                self._launch()
            kept.append([self.xp.asarray(x[: stop - start], copy=True) for x in self.outputs])
        whole = [x[0] if len(x) == 1 else self.xp.concat(x) for x in zip(*kept, strict=True)]
        final = [self.xp.asarray(x, copy=True) for x in self.state]
        return unflatten(self.structure, iter(final)), unflatten(self.form, iter(whole))


_GRAPHS: OrderedDict[Any, Graph | None] = OrderedDict()


def repeat(
    step: Any,
    state: Any,
    inputs: Any,
    shared: Any,
    capture: Callable[..., Any],
    program: Any = None,
    rounds: bool = False,
) -> tuple[Any, Any] | None:
    """As ``Backend.repeat``, by a graph; None for few steps, and if the step cannot be a graph.

    ``rounds`` says that the program rounds differently from the step: then it makes few steps also.
    """
    if shared_number(getattr(step, "keywords", {}).get("xp")) is not None:
        return None  # the trial of a graph would call the other processes
    leaves, data = flatten(inputs)[0], [x for x in flatten(shared)[0] if x is not None]
    n = leaves[0].shape[0]
    kinds = tuple((x.shape, x.dtype) for x in flatten(state)[0])
    rows = tuple((x.shape[1:], x.dtype) for x in leaves)
    key = step, kinds, rows, tuple(map(id, data))
    if key not in _GRAPHS:
        # bits must not depend on the length of a chunk, so a program that rounds makes all chunks
        if n < FEWEST_STEPS and not rounds:
            return None
        given = step, state, inputs, shared, capture
        _GRAPHS[key] = None
        for kind, missing in ((program, "generated kernels"), (None, "a CUDA graph")):
            if _GRAPHS[key] is None and (kind or missing == "a CUDA graph"):
                try:
                    _GRAPHS[key] = Graph(*given, kind)
                except Exception as error:  # the step's own errors are raised again without a graph
                    logger.info("the step runs without %s: %s", missing, error)
        for x in data:  # the graph reads x but does not own it: drop the graph when x is freed
            weakref.finalize(x, _GRAPHS.pop, key, None)
        if len(_GRAPHS) > LARGEST_CACHE:
            _GRAPHS.popitem(last=False)
    graph = _GRAPHS[key]
    return None if graph is None else graph.repeat(state, inputs, n)


def same(x: Any, y: Any) -> bool:
    """Whether two arrays have the same numbers, and NaN in the same places."""
    return bool(((x == y) | ((x != x) & (y != y))).all())


def _address(x: Any) -> int:
    return x.data_ptr() if hasattr(x, "data_ptr") else x.data.ptr


def capture_by_torch(run: Callable[[], None]) -> Callable[[], None]:
    """Record what ``run`` launches through PyTorch."""
    import torch

    scalars, side = _scalars_made_once(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), scalars:
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), scalars:
        run()
    return functools.partial(_replayed, graph.replay, scalars)


def _scalars_made_once() -> Any:
    """A mode of PyTorch in which a Python number is copied to the device once.

    For ``maximum(Z, 0.0)`` array-api-compat makes an array of 0.0 on the device. This copy from the
    host cannot be recorded, so the recording uses the array that the warm-up made.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Scalars(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.made: dict[Any, Any] = {}

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if function is not torch.asarray or isinstance(args[0], torch.Tensor):
                return function(*args, **kwargs)
            key = repr(args), *sorted((name, str(x)) for name, x in kwargs.items())
            if key not in self.made:
                self.made[key] = function(*args, **kwargs)
            return self.made[key]

    return Scalars()


def capture_by_cupy(run: Callable[[], None]) -> Callable[[], None]:
    """Record what ``run`` launches through CuPy."""
    import cupy

    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.get_current_stream().synchronize()
    # the arrays of the step have a memory pool of their own
    with stream, cupy.cuda.using_allocator(pool.malloc):
        for _ in range(WARM_UP):
            run()
        stream.synchronize()
        stream.begin_capture()
        try:
            run()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                stream.end_capture()
            raise
        graph = stream.end_capture()
    return functools.partial(_replayed, graph.launch, pool)


def _replayed(replay: Callable[[], None], needed: Any) -> None:
    """Launch a graph. The object ``needed`` keeps the memory of the graph alive."""
    replay()
