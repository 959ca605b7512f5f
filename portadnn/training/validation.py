"""Scoring a network on examples that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.choice import check_number
from portadnn.network.model import L_model_forward, compute_cost_with_logits
from portadnn.network.spec import Network
from portadnn.training.streams import SPLIT, stream


@dataclass(frozen=True, eq=False)
class Validation:
    """Examples to score on, as arrays of a backend.

    Attributes
    ----------
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)
    S : array, shape (1, m), optional
        Weights of the examples.
    """

    X: Any
    Y: Any
    S: Any = None

    def score(
        self, parameters: dict[str, Any], network: Network, backend: Backend
    ) -> tuple[float, float]:
        """The cost without the penalty, and ``score_of`` the predictions."""
        AL, caches = L_model_forward(self.X, parameters, network=network, xp=backend.xp)
        cost = compute_cost_with_logits(
            caches[-1][1], self.Y, network=network, weights=self.S, xp=backend.xp
        )
        weights = None if self.S is None else backend.to_numpy(self.S)
        outputs, targets = backend.to_numpy(AL), backend.to_numpy(self.Y)
        return float(backend.to_numpy(cost)), score_of(outputs, targets, network.head, weights)


def score_of(AL: np.ndarray, Y: np.ndarray, head: str, weights: np.ndarray | None = None) -> float:
    """The accuracy of a classifier (every label right, where there are several), or R^2.

    Parameters
    ----------
    AL, Y : array, shape (n_L, m)
    head : {"sigmoid", "softmax", "identity"}
    weights : array, shape (1, m), optional

    Returns
    -------
    score : float
        R^2, averaged over the outputs, for the identity head; an output that is constant counts
        1 where it is predicted exactly and 0 otherwise, as in scikit-learn.
    """
    S = np.ones((1, Y.shape[1])) if weights is None else weights.astype(np.float64, order="C")
    if head == "identity":
        # in one order of memory, which libraries choose differently: it is that of the sums
        AL, Y = (x.astype(np.float64, order="C") for x in (AL, Y))
        mean = np.sum(S * Y, axis=1, keepdims=True) / np.sum(S * np.ones_like(Y), 1, keepdims=True)
        residual = np.sum(S * np.square(Y - AL), axis=1)
        total = np.sum(S * np.square(Y - mean), axis=1)
        r2 = np.where(residual == 0, 1.0, 0.0)
        np.divide(residual, total, out=r2, where=total > 0)
        return float(np.mean(np.where(total > 0, 1 - r2, r2)))
    if head == "softmax":
        right = np.argmax(AL, axis=0) == np.argmax(Y, axis=0)
    else:
        right = np.all((AL > 0.5) == (Y > 0.5), axis=0)
    if S.shape[0] > 1:  # weights of single outputs are no weights of examples
        return float(np.mean(right))
    return float(np.sum(S[0] * right) / np.sum(S))


def split_validation(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Training and validation examples, the share ``fraction`` of every class in the latter.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1, or a class would be left out of either.
    """
    fraction = check_number("validation", fraction, 0.0, 1.0, low_open=True, high_open=True)
    if data.labels is None:
        raise InputError(f"{data.source} has no labels")
    rng = stream(seed, SPLIT)
    chosen = np.zeros(len(data), dtype=bool)
    for label, name in enumerate(data.classes):
        members = rng.permutation(np.flatnonzero(data.labels == label))
        count = round(fraction * len(members))
        if len(members) and not 0 < count < len(members):
            raise InputError(
                f"validation {fraction:g}: of the {len(members)} examples of class {name!r}, "
                f"{count} would be for validation: expected some on either side. Take another "
                f"share, or give the validation data yourself"
            )
        chosen[members[:count]] = True
    return tuple(  # type: ignore[return-value]
        replace(
            data,
            examples=data.examples[part],
            labels=data.labels[part],
            source=f"{data.source}, {what}",
        )
        for part, what in ((~chosen, "the rest"), (chosen, f"{fraction:g} for validation"))
    )
