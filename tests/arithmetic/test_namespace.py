"""The wrapping namespace: what it replaces, passes and refuses, and whole steps of training."""

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried, forms, on_numpy, spread

from portadnn.arithmetic import namespace
from portadnn.arithmetic.namespace import reproducible
from portadnn.backends import get_backend, tape
from portadnn.backends.base import Backend
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import Shared, make_step
from portadnn.training.streams import Batches

XP = reproducible(numpy_namespace)
FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh", "sqrt", "square")


def test_the_namespace_is_a_value():
    assert reproducible(numpy_namespace) == XP
    assert hash(reproducible(numpy_namespace)) == hash(XP)
    assert reproducible(XP) is XP
    assert numpy_namespace != XP
    network = Network((2, 1), (), "sigmoid")
    assert make_step(network, reproducible(numpy_namespace)) is make_step(network, XP)


def test_all_else_passes_through(xp):
    ours = reproducible(xp)
    assert ours.float32 == xp.float32
    assert ours.__name__ == xp.__name__
    assert ours.where is xp.where
    dtypes = ours.__array_namespace_info__().dtypes(kind="real floating")
    assert dtypes == xp.__array_namespace_info__().dtypes(kind="real floating")
    assert not hasattr(ours, "there_is_no_such_function")


@pytest.mark.parametrize("name", sorted(namespace.REFUSED))
def test_what_is_not_reproducible_is_missing(name):
    with pytest.raises(AttributeError, match=f"{name} is not reproducible"):
        getattr(XP, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise_functions_have_the_same_bits_everywhere(backend, name, dtype):
    x = np.abs(spread(np.random.default_rng(0), (20, 30), dtype, 16))

    def function(xp):
        return lambda x: [getattr(reproducible(xp), name)(x)]

    expected = on_numpy(function, [x], dtype)[0]
    given = backend.asarray(x)
    with carried(backend):
        for form in forms(function(backend.xp), backend):
            assert_same_bits(backend.to_numpy(form(given)[0]), expected)


@pytest.mark.parametrize("name", FUNCTIONS[:5])
def test_float32_is_float64_rounded_once(name):
    x = np.random.default_rng(0).random((5, 6), np.float32)
    expected = getattr(XP, name)(x.astype(np.float64)).astype(np.float32)
    assert_same_bits(getattr(XP, name)(x), expected)


def test_exp_of_float32_is_0_where_a_quotient_of_it_would_be_subnormal(backend):
    x = np.linspace(-104.0, -60.0, 2001, dtype=np.float32)[None, :]
    expected = XP.exp(x)
    assert np.all((expected >= 2.0**-100) | (expected == 0))
    assert expected[0, 0] == 0
    assert expected[0, -1] > 0
    backend = get_backend(backend.name, dtype="float32")
    given = backend.asarray(x)
    with carried(backend):
        for form in forms(reproducible(backend.xp).exp, backend):
            assert_same_bits(backend.to_numpy(form(given)), expected)


def test_a_number_divides_as_the_product_with_its_reciprocal(backend, dtype):
    x = spread(np.random.default_rng(0), (7, 209), dtype)
    c = np.asarray(1 / 209, dtype)  # rounded as every library rounds a number that meets an array
    given = backend.asarray(x)
    with carried(backend):
        xp = reproducible(backend.xp)
        for form in forms(lambda x: xp.divide(x, 209), backend):
            assert_same_bits(backend.to_numpy(form(given)), x * c)


def test_what_a_library_does_by_itself_is_caught_by_these_comparisons(require):
    """The planted violations: bits differ where a library computes in its own way."""
    require("jax")
    x = np.random.default_rng(0).random((20, 30)) * 10
    backend = get_backend("jax", dtype="float64")
    with carried(backend):
        import jax

        theirs = np.asarray(jax.jit(jax.numpy.exp)(x))
        assert np.any(theirs != np.exp(x))
        assert np.any(np.asarray(jax.jit(lambda x: x / 209.0)(x)) != x / 209.0)
        assert np.any(np.asarray(jax.numpy.sum(x, axis=1)) != np.sum(x, axis=1))


def test_sums_of_every_axis(xp, backend):
    x = np.arange(12.0).reshape(3, 4)
    given = backend.asarray(x)
    with carried(backend):
        ours = reproducible(xp)
        for axis in (None, 0, 1, -1, (0, 1), (1,), ()):
            for keepdims in (False, True):
                found = backend.to_numpy(ours.sum(given, axis=axis, keepdims=keepdims))
                expected = np.sum(x, axis=axis, keepdims=keepdims)
                np.testing.assert_array_equal(found, expected)
                assert found.shape == expected.shape
        assert float(ours.mean(given)) == 66 * (1 / 12)
        assert int(ours.sum(xp.astype(given, xp.int32))) == 66


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sqrt", "sum"])
@pytest.mark.parametrize("other", ["int64", "float16", "complex128"])
def test_other_dtypes_are_refused(name, other):
    x = np.ones((2, 3), other)
    if (name, other) == ("sum", "int64"):
        assert reproducible(numpy_namespace).sum(x) == 6
        return
    with pytest.raises(InputError, match=f"array of {other} was given: expected float32 or"):
        getattr(reproducible(numpy_namespace), name)(x)


def test_without_float64_jax_is_refused(require):
    require("jax")
    with get_backend("jax", dtype="float32").scope():
        import jax

        x = jax.numpy.ones((2, 2))
        ours = reproducible(jax.numpy)
        calls = (
            lambda: ours.matmul(x, x), lambda: ours.sum(x), lambda: ours.exp(x),
            lambda: ours.sqrt(x), lambda: ours.slices_of(x, axis=0),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(InputError, match="enable_x64"):
                call()


def counting(monkeypatch):
    cuts = []

    def cut(x, axis, **how):
        cuts.append(axis)
        return original(x, axis, **how)

    original = namespace.cut
    monkeypatch.setattr(namespace, "cut", cut)
    return cuts


def test_an_operand_is_cut_once_in_a_step(monkeypatch):
    cuts = counting(monkeypatch)
    rng = np.random.default_rng(0)
    dZ, A, X = (rng.standard_normal((20, 30)) for _ in range(3))
    expected = [XP.matmul(dZ, A.T), XP.sum(dZ, axis=1), XP.matmul(dZ.T, X)]
    assert len(cuts) == 5
    cuts.clear()
    known = XP.slices_of(X, axis=0)
    step = XP.remembering([(X, 0, known)])
    cuts.clear()
    found = [step.matmul(dZ, A.T), step.sum(dZ, axis=1), step.matmul(dZ.T, X)]
    assert len(cuts) == 3
    for x, y in zip(found, expected, strict=True):
        assert_same_bits(x, y)
    assert XP.remembering() != step


def test_a_memory_is_not_deceived_by_an_identity_that_is_used_again():
    xp = XP.remembering()
    rng = np.random.default_rng(0)
    B = rng.standard_normal((20, 3))
    for _ in range(50):
        A = rng.standard_normal((4, 20))
        assert_same_bits(xp.matmul(A, B), XP.matmul(A, B))


def test_slices_can_be_arguments_of_a_compiled_step(backend, dtype):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((4, 30)).astype(dtype)
    X, few = rng.standard_normal((30, 5)).astype(dtype), rng.standard_normal((4, 2)).astype(dtype)
    expected = XP.matmul(W, X)
    given = [backend.asarray(x) for x in (W, X)]
    with carried(backend):
        xp = reproducible(backend.xp)
        slices = xp.slices_of(given[1], axis=0)
        assert isinstance(slices, tuple)
        assert xp.slices_of(backend.asarray(few), axis=0) == ()

        def step(W, X, slices):
            return xp.remembering([(X, 0, slices)]).matmul(W, X)

        for form in forms(step, backend):
            assert_same_bits(backend.to_numpy(form(*given, slices)), expected)
    with pytest.raises(InputError, match="axis is 2"):
        XP.slices_of(X, axis=2)


@pytest.mark.parametrize(("bits", "count"), [(4, 1), (30, 2), (53, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_slices_that_are_all_zero_are_left_out(bits, count, axis, backend):
    """Of whole numbers, which have few bits."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 2**bits, (30, 20), endpoint=True).astype(float)
    x = x if axis == 0 else x.T
    other = rng.standard_normal((6, 30)) if axis == 0 else rng.standard_normal((30, 6))
    expected = XP.matmul(other, x) if axis == 0 else XP.matmul(x, other)
    backend = get_backend(backend.name, dtype="float64")
    x, other = backend.asarray(x), backend.asarray(other)
    with carried(backend):
        xp = reproducible(backend.xp)
        slices = xp.slices_of(x, axis=axis)
        assert slices[0].shape[1 - axis] == 20 * count
        step = xp.remembering([(x, axis, slices)])
        found = step.matmul(other, x) if axis == 0 else step.matmul(x, other)
        assert_same_bits(backend.to_numpy(found), expected)


RECIPES = {
    "momentum": Recipe("momentum:weight_decay=0.1", l2=0.05, dropout=(0.5, 0.2)),
    "adam": Recipe("adam", l1=0.1, clip_norm=0.1, dropout=(0.5, 0.0)),
    "rmsprop": Recipe("rmsprop"),
}
DIMS, M, STEPS = (12, 10, 6, 3), 26, 4


def training(backend, recipe, head, batch_size):
    dtype = backend.dtype_name
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((M, DIMS[0])), dtype).T
    Y = np.eye(3, dtype=dtype)[:, rng.integers(0, 3, M)]
    network = Network(DIMS, ("relu", "tanh"), head)
    plan = Plan(0.1, STEPS, Batches(M, batch_size, drop_last=True), recipe, "exponential:0.9")
    parameters = {n: p.astype(dtype) for n, p in initialize_parameters_deep(DIMS, rng=rng).items()}
    parameters = {n: backend.asarray(p) for n, p in parameters.items()}
    state = parameters, recipe.optimizer.init(parameters, xp=backend.xp)
    shared = Shared(X, Y, rng.random((1, M)).astype(dtype))
    if batch_size is not None:
        shared = shared.in_rows()
    step = make_step(network, reproducible(backend.xp), recipe=recipe)
    shared = shared.mapped(backend.asarray)
    return step, state, plan.inputs(0, STEPS, network, backend), shared


CASES = [
    ("momentum", "sigmoid", None),
    ("momentum", "softmax", 11),
    ("adam", "identity", None),
    ("adam", "softmax", 11),
    ("rmsprop", "sigmoid", 11),
]


@pytest.mark.parametrize(("recipe", "head", "batch_size"), CASES)
def test_training_has_the_same_bits_everywhere(backend, recipe, head, batch_size, dtype):
    recipe, numpy = RECIPES[recipe], get_backend("numpy", dtype=dtype)
    with carried(numpy):
        expected = Backend.repeat(numpy, *training(numpy, recipe, head, batch_size))
    with carried(backend):
        (parameters, slots), costs = backend.repeat(*training(backend, recipe, head, batch_size))
        for name, x in expected[0][0].items():
            assert_same_bits(backend.to_numpy(parameters[name]), x)
        for name, x in expected[0][1].items():
            assert_same_bits(backend.to_numpy(slots[name]), x)
        assert_same_bits(backend.to_numpy(costs), expected[1])


@pytest.mark.parametrize("batch_size", [None, 11])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_reproducible_step_is_recorded(recipe, batch_size, dtype):
    numpy = get_backend("numpy", dtype=dtype)
    with carried(numpy):
        assert tape.repeat(*training(numpy, recipe, "softmax", batch_size)) is not None
