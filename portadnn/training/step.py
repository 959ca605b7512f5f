"""One training step, as one pure function: ``gradients``, then ``apply``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portadnn.arithmetic import for_one_step
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.names import is_mask, is_weight, named, of
from portadnn.network.penalties import clipped, global_norm, penalized_gradient, penalty
from portadnn.network.spec import Network
from portadnn.training.recipe import PLAIN, Recipe
from portadnn.training.sample_space import sample_gradient

PLAIN_LABELS = 0.0, 1.0


class Shared(NamedTuple):
    """The data that every step reads and none changes.

    Attributes
    ----------
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)
    S : array, shape (1, m), optional
        Weights of the examples, of mean 1; (n_L, m) for a weight for every output. If there are
        batches, X, Y and S have a row for each example, (m, n_x), see ``in_rows``.
    gram : array, shape (n_1 + m, n_1 + m), optional
        Given in sample space with an l2 penalty.
    slices : dict, optional
        In reproducible arithmetic, the slices of ``X`` and ``gram`` as right operands.
    classes : array, shape (1, C), optional
        0 .. C-1, if Y (m, 1) holds the number of each example's class: then every batch makes its
        own one-hot columns.
    """

    X: Any
    Y: Any
    S: Any = None
    gram: Any = None
    slices: Any = None
    classes: Any = None

    @classmethod
    def of(cls, X: Any, Y: Any, S: Any = None, *, network: Network, recipe: Recipe) -> Shared:
        """The data as the steps of a recipe get them."""
        return cls(X, recipe.targets(Y, network), S)

    def mapped(self, function: Callable[[Any], Any]) -> Shared:
        """A copy with ``function`` applied to X, Y and S, and without slices."""
        X, Y, S = (None if x is None else function(x) for x in self[:3])
        return Shared(X, Y, S, self.gram, classes=self.classes)

    def in_rows(self) -> Shared:
        """A copy with a contiguous row for each example, for NumPy arrays."""
        return self.mapped(lambda x: np.ascontiguousarray(x.T))

    def batch(self, inputs: Any, xp: Any, smoothing: tuple[float, float]) -> Shared:
        """The columns of a batch, from its rows; ``smoothing`` takes the place of 0 and 1."""
        if "X" in inputs:
            rows = self._replace(X=inputs["X"], Y=inputs["Y"], S=inputs.get("S"))
        else:
            rows = self.mapped(lambda x: xp.take(x, inputs["batch"], axis=0))
        if self.classes is not None:
            rows = rows._replace(Y=one_hot(rows.Y, self.classes, xp, smoothing))
        return rows.mapped(lambda x: x.T)


def one_hot(
    numbers: Any, classes: Any, xp: Any, smoothing: tuple[float, float] = PLAIN_LABELS
) -> Any:
    """One-hot rows (B, C) from class numbers (B, 1); ``smoothing`` has the values of 0 and 1."""
    own = numbers == classes
    made = xp.astype(own, numbers.dtype)
    if smoothing == PLAIN_LABELS:
        return made
    low, high = (xp.full_like(made, value) for value in smoothing)  # each rounded once
    return xp.where(own, high, low)


def gradients(parameters, inputs, shared, *, network, recipe=PLAIN, sample=False, xp):
    """The cost of a step and the gradients of it, with everything that is computed on the way.

    Parameters
    ----------
    parameters : dict
        ``W1 .. WL`` (n_l, n_prev), ``b1 .. bL`` (n_l, 1).
    inputs : dict
        What changes from step to step: the optimizer's scalars, ``learning_rate`` above all, each
        (1, 1); ``batch`` (B,), the indices of the step's examples, if it does not take all of them,
        or their rows, ``X`` (B, n_x), ``Y`` and ``S``, if the data are not ``shared``; the dropout
        masks ``Dl`` (n_l, B).
    shared : Shared
    network : Network
    recipe : Recipe
        Its penalty is part of the cost. ``apply`` adds the gradient of the penalty once, also if
        the other gradients are a mean over several parts of a batch.
    sample : bool
        Whether W1 and X are those of sample space, see ``sample_space.py``.

    Returns
    -------
    found : dict
        ``dW1 .. dWL``, ``db1 .. dbL``, averaged over the examples.
    tensors : dict
        ``X``, ``Y`` and ``S`` of the batch if there is one, ``Zl``, ``Al``, ``ADl`` (after
        dropout), ``penalty``, ``cost``, ``dZl``, ``dADl``, ``dAl``, ``dWl``, ``dbl``: those that
        there are.
    """
    X, Y, S, gram, slices, _ = shared
    tensors: dict = {}
    xp = for_one_step(xp, [(getattr(shared, name), 0, cut) for name, cut in (slices or {}).items()])
    if "batch" in inputs or "X" in inputs:
        X, Y, S = shared.batch(inputs, xp, recipe.smoothing(network))[:3]
        tensors |= {"X": X, "Y": Y} | ({} if S is None else {"S": S})
    masks = {name: x for name, x in inputs.items() if is_mask(name)}
    dropout = {"masks": masks, "dropout": recipe.dropout}
    AL, caches = L_model_forward(X, parameters, network=network, xp=xp, **dropout)
    ZL = caches[-1][1]
    cost = compute_cost_with_logits(ZL, Y, network=network, weights=S, xp=xp)
    if recipe.penalized:
        tensors["penalty"] = penalty(parameters, l2=recipe.l2, l1=recipe.l1, gram=gram, xp=xp)
        cost = cost + tensors["penalty"]
    tensors["cost"] = cost
    tensors |= L_model_backward(
        AL, Y, caches, network=network, weights=S, input_gradient=False,
        first_weight_gradient=not sample, xp=xp, **dropout,
    )  # fmt: skip
    if sample:
        tensors["dW1"] = sample_gradient(tensors["dZ1"], parameters["W1"], inputs, xp=xp)
    for l, (linear_cache, Z, *dropped) in enumerate(caches, start=1):
        tensors[named("Z", l)] = Z
        if l > 1:
            kind = "AD" if named("D", l - 1) in masks else "A"
            tensors[named(kind, l - 1)] = linear_cache[0]
        if dropped:
            tensors[named("A", l)] = dropped[0]
    tensors[named("A", network.L)] = AL
    return {of("d", name): tensors[of("d", name)] for name in parameters}, tensors


def apply(state, found, inputs, *, recipe=PLAIN, xp):
    """The state that a step's gradients lead to: penalty, clipping, and the optimizer's update.

    Parameters
    ----------
    state : (parameters, slots)
        The parameters that the gradients are of, and what the optimizer keeps of each, ``vW1`` and
        so on.
    found : dict
        As ``gradients`` returned it.
    inputs : dict
        Has the optimizer's scalars.

    Returns
    -------
    state : (parameters, slots)
        The new ones.
    tensors : dict
        The tensors of ``final_gradients``.
    """
    parameters, slots = state
    found, tensors = final_gradients(parameters, found, recipe=recipe, xp=xp)
    scalars = {name: inputs[name] for name in recipe.scalar_names}
    return recipe.optimizer.update(parameters, found, slots, scalars, xp=xp), tensors


def final_gradients(parameters, found, *, recipe, xp):
    """The gradients for the optimizer, and tensors on the way: ``rWl``, ``norm``, ``gWl``, ``gbl``.

    ``rWl`` is with the penalty's gradient, ``gWl`` and ``gbl`` are clipped.
    """
    tensors: dict = {}
    found = dict(found)
    for name in (name for name in parameters if is_weight(name) and recipe.penalized):
        tensors[of("r", name)] = found[of("d", name)] = penalized_gradient(
            parameters[name], found[of("d", name)], l2=recipe.l2, l1=recipe.l1, xp=xp
        )
    if recipe.clip_norm is not None:
        # jax.jit returns dicts sorted by name, and the order of the sum must not depend on that
        norm = tensors["norm"] = global_norm([found[name] for name in sorted(found)], xp=xp)
        for name in parameters:
            tensors[of("g", name)] = found[of("d", name)] = clipped(
                found[of("d", name)], norm, recipe.clip_norm, xp=xp
            )
    return found, tensors


def step_tensors(state, inputs, shared, *, recipe=PLAIN, xp, **options):
    """A step: the new state, and every tensor that ``gradients`` and ``apply`` made, by name."""
    found, tensors = gradients(state[0], inputs, shared, recipe=recipe, xp=xp, **options)
    state, made = apply(state, found, inputs, recipe=recipe, xp=xp)
    return state, tensors | made


def train_step(state, inputs, shared, **options):
    """A step: the new state, and the cost of the parameters that came in, with the penalty."""
    state, tensors = step_tensors(state, inputs, shared, **options)
    return state, tensors["cost"]


def observed_step(state, inputs, shared, **options):
    """The step for a run that is watched: the state carries the tensors of the step just made.

    So one compiled loop runs any number of steps, and only the tensors of its last step are kept.
    """
    (parameters, slots), _ = state
    updated, tensors = step_tensors((parameters, slots), inputs, shared, **options)
    given = {name: x for name, x in inputs.items() if name != "batch"}
    return (updated, {**parameters, **slots, **tensors, **given}), tensors["cost"]


@functools.lru_cache(maxsize=64)
def make_step(network, xp, step=train_step, recipe=PLAIN, sample=False):
    """A step of a network on a namespace: the same object each time, so it is compiled once."""
    return functools.partial(step, network=network, recipe=recipe, sample=sample, xp=xp)
