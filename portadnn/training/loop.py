"""The loop around the step: chunks of steps, reports, divergence and Ctrl-C."""

from __future__ import annotations

import contextlib
import math
import operator
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.step import make_step

CHUNK_SECONDS = 0.25  # so that Ctrl-C and the progress bar wait no longer than this, about
LARGEST_CHUNK = 128


@dataclass(frozen=True)
class Report:
    """What ``on_report`` is given, a few times a second.

    Attributes
    ----------
    iteration : int
        Iterations done.
    num_iterations : int
    cost : float
        Of the last iteration done.
    seconds : float
        Since the start.
    """

    iteration: int
    num_iterations: int
    cost: float
    seconds: float


class DivergenceError(ArithmeticError):
    """Training reached a cost or a parameter that is not finite.

    Attributes
    ----------
    iteration : int
        The first one whose cost, or whose new parameters, are not finite.
    parameters : dict
        The last finite ones: those that this iteration started from.
    model : Model or None
        The same as a model, where ``train`` raised it.
    """

    model: Any = None

    def __init__(self, iteration: int, cost: float, learning_rate: float, parameters: Any) -> None:
        what = "its update is not finite" if math.isfinite(cost) else "its cost is not finite"
        advice = (
            "Scale the data: already the first cost is out of range"
            if iteration == 0 and not math.isfinite(cost)
            else f"Try a smaller learning rate, for example {learning_rate / 10:g} "
            f"(it was {learning_rate:g})"
        )
        super().__init__(
            f"training diverged at iteration {iteration}: {what} (cost {cost}). {advice}. "
            f"The parameters that iteration {iteration} started from are kept"
        )
        self.iteration, self.parameters = iteration, parameters


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training; what was learnt so far is kept.

    Attributes
    ----------
    iteration : int
        Iterations done.
    parameters : dict
        After that many.
    model : Model or None
        The same as a model, where ``train`` raised it.
    """

    model: Any = None

    def __init__(self, iteration: int, parameters: Any) -> None:
        super().__init__(f"training was interrupted after {iteration} iterations")
        self.iteration, self.parameters = iteration, parameters


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C is noted, and the loop asks for it between chunks; a second one interrupts at once.

    Raised wherever the program happens to be, a KeyboardInterrupt can be lost (Python ignores what
    is raised inside a garbage collector's callback, and JAX has one). A handler that is not
    Python's own is left alone, as are threads, which get no signals.
    """
    noted = False

    def note(_signal: int, _frame: Any) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check_schedule(learning_rate: float, num_iterations: int) -> tuple[float, int]:
    """Both as Python numbers, or an InputError that names the one that cannot be used."""
    try:
        rate = float(learning_rate)
    except (TypeError, ValueError):
        raise InputError(f"learning rate is {learning_rate!r}: expected a number") from None
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"learning rate is {rate:g}: expected a finite number above 0")
    try:
        iterations = operator.index(num_iterations)
    except TypeError:
        raise InputError(
            f"number of iterations is {num_iterations!r}: expected an integer"
        ) from None
    if iterations < 1:
        raise InputError(f"number of iterations is {iterations}: expected 1 or more")
    return rate, iterations


def check_data(X: Any, Y: Any, network: Network, backend: Backend) -> None:
    """Raise InputError unless X and Y are finite, of the network's shapes and right for its head.

    Works on the arrays of the backend: only verdicts and the first wrong index leave the device.
    """
    n_x, n_y = network.layer_dims[0], network.layer_dims[-1]
    if len(X.shape) != 2 or X.shape[0] != n_x or X.shape[1] == 0:
        raise InputError(
            f"X has shape {tuple(X.shape)}, but the network takes {n_x} values per example: "
            f"expected ({n_x}, m) with m >= 1, one column per example"
        )
    expected = (n_y, X.shape[1])
    if tuple(Y.shape) != expected:
        raise InputError(f"Y has shape {tuple(Y.shape)}: expected {expected}, as X has shape "
                         f"{tuple(X.shape)} and the last layer {n_y} units")  # fmt: skip
    xp = backend.xp
    _check_all(xp.isfinite(X), X, "X", "finite numbers", backend)
    _check_all(xp.isfinite(Y), Y, "Y", "finite numbers", backend)
    if network.head != "identity":
        _check_all((Y >= 0) & (Y <= 1), Y, "Y", f"0 to 1 for the {network.head} head", backend)
    if network.head == "softmax":
        total = xp.sum(Y, axis=0, keepdims=True)
        # a one-hot column sums to 1 exactly; soft labels to n roundings of it
        close = xp.abs(total - 1.0) <= n_y * float(xp.finfo(Y.dtype).eps)
        _check_all(close, total, "sum of the columns of Y", "1 for the softmax head", backend)


