"""Mistakes of what stands around the gradient: dropout, weights, penalties, clipping, optimizers.

Each hypothesis computes the tensor of a ``Case`` once more as its mistake would have made it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portadnn.parity.bounds import exact, updates
from portadnn.parity.causes.case import Case, Cause, Found
from portadnn.parity.causes.operations import not_updated
from portadnn.parity.step.operations import operands


def unscaled_dropout(case: Case) -> Found:
    """What is kept was not divided by the share that is kept."""
    if case.layer not in case.run.recipe.dropped_layers():
        return
    given, mask = (case.t[name] for name in operands(case.run, case.tensor))
    rate = case.run.recipe.dropout[case.layer - 1]
    sentence = f"{case.tensor} was not divided by the share that dropout keeps, {1 - rate:g}"
    remedy = "Divide by 1 - rate in training, forward and backward, and nowhere in prediction"
    yield exact(np.where(mask != 0, given, 0.0)), Cause("dropout not scaled", sentence, remedy)


def ignored_mask(case: Case) -> Found:
    """Nothing was dropped."""
    if case.layer not in case.run.recipe.dropped_layers():
        return
    name, _ = operands(case.run, case.tensor)
    bound = updates.dropout(
        case.t[name],
        np.ones_like(case.t[name]),
        case.run.recipe.dropout[case.layer - 1],
        case.form,
    )
    remedy = f"Apply D{case.layer} to A{case.layer} and to its gradient"
    for bounds, scaled in ((bound, "scaled but "), (exact(case.t[name]), "")):
        sentence = f"{case.tensor} was {scaled}not masked: nothing was dropped"
        yield bounds, Cause("mask ignored", sentence, remedy)


def previous_mask(case: Case) -> Found:
    """The mask of the step before."""
    mask = f"D{case.layer}"
    if mask in case.before and case.layer in case.run.recipe.dropped_layers():
        sentence = f"{case.tensor} was masked with {mask} of step {case.record.step - 1}"
        remedy = "Draw the mask of a step once, and use it forward and backward"
        bound = case.compute({mask: case.before[mask]})
        yield bound, Cause("mask of another step", sentence, remedy)


def unweighted(case: Case) -> Found:
    """The weights of the examples were left out."""
    if case.run.weights is None or case.layer not in (0, case.run.network.L):  # cost has layer 0
        return
    sentence = f"{case.tensor} was computed without the weights of the examples"
    remedy = "Multiply cost and dZ of the head by S, each once"
    bound = case.compute({"S": np.ones_like(case.t["S"])})
    yield bound, Cause("weights left out", sentence, remedy)
    bound = case.compute({"S": np.square(case.t["S"])})
    sentence = f"{case.tensor} was multiplied by the weights of the examples twice"
    yield bound, Cause("weights twice", sentence, remedy)


def other_penalty(case: Case) -> Found:
    """A penalty left out, or with another factor."""
    recipe = case.run.recipe
    ways = {
        "l2 left out": {"l2": 0.0},
        "l1 left out": {"l1": 0.0},
        "l2 halved": {"l2": recipe.l2 / 2},
        "l2 doubled": {"l2": 2 * recipe.l2},
        "l2 divided by m": {"l2": recipe.l2 / case.m},
    }
    for name, change in ways.items():
        changed = replace(recipe, **change)  # type: ignore[arg-type]
        if changed == recipe or not changed.penalized:
            if changed != recipe and case.kind == "rW":
                bound = exact(case.t[f"dW{case.layer}"])
            else:
                continue
        else:
            other = replace(case.run.declaration, **changed.settings())
            bound = case.compute(run=replace(case.run, declaration=other))
        sentence = f"{case.tensor} has the penalty with {name}"
        remedy = "The cost has l2 / 2 sum(W^2) + l1 sum(abs(W)), its gradient l2 W + l1 sign(W)"
        yield bound, Cause(name, sentence, remedy)


def not_clipped(case: Case) -> Found:
    """The gradient as it was, or clipped by its own norm."""
    remedy = "Scale every gradient by clip_norm / norm, with the norm of all of them as one vector"
    if case.kind == "norm":
        for name in operands(case.run, "norm"):
            g = case.t[name]
            yield (
                updates.norm([g], case.form, g.size),
                Cause("norm of one tensor", f"the norm is that of {name} alone", remedy),
            )
        return
    g = case.t[operands(case.run, case.tensor)[0]]
    yield exact(g), Cause("not clipped", f"{case.tensor} was not clipped", remedy)
    own = updates.norm([g], case.form, g.size).exact
    sentence = f"{case.tensor} was clipped by its own norm"
    yield case.compute({"norm": own}), Cause("clipped by tensor", sentence, remedy)


def other_correction(case: Case) -> Found:
    """Adam's bias corrections of another step, or none."""
    optimizer = case.run.recipe.optimizer
    if "correction1" not in case.run.recipe.scalar_names:
        return
    t = case.record.step + 1
    rate = float(case.t["learning_rate"][0, 0])
    remedy = "The first step is t = 1, and every step of every parameter has the same t"
    for other in (t - 1, t + 1):
        if other < 1:
            continue
        scalars = optimizer.scalars(rate, other)
        changes = {name: np.full((1, 1), scalars[name]) for name in ("correction1", "correction2")}
        sentence = f"{case.tensor} has the bias corrections of t = {other}, not of t = {t}"
        yield case.compute(changes), Cause("bias correction off by one", sentence, remedy)
    one = np.ones((1, 1))
    sentence = f"{case.tensor} has no bias correction"
    changes = {"correction1": one, "correction2": one}
    yield case.compute(changes), Cause("no bias correction", sentence, remedy)


def other_decay(case: Case) -> Found:
    """Weight decay applied twice, left out, or to a bias."""
    decay = case.run.recipe.optimizer.weight_decay
    if not decay:
        return
    remedy = "Multiply every W once by 1 - rate weight_decay, and no b"
    shrinkage = case.t["shrinkage"]
    if case.kind == "b+":
        name = case.tensor[:-1]
        bound = case.compute({name: case.t[name] * shrinkage})
        sentence = f"{case.tensor} was decayed: biases are not"
        yield bound, Cause("bias decayed", sentence, remedy)
        return
    for what, factor in (("twice", np.square(shrinkage)), ("not", np.ones((1, 1)))):
        sentence = f"{case.tensor} was {what} decayed"
        bound = case.compute({"shrinkage": factor})
        yield bound, Cause(f"decayed {what}", sentence, remedy)


def unaveraged(case: Case) -> Found:
    """A slot that holds the new value alone, or the sum instead of the mean."""
    slot, name = case.tensor[0], case.tensor[1:-1]
    zero = np.zeros_like(case.t[f"{slot}{name}"])
    sentence = f"{case.tensor} was computed from nothing before: the slot was not carried on"
    remedy = "Hand the slots of a step to the next"
    yield case.compute({f"{slot}{name}": zero}), Cause("slot reset", sentence, remedy)


DROPOUT = (previous_mask, ignored_mask, unscaled_dropout)
PENALTY = (other_penalty,)
CLIPPING = (not_clipped,)
SLOT = (not_updated, unaveraged)
STEP = (other_correction, other_decay)
