"""Arrays on the stand-in, against NumPy."""

import cupy as cp
import numpy as np

SHAPES = ((1, 5), (7, 3), (1000, 33), (3, 5000), (5000, 3))


def drawn(shape, dtype="f8"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def check_reductions():
    for shape in SHAPES:
        h = drawn(shape)
        d = cp.asarray(h)
        for axis in (None, 0, 1):
            for name in ("sum", "argmax"):
                found = getattr(d, name)(axis=axis).get()
                # sums of 33000 numbers in another order: their errors are far below 1e-11
                np.testing.assert_allclose(found, getattr(h, name)(axis=axis), atol=1e-11)
        np.testing.assert_allclose(d.cumsum().get(), h.cumsum(), atol=1e-11)


def check_masks():
    for shape in SHAPES:  # the scan of a mask exchanges values within warps
        h = drawn(shape)
        mask = h > 0.3
        d = cp.asarray(h)
        np.testing.assert_array_equal(d[cp.asarray(mask)].get(), h[mask])
        d[cp.asarray(mask)] = 7
        np.testing.assert_array_equal(d.get(), np.where(mask, 7, h))


def check_sorts():
    for shape in SHAPES:
        h = drawn(shape)
        d = cp.asarray(h)
        np.testing.assert_array_equal(cp.sort(d, axis=0).get(), np.sort(h, axis=0))
        np.testing.assert_array_equal(cp.argsort(d, axis=1).get(), np.argsort(h, axis=1))
    keys = np.array([[3, 1, 2, 1], [0, 1, 0, 1]])
    np.testing.assert_array_equal(cp.lexsort(cp.asarray(keys)).get(), np.lexsort(keys))


def check_products():
    for dtype in ("f8", "f4"):
        for shape in ((1, 5), (7, 3), (200, 33), (3, 500)):
            d = cp.asarray(drawn(shape, dtype))
            pairs = (
                (d, d.T),
                (d.T, d),
                (d[:, :2].T, d[:, 1:3]),
                (d[None], d.T[None]),
                (cp.stack([d, 2 * d]), d.T),
            )
            for a, b in pairs:
                found, A, B = cp.matmul(a, b), a.get(), b.get()
                assert found.dtype == dtype
                # the classical bound for each of two sums of k products in any order
                bound = 2 * A.shape[-1] * np.finfo(dtype).eps * np.matmul(abs(A), abs(B))
                assert (abs(found.get() - np.matmul(A, B)) <= bound).all()
    # sums go in the order of k, without fused multiply-add
    a, b = drawn((3, 300), "f4"), drawn((300, 2), "f4")
    expected = np.zeros((3, 2), "f4")
    for k in range(300):
        expected += a[:, k : k + 1] * b[k : k + 1]
    np.testing.assert_array_equal(cp.matmul(cp.asarray(a), cp.asarray(b)).get(), expected)


def check_float16():
    h = drawn((9, 4), "f2")
    np.testing.assert_array_equal((cp.asarray(h) + 1).get(), h + np.float16(1))


def check_subnormal_numbers():
    tiny = cp.asarray(np.float32([1e-20, 1e-10]))
    expected = [0, np.float32(1e-10) ** 2]  # the first is flushed, as on a GPU
    np.testing.assert_array_equal((tiny * tiny).get(), np.float32(expected))
    tiny = cp.asarray([1e-160])
    assert (tiny * tiny).get()[0] == 1e-160 * 1e-160 > 0


def check_fresh_memory():
    cp.get_default_memory_pool().free_all_blocks()  # else the pool gives what was written before
    assert cp.isnan(cp.empty(1000)).all()
    assert cp.isnan(cp.empty(1000, "f4")).all()
