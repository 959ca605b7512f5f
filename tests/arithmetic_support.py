"""What the tests of reproducible arithmetic share."""

import contextlib
from fractions import Fraction

import numpy as np

from portadnn.backends import get_backend


@contextlib.contextmanager
def carried(backend):
    """The backend's scope with float64 in it, which carries float32 as well."""
    with backend.scope(), contextlib.ExitStack() as stack:
        if backend.library == "jax":
            import jax

            stack.enter_context(jax.enable_x64(True))
        yield


def forms(function, backend):
    """A function as the backend may run it: called, and compiled where it compiles."""
    if backend.library != "jax":
        return [function]
    import jax

    return [function, jax.jit(function)]


def on_numpy(function, arrays, dtype):
    """What a function of arrays gives on the reference backend: a list of host arrays."""
    backend = get_backend("numpy", dtype=dtype)
    with carried(backend):
        return [np.asarray(x) for x in function(backend.xp)(*arrays)]


def assert_same_bits(found, expected):
    """Dtype, shape and every bit; NaN is any NaN."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    found, expected = np.where(nan, 0.0, found), np.where(nan, 0.0, expected)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def spread(rng, shape, dtype, span=20, zeros=0.3):
    """Numbers of both signs, full mantissas and a span of 2**span, some of them zero."""
    x = (1 + rng.random(shape)) * 2.0 ** rng.integers(0, span, shape) * rng.choice([-1, 1], shape)
    x = x * 2.0**-10
    return np.where(rng.random(shape) < zeros, 0.0, x).astype(dtype)


def exact(x):
    """An array of Fractions."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, np.float64))


def to_float(x):
    """Fractions, rounded once to float64."""
    return np.vectorize(float, otypes=[np.float64])(x)
