"""The L-layer model: forward through every layer, the cost, and backward through every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portadnn.errors import InputError
from portadnn.network.activations import get_activation
from portadnn.network.layers import (
    Cache,
    dropout_backward,
    dropout_forward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
)
from portadnn.network.losses import get_head
from portadnn.network.names import named
from portadnn.network.namespace import Array, Arrays, resolve
from portadnn.network.spec import Network, infer_network


def L_model_forward(
    X: Array,
    parameters: Arrays,
    *,
    network: Network | None = None,
    masks: Arrays | None = None,
    dropout: Sequence[float] = (),
    xp: Any = None,
) -> tuple[Array, list[Cache]]:
    """``[LINEAR -> RELU] * (L-1) -> LINEAR -> SIGMOID``, or what ``network`` says.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    parameters : dict
        ``W1 .. WL`` of shape (n_l, n_prev), ``b1 .. bL`` of shape (n_l, 1).
    network : Network, optional
        The architecture; None means ReLU in every hidden layer and a sigmoid head.
    masks : dict, optional
        ``Dl`` (n_l, m), bool, of the hidden layers that have dropout; training alone has them.
    dropout : sequence of float, optional
        The rate of every hidden layer, if there are masks.

    Returns
    -------
    AL : array, shape (n_L, m)
        The output.
    caches : list
        ``caches[l-1]`` is ``((A_prev, W, b), Z)`` of layer l, followed by A before dropout if there
        is a mask.

    Raises
    ------
    InputError
        If a shape or a name disagrees.

    Examples
    --------
    >>> import numpy as np
    >>> parameters = {"W1": np.asarray([[1.0, -1.0]]), "b1": np.asarray([[0.0]])}
    >>> AL, caches = L_model_forward(np.asarray([[2.0], [2.0]]), parameters)
    >>> AL
    array([[0.5]])

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), algorithm 6.3.
    """
    xp = resolve(xp, X, *parameters.values())
    network = network or infer_network(parameters)
    network.check(parameters)
    if len(X.shape) != 2 or X.shape[0] != network.layer_dims[0]:
        raise InputError(
            f"X has shape {tuple(X.shape)}, but the network takes {network.layer_dims[0]} values "
            f"per example: expected ({network.layer_dims[0]}, m), one column per example"
        )
    A = X
    caches = []
    for l, activation in enumerate(network.activations, start=1):
        W, b = parameters[named("W", l)], parameters[named("b", l)]
        A, cache = linear_activation_forward(A, W, b, activation, xp=xp)  # (n_l, m)
        if masks and named("D", l) in masks:
            cache = (*cache, A)
            A = dropout_forward(A, masks[named("D", l)], dropout[l - 1], xp=xp)
        caches.append(cache)
    W, b = parameters[named("W", network.L)], parameters[named("b", network.L)]
    Z, linear_cache = linear_forward(A, W, b, xp=xp)
    return get_head(network.head).activation(Z, xp=xp), [*caches, (linear_cache, Z)]


def compute_cost(AL: Array, Y: Array, *, network: Network | None = None, xp: Any = None) -> Array:
    """The cost of the output ``AL`` against the labels ``Y``, averaged over the examples.

    It sees only ``AL``; training computes the same cost from the logits, which lose no digits.

    Parameters
    ----------
    AL : array, shape (n_L, m)
    Y : array, shape (n_L, m)
        What the head takes: 0 and 1 for sigmoid, columns that sum to 1 for softmax, numbers.
    network : Network, optional
        Names the head; None means sigmoid and binary cross-entropy.

    Returns
    -------
    cost : 0-d array
        0 log 0 counts as 0; a label contradicted with certainty makes it ``inf``.

    Examples
    --------
    >>> import numpy as np
    >>> float(compute_cost(np.asarray([[1.0, 0.5]]), np.asarray([[1.0, 0.0]])))
    0.34657359027997264
    """
    xp = resolve(xp, AL, Y)
    return _head(network).cost(AL, _labels(Y, AL, xp), xp=xp)


def compute_cost_with_logits(
    ZL: Array, Y: Array, *, network: Network | None = None, weights: Array = None, xp: Any = None
) -> Array:
    """The same cost from the logits ``ZL``, finite if they are; training reports this one.

    ``weights`` of the examples, (1, m), of mean 1, multiply each one's cost.
    """
    xp = resolve(xp, ZL, Y)
    return _head(network).cost_with_logits(ZL, _labels(Y, ZL, xp), weights, xp=xp)


def L_model_backward(
    AL: Array,
    Y: Array,
    caches: Sequence[Cache],
    *,
    network: Network | None = None,
    weights: Array = None,
    masks: Arrays | None = None,
    dropout: Sequence[float] = (),
    input_gradient: bool = True,
    first_weight_gradient: bool = True,
    xp: Any = None,
) -> dict[str, Array]:
    """Gradients of the cost with respect to every parameter, by backpropagation.

    Parameters
    ----------
    AL, caches
        As ``L_model_forward`` returned them.
    Y : array, shape (n_L, m)
    network : Network, optional
        As given to ``L_model_forward``.
    weights : array, shape (1, m), optional
        Weights of the examples, of mean 1.
    masks, dropout
        As given to ``L_model_forward``.
    input_gradient : bool
        Whether to compute ``dA0``, the gradient with respect to X; training does not need it.
    first_weight_gradient : bool
        Whether to compute ``dW1``; training in sample space does not need it.

    Returns
    -------
    grads : dict
        ``dWl`` (n_l, n_prev) and ``dbl`` (n_l, 1), averaged over the examples; ``dZl`` (n_l, m)
        and ``dAl`` (n_l, m), the gradients with respect to Z and A of layer l, per example.
        ``dA0`` belongs to X. (The text's code stores the gradient of ``A[l]`` as ``dA(l+1)``.)
        If layer l has dropout, ``dADl`` is the gradient with respect to A[l] after it.

    Raises
    ------
    InputError
        If a shape disagrees.

    References
    ----------
    Rumelhart, Hinton and Williams, Learning representations by back-propagating errors (1986);
    Goodfellow, Bengio and Courville, Deep Learning (2016), algorithm 6.4.
    """
    xp = resolve(xp, AL, Y)
    Y = _labels(Y, AL, xp)
    L = network.L if network else len(caches)
    if len(caches) != L or L == 0:
        raise InputError(f"{len(caches)} caches were given: expected one for each of {L} layers")
    activations = network.activations if network else ("relu",) * (L - 1)
    grads: dict[str, Array] = {}
    masks = masks or {}
    dZ = _head(network).gradient(AL, Y)  # (n_L, m)
    if weights is not None:
        dZ = xp.multiply(dZ, weights)
    for l in range(L, 0, -1):
        linear_cache, Z = caches[l - 1][:2]
        if l < L:
            # the next layer's A_prev, or what the cache kept of it: not computed again
            A = caches[l - 1][2] if named("D", l) in masks else caches[l][0][0]
            g = get_activation(activations[l - 1])
            dZ = g.backward(grads[named("dA", l)], Z, A=A, xp=xp)  # (n_l, m)
        dA_prev, dW, db = linear_backward(
            dZ,
            linear_cache,
            input_gradient=input_gradient or l > 1,
            weight_gradient=first_weight_gradient or l > 1,
            xp=xp,
        )
        grads |= {named("dZ", l): dZ, named("db", l): db}
        if dW is not None:
            grads[named("dW", l)] = dW
        if dA_prev is not None:
            D = masks.get(named("D", l - 1))
            if D is not None:
                grads[named("dAD", l - 1)] = dA_prev
                dA_prev = dropout_backward(dA_prev, D, dropout[l - 2], xp=xp)
            grads[named("dA", l - 1)] = dA_prev  # (n_prev, m)
    return grads


def _head(network):
    return get_head(network.head if network else "sigmoid")


def _labels(Y, AL, xp):
    """Y, checked, in the dtype of AL: integer labels must not widen float32."""
    if tuple(AL.shape) != tuple(Y.shape) or len(AL.shape) != 2:
        raise InputError(
            f"Y has shape {tuple(Y.shape)}, but the output has {tuple(AL.shape)}: "
            f"expected both to be (n_L, m), one column per example"
        )
    return Y if Y.dtype == AL.dtype else xp.astype(Y, AL.dtype)
