"""A small step and what ``Backend.repeat`` takes, for the tests of CUDA graphs."""

import numpy as np

from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan
from portadnn.training.step import Shared, make_step
from portadnn.training.streams import Batches

DIMS, M = (5, 4, 3), 12


def repeated(backend, recipe, batch_size, steps, head="softmax", activation="relu"):
    """The backend, the step, the state before it, the inputs of its steps and the data."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((DIMS[0], M)), np.eye(3)[:, rng.integers(0, 3, M)]
    network = Network(DIMS, (activation,), head)
    plan = Plan(0.1, steps, Batches(M, batch_size, drop_last=True), recipe, "exponential:0.9")
    drawn = initialize_parameters_deep(DIMS, rng=rng)
    parameters = {name: backend.asarray(p) for name, p in drawn.items()}
    state = parameters, recipe.optimizer.init(parameters, xp=backend.xp)
    shared = Shared(X, Y) if batch_size is None else Shared(X, Y).in_rows()
    shared = shared.mapped(backend.asarray)
    step = make_step(network, backend.xp, recipe=recipe)
    return backend, step, state, plan.inputs(0, steps, network, backend), shared
