"""Batches of data that stay in a file, read while earlier steps are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.training.streams import Batches

BYTES = 2**24  # how much to read ahead; the steps are a power of two, which fills JAX's loop


@dataclass(eq=False)
class Feed:
    """Gives a run its batches.

    Parameters
    ----------
    data : Dataset
        Its examples are a ``Stored``.
    rest : dict of arrays (m, ...)
        ``Y``, and ``S`` if there are weights, with a row for each example, on the host.
    batches : Batches
    dtype : str
        The dtype of the run.
    own : callable
        Maps the size of a batch to the slice of it that this process reads.
    """

    data: Dataset
    rest: dict[str, np.ndarray]
    batches: Batches
    dtype: str
    own: Callable[[int], slice] = lambda size: slice(None)
    _ahead: tuple[range, Future[dict[str, np.ndarray]]] | None = field(default=None, init=False)
    _reader: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, "portadnn-reader")

    def length(self, start: int, n: int) -> int:
        """How many of n steps to make in one go: those that have been read, if any were."""
        if self._ahead is not None and self._ahead[0].start == start:
            return len(self._ahead[0])
        size = self.data.n_x * np.dtype(self.dtype).itemsize * self.batches.size(start)
        return min(n, 1 << (max(BYTES // size, 1).bit_length() - 1))

    def prepare(self, start: int, n: int) -> None:
        """Begin to read the rows of n steps."""
        steps = range(start, start + self.length(start, n))
        self._ahead = steps, self._reader.submit(self._read, steps)

    def rows(self, steps: range) -> dict[str, np.ndarray]:
        """``X``, ``Y`` and ``S`` of these steps, (n, B, ...): a row for each example."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == steps:
            return ahead[1].result()
        return self._read(steps)

    def close(self) -> None:
        """Let the thread end."""
        self._ahead = None
        self._reader.shutdown(cancel_futures=True)

    def _read(self, steps: Sequence[int]) -> dict[str, np.ndarray]:
        indices = np.stack([np.asarray(self.batches.indices(step)) for step in steps])
        indices = indices[:, self.own(indices.shape[1])]
        X = self.data.columns(self.dtype, indices.reshape(-1)).T
        found = {"X": X.reshape(*indices.shape, X.shape[1])}
        return found | {name: x[indices] for name, x in self.rest.items()}
