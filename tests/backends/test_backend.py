"""What every backend does beside the array API: conversion, scope, repeat."""

import copy
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.step import Shared, make_step


def test_asarray_rounds_on_the_host_to_the_same_bits(backend, dtype):
    values = np.random.default_rng(0).standard_normal((3, 4))
    x = backend.asarray(values)
    assert_lives_on(x, backend)
    np.testing.assert_array_equal(backend.to_numpy(x), values.astype(dtype))


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], np.arange(4, dtype=np.uint8).reshape(2, 2)])
def test_asarray_of_lists_and_integers(values, backend):
    x = backend.asarray(values)
    assert_lives_on(x, backend)
    np.testing.assert_array_equal(backend.to_numpy(x), np.asarray(values, float))


def test_asarray_of_another_librarys_array(backend):
    theirs = get_backend("strict:device1", dtype="float64")
    x = backend.asarray(theirs.asarray([[1.5, -2.0]]))
    assert_lives_on(x, backend)
    np.testing.assert_array_equal(backend.to_numpy(x), [[1.5, -2.0]])


def test_asarray_of_its_own_array_in_another_dtype(backend):
    x = backend.asarray([[1.5, -2.0]], dtype="float32")
    assert x.dtype == backend.xp.float32
    assert_lives_on(backend.asarray(x), backend)


def test_asarray_of_read_only_memory(backend):
    values = np.ones((2, 3))
    values.flags.writeable = False
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(values)), values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_data_that_are_placed_have_the_bits_of_asarray(order, backend, dtype):
    values = np.asarray(np.random.default_rng(0).standard_normal((5, 300)), dtype, order=order)
    x = backend.place(values)
    assert_lives_on(x, backend)
    np.testing.assert_array_equal(backend.to_numpy(x), values)
    assert_lives_on(backend.place(x), backend)
    np.testing.assert_array_equal(backend.to_numpy(backend.place(np.eye(2, 3))), np.eye(2, 3))


def test_jax_places_aligned_data_without_a_copy(require):
    require("jax")
    room = np.empty(4096 + 64, np.uint8)
    start = -room.ctypes.data % 64
    aligned = room[start : start + 4096].view(np.float32).reshape(32, 32)
    x = get_backend("jax").place(aligned)
    assert x.unsafe_buffer_pointer() == aligned.ctypes.data
    y = get_backend("jax").asarray(aligned)  # the caller may change it later
    assert y.unsafe_buffer_pointer() != aligned.ctypes.data


def test_inputs_of_steps_are_rounded_as_arrays_are(backend, dtype):
    values = np.random.default_rng(0).standard_normal((3, 1, 1))
    x = backend.as_input(values)
    assert x.dtype == backend.dtype
    np.testing.assert_array_equal(backend.to_numpy(x), values.astype(dtype))
    whole = backend.as_input([[1, 2], [3, 4]], dtype="int32")
    np.testing.assert_array_equal(backend.to_numpy(whole), [[1, 2], [3, 4]])
    assert backend.to_numpy(whole).dtype == np.int32


class Given(NamedTuple):
    missing: Any
    offset: Any


def counting_step(state, rate, given):
    """A little recurrence with a dict for a state and a tuple of outputs."""
    assert given.missing is None
    x = state["x"] * 0.5 + rate * given.offset
    return {"x": x, "n": state["n"] + 1.0}, (x[0, 0], {"n": state["n"]})


