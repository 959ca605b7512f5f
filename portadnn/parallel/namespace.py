"""A namespace whose sums over the examples are those of all ranks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.arithmetic import Reproducible
from portadnn.backends import Backend
from portadnn.backends.base import Wrapped
from portadnn.parallel.ranks import Ranks


def shared_namespace(backend: Backend, ranks: Ranks, number: int) -> Any:
    """The backend's namespace for a step over ``number`` examples, shared by the ranks.

    Reproducible arithmetic adds whole numbers and rounds their sum, so its bits do not depend on
    the ranks. In fast arithmetic the rounded sums of the ranks are added.
    """
    terms = SharedTerms(ranks, backend, number)
    if isinstance(backend.xp, Reproducible):
        return replace(backend.xp, terms=terms)
    return Distributed(backend.xp, terms)


@dataclass(frozen=True)
class SharedTerms:
    """The terms of sums over examples that ranks share; see ``portadnn.arithmetic.shared.Terms``.

    Attributes
    ----------
    ranks : Ranks
    backend : Backend
        The backend of this rank.
    count : int
        The number of all examples.
    """

    ranks: Ranks
    backend: Backend
    count: int

    def number(self, x: Any, axis: int) -> int:
        return self.count

    def largest(self, *sizes: Any) -> tuple[Any, ...]:
        return self._packed(self.ranks.largest, sizes)

    def summed(self, *sums: Any) -> tuple[Any, ...]:
        return self._packed(self.ranks.sum, sums)

    def finished(self, parts: tuple[Any, ...], finish: Callable[..., Any], s: Any) -> Any:
        dtype = self.backend.dtype_name

        def rounded(*sums: np.ndarray) -> np.ndarray:
            return finish(*sums, s=0.0).astype(dtype)

        def on_host(*parts: np.ndarray) -> np.ndarray:
            return self.ranks.finished(parts, rounded)

        return self.backend.on_host(on_host, parts[0].shape, dtype, *parts)

    def added(self, x: Any) -> Any:
        """The sum of all ranks' arrays, in the dtype of the run."""
        return self.backend.on_host(self.ranks.sum, x.shape, self.backend.dtype_name, x)

    def gathered(self, A: Any) -> Any:
        """The columns of all ranks, in the order of the examples."""
        on_host = functools.partial(self.ranks.columns, n=self.count)
        shape = A.shape[0], self.count
        return self.backend.on_host(on_host, shape, self.backend.dtype_name, A)

    def _packed(
        self, function: Callable[[np.ndarray], np.ndarray], arrays: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Apply the function to rows and columns, all in one call."""

        def on_host(*arrays: np.ndarray) -> np.ndarray:
            return function(np.concatenate([x.astype(np.float64).ravel() for x in arrays]))

        sizes = [math.prod(x.shape) for x in arrays]
        flat = self.backend.on_host(on_host, (sum(sizes),), "float64", *arrays)
        found, start = [], 0
        for x, size in zip(arrays, sizes, strict=True):
            piece = flat[start : start + size]
            piece = piece[None, :] if x.shape[0] == 1 else piece[:, None]
            found.append(self.backend.xp.astype(piece, x.dtype, copy=False))
            start += size
        return tuple(found)


@dataclass(frozen=True)
class Distributed(Wrapped):
    """A library's namespace in fast arithmetic, whose ``examples`` are those of all ranks."""

    terms: SharedTerms

    @property
    def examples(self) -> Any:
        """``matmul`` and ``sum`` over the axis of the examples, their ``number``, ``gathered``."""
        return _Examples(self.raw, self.terms)


@dataclass(frozen=True)
class _Examples:
    raw: Any
    terms: SharedTerms

    @property
    def number(self) -> int:
        return self.terms.count

    def matmul(self, x: Any, y: Any, /) -> Any:
        return self.terms.added(self.raw.matmul(x, y))

    def sum(self, x: Any, /, **axes: Any) -> Any:
        return self.terms.added(self.raw.sum(x, **axes))

    def gathered(self, A: Any) -> Any:
        return self.terms.gathered(A)
