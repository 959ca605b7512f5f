"""L-BFGS over the whole batch, for small problems: SciPy's minimiser, our cost and gradients."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portadnn.choice import as_text, check_number, check_whole, choose
from portadnn.errors import InputError
from portadnn.network.names import of
from portadnn.network.optimizers import OPTIMIZERS, Optimizer
from portadnn.training.loop import After, Loop, Parameters
from portadnn.training.schedules import Constant
from portadnn.training.state import RunState, TrainingState
from portadnn.training.step import final_gradients, gradients
from portadnn.training.stops import DivergenceError

EVALUATIONS_SPENT = "lbfgs reached its limit of evaluations"  # why a run stopped


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS; every epoch is one of its iterations, of one or more evaluations.

    Parameters
    ----------
    memory : int
        How many corrections its approximation of the Hessian keeps.
    tolerance : float
        Training ends when the largest entry of the gradient is at most this.
    evaluations : int
        Training ends after the iteration that reaches this number of evaluations; 0 is no limit.

    References
    ----------
    Liu and Nocedal, On the limited memory BFGS method for large scale optimization (1989).
    """

    memory: int = 10
    tolerance: float = 1e-5
    evaluations: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", check_whole("memory of lbfgs", self.memory, 1))
        object.__setattr__(
            self, "tolerance", check_number("tolerance of lbfgs", self.tolerance, 0.0)
        )
        object.__setattr__(
            self, "evaluations", check_whole("evaluations of lbfgs", self.evaluations, 0)
        )

    def __str__(self) -> str:
        return as_text("lbfgs", self)


def as_solver(optimizer: str | Optimizer | LBFGS) -> Optimizer | LBFGS:
    """An optimizer of the table or L-BFGS, from itself or from a text such as ``lbfgs:memory=20``.

    Raises
    ------
    InputError
        If the text names none, or a value cannot be used.
    """
    if isinstance(optimizer, LBFGS):
        return optimizer
    return choose("optimizer", optimizer, {**OPTIMIZERS, "lbfgs": LBFGS}, (Optimizer, LBFGS))


@dataclass(eq=False)
class LBFGSLoop(Loop):
    """The loop with SciPy's minimiser instead of the steps.

    Its reports have the cost after the iteration, and a rate of 1. Vectors of all parameters lie on
    the host in float64; cost and gradients are computed by the backend.
    """

    solver: LBFGS = field(default_factory=LBFGS)

    def __post_init__(self) -> None:
        super().__post_init__()
        recipe, batches = self.plan.recipe, self.plan.batches
        for given, what in (
            (batches.batch_size, "minibatches"),
            (recipe.dropout, "dropout"),
            (recipe.clip_norm, "clipping"),
            (self.plan.schedule != Constant(), "a schedule"),
        ):
            if given:
                raise InputError(
                    f"lbfgs minimises one fixed function: {what} cannot be combined with it. "
                    f"Choose another optimizer, such as adam"
                )
        if self.backend.arithmetic == "reproducible":
            raise InputError(
                "lbfgs cannot be combined with reproducible arithmetic: SciPy's minimiser computes "
                "with a BLAS of its own. Choose another optimizer, such as adam"
            )
        self.plan = replace(self.plan, learning_rate=1.0)  # the reports show it
        try:
            import scipy.optimize  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"lbfgs needs SciPy ({error}): pip install 'portadnn[sklearn]'"
            ) from error

    def _descend(self, now: RunState, progress: TrainingState, after: After) -> None:
        from scipy.optimize import minimize

        started = time.perf_counter()
        evaluations, begun = 0, progress.steps_done
        remaining = self.plan.steps - begun
        if not remaining:
            return
        step = self.step(kind=gradient_step)
        inputs = {"learning_rate": self.backend.as_input(np.ones((1, 1, 1)))}
        blank = {of("d", name): p for name, p in now.parameters.items()}  # only its shapes matter

        def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal evaluations
            state = self._unpack(x), blank
            (_, found), cost = self.backend.repeat(step, state, inputs, self.shared)
            value = float(self.backend.to_numpy(cost)[0])
            vector = self._pack({name: found[of("d", name)] for name in self.network.shapes})
            if evaluations == 0 and not (math.isfinite(value) and np.isfinite(vector).all()):
                raise DivergenceError(0, value, 1.0, now.parameters)
            if self.watcher is not None:
                self.watcher.evaluated(evaluations, state[0], found, value)
            evaluations += 1
            return value, vector

        def iterated(intermediate_result: Any) -> None:
            now.parameters, now.step = self._unpack(intermediate_result.x), now.step + 1
            progress.steps_done += 1
            progress.cost = float(intermediate_result.fun)
            progress.seconds = time.perf_counter() - started
            progress.moved_to(now.parameters)
            if after(np.asarray([progress.cost])):
                raise StopIteration

        most = 20 * remaining  # SciPy's line search makes no more
        result = minimize(
            evaluate,
            self._pack(now.parameters),
            jac=True,
            method="L-BFGS-B",
            callback=iterated,
            options={
                "maxiter": remaining,
                "maxfun": min(most, self.solver.evaluations or most),
                "maxcor": self.solver.memory,
                "gtol": self.solver.tolerance,
                "ftol": 64 * float(np.finfo(self.backend.dtype_name).eps),
            },
        )
        early = progress.steps_done < self.plan.epochs
        if not progress.stopped and (early or result.status == 0):
            spent = early and result.status == 1  # a limit was met, but not that of iterations
            progress.stop(EVALUATIONS_SPENT if spent else str(result.message))
        now.parameters = self._unpack(result.x)
        reported = progress.record.epoch if progress.record else begun
        if reported < progress.steps_done:  # stopped between two reports
            after(np.asarray([progress.cost]), last=True)

    def _pack(self, arrays: Parameters) -> np.ndarray:
        host = (self.backend.to_numpy(arrays[name]) for name in self.network.shapes)
        return np.concatenate([np.asarray(x, np.float64).ravel() for x in host])

    def _unpack(self, x: np.ndarray) -> Parameters:
        x = np.array(x)  # SciPy writes into it again
        parameters, start = {}, 0
        for name, shape in self.network.shapes.items():
            stop = start + math.prod(shape)
            parameters[name] = self.backend.asarray(x[start:stop].reshape(shape))
            start = stop
        return parameters


def gradient_step(state, inputs, shared, *, recipe, xp, **options):
    """A step that changes nothing: its state carries the gradients of the whole cost."""
    parameters, _ = state
    found, tensors = gradients(parameters, inputs, shared, recipe=recipe, xp=xp, **options)
    found, _ = final_gradients(parameters, found, recipe=recipe, xp=xp)
    return (parameters, found), tensors["cost"]
