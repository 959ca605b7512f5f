"""The time of a step, estimated from the sizes of the network, from which "auto" decides.

A step takes time for its calls, its products and the numbers that it moves. The rates of products
and moves are measured here, once in a process. The other constants are those of
docs/measurements/gpu-h100.md. On the H100 the estimates were 0.8 to 1.4 times the measured steps.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portadnn.backends.base import Backend
from portadnn.backends.schedule import SMALL
from portadnn.backends.select import get_backend

START = 0.3  # seconds until generated kernels are compiled and a graph is recorded
LONG_ENOUGH = 2e-3  # seconds of a measurement
LARGEST = 4096  # rows and columns of the measured matrices
# Seconds of a call; calls in a layer, outside of layers, and in a layer for each slot; moves of a
# parameter, and for each slot of it; moves of an activation; the factor by which reproducible
# arithmetic multiplies the calls.
COSTS = {
    "numpy": (1e-6, (15, 13, 12), (5, 17), 20, 8),
    "cupy": (2.5e-6, (2, 2, 0), (5, 2), 8, 3),
}


class Size(NamedTuple):
    """The sizes that decide the time of a run; ``slots`` is the number of slots per parameter."""

    dims: tuple[int, ...]
    examples: int
    slots: int
    steps: int


def step_seconds(backend: Backend, size: Size) -> float:
    """The estimated time of a step on NumPy or CuPy."""
    call, (in_layer, outside, for_slot), moves, activation_moves, exact = COSTS[backend.library]
    multiplications = [
        size.examples * a * b
        for i, (a, b) in enumerate(itertools.pairwise(size.dims))
        for _ in range(3 if i else 2)  # the first layer has no dA
    ]
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(size.dims))
    calls = outside + (in_layer + for_slot * size.slots) * (len(size.dims) - 1)
    if backend.library == "cupy":
        calls += sum(n > SMALL for n in multiplications)
    moved = parameters * (moves[0] + moves[1] * size.slots)
    moved += sum(size.dims[1:]) * size.examples * activation_moves
    products, moves_in_second = rates(backend)
    calls *= exact if backend.arithmetic == "reproducible" else 1
    return call * calls + sum(multiplications) / products + moved / moves_in_second


@functools.lru_cache(maxsize=8)
def rates(backend: Backend) -> tuple[float, float]:
    """Multiplications of a product, and numbers moved, per second. It takes milliseconds."""
    xp = backend.xp
    with backend.scope():
        products = _rate(backend, lambda x: xp.matmul(x, x), lambda n: n**3)
        return products, _rate(backend, lambda x: xp.add(x, x), lambda n: 2 * n * n)


def _rate(backend: Backend, run: Callable[[Any], Any], amount: Callable[[int], int]) -> float:
    n, seconds = 128, 0.0
    while seconds < LONG_ENOUGH and n < LARGEST:
        n *= 2
        x = backend.asarray(np.ones((n, n), np.float32))
        backend.synchronize(run(x))
        times = []
        for _ in range(3):
            started = time.perf_counter()
            backend.synchronize(run(x))
            times.append(time.perf_counter() - started)
        seconds = min(times)
    return amount(n) / seconds


def faster(backend: Backend, size: Size) -> tuple[Backend, str]:
    """The backend or NumPy, whichever ends the run earlier, and why."""
    if backend.library == "numpy" or backend.matmul:  # NumPy does not have TF32
        return backend, ""
    host = get_backend("numpy", dtype=backend.dtype_name, arithmetic=backend.arithmetic)
    ours, theirs = (step_seconds(one, size) for one in (backend, host))
    chosen = backend if START + size.steps * ours < size.steps * theirs else host
    return chosen, (
        f"a step is estimated at {ours * 1e6:,.0f} us on {backend.device_text}, which takes "
        f"{START} s to start, and at {theirs * 1e6:,.0f} us on NumPy"
    )
