"""Calls of the array API that are recorded, and the table of those that have a bound."""

import operator

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.network.layers import linear_backward
from portadnn.network.optimizers import Adam
from portadnn.parity.bounds import declared_format
from portadnn.parity.calls.functions import KNOWN, bounds_of_call
from portadnn.parity.calls.recording import RecordingNamespace


def test_an_array_does_not_change_under_its_record(backend):
    recording = RecordingNamespace(backend)
    x = recording.input(backend.asarray([[1.0, 2.0]]))
    with pytest.raises(TypeError, match="does not change"):
        x[0, 0] = 3.0
    y = x
    y += 1.0
    np.testing.assert_array_equal(x._host, [[1, 2]])
    assert [call.function for call in recording.calls] == ["add"]
    assert float(y[0, 1]) == 3.0
    assert y.__array_namespace__() is recording


def test_the_table_of_functions_is_of_the_standard():
    import array_api_strict

    for name in KNOWN - {"getitem"}:
        assert callable(operator.attrgetter(name)(array_api_strict)), name
    for wide in ("float32", "float64"):
        x = np.asarray([1e-320, 1.0])
        (bound,), _ = bounds_of_call("greater", (x, 0.0), {}, declared_format(wide), 2)
        np.testing.assert_array_equal(bound.stat, [1, 0])  # a subnormal may be read as 0


def test_iteration_ends_and_goes_over_the_first_axis(backend):
    recording = RecordingNamespace(backend)
    x = recording.input(backend.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    rows = list(x)
    np.testing.assert_array_equal([row._host for row in rows], x._host)
    assert [call.function for call in recording.calls] == ["getitem"] * 3
    a, b = x[0, ...]
    assert (float(a), float(b)) == (1, 2)
    with pytest.raises(TypeError, match="an array without axes has no length"):
        list(a)


def test_a_layer_and_its_update_in_reproducible_arithmetic_are_seen_call_by_call():
    """What a sum over examples, and a small number that counts as 0, are made of has a bound."""
    backend = get_backend("numpy", arithmetic="reproducible")
    recording, rng = RecordingNamespace(backend), np.random.default_rng(0)
    dZ, A, W, b = (
        recording.input(backend.asarray(rng.standard_normal(shape)))
        for shape in ((3, 20), (5, 20), (3, 5), (3, 1))
    )
    _, dW, db = linear_backward(dZ, (A, W, b), xp=recording)
    rule, parameters = Adam(), {"W1": W, "b1": b}
    state = rule.init(parameters, xp=recording)
    grads = {"dW1": dW, "db1": db}
    rule.update(parameters, grads, state, rule.scalars(0.1, 1), xp=recording)
    made = [call.function for call in recording.calls]
    assert made.count("matmul") == 2
    assert {"sum", "logical_not"} <= set(made) <= KNOWN | {"full_like", "zeros_like"}
