"""From scikit-learn's names and units to the package's own."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from portadnn.backends import ARITHMETICS, DTYPES, MATMULS
from portadnn.errors import InputError
from portadnn.network.initializers import Initializer, initialize_parameters_deep
from portadnn.network.names import named
from portadnn.network.optimizers import (
    Adam,
    GradientDescent,
    Momentum,
    Nesterov,
    Optimizer,
)
from portadnn.network.spec import Network
from portadnn.training.lbfgs import LBFGS, as_solver
from portadnn.training.schedules import Constant, Plateau, Schedule, as_schedule

LARGEST_BATCH = 200  # for batch_size="auto", as in MLPClassifier
SMALLEST_RATE = 1e-6  # where learning_rate="adaptive" stops, as in MLPClassifier
# checked by scikit-learn before a fit; the rest is checked where it is used
CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "activation": [str, "array-like"],
    "solver": [str, Optimizer, LBFGS],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), None, Interval(Integral, 1, None, closed="left")],
    "learning_rate": [str, Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {math.inf}),
    ],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "l1": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "init": [None, str, Initializer, "array-like"],
    "backend": [None, str],
    "dtype": [None, StrOptions(set(DTYPES))],
    "arithmetic": [StrOptions(set(ARITHMETICS))],
    "matmul": [StrOptions(set(MATMULS))],
    "certify": ["boolean"],
}


def widths(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """The widths of the hidden layers, from one number or from several."""
    return tuple(np.atleast_1d(np.asarray(hidden_layer_sizes)).tolist())


def initial_parameters(init: Any, network: Network, random_state: Any) -> dict[str, Any]:
    """The initial parameters; for None the numbers that MLPClassifier would draw.

    They follow Glorot, biases too, with a third of the variance for sigmoid units.
    """
    if init is not None:
        return initialize_parameters_deep(network.layer_dims, init=init, rng=random_state)
    # the output layer follows the last hidden one
    activations = (*network.activations, *(network.activations[-1:] or ("identity",)))
    parameters = {}
    for l, activation in enumerate(activations, start=1):
        n_l, n_prev = network.shapes[named("W", l)]
        bound = math.sqrt((2 if activation == "sigmoid" else 6) / (n_prev + n_l))
        parameters[named("W", l)] = random_state.uniform(-bound, bound, (n_prev, n_l)).T
        parameters[named("b", l)] = random_state.uniform(-bound, bound, (n_l, 1))
    return parameters


def solver_of(estimator: Any) -> Optimizer | LBFGS:
    """The solver by scikit-learn's names and parameters, or by ours."""
    if estimator.solver == "adam":
        return Adam(estimator.beta_1, estimator.beta_2, estimator.epsilon)
    if estimator.solver == "lbfgs":
        return LBFGS(tolerance=estimator.tol, evaluations=estimator.max_fun)
    if estimator.solver != "sgd":
        return as_solver(estimator.solver)
    if estimator.momentum == 0:
        return GradientDescent()
    return (Nesterov if estimator.nesterovs_momentum else Momentum)(estimator.momentum)


def makes_steps(estimator: Any) -> bool:
    """Whether the solver goes through the data step by step, which partial_fit needs."""
    solver = estimator.solver
    if isinstance(solver, LBFGS) or str(solver).partition(":")[0] == "lbfgs":
        raise AttributeError("lbfgs needs all data at once: partial_fit needs another solver")
    return True


def batch_size_of(batch_size: Any, m: int) -> int:
    """The number of examples of a step."""
    if batch_size is None:
        return m
    if batch_size == "auto":
        return min(LARGEST_BATCH, m)
    if batch_size > m:
        warnings.warn(
            f"batch_size is {batch_size}, but there are {m} samples: it is clipped", stacklevel=7
        )
    return min(batch_size, m)


def schedule_of(estimator: Any, m: int, seen: int, first_epoch: int | None) -> Schedule:
    """The schedule of a run over ``m`` samples, after ``seen`` of them.

    "invscaling" and "adaptive" are for "sgd" alone, as in MLPClassifier. ``first_epoch`` is for
    partial_fit, and None for a whole run.
    """
    schedule = _schedule(estimator, m, seen)
    if first_epoch is None or isinstance(schedule, InverseScaling):
        return schedule
    if isinstance(schedule, Plateau):
        raise InputError(
            f"learning_rate {estimator.learning_rate!r} follows the losses of a whole fit: "
            f"partial_fit needs another one"
        )
    return Continued(schedule, first_epoch, estimator.max_iter)


def _schedule(estimator: Any, m: int, seen: int) -> Schedule:
    if estimator.learning_rate not in ("invscaling", "adaptive"):
        return as_schedule(estimator.learning_rate)
    if estimator.solver != "sgd":
        return Constant()
    if estimator.learning_rate == "invscaling":
        return InverseScaling(m, estimator.power_t, seen)
    if math.isinf(estimator.n_iter_no_change):
        return Constant()
    return Plateau(estimator.n_iter_no_change + 1, 0.2, estimator.tol)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """The rate over ``(t + 1)**power``, t the number of samples seen before the epoch."""

    m: int
    power: float
    seen: int
    name: ClassVar[str] = "invscaling"

    def factor_at(self, epoch: float, epochs: int) -> float:
        return (self.seen + math.floor(epoch) * self.m + 1) ** -self.power


@dataclass(frozen=True)
class Continued(Schedule):
    """A schedule of ``epochs`` that goes on from epoch ``first``: what partial_fit follows."""

    schedule: Schedule
    first: int
    epochs: int
    name: ClassVar[str] = "continued"

    def factor_at(self, epoch: float, epochs: int) -> float:
        return self.schedule.factor_at(self.first + epoch, self.epochs)
