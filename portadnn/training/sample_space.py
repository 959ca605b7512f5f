"""The first layer in sample space: for wide data, W1 is kept as multiples of examples.

Gradient descent, with momentum or decay, only ever adds multiples of examples to W1 and scales what
is there. So W1 stays in the span of its first rows and of the examples,

    W1 = K B,   B = [W1(0); X^T]  (n_1 + m, n_x),   K = [I | 0] at the start,

and the layer is an ordinary one with the weights K and the data H = B X, (n_1 + m, m), which is
computed once: ``W1 X = K H``. Its gradient needs no product: ``dW1 = dZ1 X^T / m`` adds ``dZ1 / m``
to the columns of K that belong to the examples. The products of the size of n_x are gone from the
step; in exact arithmetic the algorithm is the same. It pays if n_1 + m is less than n_x.

References
----------
Schölkopf, Herbrich and Smola, A generalized representer theorem (2001).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import get_backend
from portadnn.choice import known_name
from portadnn.errors import InputError
from portadnn.network.examples import all_examples
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan

CHOICES = ("auto", "sample", "feature")
BLOCK = 4096  # features at a time, so that no copy of X in float64 is made


@dataclass(frozen=True, eq=False)
class SampleSpace:
    """A problem in sample space: its data, and the way back.

    Attributes
    ----------
    W0 : array, shape (n_1, n_x)
        W1 at the start.
    X : array, shape (n_x, m)
        Both on the host, in the dtype of the run.
    gram : array, shape (n_1 + m, n_1 + m), float64
        ``B B^T``; its last m columns are H. Computed in float64, so every backend gets the same.
    network : Network
        The same layers over n_1 + m inputs.
    matmul : callable
        The function for products on the host.
    """

    W0: np.ndarray
    X: np.ndarray
    gram: np.ndarray
    network: Network
    matmul: Callable[..., np.ndarray]

    @classmethod
    def of(
        cls,
        network: Network,
        W0: np.ndarray,
        X: np.ndarray,
        matmul: Callable[..., np.ndarray] = np.matmul,
    ) -> SampleSpace:
        """The sample space of data and initial weights."""
        n_1, m = W0.shape[0], X.shape[1]
        gram = np.zeros((n_1 + m, n_1 + m))
        for rows in _blocks(X.shape[0]):
            B = np.concatenate([W0[:, rows], X[rows].T], dtype=np.float64)
            gram += matmul(B, B.T)
        dims = n_1 + m, *network.layer_dims[1:]
        return cls(W0, X, gram, Network(dims, network.activations, network.head), matmul)

    @property
    def H(self) -> np.ndarray:
        """The data of the first layer, ``B X``, (n_1 + m, m)."""
        return self.gram[:, len(self.W0) :]

    def data(self, X: np.ndarray) -> np.ndarray:
        """``B X`` of other examples, (n_1 + m, their number), float64: for validation."""
        found = np.zeros((len(self.gram), X.shape[1]))
        for rows in _blocks(X.shape[0]):
            B = np.concatenate([self.W0[:, rows], self.X[rows].T], dtype=np.float64)
            found += self.matmul(B, X[rows].astype(np.float64, copy=False))
        return found

    def enter(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Initial parameters with K in the place of W1."""
        n_1, width = len(self.W0), len(self.gram)
        return {**parameters, "W1": np.eye(n_1, width)}

    def leave(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters, or slots, on the host, with W1 (vW1) in the place of its K."""
        return {name: self._product(x) if name.endswith("W1") else x for name, x in arrays.items()}

    def _product(self, K: np.ndarray) -> np.ndarray:
        """``K B``, in float64, rounded once."""
        n_1 = len(self.W0)
        wide = K.astype(np.float64, copy=False)
        W = np.empty_like(self.W0)
        for rows in _blocks(self.X.shape[0]):
            old = self.matmul(wide[:, :n_1], self.W0[:, rows].astype(np.float64, copy=False))
            new = self.matmul(wide[:, n_1:], self.X[rows].T.astype(np.float64, copy=False))
            W[:, rows] = old + new
        return W


def sample_gradient(dZ, K, inputs, *, xp):
    """The gradient with respect to K: ``dZ1 / B`` in the columns of the batch's examples, else 0.

    Parameters
    ----------
    dZ : array, shape (n_1, B)
        If several processes share the examples, the columns of this one.
    K : array, shape (n_1, n_1 + m)
    inputs : dict
        Has ``place`` (m,) if there are batches: where each example stands in the batch, and B
        for those that are not in it.

    Returns
    -------
    dK : array, shape (n_1, n_1 + m)
    """
    dZ = all_examples(dZ, xp)
    n_1, size = dZ.shape
    if "place" in inputs:
        absent = xp.zeros_like(dZ[:, :1])
        dZ = xp.take(xp.concat([dZ, absent], axis=1), inputs["place"], axis=1)  # (n_1, m)
    return xp.concat([xp.zeros_like(K[:, :n_1]), xp.divide(dZ, size)], axis=1)


def choose_form(first_layer: str, network: Network, plan: Plan) -> str:
    """ "sample" or "feature", whichever takes fewer operations, or what is asked for.

    Parameters
    ----------
    first_layer : {"auto", "sample", "feature"}
    network : Network
    plan : Plan

    Raises
    ------
    InputError
        If "sample" is asked for but would be another algorithm, or the name is unknown.
    """
    known_name("first_layer", first_layer, CHOICES)
    recipe, m = plan.recipe, plan.batches.m
    obstacles = {
        f"{recipe.optimizer.name} is not linear in the gradient": not recipe.optimizer.linear,
        "an l1 penalty is not linear in W1": recipe.l1 > 0,
        "clipping needs the norm of dW1": recipe.clip_norm is not None,
    }
    because = next((reason for reason, holds in obstacles.items() if holds), None)
    if first_layer == "sample" and because:
        raise InputError(f"first_layer is 'sample', but {because}: expected 'auto' or 'feature'")
    if first_layer != "auto" or because:
        return "feature" if because else first_layer
    n_x, n_1 = network.layer_dims[:2]
    width = n_1 + m
    batch = plan.batches.batch_size or m
    # multiplications: forward and dW1, against forward alone and what is copied
    feature = 2 * n_1 * n_x * batch
    sample = n_1 * width * (batch + 4) + (n_1 * width * width if recipe.l2 else 0)
    once = 2 * (n_x * width * width + n_1 * width * n_x)  # in float64
    return "sample" if sample * plan.steps + once < feature * plan.steps else "feature"


def product_on_host(arithmetic: str) -> Callable[..., np.ndarray]:
    """``matmul`` of NumPy in an arithmetic: the products that lead into sample space and out."""
    if arithmetic == "fast":
        return np.matmul
    return get_backend("numpy", arithmetic=arithmetic).xp.matmul


def _blocks(n: int):
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))
