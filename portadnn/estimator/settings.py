"""From scikit-learn's names and units to the package's own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from portadnn.network.initializers import Initializer
from portadnn.network.optimizers import (
    Adam,
    GradientDescent,
    Momentum,
    Nesterov,
    Optimizer,
)
from portadnn.training.lbfgs import LBFGS, as_solver
from portadnn.training.schedules import Constant, Plateau, Schedule, as_schedule

LARGEST_BATCH = 200  # of batch_size="auto", as in MLPClassifier
OUT_ACTIVATIONS = {"sigmoid": "logistic", "softmax": "softmax", "identity": "identity"}
SMALLEST_RATE = 1e-6  # where learning_rate="adaptive" stops, as in MLPClassifier


def widths(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """The widths of the hidden layers, from one number or from several."""
    return tuple(np.atleast_1d(np.asarray(hidden_layer_sizes)).tolist())


def activations_of(activation: str | Sequence[str]) -> Any:
    """Our names: "logistic" is "sigmoid"; one name, or one for every hidden layer."""
    if isinstance(activation, str):
        return "sigmoid" if activation == "logistic" else activation
    return tuple(activations_of(name) for name in activation)


def initializers_of(init: Any, activations: Sequence[str]) -> Any:
    """``init`` itself; for None Glorot's, with a third of the variance at sigmoid units.

    That is MLPClassifier's choice, but for its biases, which it draws and which are zero here.
    """
    if init is not None:
        return init
    # the output layer follows the last hidden one
    return [
        Initializer("xavier", "uniform", 2 / 3 if name == "sigmoid" else 2.0)
        for name in (*activations, *(activations[-1:] or ("identity",)))
    ]


def solver_of(estimator: Any) -> Optimizer | LBFGS:
    """The solver by scikit-learn's names and parameters, or by ours."""
    if estimator.solver == "adam":
        return Adam(estimator.beta_1, estimator.beta_2, estimator.epsilon)
    if estimator.solver == "lbfgs":
        return LBFGS(tolerance=estimator.tol)
    if estimator.solver != "sgd":
        return as_solver(estimator.solver)
    if estimator.momentum == 0:
        return GradientDescent()
    return (Nesterov if estimator.nesterovs_momentum else Momentum)(estimator.momentum)


def batch_size_of(batch_size: Any, m: int) -> int:
    """The number of examples of a step."""
    if batch_size is None:
        return m
    if batch_size == "auto":
        return min(LARGEST_BATCH, m)
    if batch_size > m:
        warnings.warn(
            f"batch_size is {batch_size}, but there are {m} samples: it is clipped", stacklevel=2
        )
    return min(batch_size, m)


def schedule_of(estimator: Any, m: int, seen: int) -> Schedule:
    """The schedule after ``seen`` samples.

    "invscaling" and "adaptive" are for "sgd" alone, as in MLPClassifier.
    """
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
