"""The faults that a certificate must find, planted in the real step, and the tensor each begins at.

They are planted on NumPy, one at a time, in the run of ``fault.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from portadnn.network.names import after, named
from portadnn.parity.causes.precision import rounded
from portadnn.parity.planted.fault import (
    BATCH,
    NETWORK,
    STEPS,
    Fault,
    at,
    changed,
    first_argument,
    left_out,
    stale,
)
from portadnn.parity.planted.namespace import FaultyCall, Place, StepCall
from portadnn.parity.planted.training_faults import EVERYTHING, TRAINING_FAULTS

Rounding = Callable[[np.ndarray], np.ndarray]


def tf32(x: np.ndarray) -> np.ndarray:
    """The 11 bits that a tensor core keeps of a float32."""
    return rounded(x, 11)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """8 bits, and the range of float32."""
    return rounded(x, 8)


def float16(x: np.ndarray) -> np.ndarray:
    """11 bits, and a range that ends at 65,504 and 6e-8."""
    return x.astype(np.float16).astype(x.dtype)


def _products(call: FaultyCall, tensors: Iterable[str]) -> dict[Place, FaultyCall]:
    return {("matmul", tensor): call for tensor in tensors}


def _of_rounded(rounding: Rounding) -> FaultyCall:
    return lambda call: call.compute(*map(rounding, call.args))


def _rates(change: Rounding) -> dict[Place, FaultyCall]:
    """The update of every parameter with another rate."""
    return {("multiply", after(name)): changed(1, change) for name in NETWORK.shapes}


class _NoBias(np.ndarray):
    """A product that ignores the bias which ``Z += b`` adds to it."""

    def __iadd__(self, b: Any) -> Any:  # type: ignore[misc]
        return self.view(np.ndarray)


class _OffBy2Ulp(np.ndarray):
    """A step ``rate * dW`` from which ``W - step`` comes out with one entry 2 ulp too large.

    An ulp is 1 to 2 u of the value, by its significand, and float64 has no finer shadow: 2 ulp are
    told from two roundings but where the significand is above 1.98. So the least one is changed.
    """

    def __rsub__(self, W: Any) -> Any:
        W = W - self.view(np.ndarray)
        entry = np.unravel_index(np.argmin(np.abs(np.frexp(W)[0])), W.shape)
        for _ in range(2):
            W[entry] = np.nextafter(W[entry], W.dtype.type(np.inf))
        return W


def _result_as(kind: type[np.ndarray]) -> FaultyCall:
    return lambda call: np.asarray(call.compute()).view(kind)


def _negated(call: StepCall) -> Any:
    return -call.compute()


def _off_by_1e_6(call: StepCall) -> Any:
    return call.compute() * call.args[0].dtype.type(1 + 1e-6)


def _at_zero_too(call: StepCall) -> Any:
    Z, _ = call.last["maximum", "A1"]
    return changed(0, lambda _: Z >= 0)(call)


def _without_an_example(call: StepCall) -> Any:
    dZ, A_prev_T = call.args
    # one that counts: every unit may be off for another
    i = np.argmax(np.abs(dZ).sum(axis=0) * np.abs(A_prev_T).sum(axis=1))
    return call.compute(np.delete(dZ, i, axis=1), np.delete(A_prev_T, i, axis=0))


def _in_reverse(call: StepCall) -> Any:
    P, R = call.args
    return call.compute(P[:, ::-1].copy(), R[::-1].copy())


def _in_halves(call: StepCall) -> Any:
    P, R = call.args
    half = P.shape[1] // 2
    return call.compute(P[:, :half], R[:half]) + call.compute(P[:, half:], R[half:])


def _one_by_one(call: StepCall) -> Any:
    P, R = call.args
    S = np.zeros((P.shape[0], R.shape[1]), P.dtype)
    for k in range(P.shape[1]):
        S += P[:, k : k + 1] * R[k]
    return S


_FORWARD = tuple(named("Z", l) for l in range(1, NETWORK.L + 1))
_DW = tuple(named("dW", l) for l in range(NETWORK.L, 0, -1))
_DA = tuple(named("dA", l) for l in range(NETWORK.L - 1, 0, -1))

_STEP_FAULTS = (
    at("1/m missing", "divide", "dW2", first_argument),
    at("1/(m-1) for 1/m", "divide", "dW2", changed(1, lambda m: m - 1)),
    at("square W transposed, forward", "matmul", "Z2", changed(0, np.transpose)),
    at("square W not transposed, backward", "matmul", "dA1", changed(0, np.transpose)),
    # Z of the blank example is exactly 0 only as long as b1 is
    at("mask Z >= 0 for Z > 0", "where", "dZ1", _at_zero_too, step=0),
    at("bias dropped", "matmul", "Z2", _result_as(_NoBias)),
    at("bias gradient from the first column", "sum", "db2", changed(0, lambda dZ: dZ[:, :1])),
    at("bias updated a step late", "multiply", "b2+", stale(0)),
    at("stale A_prev", "matmul", "dW2", stale(1)),
    *(
        Fault(f"{mode} inputs, {what}", tensors[0], _products(_of_rounded(rounding), tensors))
        for mode, rounding in (("TF32", tf32), ("bfloat16", bfloat16), ("float16", float16))
        for what, tensors in (("forward", _FORWARD), ("dA", _DA), ("dW", _DW))
    ),
    at("sigmoid off by 1e-6", "divide", "A4", _off_by_1e_6),
    at("exp of the poisson head off by 1e-6", "exp", "A4", _off_by_1e_6, head="poisson"),
    at("log Y left out of the deviance", "log", "cost", left_out, head="poisson"),
    Fault("learning rate in float16", "W1+", _rates(float16)),
    Fault("rate of another step (decayed by 0.999)", "W1+", _rates(lambda rate: rate * 0.999)),
    at("one entry of W+ off by 2 ulp", "multiply", "W2+", _result_as(_OffBy2Ulp)),
    at("sum over the wrong axis", "sum", "db2",
       lambda call: call.args[0].sum(axis=0, keepdims=True).T, batch_size=BATCH),
    at("an example dropped in dW", "matmul", "dW2", _without_an_example),
    Fault("batch of another step", "X", {("take", name): stale(1) for name in "XY"},
          batch_size=BATCH),
    at("labels of another step", "take", "Y", stale(1), batch_size=BATCH),
    at("sign of dW flipped", "matmul", "dW3", _negated),
    at("W+ = W + rate dW", "multiply", "W2+", _negated),
    at("units of dA permuted", "matmul", "dA2", lambda call: np.roll(call.compute(), 1, axis=0)),
    at("log1p(t + 1e-12) in the cost", "log1p", "cost", changed(0, lambda t: t + 1e-12),
       in_float32=False),
)  # fmt: skip

FAULTS = (*_STEP_FAULTS, *TRAINING_FAULTS)

# other orders of summation, for as long as a fault runs, and for as long as a training
HONEST = (
    *(
        Fault(f"honest: {order}, {steps:,} steps", None,
              _products(call, (*_FORWARD, *_DA, *_DW)), step=0, steps=steps)
        for steps in (STEPS, 1000)
        for order, call in (
            ("summed in reverse", _in_reverse),
            ("summed in halves", _in_halves),
            ("summed one by one", _one_by_one),
        )
    ),
    Fault(f"honest: everything at once, {STEPS} steps", None, _products(_in_reverse, _FORWARD),
          step=0, batch_size=BATCH, recipe=EVERYTHING, weighted=True),
)  # fmt: skip
