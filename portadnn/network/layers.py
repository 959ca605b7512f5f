"""One layer: ``Z = W A_prev + b``, ``A = g(Z)``, and the gradients of both.

Shapes: ``A_prev`` (n_prev, m), ``W`` (n_l, n_prev), ``b`` (n_l, 1), ``Z`` and ``A`` (n_l, m).
Gradients of weights are averaged over the m examples; ``dA`` and ``dZ`` are per example.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from portadnn.errors import InputError
from portadnn.network.activations import get_activation
from portadnn.network.examples import number_of, over_examples
from portadnn.network.namespace import Array, resolve

LinearCache: TypeAlias = tuple[Array, Array, Array]  # A_prev, W, b
Cache: TypeAlias = tuple[Any, ...]  # LinearCache, Z, and A before dropout if there is a mask
Gradients: TypeAlias = tuple[Array, Array, Array]  # dA_prev, dW, db


def linear_forward(A: Array, W: Array, b: Array, *, xp: Any = None) -> tuple[Array, LinearCache]:
    """The linear part of a layer, ``Z = W A + b``.

    Parameters
    ----------
    A : array, shape (n_prev, m)
        Activations of the previous layer, or the data.
    W : array, shape (n_l, n_prev)
    b : array, shape (n_l, 1)

    Returns
    -------
    Z : array, shape (n_l, m)
    cache : (A, W, b)
        What ``linear_backward`` needs.

    Raises
    ------
    InputError
        If the shapes disagree; the message gives them.

    Examples
    --------
    >>> import numpy as np
    >>> Z, cache = linear_forward(np.asarray([[1.0], [2.0]]), np.asarray([[3.0, 4.0]]),
    ...                           np.asarray([[0.5]]))
    >>> Z
    array([[11.5]])

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), algorithm 6.3.
    """
    _check_linear(A, W, b)
    if xp is None:  # dtypes cannot change within a run
        xp = resolve(xp, A, W, b)
        _check_floating(xp, A=A, W=W, b=b)
    Z = xp.matmul(W, A)  # (n_l, m)
    Z += b  # Z is this function's own, so it may be changed in place
    return Z, (A, W, b)


def linear_activation_forward(
    A_prev: Array, W: Array, b: Array, activation: str, *, xp: Any = None
) -> tuple[Array, Cache]:
    """One whole layer, ``A = g(W A_prev + b)``.

    Parameters
    ----------
    A_prev, W, b
        As for ``linear_forward``.
    activation : str
        "sigmoid", "relu", "leaky_relu", "tanh", "identity" or "softmax".

    Returns
    -------
    A : array, shape (n_l, m)
    cache : (linear_cache, Z)
        What ``linear_activation_backward`` needs.

    Raises
    ------
    InputError
        If the shapes disagree or the activation is unknown.
    """
    g = get_activation(activation)
    xp = resolve(xp, A_prev, W, b)
    Z, linear_cache = linear_forward(A_prev, W, b, xp=xp)
    return g.forward(Z, xp=xp), (linear_cache, Z)


def linear_backward(
    dZ: Array,
    cache: LinearCache,
    *,
    input_gradient: bool = True,
    weight_gradient: bool = True,
    xp: Any = None,
) -> Gradients:
    """Gradients of ``Z = W A_prev + b``, averaged over the batch.

    Parameters
    ----------
    dZ : array, shape (n_l, m)
    cache : (A_prev, W, b), shapes (n_prev, m), (n_l, n_prev), (n_l, 1)
    input_gradient : bool
        Whether ``dA_prev`` is wanted; the first layer of a training step does not need it.
    weight_gradient : bool
        Whether ``dW`` is wanted; the first layer in sample space does not need it.

    Returns
    -------
    dA_prev : array, shape (n_prev, m), or None
    dW : array, shape (n_l, n_prev), or None
    db : array, shape (n_l, 1)

    Raises
    ------
    InputError
        If the shapes disagree; the message gives both.

    Examples
    --------
    >>> import numpy as np
    >>> cache = (np.asarray([[1.0, 3.0]]), np.asarray([[2.0]]), np.asarray([[0.0]]))
    >>> dA_prev, dW, db = linear_backward(np.asarray([[1.0, 1.0]]), cache)
    >>> dA_prev, dW, db
    (array([[2., 2.]]), array([[2.]]), array([[1.]]))

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), section 6.5.
    """
    A_prev, W, b = cache
    expected = (W.shape[0], A_prev.shape[1])
    if tuple(dZ.shape) != expected:
        raise InputError(
            f"dZ has shape {tuple(dZ.shape)}, but the layer has {expected[0]} units and its cache "
            f"holds {expected[1]} examples: expected {expected}"
        )
    xp = resolve(xp, dZ, A_prev, W, b)
    m, over = number_of(A_prev, xp), over_examples(xp)
    dW = xp.divide(over.matmul(dZ, A_prev.T), m) if weight_gradient else None  # (n_l, n_prev)
    db = xp.divide(over.sum(dZ, axis=1, keepdims=True), m)  # (n_l, 1)
    dA_prev = xp.matmul(W.T, dZ) if input_gradient else None  # (n_prev, m)
    return dA_prev, dW, db


def linear_activation_backward(
    dA: Array, cache: Cache, activation: str, *, xp: Any = None
) -> Gradients:
    """Gradients of ``A = g(W A_prev + b)``, averaged over the batch.

    Parameters
    ----------
    dA : array, shape (n_l, m)
    cache : (linear_cache, Z)
        As ``linear_activation_forward`` returned it.
    activation : str
        The activation of the forward pass.

    Returns
    -------
    dA_prev, dW, db
        As from ``linear_backward``.

    Raises
    ------
    InputError
        If the shapes disagree or the activation is unknown.
    """
    g = get_activation(activation)
    linear_cache, Z = cache
    if tuple(dA.shape) != tuple(Z.shape):
        raise InputError(
            f"dA has shape {tuple(dA.shape)}, but the cached Z has {tuple(Z.shape)}: "
            f"expected the same"
        )
    xp = resolve(xp, dA, Z)
    return linear_backward(g.backward(dA, Z, xp=xp), linear_cache, xp=xp)


def dropout_forward(A: Array, D: Array, rate: float, *, xp: Any = None) -> Array:
    """Inverted dropout: ``A / (1 - rate)`` where the mask holds, else 0.

    Parameters
    ----------
    A : array, shape (n_l, m)
    D : array of bool, shape (n_l, m)
        True, with probability 1 - rate, for what is kept.
    rate : float
        0 <= rate < 1, the share that is dropped.

    Returns
    -------
    A : array, shape (n_l, m)
        Its expectation is the A that was given, so prediction needs no scaling.

    Raises
    ------
    InputError
        If the mask has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> dropout_forward(np.asarray([[1.0, 2.0]]), np.asarray([[True, False]]), 0.5)
    array([[2., 0.]])

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout (2014), section 10.
    """
    if tuple(D.shape) != tuple(A.shape):
        raise InputError(
            f"the dropout mask has shape {tuple(D.shape)}, but A has {tuple(A.shape)}: "
            f"expected the same"
        )
    xp = resolve(xp, A, D)
    return xp.where(D, xp.multiply(A, 1.0 / (1.0 - rate)), 0.0)


def dropout_backward(dA: Array, D: Array, rate: float, *, xp: Any = None) -> Array:
    """The gradient with respect to A before dropout: ``dA / (1 - rate)`` where D, else 0."""
    return dropout_forward(dA, D, rate, xp=xp)


def _check_linear(A, W, b):
    if len(A.shape) == 2 and b.shape == (W.shape[0], 1) and W.shape[1:] == A.shape[:1]:
        return  # first, as it is fast: each layer of each prediction calls this
    for name, x in (("A", A), ("W", W), ("b", b)):
        if len(x.shape) != 2:
            raise InputError(
                f"{name} has shape {tuple(x.shape)}: expected 2 axes, {_AXES[name]} "
                f"(reshape a vector to a column or a row)"
            )
    if W.shape[1] != A.shape[0]:
        raise InputError(
            f"W has shape {tuple(W.shape)}, but A has shape {tuple(A.shape)}: expected W to have "
            f"{A.shape[0]} columns, one for each row of A (A holds one column per example)"
        )
    if tuple(b.shape) != (W.shape[0], 1):
        raise InputError(
            f"b has shape {tuple(b.shape)}, but W has shape {tuple(W.shape)}: "
            f"expected b of shape {(W.shape[0], 1)}"
        )


def _check_floating(xp, **arrays):
    for name, x in arrays.items():
        if not xp.isdtype(x.dtype, "real floating"):
            raise InputError(
                f"{name} has dtype {x.dtype}: expected float32 or float64 (convert the data, "
                f"images by dividing by 255)"
            )


_AXES = {"A": "(n_prev, m)", "W": "(n_l, n_prev)", "b": "(n_l, 1)"}
