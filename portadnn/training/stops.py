"""How training ends early: divergence and Ctrl-C, with what was learnt kept."""

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


class TrainingInterrupted(Carried, KeyboardInterrupt):
    """Ctrl-C during training; what was learnt so far is kept.

    Attributes
    ----------
    iteration : int
        Iterations done.
    parameters : dict
        After that many.
    state : RunState
        From which the run can go on.
    model : Model or None
        The same as a model, where ``train`` raised it.
    """

    model: Any = None

    def __init__(self, iteration: int, parameters: Any, state: Any = None) -> None:
        super().__init__(f"training was interrupted after {iteration} iterations")
        self.iteration, self.parameters, self.state = iteration, parameters, state


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
