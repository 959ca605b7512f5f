"""A step of PyTorch calls as a CUDA graph: recorded once, launched without Python in between.

A step of small layers is a hundred launches, each of which costs more time on the host than on the
GPU. A graph is one launch. It reads and writes the memory that it was recorded with, so state and
inputs have buffers of their own, which are filled before a launch. It is used only where it gives
the bits of the step itself, which is looked at once, after recording.

References
----------
PyTorch, CUDA semantics, section CUDA Graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from portadnn.backends.trees import flatten, unflatten

FEWEST_STEPS = 8  # fewer are made before a graph is recorded
WARM_UP = 3  # steps before the recording, in which libraries set up what cannot be recorded
LARGEST_CACHE = 4

logger = logging.getLogger("portadnn")


class Unsuitable(RuntimeError):
    """The step cannot be a graph, or its graph gives other bits."""


class Graph:
    """A recorded step.

    Parameters
    ----------
    capture : callable
        ``capture(run)``: something that does again on the GPU what ``run()`` did there.
    """

    def __init__(
        self, step: Any, state: Any, given: Any, shared: Any, capture: Callable[..., Any]
    ) -> None:
        (old, structure), (inputs, form) = flatten(state), flatten(given)
        self.state = [x.clone() for x in old]
        self.inputs = [x.clone() for x in inputs]
        self.outputs: list[Any] = []

        def run() -> None:
            new, outputs = step(
                unflatten(structure, iter(self.state)), unflatten(form, iter(self.inputs)), shared
            )
            made, made_structure = flatten(new)
            self.outputs, self.output_structure = flatten(outputs)
            home = {x.data_ptr(): i for i, x in enumerate(self.state) if x.numel()}
            if made_structure != structure or any(
                home.get(x.data_ptr(), i) != i for i, x in enumerate(made)
            ):
                raise Unsuitable("its state changes places")
            for buffer, x in zip(self.state, made, strict=True):
                buffer.copy_(x)

        self.structure = structure
        self._launch = capture(run)
        self._check(step, state, given, shared)

    def _check(self, step: Any, state: Any, given: Any, shared: Any) -> None:
        new, outputs = step(state, given, shared)
        expected = [*flatten(new)[0], *flatten(outputs)[0]]
        self.launch(flatten(state)[0], flatten(given)[0])
        for x, y in zip((*self.state, *self.outputs), expected, strict=True):
            if not ((x == y) | ((x != x) & (y != y))).all():
                raise Unsuitable("its graph gives other bits")

    def launch(self, state: list[Any] | None, inputs: list[Any]) -> None:
        """One step, from the state that is in the buffers where none is given."""
        for buffer, x in zip(self.state, state or (), strict=state is not None):
            buffer.copy_(x)
        for buffer, x in zip(self.inputs, inputs, strict=True):
            buffer.copy_(x)
        self._launch()

    def repeat(self, state: Any, inputs: Any, n: int) -> tuple[Any, Any]:
        """As ``Backend.repeat``."""
        stacked, first = flatten(inputs)[0], flatten(state)[0]
        kept = [x.new_empty((n, *x.shape)) for x in self.outputs]
        for i in range(n):
            self.launch(first if i == 0 else None, [x[i] for x in stacked])
            for rows, x in zip(kept, self.outputs, strict=True):
                rows[i].copy_(x)
        final = unflatten(self.structure, iter([x.clone() for x in self.state]))
        return final, unflatten(self.output_structure, iter(kept))


_GRAPHS: OrderedDict[Any, Graph | None] = OrderedDict()


def repeat(
    step: Any, state: Any, inputs: Any, shared: Any, capture: Callable[..., Any]
) -> tuple[Any, Any] | None:
    """As ``Backend.repeat``, by a graph; None for few steps, and where there can be no graph."""
    (leaves, structure), data = flatten(inputs), [x for x in flatten(shared)[0] if x is not None]
    n = leaves[0].shape[0]
    kinds = tuple((x.shape, x.dtype) for x in flatten(state)[0])
    rows = tuple((x.shape[1:], x.dtype) for x in leaves)
    key = step, kinds, rows, tuple(map(id, data))
    if key not in _GRAPHS:
        if n < FEWEST_STEPS:
            return None
        given = unflatten(structure, iter([x[0] for x in leaves]))
        try:
            _GRAPHS[key] = Graph(step, state, given, shared, capture)
        except RuntimeError as error:
            logger.info("the step runs without a CUDA graph: %s", error)
            _GRAPHS[key] = None
        for x in data:  # the graph reads x but does not own it: drop the graph when x is freed
            weakref.finalize(x, _GRAPHS.pop, key, None)
        if len(_GRAPHS) > LARGEST_CACHE:
            _GRAPHS.popitem(last=False)
    graph = _GRAPHS[key]
    return None if graph is None else graph.repeat(state, inputs, n)


def capture_on_gpu(run: Callable[[], None]) -> Callable[[], None]:
    """Record what ``run`` launches."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
