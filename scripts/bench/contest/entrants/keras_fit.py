"""Keras: a Sequential model and fit, on the backend that Keras is configured for."""

from __future__ import annotations

import os

import numpy as np

from contest.entrants import Entrant, Unavailable


def connect(argument):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        import keras  # noqa: F401
    except ImportError as error:
        raise Unavailable("Keras is not installed") from error
    return Keras


class Keras(Entrant):
    def __init__(self, task):
        super().__init__(task)
        # Adam's epsilon is added elsewhere, and every rate is a float32
        self.same_rule = task.optimizer == "sgd" and task.dtype == "float32"
        self.unit = task.batches.steps_per_epoch

    def begin(self):
        import keras

        task = self.task
        if os.environ["KERAS_BACKEND"] == "jax":
            import jax

            jax.config.update("jax_enable_x64", task.dtype == "float64")
        keras.config.set_floatx(task.dtype)
        layers = [keras.layers.Dense(n, activation="relu") for n in task.dims[1:-1]]
        self.model = keras.Sequential(
            [keras.Input(task.dims[:1]), *layers, keras.layers.Dense(task.dims[-1])]
        )
        self.model.set_weights(
            [x for l in range(1, task.L + 1)
             for x in (task.weights[f"W{l}"].T, task.weights[f"b{l}"][:, 0])]
        )  # fmt: skip
        rules = {
            "sgd": lambda: keras.optimizers.SGD(task.rate),
            "adam": lambda: keras.optimizers.Adam(task.rate, epsilon=1e-8),
        }
        loss = (
            keras.losses.BinaryCrossentropy(from_logits=True)
            if task.binary
            else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        self.model.compile(rules[task.optimizer](), loss)
        self.done = 0

    def advance(self, n):
        task, epochs = self.task, n // self.unit
        labels = task.labels.astype(task.dtype) if task.binary else task.labels
        if task.batch is None:
            self.model.fit(
                task.rows, labels, batch_size=task.m, epochs=epochs, shuffle=False, verbose=0
            )
        else:
            for epoch in range(self.done // self.unit, self.done // self.unit + epochs):
                order = task.batches.order(epoch)
                self.model.fit(
                    task.rows[order], labels[order], batch_size=task.batch, shuffle=False, verbose=0
                )
        self.done += n

    def weights(self):
        found = {}
        arrays = self.model.get_weights()
        for l in range(1, self.task.L + 1):
            found[f"W{l}"] = np.asarray(arrays[2 * l - 2]).T
            found[f"b{l}"] = np.asarray(arrays[2 * l - 1])[:, None]
        return found
