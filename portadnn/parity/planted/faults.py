"""The faults that a certificate must find, planted in the real step, and the tensor each begins at.

They are planted on NumPy, one at a time, in the run of ``fault.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from portadnn.parity.causes.precision import rounded
from portadnn.parity.planted.fault import BATCH, NETWORK, STEPS, Fault
from portadnn.parity.planted.namespace import Call, Place, Tamper
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


def _inputs_through(rounding: Rounding, tensors: Iterable[str]) -> dict[Place, Tamper]:
    """Matrix products of rounded inputs."""

    def tamper(call: Call) -> Any:
        return call.compute(*map(rounding, call.args))

    return {("matmul", tensor): tamper for tensor in tensors}


def _products(tamper: Tamper) -> dict[Place, Tamper]:
    return {("matmul", tensor): tamper for tensor in (*_FORWARD, *_DA, *_DW)}


def _rates(change: Rounding) -> dict[Place, Tamper]:
    """The update of every parameter with another rate."""

    def tamper(call: Call) -> Any:
        gradient, rate = call.args
        return call.compute(gradient, change(rate))

    return {("multiply", f"{name}+"): tamper for name in NETWORK.shapes}


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


def _at_zero_too(call: Call) -> Any:
    _, dA, zero = call.args
    Z, _ = call.last["maximum", "A1"]
    return call.compute(Z >= 0, dA, zero)


def _without_an_example(call: Call) -> Any:
    dZ, A_prev_T = call.args
    # one that counts: every unit may be off for another
    i = np.argmax(np.abs(dZ).sum(axis=0) * np.abs(A_prev_T).sum(axis=1))
    return call.compute(np.delete(dZ, i, axis=1), np.delete(A_prev_T, i, axis=0))


def _stale_A_prev(call: Call) -> Any:
    return call.compute(call.args[0], call.last["matmul", "dW2"][1])


def _stale_gradient(call: Call) -> Any:
    return call.compute(call.last["multiply", "b2+"][0], call.args[1])


def _of_the_batch_before(tensor: str) -> Tamper:
    return lambda call: call.compute(call.args[0], call.last["take", tensor][1])


def _in_reverse(call: Call) -> Any:
    P, R = call.args
    return call.compute(P[:, ::-1].copy(), R[::-1].copy())


def _in_halves(call: Call) -> Any:
    P, R = call.args
    half = P.shape[1] // 2
    return call.compute(P[:, :half], R[:half]) + call.compute(P[:, half:], R[half:])


def _one_by_one(call: Call) -> Any:
    P, R = call.args
    S = np.zeros((P.shape[0], R.shape[1]), P.dtype)
    for k in range(P.shape[1]):
        S += P[:, k : k + 1] * R[k]
    return S


_FORWARD = tuple(f"Z{l}" for l in range(1, NETWORK.L + 1))
_DW = tuple(f"dW{l}" for l in range(NETWORK.L, 0, -1))
_DA = tuple(f"dA{l}" for l in range(NETWORK.L - 1, 0, -1))

_STEP_FAULTS = (
    Fault("1/m missing", "dW2", {("divide", "dW2"): lambda call: call.args[0]}),
    Fault(
        "1/(m-1) for 1/m",
        "dW2",
        {("divide", "dW2"): lambda call: call.compute(call.args[0], call.args[1] - 1)},
    ),
    Fault(
        "square W transposed, forward",
        "Z2",
        {("matmul", "Z2"): lambda call: call.compute(call.args[0].T, call.args[1])},
    ),
    Fault(
        "square W not transposed, backward",
        "dA1",
        {("matmul", "dA1"): lambda call: call.compute(call.args[0].T, call.args[1])},
    ),
    # Z of the blank example is exactly 0 only as long as b1 is
    Fault("mask Z >= 0 for Z > 0", "dZ1", {("where", "dZ1"): _at_zero_too}, step=0),
    Fault(
        "bias dropped",
        "Z2",
        {("matmul", "Z2"): lambda call: np.asarray(call.compute()).view(_NoBias)},
    ),
    Fault(
        "bias gradient from the first column",
        "db2",
        {("sum", "db2"): lambda call: call.compute(call.args[0][:, :1])},
    ),
    Fault("bias updated a step late", "b2+", {("multiply", "b2+"): _stale_gradient}),
    Fault("stale A_prev", "dW2", {("matmul", "dW2"): _stale_A_prev}),
    *(
        Fault(f"{mode} inputs, {what}", tensors[0], _inputs_through(rounding, tensors))
        for mode, rounding in (("TF32", tf32), ("bfloat16", bfloat16), ("float16", float16))
        for what, tensors in (("forward", _FORWARD), ("dA", _DA), ("dW", _DW))
    ),
    Fault(
        "sigmoid off by 1e-6",
        "A4",
        {("divide", "A4"): lambda call: call.compute() * call.args[0].dtype.type(1 + 1e-6)},
    ),
    Fault(
        "exp of the poisson head off by 1e-6",
        "A4",
        {("exp", "A4"): lambda call: call.compute() * call.args[0].dtype.type(1 + 1e-6)},
        head="poisson",
    ),
    Fault(
        "log Y left out of the deviance",
        "cost",
        {("log", "cost"): lambda call: np.zeros_like(call.args[0])},
        head="poisson",
    ),
    Fault("learning rate in float16", "W1+", _rates(float16)),
    Fault("rate of another step (decayed by 0.999)", "W1+", _rates(lambda rate: rate * 0.999)),
    Fault(
        "one entry of W+ off by 2 ulp",
        "W2+",
        {("multiply", "W2+"): lambda call: call.compute().view(_OffBy2Ulp)},
    ),
    Fault(
        "sum over the wrong axis",
        "db2",
        {("sum", "db2"): lambda call: call.args[0].sum(axis=0, keepdims=True).T},
        batch_size=BATCH,
    ),
    Fault("an example dropped in dW", "dW2", {("matmul", "dW2"): _without_an_example}),
    Fault(
        "batch of another step",
        "X",
        {("take", name): _of_the_batch_before(name) for name in "XY"},
        batch_size=BATCH,
    ),
    Fault(
        "labels of another step",
        "Y",
        {("take", "Y"): _of_the_batch_before("Y")},
        batch_size=BATCH,
    ),
    Fault("sign of dW flipped", "dW3", {("matmul", "dW3"): lambda call: -call.compute()}),
    Fault("W+ = W + rate dW", "W2+", {("multiply", "W2+"): lambda call: -call.compute()}),
    Fault(
        "units of dA permuted",
        "dA2",
        {("matmul", "dA2"): lambda call: np.roll(call.compute(), 1, axis=0)},
    ),
    Fault(
        "log1p(t + 1e-12) in the cost",
        "cost",
        {("log1p", "cost"): lambda call: call.compute(call.args[0] + 1e-12)},
        in_float32=False,
    ),
)

FAULTS = (*_STEP_FAULTS, *TRAINING_FAULTS)

# other orders of summation, for as long as a fault runs, and for as long as a training
HONEST = (
    *(
        Fault(f"honest: {order}, {steps:,} steps", None, _products(tamper), step=0, steps=steps)
        for steps in (STEPS, 1000)
        for order, tamper in (
            ("summed in reverse", _in_reverse),
            ("summed in halves", _in_halves),
            ("summed one by one", _one_by_one),
        )
    ),
    Fault(
        f"honest: everything at once, {STEPS} steps",
        None,
        {("matmul", tensor): _in_reverse for tensor in _FORWARD},
        step=0,
        batch_size=BATCH,
        recipe=EVERYTHING,
        weighted=True,
    ),
)
