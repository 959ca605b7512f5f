"""One training step, as one pure function."""

from __future__ import annotations

import functools

from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.optimizers import update_parameters


def train_step(parameters, learning_rate, X, Y, *, network, xp):
    """Forward, cost, backward, update.

    Parameters
    ----------
    parameters : dict
        ``W1 .. WL`` (n_l, n_prev), ``b1 .. bL`` (n_l, 1).
    learning_rate : array, shape (1, 1)
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)

    Returns
    -------
    parameters : dict
        The new ones.
    cost : 0-d array
        Of the parameters that came in.
    """
    AL, caches = L_model_forward(X, parameters, network=network, xp=xp)
    ZL = caches[-1][1]
    cost = compute_cost_with_logits(ZL, Y, network=network, xp=xp)
    grads = L_model_backward(AL, Y, caches, network=network, input_gradient=False, xp=xp)
    return update_parameters(parameters, grads, learning_rate, xp=xp), cost


@functools.lru_cache(maxsize=32)
def make_step(network, xp):
    """``train_step`` of a network on a namespace: the same object each time, so compiled once."""
    return functools.partial(train_step, network=network, xp=xp)
