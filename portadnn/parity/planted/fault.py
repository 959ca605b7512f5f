"""A fault to plant, and the small run that it is planted in.

The run lacks nothing that faults need: biases that are not zero (for what drops them), a blank
example and a first layer without biases (Z is exactly 0 there, for a mask of ``>=``), a square
layer (for a transposed W), minibatches as large as that layer is wide (for a sum over the wrong
axis), and steps that follow one another (for what is stale).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import get_head
from portadnn.network.names import kind_and_layer, named
from portadnn.network.spec import Network
from portadnn.parity.planted.namespace import FaultyCall, Place, StepCall
from portadnn.parity.run import Run
from portadnn.parity.step.operations import step_order
from portadnn.training.declaration import Declaration
from portadnn.training.recipe import PLAIN, Recipe
from portadnn.training.weights import normalized

NETWORK = Network((96, 8, 8, 5, 1))
EXAMPLES, BATCH, STEPS = 40, 8, 3
LEARNING_RATE = 0.0075


@dataclass(frozen=True, eq=False)
class Fault:
    """A way of computing the step that is not the declared one.

    Attributes
    ----------
    tensor : str or None
        Where the first flag must stand. None: the arithmetic differs, but lawfully, and any flag is
        a false alarm.
    calls : dict
        What is called instead of the namespace's functions.
    step : int
        The first step that has the fault.
    steps, batch_size, recipe, head, weighted
        Of the run that it is planted in.
    in_float32 : bool
        Whether it lies above the rounding level of float32; above that of float64 all of them do.
    """

    name: str
    tensor: str | None
    calls: Mapping[Place, FaultyCall]
    step: int = 1
    steps: int = STEPS
    batch_size: int | None = None
    recipe: Recipe = PLAIN
    head: str = "sigmoid"
    weighted: bool = False
    in_float32: bool = True

    @property
    def place(self) -> tuple[int, int, str] | None:
        """Step, layer and tensor of the first flag; the data are layer 0."""
        if self.tensor is None:
            return None
        run = self.declared_run()
        layers = {tensor: layer for layer, tensor in step_order(run)}
        layer = layers.get(self.tensor, kind_and_layer(self.tensor)[1])
        return self.step, layer, self.tensor

    def declared_run(self) -> Run:
        """The run that the fault is planted in."""
        options = {"recipe": self.recipe, "head": self.head, "weighted": self.weighted}
        return declared_run(self.steps, self.batch_size, **options)  # type: ignore[arg-type]

    def must_show(self, dtype: str) -> bool:
        """Whether a certificate must find it in this dtype."""
        return self.tensor is not None and (dtype == "float64" or self.in_float32)


def at(name: str, function: str, tensor: str, call: FaultyCall, **options: Any) -> Fault:
    """A fault in one call of a function, which is for the tensor that the first flag must name."""
    return Fault(name, tensor.partition("#")[0], {(function, tensor): call}, **options)


def changed(i: int, change: Callable[[Any], Any]) -> FaultyCall:
    """The call with another argument in place ``i``."""
    return lambda call: call.compute(*call.args[:i], change(call.args[i]), *call.args[i + 1 :])


def stale(i: int) -> FaultyCall:
    """The call with the argument in place ``i`` that it had in the step before."""
    return lambda call: changed(i, lambda _: call.last[call.place][i])(call)


def first_argument(call: StepCall) -> Any:
    """The function was not called at all."""
    return call.args[0]


def left_out(call: StepCall) -> Any:
    """A term of a sum that is 0."""
    return np.zeros_like(call.compute())


def declared_run(
    steps: int = STEPS,
    batch_size: int | None = None,
    *,
    recipe: Recipe = PLAIN,
    head: str = "sigmoid",
    weighted: bool = False,
    seed: int = 1,
) -> Run:
    """What every run of the bench declares, with its faults or without."""
    rng = np.random.default_rng(seed)
    parameters = initialize_parameters_deep(NETWORK.layer_dims, rng=rng)
    for l in range(2, NETWORK.L + 1):
        parameters[named("b", l)] = 0.1 * rng.standard_normal(parameters[named("b", l)].shape)
    X = rng.standard_normal((NETWORK.layer_dims[0], EXAMPLES))
    X[:, 0] = 0  # blank
    highest = int(min(get_head(head).high, 4))
    Y = rng.integers(0, highest + 1, (1, EXAMPLES)).astype(float)
    weights = normalized(rng.uniform(0.5, 2.0, EXAMPLES)) if weighted else None
    declaration = Declaration(
        learning_rate=LEARNING_RATE, batch_size=batch_size, **recipe.settings()
    )
    return Run(replace(NETWORK, head=head), parameters, X, Y, declaration, steps, weights)
