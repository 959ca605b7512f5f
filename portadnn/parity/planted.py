"""The self-test: a few faults planted in the step of training, and honest orders of summation.

The step takes its array namespace as an argument, so a faulty namespace plants a fault in the code
that trains. ``scripts/mutants`` changes every line of that code; this shorter test runs in an
installed package, in a few seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import get_backend
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.names import is_weight
from portadnn.network.spec import Network
from portadnn.parity.causes import Cause, name_cause
from portadnn.parity.causes.precision import rounded
from portadnn.parity.certify import Check, certify_step, first_failure
from portadnn.parity.run import Run, watch
from portadnn.training.declaration import Declaration

NETWORK = Network((96, 8, 8, 5, 1))  # 8 x 8 is square, so its W can be transposed
EXAMPLES, STEPS = 40, 3

# the tensors for which a step of this network calls each function, in order
CALLS = {
    "matmul": ("Z1", "Z2", "Z3", "Z4", "dW4", "dA3", "dW3", "dA2", "dW2", "dA1", "dW1"),
    "divide": ("A4", "cost", "dW4", "db4", "dW3", "db3", "dW2", "db2", "dW1", "db1"),
    "sum": ("cost", "db4", "db3", "db2", "db1"),
    "where": ("A4", "dZ3", "dZ2", "dZ1"),
    "multiply": ("cost", *(f"{name}+" for name in NETWORK.shapes)),
}
PRODUCTS = CALLS["matmul"]

# A call that is replaced: it gets the function, its arguments, and those of the step before
Call = Callable[[Callable[..., Any], tuple, tuple], Any]


@dataclass(frozen=True, eq=False)
class Fault:
    """Calls of a function that are replaced from a step on, and the tensor to be flagged first.

    ``tensor`` is None if the arithmetic differs lawfully, so that any flag is a false alarm.
    """

    name: str
    tensor: str | None
    function: str
    call: Call
    tensors: tuple[str, ...] = ()  # calls of these are replaced; default ``tensor``
    step: int = 0

    @property
    def replaced(self) -> tuple[str, ...]:
        """The tensors whose calls are replaced."""
        return self.tensors or (self.tensor or "",)


def _with(i: int, change: Callable[[Any], Any]) -> Call:
    """The call with another argument in place ``i``."""
    return lambda f, args, _: f(*args[:i], change(args[i]), *args[i + 1 :])


def _stale(i: int) -> Call:
    """The call with the argument in place ``i`` that it had in the step before."""
    return lambda f, args, last: f(*args[:i], last[i], *args[i + 1 :])


def _in_bits(bits: int, *places: int) -> Call:
    def call(f: Callable[..., Any], args: tuple, _: tuple) -> Any:
        low = (rounded(x, bits).astype(x.dtype) if i in places else x for i, x in enumerate(args))
        return f(*low)

    return call


def _without_last(f: Callable[..., Any], args: tuple, _: tuple) -> Any:
    return f(args[0][:, :-1], *(x[:-1] for x in args[1:]))


def _also_blank(mask: np.ndarray) -> np.ndarray:
    """The mask of ``Z >= 0``: the first example is blank, so its Z1 is exactly 0."""
    return mask | (np.arange(mask.shape[1]) == 0)


def _in_reverse(f: Callable[..., Any], args: tuple, _: tuple) -> Any:
    P, R = args
    return f(P[:, ::-1].copy(), R[::-1].copy())


def _in_halves(f: Callable[..., Any], args: tuple, _: tuple) -> Any:
    P, R = args
    half = P.shape[1] // 2
    return f(P[:, :half], R[:half]) + f(P[:, half:], R[half:])


def _one_by_one(f: Callable[..., Any], args: tuple, _: tuple) -> Any:
    P, R = args
    return sum(P[:, k : k + 1] * R[k] for k in range(P.shape[1]))


FAULTS = (
    Fault("1/m missing", "dW2", "divide", lambda f, args, _: args[0]),
    Fault("square W transposed", "Z2", "matmul", _with(0, np.transpose)),
    Fault("mask Z >= 0 for Z > 0", "dZ1", "where", _with(0, _also_blank)),
    Fault("stale A_prev", "dW2", "matmul", _stale(1), step=1),
    Fault("TF32 inputs", "Z1", "matmul", _in_bits(11, 0, 1), PRODUCTS),
    Fault("TF32 in one operand", "dW3", "matmul", _in_bits(11, 1)),
    Fault("bfloat16 inputs of dA", "dA3", "matmul", _in_bits(8, 0, 1), ("dA3", "dA2", "dA1")),
    Fault("sigmoid off by 1e-6", "A4", "divide", _with(0, lambda t: t * t.dtype.type(1 + 1e-6))),
    Fault("an example left out of the cost", "cost", "sum", _with(0, lambda x: x[:, :-1])),
    Fault("an example left out of dW", "dW2", "matmul", _without_last),
    Fault("bias gradient of the first column", "db2", "sum", _with(0, lambda dZ: dZ[:, :1])),
    Fault("learning rate in float16", "W1+", "multiply",
          _with(1, lambda rate: rate.astype(np.float16).astype(rate.dtype))),
    Fault("W+ = W + rate dW", "W2+", "multiply", lambda f, args, _: -f(*args)),
    *(Fault(f"honest: summed {order}", None, "matmul", call, PRODUCTS) for order, call in (
        ("in reverse", _in_reverse), ("in halves", _in_halves), ("one by one", _one_by_one))),
)  # fmt: skip


class FaultyNamespace:
    """The namespace ``xp`` with a fault in it."""

    def __init__(self, xp: Any, fault: Fault) -> None:
        self._xp, self._fault = xp, fault
        self._calls: Counter[str] = Counter()
        self._last: dict[str, tuple] = {}

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._xp, name)
        if name != self._fault.function:
            return function

        def call(*args: Any, **keywords: Any) -> Any:
            # the step makes the same calls every time, so a count says which step and which tensor
            step, i = divmod(self._calls[name], len(CALLS[name]))
            self._calls[name] += 1
            tensor = CALLS[name][i]
            last, self._last[tensor] = self._last.get(tensor, ()), args
            if step < self._fault.step or tensor not in self._fault.replaced:
                return function(*args, **keywords)
            return self._fault.call(lambda *x: function(*x, **keywords), args, last)

        return call


def declared_run() -> Run:
    """The run that the self-test declares, with every fault and without."""
    rng = np.random.default_rng(1)
    parameters = initialize_parameters_deep(NETWORK.layer_dims, rng=rng)
    for name, p in parameters.items():
        if not is_weight(name):  # a first layer without biases, for Z that is exactly 0
            parameters[name] = (name != "b1") * 0.1 * rng.standard_normal(p.shape)
    X = rng.standard_normal((NETWORK.layer_dims[0], EXAMPLES))
    X[:, 0] = 0  # blank
    Y = rng.integers(0, 2, (1, EXAMPLES)).astype(float)
    return Run(NETWORK, parameters, X, Y, Declaration(learning_rate=0.0075, epochs=STEPS), STEPS)


@dataclass(frozen=True)
class Detection:
    """The result for one fault in one dtype: the first flag, and the cause that was named."""

    fault: Fault
    dtype: str
    flag: Check | None
    cause: Cause | None

    @property
    def result(self) -> str:
        """The result in words; capitals are a failure of the checker."""
        if self.fault.tensor is None:
            return "FALSE ALARM" if self.flag else "not flagged"
        if self.flag is None:
            return "MISSED"
        there = (self.flag.step, self.flag.tensor) == (self.fault.step, self.fault.tensor)
        return "found" if there else "MISPLACED"

    @property
    def passed(self) -> bool:
        """Whether the fault was found in its place, and nothing else was flagged."""
        return not self.result.isupper()


def self_test(dtypes: Sequence[str] = ("float32", "float64")) -> list[Detection]:
    """Plant every fault on NumPy in every dtype, and certify every step until the first flag.

    Examples
    --------
    >>> all(detection.passed for detection in self_test(["float64"]))
    True
    """
    return [detect(fault, dtype) for fault in FAULTS for dtype in dtypes]


def detect(fault: Fault, dtype: str) -> Detection:
    """Plant one fault."""
    run, backend = declared_run(), get_backend("numpy", dtype=dtype)
    last = None
    for record in watch(run, backend, range(STEPS), xp=FaultyNamespace(backend.xp, fault)):
        flag = first_failure(certify_step(run, record, last.state_after() if last else None))
        if flag is not None:
            return Detection(fault, dtype, flag, name_cause(run, record, flag, last))
        last = record
    return Detection(fault, dtype, None, None)
