"""Faults of what stands around the gradient: dropout, weights, penalties, clipping, optimizers."""

from dataclasses import replace

import numpy as np
import pytest
from parity.causes.test_causes import M, costs, diagnose, make_run

from portadnn.network.optimizers import AdamW
from portadnn.training.declaration import Declaration

RATE, DROPPED, L2, L1, CLIP = 0.01, 0.3, 0.1, 0.02, 0.05
DECAY = AdamW(weight_decay=0.1)
S = np.linspace(0.5, 1.5, M)[None]
RUN = replace(
    make_run(),
    weights=S / S.mean(),
    declaration=Declaration(
        learning_rate=RATE, optimizer=DECAY, dropout=DROPPED, l2=L2, l1=L1, clip_norm=CLIP
    ),
)


def penalty(t, l2, l1):
    W = [t[f"W{l}"] for l in (1, 2, 3)]
    return sum(l2 / 2 * np.sum(w * w) + l1 * np.sum(np.abs(w)) for w in W)


def penalized(t, l2, l1):
    return t["dW2"] + l2 * t["W2"] + l1 * np.sign(t["W2"])


def stepped(t, number=2, name="W2", decay=1.0 - RATE * 0.1):
    """The parameter after Adam's step of that number, decayed by a factor; 0 is no correction."""
    c1 = 1 / (1 - DECAY.beta1**number) if number else 1.0
    c2 = 1 / (1 - DECAY.beta2**number) if number else 1.0
    v, s = t[f"v{name}+"] * c1, t[f"s{name}+"] * c2
    return decay * t[name] - RATE * v / (np.sqrt(s) + DECAY.epsilon)


FAULTS = {
    "AD1": {
        "dropout not scaled": lambda t, p: np.where(t["D1"] != 0, t["A1"], 0.0),
        "mask ignored": lambda t, p: t["A1"],
        "mask of another step": lambda t, p: np.where(p["D1"] != 0, t["A1"] / (1 - DROPPED), 0.0),
    },
    "dA2": {
        "dropout not scaled": lambda t, p: np.where(t["D2"] != 0, t["dAD2"], 0.0),
        "mask ignored": lambda t, p: t["dAD2"] / (1 - DROPPED),
        "mask of another step": lambda t, p: np.where(p["D2"] != 0, t["dAD2"] / (1 - DROPPED), 0.0),
    },
    "dZ3": {
        "weights left out": lambda t, p: t["A3"] - t["Y"],
        "weights twice": lambda t, p: (t["A3"] - t["Y"]) * t["S"] ** 2,
    },
    "cost": {
        "weights left out": lambda t, p: np.mean(costs(t)) + t["penalty"],
        "weights twice": lambda t, p: np.mean(costs(t) * t["S"] ** 2) + t["penalty"],
    },
    "penalty": {
        "l2 left out": lambda t, p: penalty(t, 0.0, L1),
        "l1 left out": lambda t, p: penalty(t, L2, 0.0),
        "l2 halved": lambda t, p: penalty(t, L2 / 2, L1),
        "l2 doubled": lambda t, p: penalty(t, 2 * L2, L1),
        "l2 divided by m": lambda t, p: penalty(t, L2 / M, L1),
    },
    "rW2": {
        "l2 left out": lambda t, p: penalized(t, 0.0, L1),
        "l1 left out": lambda t, p: penalized(t, L2, 0.0),
        "l2 halved": lambda t, p: penalized(t, L2 / 2, L1),
    },
    "norm": {"norm of one tensor": lambda t, p: np.full((1, 1), np.linalg.norm(t["rW2"]))},
    "gW2": {
        "not clipped": lambda t, p: t["rW2"],
        "clipped by tensor": lambda t, p: t["rW2"] * CLIP / np.linalg.norm(t["rW2"]),
    },
    "vW2+": {
        "slot reset": lambda t, p: (1 - DECAY.beta1) * t["gW2"],
        "beta2 for beta1": lambda t, p: DECAY.beta2 * t["vW2"] + (1 - DECAY.beta2) * t["gW2"],
    },
    "W2+": {
        "bias correction off by one": lambda t, p: stepped(t, 1),
        "no bias correction": lambda t, p: stepped(t, 0),
        "decayed twice": lambda t, p: stepped(t, decay=(1.0 - RATE * 0.1) ** 2),
        "decayed not": lambda t, p: stepped(t, decay=1.0),
    },
    "b2+": {"bias decayed": lambda t, p: stepped(t, name="b2")},
}


@pytest.mark.parametrize(
    ("tensor", "name"), [(tensor, name) for tensor, named in FAULTS.items() for name in named]
)
def test_faults_around_the_gradient_are_named(tensor, name, dtype):
    cause = diagnose(tensor, FAULTS[tensor][name], RUN, dtype)
    assert cause is not None
    assert cause.name == name


def test_a_penalty_of_l2_alone_that_is_left_out_is_named(dtype):
    run = replace(make_run(), declaration=Declaration(learning_rate=RATE, l2=L2))
    assert diagnose("rW2", lambda t, p: t["dW2"], run, dtype).name == "l2 left out"
