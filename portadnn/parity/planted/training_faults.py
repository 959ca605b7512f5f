"""Faults in what stands around the gradient: dropout, weights, penalties, clipping, optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from portadnn.network.names import after, of
from portadnn.network.optimizers import Adam, AdamW, Momentum, Nesterov, RMSProp
from portadnn.parity.planted.fault import (
    BATCH,
    NETWORK,
    Fault,
    at,
    changed,
    first_argument,
    left_out,
    stale,
)
from portadnn.parity.planted.namespace import FaultyCall, StepCall
from portadnn.training.recipe import Recipe

_MOMENTUM = Recipe(Momentum(weight_decay=0.1))
_NESTEROV, _RMSPROP = Recipe(Nesterov()), Recipe(RMSProp())
_ADAM, _ADAMW = Recipe(Adam()), Recipe(AdamW())
_DROPOUT = Recipe(dropout=(0.25, 0.5, 0.0))
_PENALTY = Recipe(l2=0.05, l1=0.01)
# the third product for every layer is that of l1, after the two of l2
_L1_IN_COST = ("penalty#3", "penalty#6", "penalty#9", "penalty#12")
_CLIPPED = Recipe(clip_norm=0.05)
# the honest counterpart of all of them
EVERYTHING = Recipe(AdamW(), l2=0.05, l1=0.01, clip_norm=0.05, dropout=(0.25, 0.5, 0.0))


class _KeepsSlot(np.ndarray):
    """``mu v`` to which nothing can be added: the sum is v, as it was."""

    slot: Any

    def __add__(self, g: Any) -> Any:
        return self.slot

    __radd__ = __add__


def _kept(call: StepCall) -> Any:
    product = np.asarray(call.compute()).view(_KeepsSlot)
    product.slot = call.args[0]
    return product


def _twice(call: StepCall) -> Any:
    return changed(0, lambda _: call.compute())(call)


def _factor(change: float) -> FaultyCall:
    return changed(1, lambda x: x * change)


def _by_its_own_norm(call: StepCall) -> Any:
    g, _ = call.args
    own = np.sqrt(np.sum(g * g))
    return call.compute(g, np.asarray(min(1.0, _CLIPPED.clip_norm / own), g.dtype))


def _next_correction1(correction: np.ndarray) -> np.ndarray:
    power = (1 - 1 / correction.astype(np.float64)) * Adam().beta1
    return (1 / (1 - power)).astype(correction.dtype)


def _next_correction2(correction: np.ndarray) -> np.ndarray:
    power = (1 - 1 / np.square(correction.astype(np.float64))) * Adam().beta2
    return (1 / np.sqrt(1 - power)).astype(correction.dtype)


_epsilon_inside = changed(0, lambda s: s + s.dtype.type(Adam().epsilon))

TRAINING_FAULTS = (
    at("velocity not updated", "multiply", "vW2+", _kept, recipe=_MOMENTUM),
    at("weight decay applied twice", "multiply", "W2+#2", _twice, recipe=_MOMENTUM),
    at("weight decay left out", "multiply", "W2+#2", first_argument, recipe=_MOMENTUM),
    at("AdamW's weight decay applied twice", "multiply", "W2+#4", _twice, recipe=_ADAMW),
    at("Nesterov's velocity not updated", "multiply", "vW2+", _kept, recipe=_NESTEROV),
    at("Nesterov without looking ahead", "multiply", "W2+", _kept, recipe=_NESTEROV),
    Fault(
        "bias correction off by one", "W1+",
        {
            ("multiply", after(name) + number): changed(1, correction)
            for name in NETWORK.shapes
            for number, correction in (("", _next_correction1), ("#2", _next_correction2))
        },
        recipe=_ADAM,
    ),
    at("second moment not updated", "multiply", "sW2+", _kept, recipe=_RMSPROP),
    at("first moment not updated", "multiply", "vW2+", _kept, recipe=_ADAM),
    at("second moment with beta1", "multiply", "sW2+", changed(1, lambda _: Adam().beta1),
       recipe=_ADAM),
    at("stale gradient in the first moment", "multiply", "vW2+#2", stale(0), recipe=_ADAM),
    Fault("epsilon under the root", "W1+",
          {("sqrt", after(name)): _epsilon_inside for name in NETWORK.shapes}, recipe=_ADAM),
    Fault("mask of another step", "AD1", {("where", name): stale(0) for name in ("AD1", "dA1")},
          recipe=_DROPOUT),
    at("dropout not applied backward", "where", "dA1", changed(0, np.ones_like), recipe=_DROPOUT),
    at("dropout not scaled", "multiply", "AD2", first_argument, recipe=_DROPOUT),
    at("l2 halved in the gradient", "multiply", "rW2", _factor(0.5), recipe=_PENALTY),
    at("l1 left out of the gradient", "where", "rW2#2", left_out, recipe=_PENALTY),
    at("l2 without its half in the cost", "multiply", "penalty#2", _factor(2.0), recipe=_PENALTY),
    Fault("l1 left out of the cost", "penalty",
          {("multiply", tensor): left_out for tensor in _L1_IN_COST}, recipe=_PENALTY),
    at("not clipped", "multiply", "gW2", first_argument, recipe=_CLIPPED),
    Fault("clipped by the norm of each tensor", "gW1",
          {("multiply", of("g", name)): _by_its_own_norm for name in NETWORK.shapes},
          recipe=_CLIPPED),
    at("biases left out of the norm", "sum", "norm#2", left_out, recipe=_CLIPPED),
    at("weights of examples left out of the gradient", "multiply", "dZ4", first_argument,
       weighted=True),
    at("weights of examples squared in the cost", "multiply", "cost#2", _twice, weighted=True),
    at("labels not smoothed", "take", "Y", lambda call: np.rint(call.compute()), batch_size=BATCH,
       recipe=Recipe(label_smoothing=0.1)),
    at("weights of the batch before", "take", "S", stale(1), batch_size=BATCH, weighted=True),
)  # fmt: skip
