"""Who takes part: one file a library, each written as its own users write it well."""

from __future__ import annotations

import importlib

# the module and its argument, and what the table says
ENTRANTS = {
    "textbook": ("textbook", "", "textbook NumPy"),
    "numpy": ("ours", "numpy", "portadnn numpy"),
    "numpy-direct": ("ours", "numpy,feature", "portadnn numpy, direct form"),
    "jax": ("ours", "jax", "portadnn jax"),
    "numpy-reproducible": (
        "ours",
        "numpy,auto,reproducible",
        "portadnn numpy, reproducible arithmetic",
    ),
    "jax-reproducible": ("ours", "jax,auto,reproducible", "portadnn jax, reproducible arithmetic"),
    "torch": ("ours", "torch", "portadnn torch"),
    "cupy": ("ours", "cupy", "portadnn cupy"),
    "torch-gpu": ("ours", "torch:cuda", "portadnn torch on the GPU"),
    "jax-gpu": ("ours", "jax:gpu", "portadnn jax on the GPU"),
    "torch-eager": ("pytorch", "eager", "PyTorch eager"),
    "torch-fused": ("pytorch", "fused", "PyTorch eager, fused optimizer"),
    "torch-compile": ("pytorch", "compile", "PyTorch compiled"),
    "torch-cuda": ("pytorch", "eager,cuda", "PyTorch eager on the GPU"),
    "torch-compile-gpu": ("pytorch", "compile,cuda", "PyTorch compiled on the GPU"),
    "torch-graph": ("pytorch", "graph,cuda", "PyTorch, a CUDA graph of the step"),
    "jax-scan": ("jax_scan", "rows", "JAX jit + scan, X @ W"),
    "jax-scan-columns": ("jax_scan", "columns", "JAX jit + scan, W @ X"),
    "jax-scan-gpu": ("jax_scan", "rows,gpu", "JAX jit + scan on the GPU"),
    "sklearn": ("sklearn_mlp", "", "scikit-learn MLP"),
    "keras": ("keras_fit", "", "Keras"),
}
ON_NUMPY = (
    "textbook",
    "numpy",
    "numpy-direct",
    "numpy-reproducible",
    "sklearn",
)  # whose products are its BLAS's
OURS = [name for name, (module, *_) in ENTRANTS.items() if module == "ours"]
REPRODUCIBLE = [name for name in ENTRANTS if name.endswith("-reproducible")]


def entrant(name):
    """The class of an entrant, made ready by importing its library."""
    module, argument, _ = ENTRANTS[name]
    return importlib.import_module(f"contest.entrants.{module}").connect(argument)


def title(name):
    return ENTRANTS[name][2]


class Unavailable(Exception):
    """An entrant that cannot run here, and why."""


class Entrant:
    """A training of ``task`` in some library.

    ``begin`` takes it from host arrays to the state before the first step, ``advance`` makes n
    steps and waits for them, ``weights`` gives W1 (n_1, n_x), b1 (n_1, 1), ... on the host.
    """

    same_rule = True  # the task's optimizer to the letter
    unit = 1  # steps can be made in multiples of it
    note = ""  # the table prints this beside the name

    def __init__(self, task):
        self.task = task
        self.done = 0

    def begin(self):
        raise NotImplementedError

    def advance(self, n):
        raise NotImplementedError

    def weights(self):
        raise NotImplementedError

    def whole(self):
        """The whole call, from host arrays to weights on the host."""
        self.begin()
        self.advance(self.task.steps)
        return self.weights()

    @staticmethod
    def product(A, B):
        """Something to call that multiplies the matrices, and waits."""
        return lambda: A @ B
