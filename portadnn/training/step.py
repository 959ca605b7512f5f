"""One training step, as one pure function."""

from __future__ import annotations

import functools

from portadnn.arithmetic import for_one_step
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.penalties import clipped, global_norm, penalized_gradient, penalty
from portadnn.training.recipe import PLAIN
from portadnn.training.sample_space import sample_gradient


def train_step(
    state, inputs, X, Y, S=None, gram=None, slices=None, *, network, recipe=PLAIN, sample=False, xp
):
    """Forward, cost, backward, update.

    Parameters
    ----------
    state : (parameters, slots)
        ``W1 .. WL`` (n_l, n_prev), ``b1 .. bL`` (n_l, 1), and what the optimizer keeps of each,
        ``vW1`` and so on.
    inputs : dict
        What changes from step to step: the optimizer's scalars, ``learning_rate`` above all, each
        (1, 1); ``batch`` (B,), the indices of the step's examples, where it is not the whole of
        them; the dropout masks ``Dl`` (n_l, B).
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)
        Where there are batches, X, Y and S have a row for each example, (m, n_x), so that one is
        copied in one piece.
    S : array, shape (1, m), optional
        Weights of the examples, of mean 1; (n_L, m) for a weight for every output.
    gram : array, shape (n_1 + m, n_1 + m), optional
        In sample space with an l2 penalty.
    slices : dict, optional
        In reproducible arithmetic, those of ``X`` and ``gram`` as right operands.
    sample : bool
        Whether W1 and X are those of sample space, see ``sample_space.py``.

    Returns
    -------
    state : (parameters, slots)
        The new ones.
    cost : 0-d array
        Of the parameters that came in, with the penalty.
    """
    options = {"network": network, "recipe": recipe, "sample": sample, "xp": xp}
    state, tensors = step_tensors(state, inputs, X, Y, S, gram, slices, **options)
    return state, tensors["cost"]


def step_tensors(
    state, inputs, X, Y, S=None, gram=None, slices=None, *, network, recipe=PLAIN, sample=False, xp
):
    """The same step with every tensor that it makes, by name.

    Returns
    -------
    state : (parameters, slots)
        The new ones.
    tensors : dict
        ``X``, ``Y`` and ``S`` of the batch where there is one, ``Zl``, ``Al``, ``ADl`` (after
        dropout), ``penalty``, ``cost``, ``dZl``, ``dADl``, ``dAl``, ``dWl``, ``dbl``, ``rWl`` (with
        the penalty's gradient), ``norm``, ``gWl``, ``gbl`` (clipped): those that there are.
    """
    parameters, slots = state
    tensors: dict = {}
    given = {"X": X, "gram": gram}
    xp = for_one_step(xp, [(given[name], 0, cut) for name, cut in (slices or {}).items()])
    if "batch" in inputs:
        X, Y, S = batch_of(inputs, X, Y, S, xp=xp)
        tensors |= {"X": X, "Y": Y} | ({} if S is None else {"S": S})
    masks = {name: x for name, x in inputs.items() if name.startswith("D")}
    dropout = {"masks": masks, "dropout": recipe.dropout}
    AL, caches = L_model_forward(X, parameters, network=network, xp=xp, **dropout)
    ZL = caches[-1][1]
    cost = compute_cost_with_logits(ZL, Y, network=network, weights=S, xp=xp)
    if recipe.penalized:
        tensors["penalty"] = penalty(parameters, l2=recipe.l2, l1=recipe.l1, gram=gram, xp=xp)
        cost = cost + tensors["penalty"]
    tensors["cost"] = cost
    tensors |= L_model_backward(
        AL,
        Y,
        caches,
        network=network,
        weights=S,
        input_gradient=False,
        first_weight_gradient=not sample,
        xp=xp,
        **dropout,
    )
    if sample:
        tensors["dW1"] = sample_gradient(tensors["dZ1"], parameters["W1"], inputs, xp=xp)
    for l, (linear_cache, Z, *dropped) in enumerate(caches, start=1):
        tensors[f"Z{l}"] = Z
        if l > 1:
            tensors[f"AD{l - 1}" if f"D{l - 1}" in masks else f"A{l - 1}"] = linear_cache[0]
        if dropped:
            tensors[f"A{l}"] = dropped[0]
    tensors[f"A{network.L}"] = AL
    gradients, made = final_gradients(parameters, tensors, recipe, xp)
    scalars = {name: inputs[name] for name in recipe.scalar_names}
    state = recipe.optimizer.update(parameters, gradients, slots, scalars, xp=xp)
    return state, tensors | made


def batch_of(inputs, *rows, xp):
    """The columns of a batch, from arrays of a row for each example; None stays None."""
    return (None if x is None else xp.take(x, inputs["batch"], axis=0).T for x in rows)


def final_gradients(parameters, grads, recipe, xp):
    """What the optimizer is given, and the tensors on the way there: penalty, then clipping."""
    made: dict = {}
    gradients = {f"d{name}": grads[f"d{name}"] for name in parameters}
    if recipe.penalized:
        for name in (name for name in parameters if name.startswith("W")):
            made[f"r{name}"] = gradients[f"d{name}"] = penalized_gradient(
                parameters[name], gradients[f"d{name}"], l2=recipe.l2, l1=recipe.l1, xp=xp
            )
    if recipe.clip_norm is not None:
        norm = made["norm"] = global_norm(list(gradients.values()), xp=xp)
        for name in parameters:
            made[f"g{name}"] = gradients[f"d{name}"] = clipped(
                gradients[f"d{name}"], norm, recipe.clip_norm, xp=xp
            )
    return gradients, made


def observed_step(
    state, inputs, X, Y, S=None, gram=None, slices=None, *, network, recipe=PLAIN, sample=False, xp
):
    """The step for a run that is watched: the state carries the tensors of the step just made.

    So one compiled loop runs any number of steps, and only the tensors of its last step are kept.
    """
    (parameters, slots), _ = state
    options = {"network": network, "recipe": recipe, "sample": sample, "xp": xp}
    updated, tensors = step_tensors((parameters, slots), inputs, X, Y, S, gram, slices, **options)
    given = {name: x for name, x in inputs.items() if name != "batch"}
    return (updated, {**parameters, **slots, **tensors, **given}), tensors["cost"]


@functools.lru_cache(maxsize=64)
def make_step(network, xp, step=train_step, recipe=PLAIN, sample=False):
    """A step of a network on a namespace: the same object each time, so it is compiled once."""
    form = {"sample": True} if sample else {}  # a step of L-BFGS knows no other
    return functools.partial(step, network=network, recipe=recipe, xp=xp, **form)
