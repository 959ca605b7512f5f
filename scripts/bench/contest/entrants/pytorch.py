"""PyTorch: modules, autograd and torch.optim; as they come, fused, or compiled."""

from __future__ import annotations

import functools
import os
import shutil

import numpy as np

from contest.entrants import Entrant, Unavailable


def connect(argument):
    try:
        import torch
    except ImportError as error:
        raise Unavailable("PyTorch is not installed") from error
    if argument == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise Unavailable("there is no C++ compiler, which torch.compile needs")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return functools.partial(PyTorch, form=argument)


class PyTorch(Entrant):
    def __init__(self, task, form):
        super().__init__(task)
        self.form = form

    def begin(self):
        import torch
        from torch.nn import functional

        task = self.task
        self.X = torch.from_numpy(task.rows)  # (m, n_x)
        layers = []
        for l in range(1, task.L + 1):
            linear = torch.nn.Linear(*task.dims[l - 1 : l + 1], dtype=self.X.dtype)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(task.weights[f"W{l}"]))
                linear.bias.copy_(torch.from_numpy(task.weights[f"b{l}"][:, 0]))
            layers += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        if task.binary:
            self.Y, loss = torch.from_numpy(task.targets()), (
                functional.binary_cross_entropy_with_logits
            )  # fmt: skip
        else:
            self.Y, loss = torch.from_numpy(task.labels), functional.cross_entropy
        rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[task.optimizer]
        fused = True if self.form == "fused" else None
        self.optimizer = rule(self.model.parameters(), lr=task.rate, fused=fused)
        self.cost = lambda X, Y: loss(self.model(X), Y)
        self.update = self.optimizer.step
        if self.form == "compile":
            torch.compiler.reset()
            self.cost = torch.compile(self.cost)
            self.update = torch.compile(lambda: self.optimizer.step())
        self.done = 0

    def advance(self, n):
        import torch

        if self.task.batch is not None:
            order = torch.from_numpy(self.task.order(self.done, n))
        X, Y = self.X, self.Y
        for i in range(n):
            if self.task.batch is not None:
                X, Y = self.X[order[i]], self.Y[order[i]]
            self.optimizer.zero_grad()
            cost = self.cost(X, Y)
            cost.backward()
            self.update()
        self.done += n

    def weights(self):
        found = {}
        for l, linear in enumerate(self.model[::2], start=1):
            found[f"W{l}"] = linear.weight.detach().numpy()
            found[f"b{l}"] = linear.bias.detach().numpy()[:, None]
        return found

    @staticmethod
    def product(A, B):
        import torch

        A, B = torch.from_numpy(A), torch.from_numpy(B)
        return lambda: np.asarray(torch.matmul(A, B))
