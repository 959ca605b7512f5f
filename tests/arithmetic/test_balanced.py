"""Products of float32 by balanced integers: exact sums, proved errors, and what breaks others."""

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried, exact, forms, on_numpy, spread, to_float
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.arithmetic import balanced
from portadnn.arithmetic.namespace import reproducible
from portadnn.backends import get_backend
from portadnn.parity.bounds.balanced import KAPPA, units_error

U = 2.0**-24
XP = reproducible(numpy_namespace)
TINY = np.finfo(np.float32).tiny


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def products(A, B, finer):
    function = balanced.finer_product if finer else balanced.product
    return function(A, B, xp=numpy_namespace)


def cases(m, p, n=300):
    rng = np.random.default_rng(1)
    yield "normal", normal(rng, m, n), normal(rng, n, p)
    yield "activations", normal(rng, m, n), np.maximum(normal(rng, n, p), 0)
    scales = (10.0 ** np.linspace(-3, 6, n)).astype(np.float32)
    T = np.abs(normal(rng, n, p)) * scales[:, None]
    yield "a folded scaler", normal(rng, m, n) / scales, T
    yield "features that are not scaled", normal(rng, m, n), T
    heavy = (normal(rng, m, n) * np.exp(4 * normal(rng, m, n))).astype(np.float32)
    yield "lognormal entries", heavy, normal(rng, n, p)
    A, B = normal(rng, m, n), normal(rng, n, p)
    close = B + (1e-5 * normal(rng, n, p)).astype(np.float32)
    yield "cancellation", np.concatenate([A, -A], axis=1), np.concatenate([B, close])
    A, B = normal(rng, m, n), normal(rng, n, p)
    A[:, 0], B[0, ::2] = 2.0**20, 0.0
    yield "spikes that meet zeros", A, B
    yield "tiny rows", normal(rng, m, n) * np.float32(2.0**-110), normal(rng, n, p)
    yield "large numbers", normal(rng, m, n) * np.float32(2.0**100), normal(rng, n, p)
    yield "dead columns", A * (np.arange(n) % 3 > 0), B * (np.arange(n)[:, None] % 5 > 0)
    yield "zeros", np.zeros_like(A), B


CASES = {name: operands for name, *operands in cases(5, 6)}
LARGER = {name: operands for name, *operands in cases(64, 96)}


