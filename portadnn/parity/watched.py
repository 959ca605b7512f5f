"""A step of a run as it was seen, and as a checkpoint keeps it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.data.digest import digest
from portadnn.data.foreign import reading
from portadnn.errors import InputError
from portadnn.network.names import of


@dataclass(frozen=True, eq=False)
class Watched:
    """A step of the run, with the states before and after it.

    Attributes
    ----------
    step : int
    factor : float
        The factor of a plateau schedule on the rate.
    before : dict of arrays
        Parameters and slots, on the host.
    made : dict of arrays
        The same after the step, by their own names; for L-BFGS the gradients.
    cost : float
    """

    step: int
    factor: float
    before: dict[str, np.ndarray]
    made: dict[str, np.ndarray]
    cost: float

    @functools.cached_property
    def digests(self) -> tuple[str, str]:
        """The SHA-256 of the states before and after it."""
        return digest(self.before), digest(self.made)

    @property
    def name(self) -> str:
        """The name of its part of a checkpoint; equal names mean equal bits."""
        return f"{self.step}-{self.digests[0][:8]}{self.digests[1][:8]}"

    def part(self) -> dict[str, Any]:
        """The fields, from which ``read`` makes the same step."""
        return {field: getattr(self, field) for field in self.__dataclass_fields__}

    @classmethod
    def read(cls, part: Mapping[str, Any], like: Mapping[str, np.ndarray]) -> Watched:
        """A step from a file, of a run whose states are like these.

        Raises
        ------
        InputError
            If it is not a step of such a run.
        """
        with reading("a watched step"):
            found = cls(**part)
            gradients = {of("d", name): x for name, x in like.items()}
            check_arrays(found.before, like)
            check_arrays(found.made, gradients if found.made.keys() == gradients.keys() else like)
            kinds = type(found.step), type(found.factor), type(found.cost)
            if kinds != (int, float, float) or found.step < 0:
                raise InputError(f"its step, factor and cost are {kinds}")
            return found


def check_arrays(found: Any, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays from a file; InputError unless they have the names, shapes and dtype of others."""
    forms = [
        {name: (x.shape, x.dtype.name) for name, x in arrays.items()} for arrays in (found, like)
    ]
    if forms[0] != forms[1]:
        raise InputError(f"it holds {forms[0]}: expected {forms[1]}")
    return found
