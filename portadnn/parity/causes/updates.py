"""Faults around the gradient: dropout, weights, penalties, clipping, optimizers.

Each hypothesis computes the tensor of a ``Case`` once more as its fault would have made it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from portadnn.network.names import after, is_weight, named, of, slot_and_parameter
from portadnn.parity.bounds import exact, updates
from portadnn.parity.causes.case import Case, Found
from portadnn.parity.causes.operations import not_updated
from portadnn.parity.step.operations import final_gradient


def unscaled_dropout(case: Case) -> Found:
    """The kept units were not divided by the share that is kept."""
    if case.layer not in case.run.recipe.dropped_layers():
        return
    given, mask = (case.t[name] for name in case.operands)
    rate = case.run.recipe.dropout[case.layer - 1]
    sentence = f"{case.tensor} was not divided by the share that dropout keeps, {1 - rate:g}"
    remedy = "Divide by 1 - rate in training, forward and backward, and nowhere in prediction"
    yield exact(np.where(mask != 0, given, 0.0)), "dropout not scaled", sentence, remedy


def ignored_mask(case: Case) -> Found:
    """Nothing was dropped."""
    if case.layer not in case.run.recipe.dropped_layers():
        return
    given, mask = case.operands
    remedy = f"Apply {mask} to A{case.layer} and to its gradient"
    bound = case.compute({mask: np.ones_like(case.t[mask])})
    for bounds, scaled in ((bound, "scaled but "), (exact(case.t[given]), "")):
        sentence = f"{case.tensor} was {scaled}not masked: nothing was dropped"
        yield bounds, "mask ignored", sentence, remedy


def previous_mask(case: Case) -> Found:
    """The mask of the step before."""
    mask = named("D", case.layer)
    if mask in case.before and case.layer in case.run.recipe.dropped_layers():
        sentence = f"{case.tensor} was masked with {mask} of step {case.record.step - 1}"
        remedy = "Draw the mask of a step once, and use it forward and backward"
        bound = case.compute({mask: case.before[mask]})
        yield bound, "mask of another step", sentence, remedy


def unweighted(case: Case) -> Found:
    """The weights of the examples were left out, or taken twice."""
    if case.run.weights is None or case.layer not in (0, case.run.network.L):  # cost has layer 0
        return
    remedy = "Multiply cost and dZ of the head by S, each once"
    sentence = f"{case.tensor} was computed without the weights of the examples"
    bound = case.compute({"S": np.ones_like(case.t["S"])})
    yield bound, "weights left out", sentence, remedy
    sentence = f"{case.tensor} was multiplied by the weights of the examples twice"
    yield case.compute({"S": np.square(case.t["S"])}), "weights twice", sentence, remedy


def other_penalty(case: Case) -> Found:
    """A penalty left out, or with another factor."""
    recipe = case.run.recipe
    remedy = "The cost has l2 / 2 sum(W^2) + l1 sum(abs(W)), its gradient l2 W + l1 sign(W)"
    ways = {
        "l2 left out": replace(recipe, l2=0.0),
        "l1 left out": replace(recipe, l1=0.0),
        "l2 halved": replace(recipe, l2=recipe.l2 / 2),
        "l2 doubled": replace(recipe, l2=2 * recipe.l2),
        "l2 divided by m": replace(recipe, l2=recipe.l2 / case.m),
    }
    for name, changed in ways.items():
        if changed == recipe or not (changed.penalized or case.kind == "rW"):
            continue
        if changed.penalized:
            other = replace(case.run.declaration, **changed.settings())
            bound = case.compute(run=replace(case.run, declaration=other))
        else:
            bound = exact(case.t[named("dW", case.layer)])
        yield bound, name, f"{case.tensor} has the penalty with {name}", remedy


def not_clipped(case: Case) -> Found:
    """The gradient as it was, or clipped by its own norm."""
    remedy = "Scale every gradient by clip_norm / norm, with the norm of all of them as one vector"
    if case.kind == "norm":
        for name in case.operands:
            bound = updates.norm([case.t[name]], case.form, case.t[name].size)
            yield bound, "norm of one tensor", f"the norm is that of {name} alone", remedy
        return
    g = case.t[case.operands[0]]
    yield exact(g), "not clipped", f"{case.tensor} was not clipped", remedy
    own = updates.norm([g], case.form, g.size).exact
    sentence = f"{case.tensor} was clipped by its own norm"
    yield case.compute({"norm": own}), "clipped by tensor", sentence, remedy


def other_correction(case: Case) -> Found:
    """Adam's bias corrections of another step, or none."""
    corrections = ("correction1", "correction2")
    if corrections[0] not in case.run.recipe.scalar_names:
        return
    t = case.record.step + 1
    rate = float(case.t["learning_rate"][0, 0])
    remedy = "The first step is t = 1, and every step of every parameter has the same t"
    for other in filter(None, (t - 1, t + 1)):
        scalars = case.run.recipe.optimizer.scalars(rate, other)
        bound = case.compute({name: np.full((1, 1), scalars[name]) for name in corrections})
        sentence = f"{case.tensor} has the bias corrections of t = {other}, not of t = {t}"
        yield bound, "bias correction off by one", sentence, remedy
    bound = case.compute(dict.fromkeys(corrections, np.ones((1, 1))))
    yield bound, "no bias correction", f"{case.tensor} has no bias correction", remedy


