"""Update rules: parameters and their gradients in, new parameters out."""

from __future__ import annotations

from portadnn.errors import InputError
from portadnn.network.namespace import resolve


def update_parameters(parameters, grads, learning_rate, *, xp=None):
    """One step of gradient descent, ``W - learning_rate * dW`` and ``b - learning_rate * db``.

    Parameters
    ----------
    parameters : dict
        ``W1, b1, ..., WL, bL``. It is left as it is (the text's code changes it).
    grads : dict
        Has ``dW1, db1, ..., dWL, dbL`` of the same shapes; other entries are not looked at.
    learning_rate : float, or array of shape (1, 1) in the parameters' dtype

    Returns
    -------
    parameters : dict
        A new one.

    Raises
    ------
    InputError
        If a gradient is missing or has another shape than its parameter.

    Examples
    --------
    >>> import numpy as np
    >>> update_parameters({"b1": np.asarray([[1.0]])}, {"db1": np.asarray([[2.0]])}, 0.25)
    {'b1': array([[0.5]])}

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), section 4.3.
    """
    for name, p in parameters.items():
        gradient = grads.get(f"d{name}")
        if gradient is None or tuple(gradient.shape) != tuple(p.shape):
            found = "is missing" if gradient is None else f"has shape {tuple(gradient.shape)}"
            raise InputError(f"d{name} {found}, but {name} has shape {tuple(p.shape)}")
    xp = resolve(xp, *parameters.values())
    if not hasattr(learning_rate, "ndim") or learning_rate.ndim == 0:
        learning_rate = float(learning_rate)  # a NumPy float64 scalar would widen float32
    return {
        name: p - xp.multiply(grads[f"d{name}"], learning_rate) for name, p in parameters.items()
    }
