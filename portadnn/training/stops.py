"""How training ends early: divergence and signals, with what was learnt kept."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from portadnn.errors import Carried


class DivergenceError(Carried, ArithmeticError):
    """Training reached a cost or a parameter that is not finite.

    Attributes
    ----------
    iteration : int
        The first one whose cost, or whose new parameters, are not finite.
    parameters : dict
        The last finite ones: those that this iteration started from.
    model : Model or None
        The same as a model, if ``train`` raised it.
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


# Ctrl-C, a request to end, and a closed terminal (not on Windows)
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class TrainingInterrupted(Carried, KeyboardInterrupt):
    """Ctrl-C, or another of ``SIGNALS``, during training; what was learnt so far is kept.

    Attributes
    ----------
    iteration : int
        Iterations done.
    parameters : dict
        The parameters after that many.
    state : RunState
        The state from which the run can go on.
    signal : int
        The number of the signal.
    model : Model or None
        The same as a model, if ``train`` raised it.
    """

    model: Any = None

    def __init__(
        self, iteration: int, parameters: Any, state: Any = None, number: int = signal.SIGINT
    ) -> None:
        super().__init__(f"training was interrupted after {iteration} iterations")
        self.iteration, self.parameters, self.state = iteration, parameters, state
        self.signal = int(number)


def interrupt(number: int, _frame: Any) -> None:
    """Raise a KeyboardInterrupt that holds the signal's number: a handler for any of them."""
    raise KeyboardInterrupt(number)


def signal_of(error: KeyboardInterrupt) -> int:
    """The number of the signal; that of Ctrl-C if nothing else is known."""
    return next((n for n in error.args if isinstance(n, int)), int(signal.SIGINT))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A scope in which all of ``SIGNALS`` do what Ctrl-C does, instead of killing the process."""
    changed = []
    if threading.current_thread() is threading.main_thread():
        changed = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], int]]:
    """A signal is noted, and the loop asks for its number between chunks; a second one interrupts.

    A KeyboardInterrupt that is raised at any point can be lost: Python ignores exceptions inside a
    garbage collector's callback, and JAX has one. Handlers that are neither Python's own nor ours
    are left alone, as are threads, which get no signals.
    """
    noted = told = 0
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {n: h for n, h in handlers.items() if h in (signal.default_int_handler, interrupt)}
    if threading.current_thread() is not threading.main_thread():
        ours = {}

    def note(number: int, _frame: Any) -> None:
        nonlocal noted
        noted = number
        restore()

    def restore() -> None:
        for number, handler in ours.items():
            signal.signal(number, handler)

    def tell() -> int:
        nonlocal told
        told = noted
        return noted

    for number in ours:
        signal.signal(number, note)
    try:
        yield tell
    finally:
        restore()
    if noted != told:  # after the loop had asked for the last time
        signal.raise_signal(noted)
