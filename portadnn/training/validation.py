"""Scoring a network on examples that it does not learn from."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.choice import check_number
from portadnn.data.dataset import Dataset
from portadnn.data.heads import meaning_of
from portadnn.data.stored import Stored
from portadnn.errors import InputError
from portadnn.network.model import L_model_forward, compute_cost_with_logits
from portadnn.network.spec import Network
from portadnn.parallel import Ranks
from portadnn.training.step import one_hot
from portadnn.training.streams import SPLIT, stream

BLOCK = 8192  # examples at once, so that memory is only needed for a block and the answer
VALUES = 2**22  # in a block of examples with many values


@dataclass(frozen=True, eq=False)
class Validation:
    """Examples to score on, as arrays of a backend.

    Attributes
    ----------
    X : array, shape (n_x, m), or Dataset
        The latter if the examples stay in a file.
    Y : array, shape (n_L, m)
    S : array, shape (1, m), optional
        Weights of the examples.
    scored_as : str, optional
        The head whose score is taken, if it is not the network's.
    classes : array, shape (1, C), optional
        As in ``Shared``: Y then has the number of each example's class, (1, m), on the host.
    """

    X: Any
    Y: Any
    S: Any = None
    scored_as: str | None = None
    classes: Any = None

    def score(
        self,
        parameters: dict[str, Any],
        network: Network,
        backend: Backend,
        ranks: Ranks | None = None,
    ) -> tuple[float, float]:
        """The cost without the penalty, and the score of the predictions, from blocks of them."""
        meaning, found = meaning_of(self.scored_as or network.head), []
        outputs = forward(network, backend)
        for X, Y, S in self.blocks(backend, ranks):
            AL, _, _, cost = outputs(X, parameters, Y, S)
            answers = meaning.compared(backend.to_numpy(AL), backend.to_numpy(Y))
            found.append(((float(backend.to_numpy(cost)), Y.shape[1]), answers))
        costs, compared = zip(*in_order(found, ranks), strict=True)
        weights = None if self.S is None else backend.to_numpy(self.S)
        measures = meaning.measured(np.concatenate(compared, axis=-1), weights)
        return mean_cost(costs), measures[meaning.score]

    def blocks(
        self, backend: Backend, ranks: Ranks | None = None
    ) -> Iterator[tuple[Any, Any, Any]]:
        """X, Y and S in blocks of examples, so that only one block is in memory.

        If there are n ranks, each has every n-th block.
        """
        m, stored = self.Y.shape[1], isinstance(self.X, Dataset)
        size = block_of(self.X.n_x if stored else self.X.shape[0])
        size = -(-m // -(-m // size))  # nearly equal ones: JAX compiles for each size
        for start in own_blocks(range(0, m, size), ranks):
            rows, whole = slice(start, min(start + size, m)), m <= size
            Y, S = (x if x is None or whole else x[:, rows] for x in (self.Y, self.S))
            if stored:
                X = backend.asarray(self.X.columns(backend.dtype_name, rows))
            else:
                X = self.X if whole else self.X[:, rows]
            if self.classes is not None:
                Y = backend.asarray(one_hot(Y.T, self.classes, np).T)
            yield X, Y, S


def own_blocks(blocks: Sequence[Any], ranks: Ranks | None) -> Sequence[Any]:
    """The blocks that this rank computes; all of them if there are no ranks."""
    return blocks if ranks is None else blocks[ranks.rank :: ranks.size]


def in_order(found: list[Any], ranks: Ranks | None) -> list[Any]:
    """What all ranks made of their blocks, in the order of the blocks."""
    if ranks is None:
        return found
    each = [iter(own) for own in ranks.all(found)]
    return [x for row in itertools.zip_longest(*each) for x in row if x is not None]


def block_of(n_x: int) -> int:
    """How many examples of n_x values are in a block."""
    return min(BLOCK, max(VALUES // n_x, 1))


def mean_cost(costs: Iterable[tuple[float, int]]) -> float:
    """The cost of all examples, from that of each block and its number of examples."""
    costs = list(costs)
    m = sum(size for _, size in costs)
    return math.fsum(cost * (size / m) for cost, size in costs)


@functools.lru_cache(maxsize=64)
def forward(network: Network, backend: Backend) -> Callable[..., tuple[Any, ...]]:
    """``X, parameters, Y=None, S=None -> AL, [Z1 .. ZL], [A1 ..], cost``; no cost without Y."""

    def outputs(X: Any, parameters: Any, Y: Any = None, S: Any = None) -> tuple[Any, ...]:
        AL, caches = L_model_forward(X, parameters, network=network, xp=backend.xp)
        Z, A, cost = [Z for _, Z in caches], [linear[0] for linear, _ in caches[1:]], None
        if Y is not None:
            cost = compute_cost_with_logits(Z[-1], Y, network=network, weights=S, xp=backend.xp)
        return AL, Z, A, cost

    return backend.compiled(outputs)


def answers(network: Network, backend: Backend, X: Any, parameters: Any) -> tuple[Any, Any]:
    """AL and ZL, (n_L, m), of the columns of X."""
    m, outputs = X.shape[1], forward(network, backend)
    # other backends would compile for a second size, or launch more
    size = block_of(X.shape[0]) if backend.library == "numpy" else m
    made = (outputs(X[:, i : i + size], parameters) for i in range(0, m, size))
    blocks = [(AL, Z[-1]) for AL, Z, *_ in made]
    if len(blocks) == 1:
        return blocks[0]
    AL, ZL = (backend.xp.concat(x, axis=1) for x in zip(*blocks, strict=True))
    return AL, ZL


def split_validation(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into training and validation examples; the latter get ``fraction`` of every class.

    If the labels are values, they get ``fraction`` of all examples.

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
            examples=data.examples.only(np.flatnonzero(part))
            if isinstance(data.examples, Stored)
            else data.examples[part],
            labels=data.labels[part],
            source=f"{data.source}, {what}",
        )
        for part, what in ((~chosen, "the rest"), (chosen, f"{fraction:g} for validation"))
    )
