"""Parity by hand-built networks, on all inputs, against the bits that Python counts."""

import math

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.constructions import (
    UnitCounts,
    all_inputs,
    unit_counts,
    xor_shallow,
    xor_sum,
    xor_tree,
)
from portadnn.errors import InputError
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.spec import infer_network

BITS = range(1, 13)
CIRCUITS = [xor_tree, xor_shallow, xor_sum]


def popcounts(n):
    return np.asarray([k.bit_count() for k in range(2**n)])


def hidden_units(parameters):
    return sum(infer_network(parameters).layer_dims[1:-1])


@pytest.mark.parametrize("n", BITS)
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_every_input_is_right_on_every_backend(circuit, n, backend):
    parameters = circuit(n, backend=backend)
    X = backend.asarray(all_inputs(n))
    AL, caches = L_model_forward(X, parameters)
    assert_lives_on(AL, backend)
    odd = popcounts(n) % 2
    # every value up to the logit is a small whole number: no tolerance
    logits = backend.to_numpy(caches[-1][1])
    np.testing.assert_array_equal(logits, np.where(odd, 32.0, -32.0)[None, :])
    np.testing.assert_array_equal(backend.to_numpy(AL).round(), odd[None, :])


@pytest.mark.parametrize("n", range(1, 31))
def test_layers_and_units_are_those_of_the_closed_forms(n):
    counts = unit_counts(30)[n - 1]
    tree = xor_tree(n)
    assert (infer_network(tree).L - 1, hidden_units(tree)) == (counts.tree_layers, counts.tree)
    assert hidden_units(xor_sum(n)) == counts.sum == n
    assert counts.n == n
    assert counts.tree_layers == math.ceil(math.log2(n))
    # the units of a pair tree, counted level by level
    units, values = 0, n
    while values > 1:
        units, values = units + 2 * (values // 2) + values % 2, -(-values // 2)
    assert counts.tree == units
    assert 2 * (n - 1) <= counts.tree < 2 * (n - 1) + max(counts.tree_layers, 1)
    assert counts.shallow == 2 ** (n - 1)
    if n <= 12:
        shallow = xor_shallow(n)
        assert (infer_network(shallow).L, hidden_units(shallow)) == (2, counts.shallow)


def test_a_tree_of_a_power_of_two_passes_nothing_on():
    assert unit_counts(16)[15] == UnitCounts(16, tree_layers=4, tree=30, shallow=2**15, sum=16)


def test_one_unit_for_each_odd_input_and_no_other():
    _, caches = L_model_forward(all_inputs(5), xor_shallow(5))
    A1 = caches[1][0][0]  # (16, 32)
    np.testing.assert_array_equal(A1.sum(axis=0), popcounts(5) % 2)
    np.testing.assert_array_equal(A1.sum(axis=1), np.ones(16))


def test_no_fewer_terms_than_odd_inputs():
    """Two odd inputs differ in two bits or more, so a term that holds at both holds at an even one.

    This is what makes AND and OR exponential, found by going through all 3^n terms.
    """
    n = 4
    inputs = all_inputs(n).astype(int)
    odd = inputs.sum(axis=0) % 2 == 1
    implicants = []
    for code in range(3**n):
        literals = [(i, code // 3**i % 3) for i in range(n)]
        holds = np.all([inputs[i] == bit for i, bit in literals if bit < 2] or [odd | True], axis=0)
        if holds.any() and not (holds & ~odd).any():
            implicants.append(int(holds.sum()))
    assert implicants == [1] * 2 ** (n - 1)


def test_the_parameters_go_through_cost_and_backward():
    parameters = xor_tree(3)
    X, Y = all_inputs(3), (popcounts(3) % 2)[None, :]
    AL, caches = L_model_forward(X, parameters)
    # softplus(-32) for each of them
    cost = float(compute_cost_with_logits(caches[-1][1], Y))
    assert cost == pytest.approx(math.log1p(math.exp(-32)), rel=1e-12)
    assert L_model_backward(AL, Y, caches)["dW1"].shape == (3, 3)


def test_the_logit_is_a_choice():
    _, caches = L_model_forward(all_inputs(2), xor_sum(2, logit=3.0))
    assert caches[-1][1].tolist() == [[-3.0, 3.0, 3.0, -3.0]]


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_bad_input_is_named(circuit):
    with pytest.raises(InputError, match="n is 0: expected 1 or more"):
        circuit(0)
    with pytest.raises(InputError, match=r"n is 2\.5: expected a whole number"):
        circuit(2.5)
    with pytest.raises(InputError, match="logit is 0"):
        circuit(2, logit=0.0)


def test_what_would_not_fit_is_refused_with_its_count():
    with pytest.raises(InputError, match="n is 30: one unit for each odd input is 536,870,912"):
        xor_shallow(30)
