"""One training step, as one pure function."""

from __future__ import annotations

import functools

from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.optimizers import update_parameters


def train_step(parameters, inputs, X, Y, *, network, xp):
    """Forward, cost, backward, update.

    Parameters
    ----------
    parameters : dict
        ``W1 .. WL`` (n_l, n_prev), ``b1 .. bL`` (n_l, 1).
    inputs : dict
        What changes from step to step: ``learning_rate`` (1, 1), and ``batch`` (B,), the indices of
        the step's examples, where it is not the whole of them.
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)

    Returns
    -------
    parameters : dict
        The new ones.
    cost : 0-d array
        Of the parameters that came in.
    """
    updated, tensors = step_tensors(parameters, inputs, X, Y, network=network, xp=xp)
    return updated, tensors["cost"]


def step_tensors(parameters, inputs, X, Y, *, network, xp):
    """The same step with every tensor that it makes, by name.

    Returns
    -------
    parameters : dict
        The new ones.
    tensors : dict
        ``X`` and ``Y`` of the batch where there is one, ``Zl``, ``Al``, ``cost``, ``dZl``, ``dAl``,
        ``dWl``, ``dbl``.
    """
    tensors: dict = {}
    if "batch" in inputs:
        X, Y = (xp.take(x, inputs["batch"], axis=1) for x in (X, Y))
        tensors |= {"X": X, "Y": Y}
    AL, caches = L_model_forward(X, parameters, network=network, xp=xp)
    ZL = caches[-1][1]
    tensors["cost"] = compute_cost_with_logits(ZL, Y, network=network, xp=xp)
    tensors |= L_model_backward(AL, Y, caches, network=network, input_gradient=False, xp=xp)
    for l, (linear_cache, Z) in enumerate(caches, start=1):
        tensors[f"Z{l}"] = Z
        if l > 1:
            tensors[f"A{l - 1}"] = linear_cache[0]
    tensors[f"A{network.L}"] = AL
    updated = update_parameters(parameters, tensors, inputs["learning_rate"], xp=xp)
    return updated, tensors


def observed_step(state, inputs, X, Y, *, network, xp):
    """The step for a run that is watched: the state carries the tensors of the step just made.

    So one compiled loop runs any number of steps, and only the tensors of its last step are kept.
    """
    parameters, _ = state
    updated, tensors = step_tensors(parameters, inputs, X, Y, network=network, xp=xp)
    observed = {**parameters, **tensors, "learning_rate": inputs["learning_rate"]}
    return (updated, observed), tensors["cost"]


@functools.lru_cache(maxsize=64)
def make_step(network, xp, step=train_step):
    """A step of a network on a namespace: the same object each time, so it is compiled once."""
    return functools.partial(step, network=network, xp=xp)
