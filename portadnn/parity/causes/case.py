"""A tensor that is to be explained, and the cause that explains it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from portadnn.network.names import after, kind_and_layer
from portadnn.parity.bounds import Bound, Format, exact
from portadnn.parity.run import Run, StepRecord
from portadnn.parity.step.operations import compute, operands


@dataclass(frozen=True)
class Cause:
    """The fault of an operation: its name, what the numbers show, and a remedy."""

    name: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence}. {self.remedy}"


@dataclass(frozen=True, eq=False)
class Case:
    """A tensor to be explained, and the tensors that it may have been computed from."""

    run: Run
    record: StepRecord
    tensor: str
    previous: StepRecord | None
    form: Format

    @functools.cached_property
    def t(self) -> dict[str, np.ndarray]:
        return {name: x.astype(np.float64) for name, x in self.record.tensors.items()}

    @functools.cached_property
    def before(self) -> dict[str, np.ndarray]:
        """The tensors of the step before, as far as they are known and have the same shapes."""
        if self.previous is None:
            return {}
        return {
            name: x.astype(np.float64)
            for name, x in self.previous.tensors.items()
            if x.shape == self.record.tensors[name].shape
        }

    @functools.cached_property
    def observed(self) -> np.ndarray:
        return self.t[self.tensor]

    @property
    def kind(self) -> str:
        return kind_and_layer(self.tensor)[0]

    @property
    def layer(self) -> int:
        return kind_and_layer(self.tensor)[1]

    @property
    def operands(self) -> tuple[str, ...]:
        return operands(self.run, self.tensor)

    @property
    def m(self) -> int:
        return self.t["X"].shape[1]

    @functools.cached_property
    def given(self) -> np.ndarray | None:
        """The tensor that the step should have been given, not rounded; None if not known."""
        declared = self.run.declared(self.record.step, "float64")
        if self.tensor in declared:
            return declared[self.tensor].astype(np.float64)
        if self.record.step == 0:
            return self.run.initial_state().get(self.tensor)
        return self.before.get(after(self.tensor))

    @functools.cached_property
    def expected(self) -> Bound:
        """The right tensor: from its operands, or the one that should have been given."""
        if self.given is None:
            return self.compute()
        return exact(self.given.astype(self.record.dtype).astype(np.float64))

    def compute(
        self, changes: Mapping[str, np.ndarray] | None = None, *, run: Run | None = None, **options
    ) -> Bound:
        """The tensor from its operands, some of them changed, or with another run's settings."""
        options = {"form": self.form, "entries": self.run.entries(self.record), **options}
        return compute(run or self.run, self.tensor, {**self.t, **(changes or {})}, **options)

    def rms_error(self, result: np.ndarray) -> float:
        finite = np.isfinite(self.observed)
        return math.sqrt(float(np.mean(np.square(np.where(finite, self.observed - result, 0)))))

    def explained_by(self, bound: Bound) -> bool:
        """Whether every entry that was observed lies within the bound."""
        if bound.exact.shape != self.observed.shape:
            return False
        same = self.observed == bound.exact
        return bool(np.all(same | (np.abs(self.observed - bound.exact) <= bound.stat)))


# A hypothesis yields these: the tensor as the fault would make it, and the parts of its Cause
Found = Iterator[tuple[Bound, str, str, str]]
