"""What is bounded, and how tightly."""

import operator
from fractions import Fraction

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS
from portadnn.network.optimizers import OPTIMIZERS, GradientDescent
from portadnn.parity.bounds import declared_format, elementwise, product, updates
from portadnn.parity.bounds.heads import HEAD_BOUNDS, cost
from portadnn.parity.bounds.rounded import Rounded
from portadnn.parity.bounds.sums import summed
from portadnn.parity.run import StepRecord


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


@pytest.mark.parametrize("span", [1.0, 1e6, 1e12, 1e30, 1e300])
def test_reproducible_products_of_any_span_are_within_their_bound(dtype, span):
    """What the slices of a row drop is counted: it once was an alarm."""
    rng = np.random.default_rng(0)
    backend = get_backend("numpy", dtype=dtype, arithmetic="reproducible")
    plainly = declared_format(dtype)
    form = StepRecord(0, dtype, {}, arithmetic="reproducible").form()
    for n in (9, 40, 700):
        P, R = (rng.standard_normal(shape).astype(dtype) for shape in ((4, n), (n, 3)))
        P[:, 0] = min(span, 1e30) if dtype == "float32" else span
        R[0] = 0  # the largest entry of each row adds nothing
        found = np.asarray(backend.xp.matmul(P, R), np.float64)
        P, R = P.astype(np.float64), R.astype(np.float64)
        error = np.zeros(found.shape)
        for (i, j), x in np.ndenumerate(found):
            exactly = sum(map(operator.mul, map(Fraction, P[i]), map(Fraction, R[:, j])))
            error[i, j] = abs(Fraction(x) - exactly)
        with np.errstate(all="ignore"):  # the squares of the largest
            bound, plain = product(P, R, form=form), product(P, R, form=plainly)
        assert np.all(error <= bound.stat)
        if dtype == "float32":  # the balance takes the large entries for a feature of its own
            assert span > 2.0**60 or np.all(bound.stat <= 20 * np.max(plain.det))
            continue
        if span == 1:  # the slices hold all, so the bound is hardly weaker
            assert np.all(bound.det <= plain.det * 1.001)
            assert np.all(bound.stat <= plain.stat * 1.001)
        assert np.any(error > plain.det) == (span > 1e6)


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


def drawn(head, m, seed=0):
    """Logits and labels that follow from them, as far as a trained network's do."""
    rng = np.random.default_rng(seed)
    n = 10 if head == "softmax" else 1
    Z = rng.standard_normal((n, m))
    if head == "softmax":
        return Z, np.eye(n)[:, np.argmax(Z + rng.gumbel(size=Z.shape), axis=0)]
    if head == "identity":
        return Z, Z + 0.3 * rng.standard_normal(Z.shape)
    if head == "poisson":
        return Z, rng.poisson(np.exp(Z)).astype(float)
    return Z, (rng.random(Z.shape) < 1 / (1 + np.exp(-Z))).astype(float)


def single(head, Z, Y, order=slice(None)):
    """The cost in float32, with the examples in an order."""
    Z, Y = (x[:, order].astype(np.float32) for x in (Z, Y))
    return float(HEADS[head].cost_with_logits(Z, Y, xp=np))


@pytest.mark.parametrize("head", HEADS)
def test_an_example_left_out_of_the_cost_is_beyond_its_bound(head):
    m = 5000
    Z, Y = (x.astype(np.float32).astype(float) for x in drawn(head, m))
    bound = cost(head, Z, Y, declared_format("float32"), entries=10**6)
    assert abs(single(head, Z, Y) - bound.exact) < bound.stat / 4
    terms = HEAD_BOUNDS[head].terms(Z, Y, declared_format("float32")).value.sum(axis=0)
    usual = np.argsort(terms)[m // 2 :]  # half of the examples cost so much, or more
    for missing in usual[:: m // 10]:
        kept = np.arange(m) != missing
        found = single(head, Z, Y, kept) * (m - 1) / m
        assert abs(found - bound.exact) > bound.stat


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_a_label_smoothing_of_a_thousandth_is_beyond_the_bound_of_the_cost(head):
    Z, Y = (x.astype(np.float32).astype(float) for x in drawn(head, 2000))
    bound = cost(head, Z, Y, declared_format("float32"), entries=10**6)
    smoothed = 0.999 * Y + 0.001 / max(len(Y), 2)
    assert abs(single(head, Z, smoothed) - bound.exact) > bound.stat


def one_by_one(terms):
    return np.add.accumulate(terms.ravel())[-1]


@pytest.mark.parametrize("kind", ["drawn", "constant", "sorted", "signed"])
def test_no_honest_order_of_a_sum_is_beyond_its_bound(kind, dtype):
    rng = np.random.default_rng(1)
    for n in (1, 2, 9, 300, 20_000):
        terms = rng.standard_normal(n) if kind == "signed" else rng.exponential(size=n)
        if kind == "constant":
            terms = np.full(n, terms[0])
        x = np.sort(terms).astype(dtype) if kind == "sorted" else terms.astype(dtype)
        bound = summed(x[None].astype(float), declared_format(dtype), entries=1)
        orders = [x, x[::-1], x[rng.permutation(n)]]
        if kind != "signed":  # then sums that are ordered by value pass by much larger ones
            orders += [np.sort(x), np.sort(x)[::-1]]
        sums = [np.sum(x), *map(one_by_one, orders)]
        sums += [one_by_one(x[: n // k * k].reshape(k, -1).sum(axis=0)) + np.sum(x[n // k * k :])
                 for k in (4, 16, 128) if n >= k]  # fmt: skip
        exactly = np.sum(x, dtype=np.longdouble)
        for total in sums:
            assert abs(total - exactly) <= bound.stat[0, 0], (n, total)
        if kind != "constant" and n > 1000:
            assert bound.stat[0, 0] < bound.det[0, 0] / 10
