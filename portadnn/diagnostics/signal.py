"""The size of signals and gradients in every layer, measured, and what theory predicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.backends.base import quiet_numpy
from portadnn.diagnostics.theory import activation_moments
from portadnn.errors import InputError
from portadnn.network.activations import get_activation
from portadnn.network.initializers import Initializer, as_initializers
from portadnn.network.model import L_model_backward, L_model_forward
from portadnn.network.names import named
from portadnn.network.namespace import resolve
from portadnn.network.spec import Network, infer_network

SATURATES = ("sigmoid", "tanh")


@dataclass(frozen=True, eq=False)
class LayerSignal:
    """A layer on some data. Means are over its units and all examples, in float64.

    Attributes
    ----------
    layer, n_l : int
    activation : str
        For the last layer, the head.
    weight_variance : float
        The variance with which the weights were drawn, or the mean of their squares.
    z_variance, z_square : float
        ``Var(Z)`` and ``E[Z^2]``.
    z_predicted : float
        ``E[Z^2]`` in theory, from ``E[x^2]`` of the data and the variances alone.
    a_variance, a_square : float
        ``Var(A)`` and ``E[A^2]``.
    a_predicted : float
        ``E[A^2]`` in theory: half of ``z_predicted`` for ReLU.
    chi_square : array, shape (m,)
        For each example ``sum_i (z_i - b_i)^2 / (v |a_prev|^2)``. Given a_prev, it is chi-square
        distributed with n_l degrees of freedom if W was drawn from a normal distribution.
    zero_share : array, shape (m,)
        For each example, the share of units whose output is 0: its sparsity.
    dz_square, dz_predicted : float or None
        ``E[dZ^2]``, measured, and predicted from the last layer; None without labels.
    dW_norm, db_norm : float or None
        Euclidean norms of the gradients; None without labels.
    overflowed : int
        Entries of Z that are not finite.
    saturated : int
        Entries of sigmoid and tanh units whose derivative is 0 in the dtype.
    """

    layer: int
    n_l: int
    activation: str
    weight_variance: float
    z_variance: float
    z_square: float
    z_predicted: float
    a_variance: float
    a_square: float
    a_predicted: float
    chi_square: np.ndarray
    zero_share: np.ndarray
    dz_square: float | None
    dz_predicted: float | None
    dW_norm: float | None
    db_norm: float | None
    overflowed: int
    saturated: int


def layer_signals(
    X: Any,
    parameters: Mapping[str, Any],
    *,
    Y: Any = None,
    network: Network | None = None,
    init: str | Initializer | Sequence[str | Initializer] | None = None,
    xp: Any = None,
) -> list[LayerSignal]:
    """Signals and gradients of every layer, measured and predicted.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    parameters : dict
        ``W1 .. WL``, ``b1 .. bL``.
    Y : array, shape (n_L, m), optional
        Labels, for the gradients.
    network : Network, optional
        None means ReLU in every hidden layer and a sigmoid head.
    init : str, Initializer or a sequence of them, optional
        How the weights were drawn, for their variances; None takes the means of their squares.

    Returns
    -------
    list of LayerSignal
        One for each layer, the last included.

    Raises
    ------
    InputError
        If a shape or a name disagrees.

    Examples
    --------
    >>> from portadnn import initialize_parameters_deep
    >>> X = np.random.default_rng(0).standard_normal((64, 100))
    >>> parameters = initialize_parameters_deep([64, *[64] * 9, 1], init="lecun", rng=0)
    >>> layers = layer_signals(X, parameters, init="lecun")
    >>> [f"{layer.z_predicted:.3f}" for layer in layers[:4]]  # halved by each ReLU
    ['0.991', '0.496', '0.248', '0.124']
    """
    xp = resolve(xp, X, *parameters.values())
    network = network or infer_network(parameters)
    L = network.L
    drawn = None if init is None else as_initializers(init, L)
    grads = None
    with quiet_numpy():  # overflows are counted
        AL, caches = L_model_forward(X, parameters, network=network, xp=xp)
        if X.shape[1] == 0:
            raise InputError("X holds no example: expected (n_x, m) with m >= 1")
        if Y is not None:
            grads = L_model_backward(AL, Y, caches, network=network, input_gradient=False, xp=xp)
        outputs = [*(cache[0][0] for cache in caches[1:]), AL]
        layers, square = [], _square(_float64(X))
        for l, (W_shape, activation) in enumerate(
            zip(_weight_shapes(network), (*network.activations, network.head), strict=True), start=1
        ):
            (A_prev, W, b), Z = caches[l - 1][:2]
            v = drawn[l - 1].variance(*W_shape) if drawn else _square(_float64(W))
            predicted = W_shape[1] * v * square + _square(_float64(b))
            a_predicted, _ = activation_moments(activation, predicted)
            layers.append(
                LayerSignal(
                    layer=l,
                    n_l=W_shape[0],
                    activation=activation,
                    weight_variance=v,
                    z_predicted=predicted,
                    a_predicted=a_predicted,
                    **_measured(Z, outputs[l - 1], activation, xp),
                    chi_square=_chi_square(_float64(Z), _float64(b), _float64(A_prev), v),
                    **_gradients(grads, l),
                    dz_predicted=None,
                )
            )
            square = a_predicted
    return layers if grads is None else _with_predicted_gradients(layers)


def _measured(Z: Any, A: Any, activation: str, xp: Any) -> dict[str, Any]:
    saturated = 0
    if activation in SATURATES:
        slope = get_activation(activation).backward(xp.ones_like(Z), Z, A=A, xp=xp)
        saturated = int(np.sum(np.asarray(to_host(slope)) == 0))
    Z, A = _float64(Z), _float64(A)
    return {
        "z_variance": float(np.var(Z)),
        "z_square": _square(Z),
        "a_variance": float(np.var(A)),
        "a_square": _square(A),
        "zero_share": np.mean(A == 0, axis=0),
        "overflowed": int(np.sum(~np.isfinite(Z))),
        "saturated": saturated,
    }


def _chi_square(Z: np.ndarray, b: np.ndarray, A_prev: np.ndarray, v: float) -> np.ndarray:
    given = v * np.sum(A_prev * A_prev, axis=0)  # Var(z) given A_prev, (m,)
    return np.sum((Z - b) ** 2, axis=0) / np.where(given > 0, given, math.nan)


def _gradients(grads: Mapping[str, Any] | None, l: int) -> dict[str, Any]:
    if grads is None:
        return dict.fromkeys(("dz_square", "dW_norm", "db_norm"))
    dZ, dW, db = (_float64(grads[f"{name}{l}"]) for name in ("dZ", "dW", "db"))
    return {
        "dz_square": _square(dZ),
        "dW_norm": float(np.linalg.norm(dW)),
        "db_norm": float(np.linalg.norm(db)),
    }


def _with_predicted_gradients(layers: list[LayerSignal]) -> list[LayerSignal]:
    """``E[dZ_l^2] = n_(l+1) v E[dZ_(l+1)^2] E[g'(z)^2]``, from the last layer back."""
    after = layers[-1]
    predicted = after.dz_square
    found = [dataclasses.replace(after, dz_predicted=predicted)]
    for layer in layers[-2::-1]:
        assert predicted is not None
        _, slope = activation_moments(layer.activation, layer.z_predicted)
        predicted = after.n_l * after.weight_variance * predicted * slope
        found.append(dataclasses.replace(layer, dz_predicted=predicted))
        after = layer
    return found[::-1]


def _weight_shapes(network: Network) -> list[tuple[int, int]]:
    return [network.shapes[named("W", l)] for l in range(1, network.L + 1)]


def _float64(x: Any) -> np.ndarray:
    """On the host, in float64, in which the square of a small float32 does not underflow."""
    return np.asarray(to_host(x), dtype=np.float64)


def _square(x: np.ndarray) -> float:
    """The mean of the squares."""
    return float(np.mean(x * x))
