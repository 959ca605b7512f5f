"""Products and sums: the same bits in any order, as near to the truth as is proven."""

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried, exact, forms, on_numpy, spread, to_float
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.arithmetic.namespace import reproducible
from portadnn.arithmetic.products import FEW, bound
from portadnn.backends import get_backend
from portadnn.errors import InputError

U = 2.0**-53
XP = reproducible(numpy_namespace)
SHAPES = [(20, 229, 9), (7, 20, 30), (5, 7, 20), (1, 5, 8), (5, 1, 8), (3, 9, 4), (2, 1300, 3)]


def quiet(function, *arrays):
    with np.errstate(all="ignore"):
        return function(*arrays)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("span", [20, 300])
def test_products_and_sums_have_the_same_bits_everywhere(backend, shape, span, dtype):
    m, n, p = shape
    rng = np.random.default_rng(n)
    span = min(span, 60) if dtype == "float32" else span
    A, B = spread(rng, (m, n), dtype, span), spread(rng, (n, p), dtype, span)
    A[0, :] = 0.0
    A = np.asfortranarray(A)

    def results(xp):
        xp = reproducible(xp)
        return lambda A, B: [
            xp.matmul(A, B),
            xp.matmul(B.T, A.T),
            xp.sum(A, axis=0, keepdims=True),
            xp.sum(A, axis=-1),
            xp.sum(B),
            xp.mean(A, axis=1),
        ]

    expected = on_numpy(results, [A, B], dtype)
    given = backend.asarray(A), backend.asarray(B)
    with carried(backend):
        for function in forms(results(backend.xp), backend):
            for found, other in zip(function(*given), expected, strict=True):
                assert_same_bits(backend.to_numpy(found), other)


def in_any_order(product, seeds=5):
    """Whether a product is the same with its terms in other orders."""
    rng = np.random.default_rng(0)
    A, B = spread(rng, (6, 300), "float64"), spread(rng, (300, 8), "float64")
    expected = product(A, B)
    orders = [rng.permutation(300) for _ in range(seeds)]
    return all(np.array_equal(product(A[:, o], B[o, :]), expected) for o in orders)


def test_the_order_of_the_terms_does_not_matter():
    assert in_any_order(XP.matmul)
    assert in_any_order(lambda A, B: XP.sum(A, axis=1))
    assert in_any_order(lambda A, B: XP.sum(B, axis=0))


def test_it_does_to_products_that_are_not_cut_and_to_the_librarys_sums():
    assert not in_any_order(np.matmul)
    assert not in_any_order(lambda A, B: np.sum(A, axis=1))


def error(A, B, C):
    """The error of ``C``, and ``abs(A) abs(B)``."""
    true = exact(A) @ exact(B)
    return to_float(abs(true - exact(C))), to_float(abs(exact(A)) @ abs(exact(B)))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 16, 17, 32, 33, 64, 129, 257, 513])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.95])
def test_products_are_as_near_as_the_bound_of_an_ordinary_one(n, zeros):
    rng = np.random.default_rng(n)
    A, B = spread(rng, (4, n), "float64", 20, zeros), spread(rng, (n, 4), "float64", 20, zeros)
    wrong, size = error(A, B, XP.matmul(A, B))
    assert np.all(wrong <= min(bound(n), n) * U * size)
    ones = np.ones((n, 1))
    wrong, size = error(A, ones, XP.sum(A, axis=1, keepdims=True))
    assert np.all(wrong <= n * U * size)


def test_the_bound_is_at_most_that_of_an_ordinary_product():
    assert all(bound(n) <= n for n in range(1, 20000))


def test_small_entries_that_meet_only_zeros_keep_their_digits():
    """Where the largest entry of the row meets a zero, the smallest ones are all there is."""
    rng = np.random.default_rng(0)
    n = 200
    A, B = np.zeros((1, n)), np.zeros((n, 1))
    A[0, 0], B[1, 0] = 2.0**20, 2.0**20
    A[0, 2:], B[2:, 0] = 1 + rng.random(n - 2), 1 + rng.random(n - 2)
    A, B = np.clip(A, 0, 2.0**20), np.clip(B, 0, 2.0**20)
    wrong, size = error(A, B, XP.matmul(A, B))
    assert np.all(wrong <= bound(n) * U * size)


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(0, 2**32), st.integers(20, 500))
def test_beyond_the_span_the_error_is_one_of_the_largest_entries(n, seed, span):
    rng = np.random.default_rng(seed)
    A, B = spread(rng, (2, n), "float64", span), spread(rng, (n, 2), "float64", span)
    wrong, _ = error(A, B, quiet(XP.matmul, A, B))
    largest = np.max(abs(A), axis=1)[:, None] * np.max(abs(B), axis=0)[None, :]
    assert np.all(wrong <= 6 * U * n * largest)


@pytest.mark.parametrize("exponents", [(1000, -960), (900, 100), (-960, 950), (-900, -100)])
@pytest.mark.parametrize("n", [5, 40])
def test_no_operand_is_too_large_or_too_small(backend_name, exponents, n):
    """Scaled by powers of two the result is scaled, wherever it is a normal number."""
    backend = get_backend(backend_name, dtype="float64")
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((3, n)), rng.standard_normal((n, 4))
    scaled = A * 2.0 ** exponents[0], B * 2.0 ** exponents[1]
    with carried(backend):
        C = reproducible(backend.xp).matmul(*map(backend.asarray, scaled))
        assert_same_bits(backend.to_numpy(C), XP.matmul(A, B) * 2.0 ** sum(exponents))


