"""scikit-learn's MLPClassifier, given our initial weights and our order of the examples."""

from __future__ import annotations

import warnings

import numpy as np

from contest.entrants import Entrant, Unavailable


def connect(argument):
    try:
        import sklearn.neural_network  # noqa: F401
    except ImportError as error:
        raise Unavailable("scikit-learn is not installed") from error
    return SklearnMLP


class Orders(np.random.RandomState):
    """Shuffles into the orders of the task: MLP permutes what the last epoch left."""

    def __init__(self, batches):
        super().__init__(0)
        self.batches, self.epoch = batches, 0
        self.last = np.arange(batches.m)

    def shuffle(self, indices):
        order = self.batches.order(self.epoch)
        where = np.empty_like(self.last)
        where[self.last] = np.arange(len(where))
        indices[:] = where[order]
        self.last, self.epoch = order, self.epoch + 1


class SklearnMLP(Entrant):
    """Every ``advance`` is a fit from the start: it has no state to go on from in one call."""

    def __init__(self, task):
        super().__init__(task)
        self.same_rule = task.optimizer == "sgd"  # Adam's epsilon is added elsewhere
        self.unit = task.batches.steps_per_epoch

    def begin(self):
        pass

    def advance(self, n):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        task, epochs = self.task, n // self.unit
        rows, labels, shuffle = task.rows, task.labels, task.batch is not None
        if not epochs:  # a part of the first epoch, its batches in their order
            first = task.order(0, n).reshape(-1)
            rows, labels, shuffle, epochs = rows[first], labels[first], False, 1
        start = iter(range(1, task.L + 1))

        class Started(MLPClassifier):
            def _init_coef(self, fan_in, fan_out, dtype):
                l = next(start)
                return task.weights[f"W{l}"].T.copy(), task.weights[f"b{l}"][:, 0].copy()

        model = Started(
            task.dims[1:-1], solver=task.optimizer, alpha=0.0, batch_size=task.batch or task.m,
            learning_rate_init=task.rate, momentum=0.0, nesterovs_momentum=False, max_iter=epochs,
            shuffle=shuffle, random_state=Orders(task.batches), tol=0.0,
            n_iter_no_change=epochs + 1,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model = model.fit(rows, labels)

    def weights(self):
        found = {}
        for l, (W, b) in enumerate(
            zip(self.model.coefs_, self.model.intercepts_, strict=True), start=1
        ):
            found[f"W{l}"], found[f"b{l}"] = W.T, b[:, None]
        return found
