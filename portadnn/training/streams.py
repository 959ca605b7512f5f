"""Random draws of a run: each is a function of seed, stream and step, and needs no stored state.

They are drawn on the host by Philox, a counter-based generator, keyed by seed and stream and
started at a counter that holds the step. So any step can be repeated by itself, and every backend
sees the same shuffles and masks.

References
----------
Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (2011).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from portadnn.choice import check_whole
from portadnn.errors import InputError

SHUFFLE, DROPOUT, SPLIT = range(3)  # the streams


def stream(seed: int, which: int, step: int = 0, part: int = 0) -> np.random.Generator:
    """The generator of one step (or epoch) of a stream; ``part`` tells layers apart."""
    key = np.asarray([seed, which], dtype=np.uint64)
    # the lowest of the counter's four words counts the draws
    counter = np.asarray([0, 0, part, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def check_seed(seed: int) -> int:
    """``seed`` as a Python integer, or an InputError."""
    seed = check_whole("seed", seed, 0)
    if seed >= 2**64:
        raise InputError(f"seed is {seed}: expected less than 2**64")
    return seed


@dataclass(frozen=True)
class Batches:
    """Which examples every step of a run sees.

    Parameters
    ----------
    m : int
        The number of examples.
    batch_size : int, optional
        None is the whole batch.
    seed : int
    shuffle : bool
        Whether every epoch has an order of its own.
    first_epoch : int
        Epochs that were made before; the orders continue from there.
    drop_last : bool
        Whether to leave out the last examples of an epoch if they do not fill a batch.

    Raises
    ------
    InputError
        If the batch size is not 1 to m.

    Examples
    --------
    >>> Batches(5, 2, seed=0, shuffle=False).indices(2)
    array([4])
    """

    m: int
    batch_size: int | None = None
    seed: int = 3
    shuffle: bool = True
    drop_last: bool = False
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if self.batch_size is None:
            return
        batch_size = check_whole("batch size", self.batch_size)
        if not 1 <= batch_size <= self.m:
            raise InputError(
                f"batch size is {batch_size}: expected 1 to {self.m}, the number of examples"
            )
        object.__setattr__(self, "batch_size", batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """1 for the whole batch."""
        if self.batch_size is None:
            return 1
        return self.m // self.batch_size if self.drop_last else -(-self.m // self.batch_size)

    def size(self, step: int) -> int:
        """The number of examples of a step; the last of an epoch may have fewer."""
        if self.batch_size is None:
            return self.m
        first = step % self.steps_per_epoch * self.batch_size
        return min(self.batch_size, self.m - first)

    def alike(self, start: int, stop: int) -> Iterator[range]:
        """Steps ``start`` to ``stop``, exclusive, in ranges of one batch size, of 100 at most."""
        while start < stop:
            end = start + 1
            while end < min(stop, start + 100) and self.size(end) == self.size(start):
                end += 1
            yield range(start, end)
            start = end

    def indices(self, step: int) -> np.ndarray | None:
        """The indices of the examples of a step, or None for all."""
        if self.batch_size is None:
            return None
        epoch, i = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[i * self.batch_size : (i + 1) * self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """The order of the examples in an epoch."""
        return (
            _order(self.m, self.seed, self.first_epoch + epoch)
            if self.shuffle
            else np.arange(self.m)
        )


@functools.lru_cache(maxsize=2)  # every step of an epoch asks
def _order(m: int, seed: int, epoch: int) -> np.ndarray:
    order = stream(seed, SHUFFLE, epoch).permutation(m)
    order.flags.writeable = False  # the same array is handed out again
    return order


def place_of(indices: np.ndarray, m: int) -> np.ndarray:
    """Where each of m examples stands in a batch, and the batch's size for those not in it."""
    place = np.full(m, len(indices), dtype=np.int32)
    place[indices] = np.arange(len(indices))
    return place


def dropout_mask(seed: int, step: int, layer: int, shape: tuple[int, int], rate: float):
    """``Dl`` of a step, bool of shape (n_l, m): True for what is kept, with chance 1 - rate."""
    draws = stream(seed, DROPOUT, step, layer).random(shape[::-1], dtype=np.float32)
    return np.float32(rate) <= draws.T