def test_rows_at_both_ends_of_the_exponent_range():
    A = np.ones((2, 20)) * np.asarray([[np.finfo(float).max], [2.0**-1022]])
    B = np.ones((20, 2)) * np.asarray([[2.0**-1020, 2.0**-40]])
    C = quiet(XP.matmul, A, B)
    assert_same_bits(C[0], 20 * (A[0, 0] * B[0]))
    assert C[1, 0] == 0
    # a row below 2**-970 has the absolute accuracy of one with 2**-970 there
    assert quiet(XP.matmul, A, 2.0**900 * np.ones((20, 1)))[1, 0] == 20 * 2.0**-122


@pytest.mark.parametrize("n", [6, 30])
def test_what_is_not_finite_stays_in_its_row_and_column(backend, n, dtype):
    rng = np.random.default_rng(0)
    A = (1 + rng.random((5, n))).astype(dtype)
    B = (1 + rng.random((n, 4))).astype(dtype)
    A[0, 0], A[1, 1], A[2, 0], A[2, 1] = np.nan, np.inf, np.inf, -np.inf
    B[1, 3], B[2, 0] = -np.inf, -1.5
    expected = quiet(np.matmul, A.astype(np.float64), B.astype(np.float64))

    def results(xp):
        xp = reproducible(xp)
        return lambda A, B: [xp.matmul(A, B), xp.sum(A, axis=1), xp.sum(A, axis=0), xp.sum(B)]

    given = backend.asarray(A), backend.asarray(B)
    with carried(backend):
        for function in forms(results(backend.xp), backend):
            C, rows, columns, everything = map(backend.to_numpy, function(*given))
            both = np.zeros(C.shape, bool)
            both[2, 3] = n > FEW  # there inf meets a column with another: inf, or NaN
            np.testing.assert_allclose(np.where(both, 0, C), np.where(both, 0, expected), rtol=1e-6)
            assert not np.isfinite(C[2, 3])
            np.testing.assert_allclose(rows, quiet(np.sum, A, 1), rtol=1e-6)
            np.testing.assert_allclose(columns, quiet(np.sum, A, 0), rtol=1e-6)
            assert everything == -np.inf


def test_results_that_overflow_are_infinite(dtype):
    large = np.full((2, 30), np.finfo(dtype).max, dtype)
    assert np.all(quiet(XP.matmul, large, large.T) == np.inf)
    assert quiet(XP.sum, large) == np.inf
    assert np.all(quiet(XP.matmul, -large, large.T) == -np.inf)


def test_no_zero_is_negative(backend, dtype):
    A, B = np.zeros((2, 20), dtype), -np.ones((20, 2), dtype)
    given = backend.asarray(A), backend.asarray(B)
    with carried(backend):
        xp = reproducible(backend.xp)
        for function in forms(lambda A, B: [xp.matmul(A, B), xp.sum(-A, axis=1)], backend):
            for found in function(*given):
                assert not np.any(np.signbit(backend.to_numpy(found)))


def test_vectors_and_empty_operands(xp, backend):
    x = backend.asarray(np.arange(12.0))
    A = backend.asarray(np.arange(24.0).reshape(2, 12))
    with carried(backend):
        ours = reproducible(xp)
        assert float(ours.matmul(x, x)) == 506
        assert backend.to_numpy(ours.matmul(A, x)).tolist() == [506.0, 1298.0]
        assert backend.to_numpy(ours.matmul(x, A.T)).tolist() == [506.0, 1298.0]
        assert float(ours.sum(x)) == 66
        nothing = backend.asarray(np.zeros((2, 0)))
        assert backend.to_numpy(ours.matmul(nothing, nothing.T)).tolist() == [[0.0, 0.0]] * 2
        assert backend.to_numpy(ours.sum(nothing, axis=1)).tolist() == [0.0, 0.0]
        # many terms of no row
        nothing = backend.asarray(np.zeros((0, 12)))
        assert ours.matmul(nothing, A.T).shape == (0, 2)
        assert ours.matmul(A, nothing.T).shape == (2, 0)
        assert ours.sum(nothing, axis=1).shape == (0,)
        assert ours.sum(nothing.T, axis=0).shape == (0,)
        assert float(ours.sum(nothing)) == 0.0


def test_few_terms_are_added_in_their_order():
    """Nothing is cut where IEEE arithmetic in the order of the terms is cheaper."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((3, FEW)), rng.standard_normal((FEW, 4))
    expected = A[:, :1] * B[:1]
    for k in range(1, FEW):
        expected = expected + A[:, k : k + 1] * B[k : k + 1]
    assert_same_bits(XP.matmul(A, B), expected)


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), r"\(2, 3\) and \(2, 3\)"),
        (np.ones((2, 3, 4)), np.ones((4, 2)), "1 or 2 axes"),
        (np.ones((2, 3)), np.ones((3, 2), np.float32), "float64 and float32"),
        (np.ones((2, 3), int), np.ones((3, 2), int), "int64"),
    ],
)
def test_other_operands_are_refused(A, B, message):
    with pytest.raises(InputError, match=message):
        XP.matmul(A, B)


def test_sums_of_other_ranks_and_axes_are_refused():
    with pytest.raises(InputError, match=r"\(2, 3, 4\)"):
        XP.sum(np.ones((2, 3, 4)))
    with pytest.raises(InputError, match="axis is 2"):
        XP.sum(np.ones((2, 3)), axis=2)
