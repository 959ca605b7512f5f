"""Check that a backend computes the operations of reproducible arithmetic with known bits."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from portadnn.backends.base import Backend, BackendUnavailableError, keeps_subnormals

# Products of 22-bit integers have 44 bits, and sums of 512 of them 53: all that float64 holds. The
# integers are positive and their first bit is set, or the sums would be too small to need 53 bits.
BITS, TERMS, ROWS = 22, 512, 64
FIX = (
    "Switch off what shortens, emulates or rearranges arithmetic (XLA_FLAGS with "
    "xla_cpu_enable_fast_math, CUBLAS_EMULATE_DOUBLE_PRECISION; "
    "portadnn.backends.environment names the settings), or take another backend, or fast arithmetic"
)

# shortened SHA-256 of the result of every operation, in float32 and float64
KNOWN = {
    "an exact product of integers": ("9dd1c6d08a88", "9dd1c6d08a88"),
    "a product of matrices": ("41f42565e4c6", "bd2397c587bb"),
    "a product over examples": ("117b6b9345f7", "bd2397c587bb"),
    "a product of numbers near the smallest": ("5f70bf18a086", "f6da9cbf5af7"),
    "a sum": ("963351712fbf", "ae37a981a0af"),
    "a sum of numbers near the smallest": ("f5a5fd42d16a", "a162c1ae5a99"),
    "a product and a sum": ("3d874d9ba7f0", "571aaef7e1ba"),
    "a product with two numbers": ("8fb46af775ed", "0dfb46132696"),
    "a quotient": ("c674dea12ea0", "9e2b9ee13d63"),
    "a quotient by a row": ("8dbc5edb188b", "28009b5d80ea"),
    "a quotient by a number": ("bdd34a8fd8bd", "7e3e533371ec"),
    "a quotient of a quotient": ("72c4ef557b09", "1d7f7a79a5e3"),
    "a root": ("b04d420b0248", "b12d2d5d1250"),
    "a quotient by a root": ("35b34c024237", "1675089a8cf0"),
    "exp": ("6d179fe2ad98", "671fd4ad54ce"),
    "expm1": ("e22c925e4319", "e5abf1a4db6d"),
    "log": ("ba6891383ec3", "874514fe7428"),
    "log1p": ("2a2c0acf2ec7", "7a09cefaa6fe"),
    "tanh": ("ec31902f872d", "45724aaae646"),
    "an exponential near the smallest numbers": ("bfe492baf731", "d36c44664f59"),
}


def check_ground(backend: Backend) -> None:
    """Run every operation in a step of ``backend.repeat``, and compare the bits with known ones.

    Raises
    ------
    BackendUnavailableError
        If an operation has other bits, or this thread flushes subnormal numbers to 0. The message
        names the operation.
    """
    with backend.scope():
        if not keeps_subnormals():
            raise BackendUnavailableError(
                backend.name,
                "reproducible arithmetic needs numbers below 2.2e-308, but this thread flushes "
                "them to 0: another library has set that mode of the processor",
                "Find the library that was compiled with -ffast-math and do without it, or take "
                "fast arithmetic",
            )
    _check_known(backend)


@functools.lru_cache(maxsize=32)  # an estimator asks for its backend in every partial_fit
def _check_known(backend: Backend) -> None:
    which = backend.dtype_name == "float64"
    for name, digest in digests(backend).items():
        if digest != KNOWN[name][which]:
            raise BackendUnavailableError(
                backend.name,
                f"reproducible arithmetic needs the known bits of every operation, but "
                f"{name} in {backend.dtype_name} has others on {backend.device_text} "
                f"({digest}, not {KNOWN[name][which]})",
                FIX,
            )


def digests(backend: Backend) -> dict[str, str]:
    """The digests of the operations on a backend in reproducible arithmetic, as in ``KNOWN``."""
    step = functools.partial(_operations, xp=backend.xp)
    with backend.scope():
        shared = {name: backend.asarray(x) for name, x in _numbers().items()}
        A, B = _integers()
        shared |= {
            "A": backend.asarray(A, dtype="float64"),
            "B": backend.asarray(B, dtype="float64"),
        }
        once = backend.asarray(np.ones((1, 1, 1)))
        _, found = backend.repeat(step, once[0, ...], once, shared)
        host = {name: backend.to_numpy(x)[0] for name, x in found.items()}
    return {
        name: hashlib.sha256(x.astype(x.dtype.newbyteorder("<")).tobytes()).hexdigest()[:12]
        for name, x in host.items()
    }


def _operations(state, inputs, shared, *, xp):
    """A step that makes every operation once; its outputs have the operations' names."""
    x, y, row = shared["x"], shared["y"], shared["row"]
    small = xp.multiply(y, 0.125)
    low = xp.multiply(x, 2.0**-126)  # normal and subnormal ones, in float32
    return state, {
        "an exact product of integers": xp.raw.matmul(shared["A"], shared["B"]),
        "a product of matrices": xp.matmul(x, y.T),
        "a product over examples": xp.examples.matmul(x, y.T),
        "a product of numbers near the smallest": xp.matmul(low, y.T),
        "a sum": xp.sum(x, axis=1, keepdims=True),
        "a sum of numbers near the smallest": xp.sum(low, axis=1, keepdims=True),
        "a product and a sum": xp.multiply(x, y) + y,
        "a product with two numbers": xp.multiply(xp.multiply(x, 0.1), 0.3),
        "a quotient": xp.divide(x, y),
        "a quotient by a row": xp.divide(x, row),
        "a quotient by a number": xp.divide(x, 209),
        "a quotient of a quotient": xp.divide(xp.divide(x, y), row),
        "a root": xp.sqrt(xp.abs(x)),
        "a quotient by a root": xp.divide(y, xp.sqrt(xp.abs(x))),
        "exp": xp.exp(small),
        "expm1": xp.expm1(small),
        "log": xp.log(xp.abs(x)),
        "log1p": xp.log1p(xp.abs(y)),
        "tanh": xp.tanh(small),
        "an exponential near the smallest numbers": xp.exp(shared["low"]),
    }


def _numbers() -> dict[str, np.ndarray]:
    """Numbers of both signs with all bits in use, the same with every version of NumPy."""
    # Knuth's multiplier for 64-bit linear congruential generators
    k = np.arange(1, 2 * 16 * 40 + 41, dtype=np.uint64) * np.uint64(6364136223846793005)
    k ^= k >> np.uint64(29)
    significand = 1.0 + (k >> np.uint64(12)).astype(np.float64) * 2.0**-52
    value = np.ldexp(significand, (k % np.uint64(13)).astype(np.int64) - 6)
    value = np.where(k % np.uint64(2) == 0, value, -value)
    x, y, row = value[:640].reshape(16, 40), value[640:1280].reshape(16, 40), value[None, 1280:]
    low = np.linspace(-746.0, -86.0, 320).reshape(8, 40)
    return {"x": x, "y": y, "row": row, "low": low}


@functools.cache
def _integers() -> tuple[np.ndarray, np.ndarray]:
    k = np.arange(2 * ROWS * TERMS, dtype=np.uint64) * np.uint64(6364136223846793005)
    k = 2 ** (BITS - 1) + (k >> np.uint64(65 - BITS)).astype(np.int64)
    return k[: ROWS * TERMS].reshape(ROWS, TERMS), k[ROWS * TERMS :].reshape(TERMS, ROWS)
