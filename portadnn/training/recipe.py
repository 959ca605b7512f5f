"""A run without its network and data: the recipe of its step, and the plan of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from portadnn.backends import Backend, to_host
from portadnn.choice import check_number, check_whole
from portadnn.errors import InputError
from portadnn.network.losses import get_head
from portadnn.network.names import named
from portadnn.network.optimizers import GradientDescent, Optimizer, as_optimizer
from portadnn.network.spec import Network
from portadnn.training.feed import Feed
from portadnn.training.schedules import Constant, Cosine, Schedule, as_schedule
from portadnn.training.streams import Batches, check_seed, dropout_mask, place_of


@dataclass(frozen=True)
class Recipe:
    """What a step does with its gradients, and what its cost adds: frozen, hashable, static.

    Parameters
    ----------
    optimizer : str or Optimizer
    l2, l1 : float
        The cost has ``l2 / 2 sum(W^2) + l1 sum(abs(W))`` added, over all layers; biases are free.
    clip_norm : float, optional
        The largest Euclidean norm of all gradients together, the penalty's included.
    dropout : sequence of float
        The share of every hidden layer's units that a step drops; empty for none.
    label_smoothing : float
        The share of every label that is spread evenly: over all classes for softmax, over 0 and 1
        for sigmoid. Validation keeps the labels as they are.

    Raises
    ------
    InputError
        If a value is out of its range.

    References
    ----------
    Szegedy and others, Rethinking the Inception architecture (2016), section 7.
    """

    optimizer: Optimizer = field(default_factory=GradientDescent)
    l2: float = 0.0
    l1: float = 0.0
    clip_norm: float | None = None
    dropout: tuple[float, ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer))
        object.__setattr__(self, "l2", check_number("l2", self.l2, 0.0))
        object.__setattr__(self, "l1", check_number("l1", self.l1, 0.0))
        if self.clip_norm is not None:
            limit = check_number("clip_norm", self.clip_norm, 0.0, low_open=True)
            object.__setattr__(self, "clip_norm", limit)
        rates = tuple(check_number("dropout", rate, 0.0, 1.0, high_open=True)
                      for rate in self.dropout)  # fmt: skip
        object.__setattr__(self, "dropout", rates if any(rates) else ())
        share = check_number("label_smoothing", self.label_smoothing, 0.0, 1.0, high_open=True)
        object.__setattr__(self, "label_smoothing", share)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """The names of the optimizer's scalars."""
        return tuple(self.optimizer.scalars(1.0, 1))

    @property
    def slots(self) -> tuple[str, ...]:
        """What the optimizer keeps of every parameter."""
        return self.optimizer.slots

    @property
    def penalized(self) -> bool:
        """Whether the cost has a penalty."""
        return bool(self.l2 or self.l1)

    def dropped_layers(self) -> list[int]:
        """The layers that have dropout."""
        return [l for l, rate in enumerate(self.dropout, start=1) if rate]

    def settings(self) -> dict[str, Any]:
        """The settings of a ``Declaration`` that make the same recipe."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        return values | {"dropout": self.dropout or 0.0}

    def check(self, network: Network) -> None:
        """Raise InputError unless it fits the network."""
        if self.dropout:
            _check_count(self.dropout, network)
        if self.label_smoothing and get_head(network.head).high == math.inf:
            raise InputError(
                f"label_smoothing is {self.label_smoothing:g}, but the {network.head} head has "
                f"values, not labels: leave it out"
            )

    def targets(self, Y: Any, network: Network) -> Any:
        """Y (n_L, m) as the steps get it: smoothed, in float64 on the host."""
        if not self.label_smoothing:
            return Y
        low, _ = self.smoothing(network)
        return (1 - self.label_smoothing) * np.asarray(to_host(Y), np.float64) + low

    def smoothing(self, network: Network) -> tuple[float, float]:
        """What 0 and 1 become when they are smoothed."""
        share, head = self.label_smoothing, get_head(network.head)
        middle = 1 / network.layer_dims[-1] if head.exclusive else (head.low + head.high) / 2
        low = share * middle if share else 0.0
        return low, 1 - share + low


WHOLE = slice(None)  # all examples of a batch
PLAIN = Recipe()  # gradient descent alone, the step of the course


def dropout_rates(
    dropout: float | Sequence[float] | np.ndarray, network: Network
) -> tuple[float, ...]:
    """One rate for every hidden layer, from one or from as many."""
    rates: Any = dropout.tolist() if isinstance(dropout, np.ndarray) else dropout
    if isinstance(rates, str) or not isinstance(rates, Sequence):
        rates = [rates] * (network.L - 1)  # Recipe validates it
    _check_count(rates, network)
    return tuple(rates)


def _check_count(rates: Sequence[float], network: Network) -> None:
    if len(rates) != network.L - 1:
        raise InputError(
            f"{len(rates)} dropout rates were given for {network.L - 1} hidden layers: "
            f"expected one rate, or one for each hidden layer"
        )


@dataclass(frozen=True)
class Plan:
    """Everything that decides the steps of a run, except network, data and initial parameters.

    Parameters
    ----------
    learning_rate : float
    epochs : int
        With the whole batch an epoch is one step.
    batches : Batches
    recipe : Recipe
    schedule : str or Schedule
    first_step : int
        Steps that were made before; the optimizer's scalars and the masks continue from there.

    Raises
    ------
    InputError
        If rate or epochs cannot be used.
    """

    learning_rate: float
    epochs: int
    batches: Batches
    recipe: Recipe = PLAIN
    schedule: Schedule = field(default_factory=Constant)
    first_step: int = 0

    def __post_init__(self) -> None:
        rate, epochs = check_schedule(self.learning_rate, self.epochs)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "epochs", epochs)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        check_seed(self.batches.seed)
        decay = self.recipe.optimizer.weight_decay
        if rate * decay >= 1:
            raise InputError(
                f"weight_decay is {decay:g} and the learning rate {rate:g}: every step multiplies "
                f"W by 1 - rate weight_decay, so expected a product below 1"
            )
        if isinstance(self.schedule, Cosine) and self.schedule.warmup >= epochs:
            raise InputError(
                f"the warm-up of the schedule is {self.schedule.warmup:g} epochs of {epochs}: "
                f"expected fewer"
            )

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.batches.steps_per_epoch

    def rate(self, step: int, factor: float = 1.0) -> float:
        """The learning rate of a step, times ``factor``, that of the run's tracker."""
        epoch = step / self.batches.steps_per_epoch
        return self.learning_rate * self.schedule.factor_at(epoch, self.epochs) * factor

    def scalars(self, step: int, factor: float = 1.0) -> dict[str, float]:
        """The optimizer's scalars in a step."""
        t = self.first_step + step + 1
        return self.recipe.optimizer.scalars(self.rate(step, factor), t)

    def masks(self, step: int, network: Network) -> dict[str, np.ndarray]:
        """The dropout masks of a step."""
        size, seed = self.batches.size(step), self.batches.seed
        return {
            named("D", l): dropout_mask(
                seed,
                self.first_step + step,
                l,
                (network.layer_dims[l], size),
                self.recipe.dropout[l - 1],
            )
            for l in self.recipe.dropped_layers()
        }

    def inputs(
        self,
        start: int,
        stop: int,
        network: Network,
        backend: Backend,
        factor: float = 1.0,
        *,
        sample: bool = False,
        feed: Feed | None = None,
        own: slice = WHOLE,
    ) -> dict[str, Any]:
        """What changes in steps ``start`` to ``stop``, exclusive, for ``backend.repeat``.

        Their batches must be of one size; ``sample`` is for steps in sample space. A ``feed`` gives
        the rows of the batches in the place of their indices. ``own`` are the examples of a batch
        that this process has.
        """
        steps = range(start, stop)
        scalars = [self.scalars(step, factor) for step in steps]
        inputs = {
            name: backend.as_input(np.asarray([s[name] for s in scalars]).reshape(-1, 1, 1))
            for name in scalars[0]
        }
        if feed is not None:
            inputs |= {name: backend.as_input(x) for name, x in feed.rows(steps).items()}
        elif self.batches.batch_size is not None:
            indices: list[Any] = [self.batches.indices(step) for step in steps]
            inputs["batch"] = backend.as_input(np.stack(indices)[:, own], dtype="int32")
            if sample:
                places = [place_of(i, self.batches.m) for i in indices]
                inputs["place"] = backend.as_input(np.stack(places), dtype="int32")
        if self.recipe.dropout:
            masks = [self.masks(step, network) for step in steps]
            for name in masks[0]:
                kept = np.stack([m[name] for m in masks])[:, :, own]
                inputs[name] = backend.as_input(kept, dtype="bool")
        return inputs


def check_schedule(learning_rate: float, epochs: int, what: str = "epochs") -> tuple[float, int]:
    """Both as Python numbers, or an InputError that names the one that cannot be used."""
    rate = check_number("learning rate", learning_rate, 0.0, low_open=True)
    return rate, check_whole(f"number of {what}", epochs, 1)
