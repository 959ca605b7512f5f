"""The ground of reproducible arithmetic: exact products of integers, and right quotients."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from portadnn.backends.base import Backend, BackendUnavailableError

# Products of 22-bit integers have 44 bits, and sums of 512 of them 53: all that float64 holds. The
# integers are positive and their first bit is set, or the sums would be too small to need 53 bits.
BITS, TERMS, ROWS = 22, 512, 64
QUOTIENTS = 4096


@functools.lru_cache(maxsize=32)  # an estimator asks for its backend in every partial_fit
def check_exact_products(backend: Backend, xp: Any) -> None:
    """Compare a product of random integers on the backend, by ``xp.matmul``, with int64's.

    Raises
    ------
    BackendUnavailableError
        If an entry differs: products are emulated or rounded, and no bits can be promised.
    """
    A, B, expected = _integers()
    with backend.scope():
        product = xp.matmul(*(backend.asarray(x, dtype="float64") for x in (A, B)))
        differing = int(np.count_nonzero(backend.to_numpy(product) != expected))
    if differing:
        raise BackendUnavailableError(
            backend.name,
            f"reproducible arithmetic needs exact float64 products of {BITS}-bit integers, but "
            f"{differing:,} of {expected.size:,} entries differ on {backend.device_text}",
            "Switch off what emulates or shortens products (portadnn.backends.environment names "
            "the settings, CUBLAS_EMULATE_DOUBLE_PRECISION for example), or take another backend",
        )


@functools.lru_cache(maxsize=32)
def check_quotients(backend: Backend) -> None:
    """Compare float32 quotients in reproducible arithmetic with IEEE 754's, which NumPy has.

    Raises
    ------
    BackendUnavailableError
        If one differs. Of XLA's own, 29 in 100 did on an H100.
    """
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(QUOTIENTS).astype(np.float32) for _ in range(2))
    with backend.scope():
        found = backend.xp.divide(*(backend.asarray(v, dtype="float32") for v in (x, y)))
        differing = int(np.count_nonzero(backend.to_numpy(found) != x / y))
    if differing:
        raise BackendUnavailableError(
            backend.name,
            f"reproducible arithmetic needs quotients that are rounded as IEEE 754 says, but "
            f"{differing:,} of {QUOTIENTS:,} differ on {backend.device_text}",
            "Take another backend, or fast arithmetic",
        )


@functools.cache
def _integers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    A, B = (
        rng.integers(2 ** (BITS - 1), 2**BITS, shape) for shape in ((ROWS, TERMS), (TERMS, ROWS))
    )
    return A, B, np.matmul(A, B)