def _check_all(holds: Any, x: Any, name: str, expected: str, backend: Backend) -> None:
    if bool(backend.xp.all(holds)):
        return
    index = tuple(int(i) for i in np.argwhere(~backend.to_numpy(holds))[0])
    value = float(backend.to_numpy(x)[index])
    raise InputError(f"{name} holds {value:g} at index {index}: expected {expected}")


def descend(
    parameters: dict[str, Any],
    X: Any,
    Y: Any,
    *,
    network: Network,
    backend: Backend,
    learning_rate: float,
    num_iterations: int,
    report_every: int,
) -> Iterator[tuple[dict[str, Any], list[tuple[int, float]], Report]]:
    """Gradient descent over the whole batch, a chunk of iterations at a time.

    It runs inside ``backend.scope()``, which the caller enters.

    Yields
    ------
    parameters : dict
        After the chunk.
    costs : list of (iteration, cost)
        Of the iterations in the chunk that are multiples of ``report_every``.
    report : Report

    Raises
    ------
    DivergenceError
        With the parameters to keep.
    """
    step = make_step(network, backend.xp)
    started = time.perf_counter()
    done = 0
    chunk = 1
    while done < num_iterations:
        n = min(chunk, num_iterations - done, report_every - done % report_every)
        chunk_started = time.perf_counter()
        inputs = step_inputs(n, learning_rate, backend)
        after, chunk_costs = backend.repeat(step, parameters, inputs, (X, Y))
        costs = backend.to_numpy(chunk_costs)
        if not (np.isfinite(costs).all() and _all_finite(after, backend)):
            raise _locate(step, parameters, done, n, X, Y, backend, learning_rate)
        now = time.perf_counter()
        reported = [(done, float(costs[0]))] if done % report_every == 0 else []
        parameters, done = after, done + n
        yield parameters, reported, Report(done, num_iterations, float(costs[-1]), now - started)
        if now - chunk_started < CHUNK_SECONDS / 2:
            chunk = min(2 * chunk, LARGEST_CHUNK)
        elif now - chunk_started > CHUNK_SECONDS:
            chunk = max(chunk // 2, 1)


def step_inputs(n: int, learning_rate: float, backend: Backend) -> dict[str, Any]:
    """The ``inputs`` of n steps at one rate, for ``backend.repeat``."""
    return {"learning_rate": backend.asarray(np.full((n, 1, 1), learning_rate))}


def _all_finite(parameters: dict[str, Any], backend: Backend) -> bool:
    xp = backend.xp
    return all(bool(xp.all(xp.isfinite(p))) for p in parameters.values())


def _locate(
    step: Callable[..., Any],
    parameters: dict[str, Any],
    done: int,
    n: int,
    X: Any,
    Y: Any,
    backend: Backend,
    learning_rate: float,
) -> DivergenceError:
    """Replay a chunk step by step, from the state it started from, to name the iteration."""
    inputs = step_inputs(1, learning_rate, backend)
    iteration = done
    while True:
        after, costs = backend.repeat(step, parameters, inputs, (X, Y))
        cost = float(backend.to_numpy(costs)[0])
        finite = math.isfinite(cost) and _all_finite(after, backend)
        if not finite or iteration == done + n - 1:
            return DivergenceError(iteration, cost, learning_rate, parameters)
        parameters, iteration = after, iteration + 1
