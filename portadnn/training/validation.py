"""Scoring a network on examples that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.choice import check_number
from portadnn.data.dataset import Dataset
from portadnn.data.heads import score_of
from portadnn.errors import InputError
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
    scored_as : str, optional
        The head whose score is taken, if it is not the network's.
    """

    X: Any
    Y: Any
    S: Any = None
    scored_as: str | None = None

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
        head = self.scored_as or network.head
        return float(backend.to_numpy(cost)), score_of(outputs, targets, head, weights)


def split_validation(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Training and validation examples, the share ``fraction`` of every class in the latter.

    Of examples that have values it is the share of all of them.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1, or a class would be left out of either.
    """
    fraction = check_number("validation", fraction, 0.0, 1.0, low_open=True, high_open=True)
    if data.labels is None:
        raise InputError(f"{data.source} has no labels")
    strata = [("examples", np.arange(len(data)))]
    if data.labels.dtype.kind != "f":
        strata = [
            (f"examples of class {name!r}", np.flatnonzero(data.labels == label))
            for label, name in enumerate(data.classes)
        ]
    rng = stream(seed, SPLIT)
    chosen = np.zeros(len(data), dtype=bool)
    for what, members in strata:
        members = rng.permutation(members)
        count = round(fraction * len(members))
        if len(members) and not 0 < count < len(members):
            raise InputError(
                f"validation {fraction:g}: of the {len(members)} {what}, {count} would be for "
                f"validation: expected some on either side. Take another "
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
