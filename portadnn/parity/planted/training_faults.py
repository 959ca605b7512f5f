"""Faults in what stands around the gradient: dropout, weights, penalties, clipping, optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from portadnn.network.optimizers import Adam, AdamW, Momentum, Nesterov, RMSProp
from portadnn.parity.planted.fault import BATCH, NETWORK, Fault
from portadnn.parity.planted.namespace import Call, Place, Tamper
from portadnn.training.recipe import Recipe

_MOMENTUM = Recipe(Momentum(weight_decay=0.1))
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


def _kept(call: Call) -> Any:
    product = np.asarray(call.compute()).view(_KeepsSlot)
    product.slot = call.args[0]
    return product


def _first_argument(call: Call) -> Any:
    return call.args[0]


def _twice(call: Call) -> Any:
    return call.compute(call.compute(), call.args[1])


def _stale_mask(place: Place) -> Tamper:
    return lambda call: call.compute(call.last[place][0], *call.args[1:])


def _all_kept(call: Call) -> Any:
    mask, kept, zero = call.args
    return call.compute(np.ones_like(mask), kept, zero)


def _factor(change: float) -> Tamper:
    return lambda call: call.compute(call.args[0], call.args[1] * change)


def _by_its_own_norm(call: Call) -> Any:
    g, _ = call.args
    own = np.sqrt(np.sum(g * g))
    return call.compute(g, np.asarray(min(1.0, _CLIPPED.clip_norm / own), g.dtype))


def _left_out(call: Call) -> Any:
    return np.zeros_like(call.compute())


def _next_correction1(call: Call) -> Any:
    rate, correction = call.args
    power = (1 - 1 / correction.astype(np.float64)) * Adam().beta1
    return call.compute(rate, (1 / (1 - power)).astype(rate.dtype))


def _next_correction2(call: Call) -> Any:
    root, correction = call.args
    power = (1 - 1 / np.square(correction.astype(np.float64))) * Adam().beta2
    return call.compute(root, (1 / np.sqrt(1 - power)).astype(root.dtype))


def _corrections_off_by_one() -> dict[Place, Tamper]:
    tampers: dict[Place, Tamper] = {}
    for name in NETWORK.shapes:
        tampers["multiply", f"{name}+"] = _next_correction1
        tampers["multiply", f"{name}+#2"] = _next_correction2
    return tampers


def _epsilon_inside(call: Call) -> Any:
    return call.compute(call.args[0] + call.args[0].dtype.type(Adam().epsilon))


TRAINING_FAULTS = (
    Fault("velocity not updated", "vW2+", {("multiply", "vW2+"): _kept}, recipe=_MOMENTUM),
    Fault("weight decay applied twice", "W2+", {("multiply", "W2+#2"): _twice}, recipe=_MOMENTUM),
    Fault(
        "weight decay left out",
        "W2+",
        {("multiply", "W2+#2"): _first_argument},
        recipe=_MOMENTUM,
    ),
    Fault(
        "AdamW's weight decay applied twice",
        "W2+",
        {("multiply", "W2+#4"): _twice},
        recipe=Recipe(AdamW()),
    ),
    Fault(
        "Nesterov's velocity not updated",
        "vW2+",
        {("multiply", "vW2+"): _kept},
        recipe=Recipe(Nesterov()),
    ),
    Fault(
        "Nesterov without looking ahead",
        "W2+",
        {("multiply", "W2+"): _kept},
        recipe=Recipe(Nesterov()),
    ),
    Fault("bias correction off by one", "W1+", _corrections_off_by_one(), recipe=Recipe(Adam())),
    Fault(
        "second moment not updated",
        "sW2+",
        {("multiply", "sW2+"): _kept},
        recipe=Recipe(RMSProp()),
    ),
    Fault(
        "first moment not updated",
        "vW2+",
        {("multiply", "vW2+"): _kept},
        recipe=Recipe(Adam()),
    ),
    Fault(
        "second moment with beta1",
        "sW2+",
        {("multiply", "sW2+"): lambda call: call.compute(call.args[0], Adam().beta1)},
        recipe=Recipe(Adam()),
    ),
    Fault(
        "stale gradient in the first moment",
        "vW2+",
        {
            ("multiply", "vW2+#2"): lambda call: call.compute(
                call.last["multiply", "vW2+#2"][0], call.args[1]
            )
        },
        recipe=Recipe(Adam()),
    ),
    Fault(
        "epsilon under the root",
        "W1+",
        {("sqrt", f"{name}+"): _epsilon_inside for name in NETWORK.shapes},
        recipe=Recipe(Adam()),
    ),
    Fault(
        "mask of another step",
        "AD1",
        {("where", name): _stale_mask(("where", name)) for name in ("AD1", "dA1")},
        recipe=_DROPOUT,
    ),
    Fault("dropout not applied backward", "dA1", {("where", "dA1"): _all_kept}, recipe=_DROPOUT),
    Fault("dropout not scaled", "AD2", {("multiply", "AD2"): _first_argument}, recipe=_DROPOUT),
    Fault("l2 halved in the gradient", "rW2", {("multiply", "rW2"): _factor(0.5)}, recipe=_PENALTY),
    Fault("l1 left out of the gradient", "rW2", {("where", "rW2#2"): _left_out}, recipe=_PENALTY),
    Fault(
        "l2 without its half in the cost",
        "penalty",
        {("multiply", "penalty#2"): _factor(2.0)},
        recipe=_PENALTY,
    ),
    Fault(
        "l1 left out of the cost",
        "penalty",
        {("multiply", tensor): _left_out for tensor in _L1_IN_COST},
        recipe=_PENALTY,
    ),
    Fault("not clipped", "gW2", {("multiply", "gW2"): _first_argument}, recipe=_CLIPPED),
    Fault(
        "clipped by the norm of each tensor",
        "gW1",
        {("multiply", f"g{name}"): _by_its_own_norm for name in NETWORK.shapes},
        recipe=_CLIPPED,
    ),
    Fault("biases left out of the norm", "norm", {("sum", "norm#2"): _left_out}, recipe=_CLIPPED),
    Fault(
        "weights of examples left out of the gradient",
        "dZ4",
        {("multiply", "dZ4"): _first_argument},
        weighted=True,
    ),
    Fault(
        "weights of examples squared in the cost",
        "cost",
        {("multiply", "cost#2"): _twice},
        weighted=True,
    ),
    Fault(
        "labels not smoothed",
        "Y",
        {("take", "Y"): lambda call: np.rint(call.compute())},
        batch_size=BATCH,
        recipe=Recipe(label_smoothing=0.1),
    ),
    Fault(
        "weights of the batch before",
        "S",
        {("take", "S"): lambda call: call.compute(call.args[0], call.last["take", "S"][1])},
        batch_size=BATCH,
        weighted=True,
    ),
)
