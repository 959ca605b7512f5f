"""PyTorch: modules, autograd and torch.optim; as they come, fused, compiled, or on a GPU.

On a GPU as they come, or with the whole step as a CUDA graph
(https://docs.pytorch.org/docs/stable/notes/cuda.html, Whole-network capture).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil

from contest.entrants import Entrant, Unavailable


def connect(argument):
    """``argument`` is the form, and after a comma the device if it is not the CPU."""
    form, _, device = argument.partition(",")
    try:
        import torch
    except ImportError as error:
        raise Unavailable("PyTorch is not installed") from error
    if form == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise Unavailable("there is no C++ compiler, which torch.compile needs")
    if device and form == "compile" and not importlib.util.find_spec("triton"):
        raise Unavailable("there is no Triton, which torch.compile needs on a GPU")
    if device and not torch.cuda.is_available():
        raise Unavailable("PyTorch has no CUDA device here")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return functools.partial(PyTorch, form=form, device=device or "cpu")


class PyTorch(Entrant):
    def __init__(self, task, form, device):
        super().__init__(task)
        self.form, self.device = form, device

    def begin(self):
        import torch
        from torch.nn import functional

        task = self.task
        torch.set_float32_matmul_precision("highest")
        self.X = torch.from_numpy(task.rows).to(self.device)  # (m, n_x)
        layers = []
        for l in range(1, task.L + 1):
            linear = torch.nn.Linear(*task.dims[l - 1 : l + 1], dtype=self.X.dtype)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(task.weights[f"W{l}"]))
                linear.bias.copy_(torch.from_numpy(task.weights[f"b{l}"][:, 0]))
            layers += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1]).to(self.device)
        if task.binary:
            self.Y, loss = torch.from_numpy(task.targets()), (
                functional.binary_cross_entropy_with_logits
            )  # fmt: skip
        else:
            self.Y, loss = torch.from_numpy(task.labels), functional.cross_entropy
        self.Y = self.Y.to(self.device)
        rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[task.optimizer]
        fused = True if self.form == "fused" else None
        options = {"capturable": True} if self.form == "graph" and rule is torch.optim.Adam else {}
        self.optimizer = rule(self.model.parameters(), lr=task.rate, fused=fused, **options)
        self.cost = lambda X, Y: loss(self.model(X), Y)
        self.update = self.optimizer.step
        if self.form == "compile":
            torch.compiler.reset()
            self.cost = torch.compile(self.cost)
            self.update = torch.compile(lambda: self.optimizer.step())
        if self.form == "graph":
            self.capture()
        self.done = 0

    def capture(self):
        """Record a step as a graph, and undo what the steps on the way there have learnt."""
        import torch

        start = [p.detach().clone() for p in self.model.parameters()]
        self.index = torch.arange(self.task.batch or self.task.m, device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(self.index)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.step(self.index)
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), start, strict=True):
                parameter.copy_(value)
            for kept in self.optimizer.state.values():
                for x in kept.values():
                    x.zero_()

    def step(self, index):
        X, Y = (self.X, self.Y) if self.task.batch is None else (self.X[index], self.Y[index])
        self.optimizer.zero_grad()
        self.cost(X, Y).backward()
        self.update()

    def advance(self, n):
        import torch

        order = [None] * n
        if self.task.batch is not None:
            order = torch.from_numpy(self.task.order(self.done, n)).to(self.device)
        for index in order:
            if self.form != "graph":
                self.step(index)
                continue
            if index is not None:
                self.index.copy_(index)
            self.graph.replay()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.done += n

    def weights(self):
        found = {}
        for l, linear in enumerate(self.model[::2], start=1):
            found[f"W{l}"] = linear.weight.detach().cpu().numpy()
            found[f"b{l}"] = linear.bias.detach().cpu().numpy()[:, None]
        return found

    def product(self, A, B):
        import torch

        A, B = (torch.from_numpy(x).to(self.device) for x in (A, B))

        def multiply():
            torch.matmul(A, B)
            if self.device == "cuda":
                torch.cuda.synchronize()

        return multiply
