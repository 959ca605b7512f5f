"""portadnn: the whole call through ``fit``, steps through ``backend.repeat``."""

from __future__ import annotations

import functools
import logging

from contest.entrants import Entrant, Unavailable
from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.network.optimizers import as_optimizer
from portadnn.training.fit import fit, make_loop
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.sample_space import choose_form

RULES = {"sgd": "gradient_descent", "adam": "adam"}


def connect(argument):
    backend, *options = argument.split(",")
    first_layer, arithmetic = [*options, *("auto", "fast")[len(options) :]]
    try:
        get_backend(backend)
    except BackendUnavailableError as error:
        raise Unavailable(error.cause) from error
    return functools.partial(Ours, backend=backend, first_layer=first_layer, arithmetic=arithmetic)


class Ours(Entrant):
    def __init__(self, task, backend, first_layer, arithmetic):
        super().__init__(task)
        self.backend = get_backend(backend, dtype=task.dtype, arithmetic=arithmetic)
        batches, rule = task.batches, as_optimizer(RULES[task.optimizer])
        epochs = task.steps // batches.steps_per_epoch
        self.plan = Plan(task.rate, epochs, batches, Recipe(rule))
        self.form = choose_form(first_layer, task.network, self.plan)
        self.has_graphs = backend.startswith(("torch:", "cupy"))
        self.logged = _logged() if self.has_graphs else []
        self.X, self.Y = task.rows.T, task.targets().T

    @property
    def note(self):
        """Sample space, and whether the step runs as a CUDA graph."""
        notes = ["sample space"] * (self.form == "sample")
        if self.has_graphs and self.done:
            notes += self.logged[-1:] or ["CUDA graph"]
        return ", ".join(notes)

    def settings(self):
        plan, network = self.plan, self.task.network
        return {"network": network, "backend": self.backend, "plan": plan, "first_layer": self.form}

    def whole(self):
        parameters = fit(self.task.weights, self.X, self.Y, **self.settings())
        return {name: self.backend.to_numpy(p) for name, p in parameters.items()}

    def begin(self):
        with self.backend.scope():
            self.loop, start = make_loop(self.task.weights, self.X, self.Y, **self.settings())
            self.step, self.state = self.loop.step(), (start.parameters, start.slots)
        self.done = 0

    def advance(self, n):
        backend = self.backend
        with backend.scope():
            inputs = self.loop.inputs(self.done, n)
            self.state, costs = backend.repeat(self.step, self.state, inputs, self.loop.shared)
            backend.synchronize(self.state, costs)
        self.done += n

    def weights(self):
        host = {name: self.backend.to_numpy(p) for name, p in self.state[0].items()}
        return host if self.loop.space is None else self.loop.space.leave(host)

    def product(self, A, B):
        backend = self.backend
        with backend.scope():
            A, B = backend.asarray(A), backend.asarray(B)

        def multiply():
            with backend.scope():
                backend.synchronize(backend.xp.matmul(A, B))

        return multiply


def _logged():
    """The package's messages about CUDA graphs from now on: it says why a step is none."""
    messages = []
    handler = logging.Handler(logging.INFO)
    handler.addFilter(lambda record: "CUDA graph" in record.getMessage())
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("portadnn")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return messages
