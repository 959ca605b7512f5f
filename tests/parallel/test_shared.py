"""Sums over examples that ranks share, beside those of one process."""

import numpy as np
import pytest
from ranks_support import on_ranks

from portadnn.backends import get_backend
from portadnn.network.examples import all_examples, number_of, over_examples
from portadnn.parallel import shared_namespace

SHARES = {2: "", 3: "1/6/2"}


def shared(backend, arrays, function, size=2):
    """What each rank makes of its columns of the arrays, as arrays of NumPy."""

    def on_rank(ranks):
        with backend.scope():
            n = arrays[0].shape[1]
            own = [backend.asarray(x[:, ranks.own(n)]) for x in arrays]
            made = function(shared_namespace(backend, ranks, n), *own)
            return np.array(backend.to_numpy(made))

    return on_ranks(size, on_rank, SHARES[size])


def alone(backend, arrays, function):
    with backend.scope():
        made = function(backend.xp, *(backend.asarray(x) for x in arrays))
        return np.array(backend.to_numpy(made))


def product(xp, dZ, A):
    return over_examples(xp).matmul(dZ, A.T)


def rows(xp, dZ):
    return over_examples(xp).sum(dZ, axis=1, keepdims=True)


def everything(xp, dZ):
    return over_examples(xp).sum(dZ)


def operands(n, dtype):
    """Numbers that span many powers of two, a zero column, a row of zeros."""
    rng = np.random.default_rng(n)
    dZ, A = (rng.standard_normal((rows, n)) * 2.0 ** rng.integers(-20, 20, n) for rows in (5, 7))
    dZ[:, 0], A[2] = 0, 0
    return dZ.astype(dtype), A.astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 8, 9, 300, 1100])
@pytest.mark.parametrize("size", [2, 3])
def test_reproducible_sums_have_the_bits_of_one_process(backend, dtype, n, size):
    """n = 1 and 2 leave a rank without an example; 1,100 terms are several blocks of float64."""
    exact = get_backend(backend.name, dtype=dtype, arithmetic="reproducible")
    dZ, A = operands(n, dtype)
    for function, given in ((product, [dZ, A]), (rows, [dZ]), (everything, [dZ])):
        expected = alone(exact, given, function)
        for made in shared(exact, given, function, size):
            assert made.dtype == expected.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(made, expected)


def test_fast_sums_are_those_of_all_ranks(backend, dtype):
    dZ, A = np.random.default_rng(3).standard_normal((2, 6, 50)).astype(dtype)
    for function, given in ((product, [dZ, A]), (rows, [dZ]), (everything, [dZ])):
        wide = alone(get_backend("numpy", dtype="float64"), given, function)
        for made in shared(get_backend(backend.name, dtype=dtype), given, function, 3):
            # 50 terms of size 1, added in any order: 50 u each, and some more
            np.testing.assert_allclose(made, wide, rtol=0, atol=500 * np.finfo(dtype).eps)


def test_columns_of_all_ranks_come_in_their_order(backend, dtype):
    A = np.arange(12.0).reshape(3, 4).astype(dtype)
    made = shared(get_backend(backend.name, dtype=dtype), [A], lambda xp, A: all_examples(A, xp), 3)
    for found in made:
        np.testing.assert_array_equal(found, A)


def test_number_of_examples_is_that_of_all_ranks(backend):
    made = shared(
        backend, [np.ones((1, 5))], lambda xp, A: xp.full_like(A[:, :1], number_of(A, xp))
    )
    assert all(found.item() == 5 for found in made)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_rank_with_a_number_that_is_not_finite_spoils_its_row_alone(backend, dtype, wrong):
    exact = get_backend(backend.name, dtype=dtype, arithmetic="reproducible")
    dZ, A = operands(1100, dtype)
    spoiled = dZ.copy()
    spoiled[1, -1] = wrong
    good = alone(exact, [dZ, A], product)
    for made in shared(exact, [spoiled, A], product):
        assert np.isnan(made[1]).all() or not np.isfinite(made[1]).any()
        others = [0, 2, 3, 4]
        assert np.isfinite(made[others]).all()
        # the other column's units follow from d_k = 1 there: the bits may differ, within rounding
        np.testing.assert_allclose(
            made[others], good[others], rtol=1e-3, atol=1e-3 * abs(good).max()
        )
