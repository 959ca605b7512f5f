"""portadnn: the whole call through ``fit``, steps through ``backend.repeat``."""

from __future__ import annotations

import functools

import numpy as np

from contest.entrants import Entrant, Unavailable
from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.network.optimizers import as_optimizer
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.sample_space import SampleSpace, choose_form
from portadnn.training.step import make_step
from portadnn.training.train import fit

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
        batches, rule = task.batches, as_optimizer(RULES[task.optimizer])
        epochs = task.steps // batches.steps_per_epoch
        self.plan = Plan(task.rate, epochs, batches, Recipe(rule))
        self.form = choose_form(first_layer, task.network, self.plan)
        self.note = "sample space" if self.form == "sample" else ""
        self.X, self.Y = task.rows.T, task.targets().T

    def whole(self):
        parameters = fit(
            self.task.weights, self.X, self.Y, network=self.task.network, backend=self.backend,
            plan=self.plan, first_layer=self.form,
        )  # fmt: skip
        return {name: self.backend.to_numpy(p) for name, p in parameters.items()}

    def begin(self):
        """What ``fit`` does before its loop."""
        backend, task, sample = self.backend, self.task, self.form == "sample"
        self.network, X, parameters = task.network, self.X, task.weights
        if sample:
            self.space = SampleSpace.of(task.network, parameters["W1"], X)
            self.network, X = self.space.network, self.space.H
            parameters = self.space.enter(parameters)
        with backend.scope():
            self.shared = (backend.asarray(X), backend.asarray(self.Y))
            if self.plan.batches.batch_size is not None:  # a row for each example
                rows = (np.ascontiguousarray(x.T) for x in (X, self.Y))
                self.shared = tuple(backend.asarray(x) for x in rows)
            parameters = {name: backend.asarray(p) for name, p in parameters.items()}
            self.state = (parameters, self.plan.recipe.optimizer.init(parameters, xp=backend.xp))
        self.step = make_step(self.network, backend.xp, recipe=self.plan.recipe, sample=sample)
        self.done = 0

    def advance(self, n):
        backend, sample = self.backend, self.form == "sample"
        with backend.scope():
            inputs = self.plan.inputs(
                self.done, self.done + n, self.network, backend, sample=sample
            )
            self.state, costs = backend.repeat(self.step, self.state, inputs, self.shared)
            backend.synchronize(self.state, costs)
        self.done += n

    def weights(self):
        host = {name: self.backend.to_numpy(p) for name, p in self.state[0].items()}
        return self.space.leave(host) if self.form == "sample" else host

    def product(self, A, B):
        backend = self.backend
        with backend.scope():
            A, B = backend.asarray(A), backend.asarray(B)

        def multiply():
            with backend.scope():
                backend.synchronize(backend.xp.matmul(A, B))

        return multiply