@pytest.mark.parametrize("n", [1, 3, 130])
def test_repeat_runs_the_step_once_per_input(n, backend):
    rates = np.linspace(0.0, 1.0, n).reshape(n, 1, 1)
    start = {"x": backend.asarray([[1.0, 2.0]]), "n": backend.asarray([[0.0]])}
    offset = backend.asarray([[2.0]])
    state, (xs, counts) = backend.repeat(
        counting_step, start, backend.asarray(rates), Given(None, offset)
    )

    x, expected = np.asarray([[1.0, 2.0]]), []
    for rate in backend.to_numpy(backend.asarray(rates))[:, 0, 0].astype(float):
        x = x * 0.5 + rate * 2.0
        expected.append(x[0, 0])
    eps = float(backend.xp.finfo(backend.dtype).eps)
    assert_lives_on(state["x"], backend)
    assert backend.owns(xs) or isinstance(xs, np.ndarray)
    assert tuple(xs.shape) == (n,)
    assert xs.dtype == backend.dtype
    # every step halves what went before: the roundings of 4 steps are all that is left
    np.testing.assert_allclose(backend.to_numpy(xs), expected, rtol=4 * eps)
    np.testing.assert_array_equal(backend.to_numpy(counts["n"])[:, 0, 0], np.arange(n))
    np.testing.assert_array_equal(backend.to_numpy(state["n"]), [[n]])
    np.testing.assert_array_equal(backend.to_numpy(start["x"]), [[1.0, 2.0]])


def training(backend, digits):
    from portadnn.network.initializers import initialize_parameters_deep

    network = Network((64, 5, 10), head="softmax")
    step = make_step(network, backend.xp)
    X = backend.asarray(digits[0].columns("float64")[:, :40])
    Y = backend.asarray(digits[0].targets("float64")[:, :40])
    return step, (initialize_parameters_deep(network.layer_dims, backend=backend), {}), Shared(X, Y)


def step_inputs(n, rate, backend):
    return {"learning_rate": backend.asarray(np.full((n, 1, 1), rate))}


def test_how_a_run_is_cut_into_chunks_does_not_change_its_bits(backend, digits):
    # a replay one step at a time must retrace the run; on JAX both are the same compiled program
    step, state, data = training(backend, digits)
    (whole, _), costs = backend.repeat(step, state, step_inputs(7, 0.3, backend), data)
    cut = state
    for n in (1, 4, 2):
        cut, _ = backend.repeat(step, cut, step_inputs(n, 0.3, backend), data)
    assert tuple(costs.shape) == (7,)
    for name, p in whole.items():
        np.testing.assert_array_equal(backend.to_numpy(cut[0][name]), backend.to_numpy(p))


def test_jax_compiles_once_for_every_length_of_a_chunk(require, digits):
    require("jax")
    backend = get_backend("jax")
    with backend.scope():
        step, state, data = training(backend, digits)
        traces = []

        def counted(*arguments):
            traces.append(1)
            return step(*arguments)

        for n in (1, 2, 64, 100, 3):
            backend.repeat(counted, state, step_inputs(n, 0.1 * n, backend), data)
    # once for the shapes of the outputs, once for the loop
    assert len(traces) == 2


def test_a_namespace_of_ours_can_be_copied(backend_name):
    backend = get_backend(backend_name, arithmetic="reproducible")
    x = backend.asarray([[3.0]])
    with backend.scope():
        for xp in (backend.xp, backend.xp.raw):
            if not isinstance(xp, ModuleType):
                assert float(copy.copy(xp).matmul(x, x)[0, 0]) == 9.0


def adds(state, row, _):
    return state + row, state[0]


@pytest.mark.parametrize(("n", "width"), [(128, 4), (3, 2**18)])
def test_jax_loops_without_padding_and_over_large_rows(n, width, require):
    """Rows of 1 MiB are padded to 16 of them, not to 128; 128 small ones are not padded."""
    require("jax")
    backend = get_backend("jax")
    with backend.scope():
        rows = backend.asarray(np.arange(n * width).reshape(n, width) % 7)
        state, firsts = backend.repeat(adds, rows[0], rows)
    expected = np.asarray(rows).cumsum(axis=0) + np.asarray(rows[0])
    np.testing.assert_array_equal(state, expected[-1])  # whole numbers: every sum is exact
    np.testing.assert_array_equal(firsts, [rows[0, 0], *expected[:-1, 0]])


