"""Units that are on for one backend and off for another."""

from dataclasses import replace

import numpy as np
from parity_support import make_run

from portadnn.backends import get_backend
from portadnn.parity.compare import Outcome, judge
from portadnn.parity.run import watch
from portadnn.parity.step.kinks import find_kinks


def kinked_records(nudge):
    """Two records of a step whose Z differ in sign at one entry, by what a nudge of W1 makes."""
    run = make_run(m=1, steps=1)
    (first,) = watch(run, get_backend("numpy"), [0])
    Z = first.tensors["Z1"]
    unit = 3
    parameters = {name: p.copy() for name, p in run.parameters.items()}
    # bring the unit's Z to almost 0 by its bias, a little above on one side and below on the other
    parameters["b1"][unit, 0] -= float(Z[unit, 0])
    sides = []
    for sign in (1, -1):
        nudged = {**parameters, "b1": parameters["b1"].copy()}
        nudged["b1"][unit, 0] += sign * nudge
        side = replace(run, parameters=nudged)
        sides.append(next(iter(watch(side, get_backend("numpy"), [0]))))
    return run, sides, unit


def test_a_mask_that_the_states_explain_is_an_undecidable_kink():
    run, (first, second), unit = kinked_records(1e-5)
    (kink,) = find_kinks(run, first, second, ("a", "b"))
    assert (kink.step, kink.layer, kink.unit, kink.sample) == (0, 1, unit, 0)
    assert kink.first > 0 > kink.second
    assert kink.undecidable
    # two biases 2e-5 apart explain no more than that and the roundings
    assert kink.propagated < 2.2e-5 + 1e-5
    assert "UNDECIDABLE KINK step 0, layer 1, unit 3, sample 0" in str(kink)


def test_a_mask_that_nothing_explains_is_a_divergence():
    run, (first, _), unit = kinked_records(1e-5)
    Z = first.tensors["Z1"].copy()
    Z[unit, 0] = -0.5
    other = replace(first, tensors={**first.tensors, "Z1": Z})
    (kink,) = find_kinks(run, first, other, ("a", "b"))
    assert not kink.undecidable
    assert "UNEXPLAINED MASK" in str(kink)
    result = judge(
        run,
        ["a", "b"],
        [{}, {}],
        [[first], [other]],
        modes=[None, None],
    )
    assert result.outcome is Outcome.DIVERGED


def test_no_kink_without_a_kinked_activation():
    run = make_run(activations="tanh")
    (first,) = watch(run, get_backend("numpy"), [0])
    other = replace(first, tensors={name: -x for name, x in first.tensors.items()})
    assert find_kinks(run, first, other, ("a", "b")) == []


def test_kinks_of_declared_lower_precision_are_lawful():
    # one side's products have inputs of 11 bits, as it declares: its masks may differ by as much
    run = make_run((200, 40, 1), m=300, steps=1)
    (plain,) = watch(run, get_backend("numpy"), [0])

    def eleven_bits(x):
        mantissa, exponent = np.frexp(x.astype(np.float64))
        return np.ldexp(np.round(np.ldexp(mantissa, 11)), exponent - 11)

    t = plain.tensors
    Z = (eleven_bits(t["W1"]) @ eleven_bits(t["X"]) + t["b1"]).astype(np.float32)
    low = replace(plain, tensors={**t, "Z1": Z})
    kinks = find_kinks(run, low, plain, ("gpu", "cpu"), ("tf32", None))
    assert kinks
    assert all(kink.undecidable for kink in kinks)
