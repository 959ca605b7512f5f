"""What is bounded, and how tightly."""

import numpy as np

from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS
from portadnn.network.optimizers import OPTIMIZERS, GradientDescent
from portadnn.parity.bounds import declared_format, elementwise, product, updates
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.bounds.rounded import Rounded


def test_everything_that_the_package_computes_has_a_bound():
    # A new activation, head or optimizer needs a bound of its own
    assert elementwise.ACTIVATION_BOUNDS.keys() == ACTIVATIONS.keys()
    assert HEAD_BOUNDS.keys() == HEADS.keys()
    assert updates.UPDATE.keys() == OPTIMIZERS.keys()
    assert set(elementwise.KINKED) <= ACTIVATIONS.keys()


def test_squares_that_leave_the_shadow_s_range_still_leave_a_bound():
    form = declared_format("float64")
    for scale in (1e-90, 1e90):  # products of 1e-180 and 1e180: their squares are 0 and inf
        P, R = np.full((1, 50), 0.1 * scale), np.full((50, 1), 0.7 * scale)
        with np.errstate(all="ignore"):
            bound = product(P, R, form=form)
        np.testing.assert_array_equal(bound.stat, bound.det)
        assert np.all(bound.det < 1e-12 * np.abs(bound.exact))


def descended(W, g, rate, dtype):
    """The bound of ``W - rate g``, with the uncertainty of g that a certificate allows."""
    form = declared_format(dtype)
    gradient = Rounded.observed(g, form, 3 * form.u * np.abs(g))
    scalars = {"learning_rate": rate}
    return updates.update(GradientDescent(), True, W, gradient, {}, scalars, form)["+"]


def test_a_step_longer_than_the_weight_has_the_shadow_s_rounding_too():
    # jitted JAX in float64 once lay 11 % above a bound that had the shadow's rounding of W alone
    rng = np.random.default_rng(0)
    W, g = rng.standard_normal(20_000) * 0.01, rng.standard_normal(20_000)
    bound = descended(W, g, 5.88, "float64")
    wide = np.longdouble(W) - np.longdouble(5.88) * np.longdouble(g)
    fused = wide.astype(np.float64)  # rounded once, as an FMA does
    assert np.all(np.abs(fused - bound.exact) <= bound.det)
    assert np.all(bound.det >= 3 * 2.0**-53 * np.abs(5.88 * g))  # g and two products


def test_a_step_that_takes_in_the_division_of_the_mean_is_lawful():
    # Jitted JAX computes this step, 12 % above a bound with the roundings of rate * g alone
    rng = np.random.default_rng(0)
    rate, c = rng.uniform(1, 10, 20_000), np.float32(1 / 9)
    S, scaled = rng.standard_normal(20_000).astype("f4"), rate.astype("f4") * c
    W = scaled * S * np.float32(1.05)  # so that little but the step's error is left
    fused = (W.astype("f8") - S.astype("f8") * scaled).astype("f4")
    g = (S * c).astype("f8")
    rate = rate.astype("f4").astype("f8")
    bound = descended(W.astype("f8"), g, rate, "float32")
    error = np.abs(fused - bound.exact)
    assert np.all(error <= bound.det)
    assert np.any(error > 2.0**-24 * np.abs(rate * g) + 2.0**-24 * np.abs(bound.exact))