@pytest.mark.parametrize(("last", "finite"), [(1.0, True), (np.inf, False), (np.nan, False)])
def test_jax_asks_a_device_that_is_no_cpu_once(last, finite, require):
    require("jax")
    backend = get_backend("jax")
    arrays = [backend.asarray(np.ones((2, 3))), backend.asarray([1.0, last])]
    elsewhere = replace(backend, device=SimpleNamespace(platform="gpu"))
    assert elsewhere.all_finite(arrays) is backend.all_finite(arrays) is finite


def test_the_step_is_one_object_per_network_and_namespace(backend, digits):
    step, _, _ = training(backend, digits)
    assert training(backend, digits)[0] is step


def test_scope_keeps_numpy_quiet_about_overflow():
    with get_backend("numpy").scope():
        assert np.isinf(np.asarray([1e300]) * 1e300).all()


def test_jax_scope_sets_x64_and_the_precision_of_products(require):
    require("jax")
    import jax

    with get_backend("jax", dtype="float64").scope():
        assert jax.numpy.ones(1).dtype == "float64"
        assert jax.config.jax_default_matmul_precision == "float32"
    with get_backend("jax", dtype="float32").scope():
        assert jax.numpy.ones(1).dtype == "float32"


def test_torch_tensors_are_taken_without_their_autograd(torch):
    backend = get_backend("torch")
    x = backend.asarray(torch.ones((2, 2), requires_grad=True))
    assert not x.requires_grad
    assert backend.to_numpy(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]


def test_asarray_of_reversed_memory(backend):
    values = np.arange(6.0).reshape(2, 3)[:, ::-1]
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(values)), values)


@pytest.mark.parametrize("order", ["=", ">"])
@pytest.mark.parametrize("name", ["picture", "number"])
def test_asarray_of_a_field_of_packed_records(backend, name, order):
    # a record has 1 + 12 + 4 bytes, so the strides are no multiple of an item
    kind = np.dtype([("flag", "u1"), ("picture", "f4", (3,)), ("number", "f4")])
    records = np.zeros(5, kind.newbyteorder(order))
    records["picture"] = np.arange(15).reshape(5, 3)
    records["number"] = np.arange(5)
    for values in (records[name], records[name][::-1].T):
        found = backend.to_numpy(backend.asarray(values))
        np.testing.assert_array_equal(found, values)
        assert found.dtype.name == backend.dtype_name


def test_reproducible_arithmetic_needs_float64(monkeypatch):
    backend = get_backend("strict")
    assert "arithmetic='fast'" in repr(backend)
    assert "arithmetic='reproducible'" in repr(backend.reproducible())

    def refuse(self, host):
        raise TypeError("this device has no float64")

    monkeypatch.setattr(type(backend), "_from_host", refuse)
    with pytest.raises(InputError, match="carried out in float64, which the backend 'strict'"):
        backend.reproducible()


def test_a_long_row_is_multiplied_by_jax_as_numpy_does(require):
    require("jax")
    backend = get_backend("jax", dtype="float64")
    rng = np.random.default_rng(0)
    row, rows = rng.standard_normal((1, 5000)), rng.standard_normal((5000, 7))
    for X in (rows, np.asfortranarray(rows)):
        with backend.scope():
            found = backend.xp.matmul(*map(backend.asarray, (row, X)))
        # sums of 5000 products, in another order
        np.testing.assert_allclose(backend.to_numpy(found), row @ X, rtol=1e-11, atol=1e-11)


def test_jax_takes_matrices_in_any_order_of_memory(require):
    require("jax")
    backend = get_backend("jax")
    for shape in ((3, 700), (700, 3), (1, 1), (0, 4)):
        x = np.random.default_rng(0).random(shape, dtype=np.float32)
        for given in (x.copy(), np.asfortranarray(x), x.copy()[::-1]):
            expected, found = given.copy(), backend.asarray(given)
            given[...] = 7  # JAX has memory of its own
            np.testing.assert_array_equal(backend.to_numpy(found), expected)
