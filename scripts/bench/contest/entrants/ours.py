"""portadnn: the whole call through ``fit``, steps through ``backend.repeat``."""

from __future__ import annotations

import functools
import inspect

from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.network.optimizers import as_optimizer
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import make_step
from portadnn.training.train import fit

from contest.entrants import Entrant, Unavailable

RULES = {"sgd": "gradient_descent", "adam": "adam"}


def connect(argument):
    backend, _, first_layer = argument.partition(",")
    try:
        get_backend(backend)
    except BackendUnavailableError as error:
        raise Unavailable(error.cause) from error
    return functools.partial(Ours, backend=backend, first_layer=first_layer or "auto")


class Ours(Entrant):
    def __init__(self, task, backend, first_layer):
        super().__init__(task)
        self.backend = get_backend(backend, dtype=task.dtype)
        self.plan = self.plan_of(task.steps)
        has_choice = "first_layer" in inspect.signature(fit).parameters
        self.options = {"first_layer": first_layer} if has_choice else {}
        self.X, self.Y = task.rows.T, task.targets().T

    def plan_of(self, steps):
        batches = self.task.batches
        recipe = Recipe(as_optimizer(RULES[self.task.optimizer]))
        return Plan(self.task.rate, steps // batches.steps_per_epoch, batches, recipe)

    def whole(self):
        parameters = fit(
            self.task.weights, self.X, self.Y, network=self.task.network, backend=self.backend,
            plan=self.plan, **self.options,
        )  # fmt: skip
        return {name: self.backend.to_numpy(p) for name, p in parameters.items()}

    def begin(self):
        backend, task = self.backend, self.task
        with backend.scope():
            self.shared = (backend.asarray(self.X), backend.asarray(self.Y))
            parameters = {name: backend.asarray(p) for name, p in task.weights.items()}
            self.state = (parameters, self.plan.recipe.optimizer.init(parameters, xp=backend.xp))
            self.step = make_step(task.network, backend.xp, recipe=self.plan.recipe)

    def advance(self, n):
        with self.backend.scope():
            inputs = self.plan.inputs(self.done, self.done + n, self.task.network, self.backend)
            self.state, costs = self.backend.repeat(self.step, self.state, inputs, self.shared)
            self.backend.synchronize(self.state, costs)
        self.done += n

    def weights(self):
        return {name: self.backend.to_numpy(p) for name, p in self.state[0].items()}

    def product(self, A, B):
        backend = self.backend
        with backend.scope():
            A, B = backend.asarray(A), backend.asarray(B)

        def multiply():
            with backend.scope():
                backend.synchronize(backend.xp.matmul(A, B))

        return multiply
