"""Watching a training step: every tensor that it made, on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.optimizers import update_parameters
from portadnn.network.spec import Network


@dataclass(frozen=True, eq=False)
class StepRecord:
    """A step as a backend computed it.

    Attributes
    ----------
    network : Network
    backend : str
    dtype : str
        The arithmetic that was declared.
    step : int
    learning_rate : float
        As it was declared, before any rounding.
    tensors : dict of str to array
        ``X`` and ``Y``; ``W1, b1, ...`` before and ``W1+, b1+, ...`` after the step; ``Zl``,
        ``Al``, ``cost``, ``dZl``, ``dAl``, ``dWl``, ``dbl`` in between.
    """

    network: Network
    backend: str
    dtype: str
    step: int
    learning_rate: float
    tensors: dict[str, np.ndarray]


def record_step(
    parameters: Mapping[str, Any],
    X: Any,
    Y: Any,
    learning_rate: float,
    *,
    network: Network,
    backend: Backend,
    step: int = 0,
) -> tuple[dict[str, Any], StepRecord]:
    """Make one step of gradient descent, operation by operation, and keep every tensor.

    Parameters
    ----------
    parameters, X, Y
        Arrays of the backend.

    Returns
    -------
    parameters : dict
        After the step, on the backend.
    record : StepRecord
    """
    xp = backend.xp
    with backend.scope():
        rate = backend.asarray([[learning_rate]])
        AL, caches = L_model_forward(X, parameters, network=network, xp=xp)
        cost = compute_cost_with_logits(caches[-1][1], Y, network=network, xp=xp)
        grads = L_model_backward(AL, Y, caches, network=network, input_gradient=False, xp=xp)
        after = update_parameters(parameters, grads, rate, xp=xp)
        observed = {"X": X, "Y": Y, **parameters, "cost": cost, **grads}
        for l in range(1, network.L + 1):
            observed[f"Z{l}"] = caches[l - 1][1]
            observed[f"A{l}"] = caches[l][0][0] if l < network.L else AL
        observed |= {f"{name}+": p for name, p in after.items()}
        tensors = {name: np.array(backend.to_numpy(x)) for name, x in observed.items()}
    record = StepRecord(network, backend.name, backend.dtype_name, step, learning_rate, tensors)
    return after, record