@pytest.mark.parametrize("finer", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_error_is_within_the_proved_bound(name, finer):
    """Beside exact rational numbers."""
    A, B = (np.asarray(x, np.float32) for x in CASES[name])
    true = exact(A) @ exact(B)
    wrong = to_float(abs(true - exact(products(A, B, finer))))
    bound, _ = units_error(A.astype(float), B.astype(float), finer)
    assert np.all(wrong <= bound + 2.0**-51 * abs(to_float(true)))


# beyond these the range of the numbers is another
@pytest.mark.parametrize("name", list(LARGER)[:7])
def test_errors_are_those_of_ordinary_float32(name):
    """The largest error beside that of the library's float32 product; spikes are the exception."""
    A, B = (np.asarray(x, np.float32) for x in LARGER[name])
    true = XP.matmul(A.astype(float), B.astype(float))
    usual = np.max(abs(A @ B - true))
    # a few large features in equal weights are few terms to float32, which errs less then
    most = {"spikes that meet zeros": 20, "features that are not scaled": 1.5}.get(name, 1.2)
    assert np.max(abs(XP.matmul(A, B) - true)) <= most * usual
    assert np.max(abs(XP.examples.matmul(A, B) - true)) <= 1.2 * usual


@settings(max_examples=60)
@given(
    st.integers(1, 3000),
    st.integers(0, 2**32),
    st.floats(0, 60),
    st.sampled_from([21.5, 26.5, 31.5]),
)
def test_norms_are_below_what_keeps_sums_exact(n, seed, span, bits):
    """Also of rows of equal entries and of single ones; and the unit is not much too large."""
    rng = np.random.default_rng(seed)
    x = np.stack([
        spread(rng, (n,), "float32", int(span) + 1),
        np.full(n, 1 + rng.random(), np.float32),
        np.where(np.arange(n) == n // 2, np.float32(1 + rng.random()), np.float32(0)),
    ])  # fmt: skip
    s = balanced._shift(x, 1, bits, balanced.LEAST_UNIT, numpy_namespace)
    unit = s / balanced.SHIFT
    assert np.all(np.frexp(unit)[0] == 0.5)
    q = balanced._rounded(x, s, numpy_namespace) / unit
    np.testing.assert_array_equal(q, np.rint(x / unit))
    norm = np.sqrt(np.sum(np.square(q), axis=1, dtype=np.longdouble))
    assert np.all(norm <= 2.0**bits)
    true = np.sqrt(np.sum(np.square(x.astype(np.longdouble)), axis=1, keepdims=True))
    # a row of zeros has the unit of one with the least entries
    least = max(balanced.LEAST_UNIT, 4 * balanced.LEAST * 2.0**-bits * np.sqrt(n))
    assert np.all(unit <= np.maximum(KAPPA * true * 2.0**-bits, least))


@pytest.mark.parametrize("finer", [False, True])
@pytest.mark.parametrize("n", [1, 5, 9, 300, 1025, 5000])
def test_any_order_and_any_division_of_the_terms_give_the_same_bits(n, finer):
    """The integers of the parts of a product add up to it, however it is divided."""
    rng = np.random.default_rng(n)
    A, B = spread(rng, (4, n), "float32", 30), spread(rng, (n, 5), "float32", 30)
    expected = products(A, B, finer)
    for _ in range(5):
        order = rng.permutation(n)
        assert_same_bits(products(A[:, order], B[order], finer), expected)

    class Divided:
        """The library, whose products are sums of those of parts."""

        def __getattr__(self, name):
            return getattr(numpy_namespace, name)

        def matmul(self, x, y):
            at = np.sort(rng.integers(0, x.shape[1] + 1, 3))
            parts = np.split(np.arange(x.shape[1]), at)
            return sum(x[:, part] @ y[part] for part in parts)

    for _ in range(5):
        function = balanced.finer_product if finer else balanced.product
        assert_same_bits(function(A, B, xp=Divided()), expected)


@pytest.mark.parametrize("n", [2, 12, 700, 5000])
def test_sums_over_examples_do_not_depend_on_how_they_are_divided(n, dtype):
    rng = np.random.default_rng(n)
    A, B = spread(rng, (4, n), dtype, 15), spread(rng, (n, 5), dtype, 15)
    expected = XP.examples.matmul(A, B), XP.examples.sum(A, axis=1)
    for _ in range(3):
        order = rng.permutation(n)
        found = XP.examples.matmul(A[:, order], B[order]), XP.examples.sum(A[:, order], axis=1)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one, other)


def test_an_example_does_not_see_the_others(backend, dtype):
    """Z = W A and dA = W^T dZ of 1,000 examples: alone, in batches, together and permuted."""
    rng = np.random.default_rng(0)
    W = spread(rng, (20, 60), dtype, 10)
    X = rng.standard_normal((60, 1000)).astype(dtype)
    X[:, ::50] *= 1e6  # large ones among them
    order = rng.permutation(1000)
    W, given, mixed = (backend.asarray(x) for x in (W, X, X[:, order]))
    with carried(backend):
        xp = reproducible(backend.xp)

        together = backend.to_numpy(xp.matmul(W, given))
        # a call costs milliseconds on some libraries, so not all examples are taken alone
        for size, calls in ((1, 20), (7, 10), (100, 10)):
            for i in range(0, size * calls, size):
                part = backend.to_numpy(xp.matmul(W, given[:, i : i + size]))
                assert_same_bits(part, together[:, i : i + size])
        assert_same_bits(backend.to_numpy(xp.matmul(W, mixed)), together[:, order])


@pytest.mark.parametrize("over_examples", [False, True])
def test_what_is_not_finite_stays_in_its_row_and_column(backend, over_examples):
    """The others have the bits of a product without it, but for the balance of its column of A."""
    backend = get_backend(backend.name, dtype="float32")
    rng = np.random.default_rng(0)
    A, B = normal(rng, 5, 30), np.abs(normal(rng, 30, 4)) + np.float32(0.1)
    for bad in (np.nan, np.inf):
        broken = A.copy()
        broken[1, 3] = bad
        columns = B.copy()
        columns[4, 2] = -bad
        with carried(backend):
            xp = reproducible(backend.xp)
            matmul = xp.examples.matmul if over_examples else xp.matmul
            given = [(broken, B), (A, columns)]
            rows, others = (backend.to_numpy(matmul(*map(backend.asarray, pair))) for pair in given)
        usual = A @ B
        assert not np.any(np.isfinite(rows[1]))
        assert not np.any(np.isfinite(others[:, 2]))
        if bad == np.inf and not over_examples:  # no entry of B is so small that it counts as 0
            assert np.all(rows[1] == np.inf)
        keep = np.arange(5) != 1
        np.testing.assert_allclose(rows[keep], usual[keep], rtol=0, atol=1e-5)
        np.testing.assert_allclose(others[:, [0, 1, 3]], usual[:, [0, 1, 3]], rtol=0, atol=1e-5)


def test_tiny_rows_have_the_accuracy_of_the_least_unit():
    A = np.ones((1, 20), np.float32) * np.float32(2.0**-120)
    assert XP.matmul(A, np.ones((20, 1), np.float32)) == 0  # a multiple of 2^-95
    large = np.full((20, 1), np.float32(2.0**60))
    np.testing.assert_allclose(XP.matmul(A, large), 20 * 2.0**-60, rtol=2.0**-20)


def test_scaled_operands_do_not_overflow():
    """Weights of 2^-60 and examples of 2^127: their product is an ordinary number."""
    A = np.full((2, 20), np.float32(2.0**-60))
    A[:, 0] = 2.0**40
    B = np.full((20, 2), np.float32(2.0**127))
    B[0] = 1.0
    for matmul in (XP.matmul, XP.examples.matmul):
        np.testing.assert_allclose(matmul(A, B), 19 * 2.0**67 + 2.0**40, rtol=2.0**-23)


@pytest.mark.parametrize("n", [3, 30])
def test_subnormal_operands_count_as_0_everywhere(backend, n):
    """Whatever a device makes of them, also where the other operand is large."""
    backend = get_backend(backend.name, dtype="float32")
    rng = np.random.default_rng(0)
    A, B = normal(rng, 4, n), normal(rng, n, 5)
    A[:, 1], B[2] = TINY / 2, TINY / 3
    A[2], B[:, 3] = TINY / 4, TINY / 5
    A[0], B[:, 0] = A[0] * np.float32(1e30), B[:, 0] * np.float32(1e-30)
    zero_A, zero_B = (np.where(abs(x) < TINY, np.float32(0), x) for x in (A, B))

    def results(xp):
        xp = reproducible(xp)
        return lambda A, B: [
            xp.matmul(A, B), xp.examples.matmul(A, B), xp.sum(A, axis=1), xp.sum(A, axis=0),
        ]  # fmt: skip

    expected = on_numpy(results, [zero_A, zero_B], "float32")
    given = backend.asarray(A), backend.asarray(B)
    with carried(backend):
        for function in forms(results(backend.xp), backend):
            for found, other in zip(function(*given), expected, strict=True):
                assert_same_bits(backend.to_numpy(found), other)
                assert not np.any((other != 0) & (abs(other) < TINY))


def test_sums_are_rounded_once():
    rng = np.random.default_rng(0)
    x = spread(rng, (3, 2000), "float32", 12)
    true = to_float(np.sum(exact(x), axis=1))
    wrong = abs(XP.sum(x, axis=1) - true)
    assert np.all(
        wrong <= U * abs(true) * (1 + 2.0**-20) + 2000 * np.max(abs(x), axis=1) * 2.0**-41
    )
