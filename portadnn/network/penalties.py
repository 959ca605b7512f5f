"""What is added to the cost to keep the weights small, and the clipping of gradients.

Biases are penalised by neither ``l2`` nor ``l1``.

References
----------
Goodfellow, Bengio and Courville, Deep Learning (2016), section 7.1; Pascanu, Mikolov and Bengio,
On the difficulty of training recurrent neural networks (2013), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portadnn.network.names import is_weight
from portadnn.network.namespace import Array, Arrays, resolve


def penalty(
    parameters: Arrays, *, l2: float = 0.0, l1: float = 0.0, gram: Array = None, xp: Any = None
) -> Array:
    """``l2 / 2 sum(W^2) + l1 sum(abs(W))`` over all layers, a 0-d array.

    In sample space, W1 is K B and ``gram`` is ``B B^T``: its squares sum to ``sum((K gram) K)``.

    >>> import numpy as np
    >>> float(penalty({"W1": np.asarray([[3.0, -4.0]]), "b1": np.asarray([[9.0]])}, l2=2.0, l1=1.0))
    32.0
    """
    xp = resolve(xp, *parameters.values())
    total = None
    for name, W in _weights(parameters).items():
        parts = []
        if l2:
            other = W if gram is None or name != "W1" else xp.matmul(W, gram)
            parts.append(xp.multiply(xp.sum(xp.multiply(other, W)), l2 / 2))
        if l1:
            parts.append(xp.multiply(xp.sum(xp.abs(W)), l1))
        for part in parts:
            total = part if total is None else total + part
    return xp.zeros_like(xp.sum(W)) if total is None else total


def penalized_gradient(
    W: Array, dW: Array, *, l2: float = 0.0, l1: float = 0.0, xp: Any = None
) -> Array:
    """``dW + l2 W + l1 sign(W)``: the gradient of the cost with its penalty."""
    xp = resolve(xp, W, dW)
    if l2:
        dW = dW + xp.multiply(W, l2)
    if l1:
        # l1 sign(W) by selections: on CuPy the standard's sign waits for the device. abs(W) is 0
        # here, or NaN, which must not be lost.
        dW = dW + xp.where(W > 0, l1, xp.where(W < 0, -l1, xp.abs(W)))
    return dW


def global_norm(gradients: Sequence[Array], *, xp: Any = None) -> Array:
    """The Euclidean norm of all ``gradients``, a list of arrays, as one vector; shape (1, 1)."""
    xp = resolve(xp, *gradients)
    total = None
    for g in gradients:
        squares = xp.sum(xp.multiply(g, g), axis=(0, 1), keepdims=True)
        total = squares if total is None else total + squares
    return xp.sqrt(total)


def clipped(g: Array, norm: Array, clip_norm: float, *, xp: Any = None) -> Array:
    """``g``, scaled by ``clip_norm / norm`` if the global norm is above ``clip_norm``.

    >>> import numpy as np
    >>> g = np.asarray([[3.0, 4.0]])
    >>> clipped(g, global_norm([g]), 1.0)
    array([[0.6, 0.8]])
    """
    xp = resolve(xp, g, norm)
    over = norm > clip_norm
    limit = xp.full_like(norm, clip_norm)
    return xp.multiply(g, xp.where(over, xp.divide(limit, xp.where(over, norm, 1.0)), 1.0))


def _weights(parameters):
    # Sort by name: jax.jit returns dicts sorted, and the sum's order must not depend on that
    return {name: W for name, W in sorted(parameters.items()) if is_weight(name)}
