"""What XLA does to products, quotients and roots, and that the guards stop it."""

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried

from portadnn.arithmetic.guards import Guarded, guarded
from portadnn.backends import get_backend
from portadnn.errors import InputError

# every one of them is compiled into something that rounds differently
REWRITTEN = {
    "a b + c": lambda f, x, y, z: f.multiply(x, y) + z,
    "c - a b": lambda f, x, y, z: z - f.multiply(x, y),
    "1 - a b": lambda f, x, y, z: 1.0 - f.multiply(x, y),
    "a b + c d": lambda f, x, y, z: f.multiply(x, y) + f.multiply(y, z),
    "a + 1.7 a": lambda f, x, y, z: x + f.multiply(x, 1.7),
    "(a 0.1) 0.3": lambda f, x, y, z: f.multiply(f.multiply(x, 0.1), 0.3),
    "(a / b) / c": lambda f, x, y, z: f.divide(f.divide(x, y), z),
    "a / (b / c)": lambda f, x, y, z: f.divide(x, f.divide(y, z)),
    "a / row": lambda f, x, y, z: f.divide(x.reshape(50, 100), y[:100].reshape(1, 100)),
    "a / column": lambda f, x, y, z: f.divide(x.reshape(50, 100), y[:50].reshape(50, 1)),
    "a / sqrt(b)": lambda f, x, y, z: f.divide(x, f.sqrt(y)),
}


@pytest.fixture
def jax(require):
    require("jax")
    backend = get_backend("jax")
    with carried(backend):
        import jax

        yield jax


def numbers(dtype):
    rng = np.random.default_rng(0)
    return [(rng.random(5000) + 0.1).astype(dtype) for _ in range(3)]


@pytest.mark.parametrize("expression", REWRITTEN.values(), ids=REWRITTEN)
def test_compiled_expressions_have_the_bits_of_eager_ones(expression, dtype, jax):
    arrays = numbers(dtype)
    f = guarded(jax.numpy)
    found = jax.jit(lambda *a: expression(f, *a))(*arrays)
    assert_same_bits(np.asarray(found), expression(np, *arrays))


@pytest.mark.parametrize("expression", REWRITTEN.values(), ids=REWRITTEN)
def test_without_the_guards_they_have_not(expression, jax):
    arrays = numbers("float64")
    found = jax.jit(lambda *a: expression(jax.numpy, *a))(*arrays)
    assert np.any(np.asarray(found) != expression(np, *arrays))


def test_a_division_by_a_literal_is_compiled_into_a_product_and_so_refused(jax):
    x = numbers("float64")[0]
    assert np.any(np.asarray(jax.jit(lambda x: x / 209.0)(x)) != x / 209.0)
    assert np.all(np.asarray(jax.jit(lambda x: x / 209.0)(x)) == x * (1 / 209.0))
    with pytest.raises(InputError, match="literal 209.0"):
        guarded(jax.numpy).divide(x, 209.0)


def test_special_values_pass_the_guards(dtype, jax):
    f = guarded(jax.numpy)
    x = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0], dtype)
    one = np.ones_like(x)
    assert_same_bits(np.asarray(jax.jit(f.multiply)(x, one)), x)
    assert_same_bits(np.asarray(jax.jit(f.divide)(x, one)), x)
    assert_same_bits(np.asarray(jax.jit(f.sqrt)(abs(x))), np.sqrt(abs(x)))


def test_integers_stay_integers(jax):
    product = guarded(jax.numpy).multiply(np.asarray([3]), np.asarray([4]))
    assert product.dtype == np.int64
    assert product == 12


def test_an_eager_library_pays_nothing():
    assert guarded(numpy_namespace) is numpy_namespace


def test_guards_are_values(jax):
    assert guarded(jax.numpy) == Guarded(jax.numpy)
    assert hash(guarded(jax.numpy)) == hash(Guarded(jax.numpy))
    assert guarded(jax.numpy).float32 is jax.numpy.float32
