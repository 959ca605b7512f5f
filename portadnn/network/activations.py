"""Activation functions ``A = g(Z)`` and their gradients ``dZ = dA * g'(Z)``.

Every forward function takes ``Z`` of shape (n_l, m), one column per example, and returns ``A`` of
the same shape. Every backward function takes ``dA`` and ``Z``, and ``A = g(Z)`` if the caller still
has it, so that it is not computed twice. All of them are pure.

References
----------
Goodfellow, Bengio and Courville, Deep Learning (2016), section 6.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from portadnn.choice import known_name
from portadnn.network.namespace import Array, resolve

NEGATIVE_SLOPE = 0.01  # leaky_relu's; Maas, Hannun and Ng (2013)


def sigmoid(Z: Array, *, xp: Any = None) -> Array:
    """``1 / (1 + exp(-Z))``, by ``exp(-abs(Z))`` so that no exponential can overflow.

    >>> import numpy as np
    >>> sigmoid(np.asarray([[-1e4, 0.0, 1e4]]))
    array([[0. , 0.5, 1. ]])
    """
    xp = resolve(xp, Z)
    t = xp.exp(-xp.abs(Z))  # in (0, 1]
    return xp.divide(xp.where(Z >= 0, 1.0, t), 1.0 + t)


def sigmoid_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``dA * A * (1 - A)``."""
    xp = resolve(xp, dA, Z)
    A = sigmoid(Z, xp=xp) if A is None else A
    return xp.multiply(dA, xp.multiply(A, 1.0 - A))


def relu(Z: Array, *, xp: Any = None) -> Array:
    """``max(0, Z)``.

    References
    ----------
    Nair and Hinton, Rectified linear units improve restricted Boltzmann machines (2010).
    """
    xp = resolve(xp, Z)
    return xp.maximum(Z, 0.0)


def relu_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``dA`` where Z > 0, else 0: the gradient at Z = 0 is taken as 0."""
    xp = resolve(xp, dA, Z)
    return xp.where(Z > 0, dA, 0.0)


def leaky_relu(Z: Array, *, xp: Any = None) -> Array:
    """``Z`` where Z > 0, else ``0.01 Z``."""
    xp = resolve(xp, Z)
    return xp.where(Z > 0, Z, xp.multiply(Z, NEGATIVE_SLOPE))


def leaky_relu_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``dA`` where Z > 0, else ``0.01 dA``."""
    xp = resolve(xp, dA, Z)
    return xp.where(Z > 0, dA, xp.multiply(dA, NEGATIVE_SLOPE))


def tanh(Z: Array, *, xp: Any = None) -> Array:
    """The hyperbolic tangent."""
    xp = resolve(xp, Z)
    return xp.tanh(Z)


def tanh_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``dA * (1 - A**2)``, as ``(1 - A)(1 + A)``, which keeps its digits near saturation."""
    xp = resolve(xp, dA, Z)
    A = tanh(Z, xp=xp) if A is None else A
    return xp.multiply(dA, xp.multiply(1.0 - A, 1.0 + A))


def identity(Z: Array, *, xp: Any = None) -> Array:
    """``Z`` itself: a linear layer."""
    return Z


def identity_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``dA`` itself."""
    return dA


def softmax(Z: Array, *, xp: Any = None) -> Array:
    """``exp(Z) / sum(exp(Z))`` over the units of each example, shifted so that no exp overflows.

    >>> import numpy as np
    >>> softmax(np.asarray([[1e4], [1e4]]))
    array([[0.5],
           [0.5]])
    """
    xp = resolve(xp, Z)
    t = xp.exp(Z - xp.max(Z, axis=0, keepdims=True))  # in [0, 1], with a 1 in every column
    return xp.divide(t, xp.sum(t, axis=0, keepdims=True))


def softmax_backward(dA: Array, Z: Array, *, A: Array = None, xp: Any = None) -> Array:
    """``A * (dA - sum(dA * A))``, the sum over the units of each example."""
    xp = resolve(xp, dA, Z)
    A = softmax(Z, xp=xp) if A is None else A
    return xp.multiply(A, dA - xp.sum(xp.multiply(dA, A), axis=0, keepdims=True))


class Activation(NamedTuple):
    """A row of the table: ``forward(Z)`` and ``backward(dA, Z, A=)``."""

    forward: Callable[..., Array]
    backward: Callable[..., Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_backward),
    "relu": Activation(relu, relu_backward),
    "leaky_relu": Activation(leaky_relu, leaky_relu_backward),
    "tanh": Activation(tanh, tanh_backward),
    "identity": Activation(identity, identity_backward),
    "softmax": Activation(softmax, softmax_backward),
}


def get_activation(name: str) -> Activation:
    """The activation of that name; an unknown name is an InputError that gives the nearest one."""
    return ACTIVATIONS[known_name("activation", name, ACTIVATIONS)]