def other_decay(case: Case) -> Found:
    """Weight decay was applied twice, left out, or applied to a bias."""
    if not case.run.recipe.optimizer.weight_decay:
        return
    remedy = "Multiply every W once by 1 - rate weight_decay, and no b"
    shrinkage = case.t["shrinkage"]
    _, name = slot_and_parameter(case.tensor)
    if not is_weight(name):
        bound = case.compute({name: case.t[name] * shrinkage})
        yield bound, "bias decayed", f"{case.tensor} was decayed: biases are not", remedy
        return
    for what, factor in (("twice", np.square(shrinkage)), ("not", np.ones((1, 1)))):
        bound = case.compute({"shrinkage": factor})
        yield bound, f"decayed {what}", f"{case.tensor} was {what} decayed", remedy


def unaveraged(case: Case) -> Found:
    """A slot was computed without its value before the step."""
    slot = of(*slot_and_parameter(case.tensor))
    bound = case.compute({slot: np.zeros_like(case.t[slot])})
    sentence = f"{case.tensor} was computed without its value before: the slot was not carried on"
    yield bound, "slot reset", sentence, "Pass the slots of a step to the next"


def other_betas(case: Case) -> Found:
    """A slot of Adam with the beta of the other one."""
    recipe = case.run.recipe
    if "correction1" not in recipe.scalar_names:
        return
    o: Any = recipe.optimizer
    swapped = replace(recipe, optimizer=replace(o, beta1=o.beta2, beta2=o.beta1))
    run = replace(case.run, declaration=replace(case.run.declaration, **swapped.settings()))
    slot, name = slot_and_parameter(case.tensor)
    other = replace(case, tensor=after(of("s" if slot == "v" else "v", name)))
    wrong, right = ("beta2", "beta1") if slot == "v" else ("beta1", "beta2")
    both = other.explained_by(other.compute(run=run))
    cause = "beta1 and beta2 swapped" if both else f"{wrong} for {right}"
    sentence = f"{case.tensor} was averaged with {wrong}, not with {right}"
    remedy = "beta1 is for the mean of the gradient, beta2 for that of its square"
    yield case.compute(run=run), cause, sentence, remedy


def penalized_bias(case: Case) -> Found:
    """The biases were penalized, too."""
    recipe, t = case.run.recipe, case.t
    if not recipe.penalized:
        return
    biases = [name for name in case.run.network.shapes if not is_weight(name)]
    if case.kind != "norm":
        biases = [name for name in biases if name == slot_and_parameter(case.tensor)[1]]
    changes = {
        given: t[given] + recipe.l2 * t[b] + recipe.l1 * np.sign(t[b])
        for b in biases
        for given in {final_gradient(case.run, b), of("d", b)}
    }
    if changes:
        sentence = f"{case.tensor} includes a penalty of the biases"
        remedy = "Penalize every W and no b"
        yield case.compute(changes), "bias penalized", sentence, remedy


DROPOUT = (previous_mask, ignored_mask, unscaled_dropout)
SLOT = (not_updated, unaveraged, other_betas, penalized_bias)
STEP = (other_correction, other_decay, penalized_bias)
