"""The self-test: faults planted in the real step, and a checker that can fail it."""

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.parity import planted
from portadnn.parity.certify import certify_step, first_failure
from portadnn.parity.planted import (
    CALLS,
    FAULTS,
    STEPS,
    FaultyNamespace,
    declared_run,
    detect,
    self_test,
)
from portadnn.parity.run import watch

CAUSES = {
    "1/m missing": "missing 1/m",
    "square W transposed": "transposed W",
    "mask Z >= 0 for Z > 0": "mask >= for >",
    "stale A_prev": "stale input",
    "TF32 inputs": "TF32",
    "TF32 in one operand": "TF32 in one operand",
    "bfloat16 inputs of dA": "bfloat16",
    "an example left out of the cost": "dropped sample",
    "an example left out of dW": "dropped sample",
    "bias gradient of the first column": "first column only",
    "learning rate in float16": "learning rate in float16",
    "W+ = W + rate dW": "sign flip",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_found_in_its_place_and_its_cause_named(fault, dtype):
    detection = detect(fault, dtype)
    assert detection.passed, f"{detection.result}: {detection.flag}"
    assert (detection.flag is None) == (fault.tensor is None)
    assert (detection.cause and detection.cause.name) == CAUSES.get(fault.name)


@pytest.mark.parametrize("function", CALLS)
def test_calls_are_counted_in_the_order_of_the_step(function):
    backend = get_backend("numpy")
    seen = []

    def noted(f, args, last):
        seen.append(f(*args))
        return seen[-1]

    fault = planted.Fault("none", None, function, noted, CALLS[function])
    records = list(watch(declared_run(), backend, range(STEPS),
                         xp=FaultyNamespace(backend.xp, fault)))  # fmt: skip
    assert len(seen) == STEPS * len(CALLS[function])
    for i, result in enumerate(seen):
        record = records[i // len(CALLS[function])].tensors
        tensor = CALLS[function][i % len(CALLS[function])]
        if tensor[-1] == "+":
            np.testing.assert_array_equal(record[tensor], record[tensor[:-1]] - result)
        elif function == "sum" or (tensor[:2] == "dW" and function == "matmul"):
            np.testing.assert_array_equal(record[tensor], result / np.float32(planted.EXAMPLES))
        elif tensor[0] == "Z":
            np.testing.assert_array_equal(record[tensor], result)  # the bias was added in place
        elif (function, tensor) not in (("multiply", "cost"), ("where", "A4")):
            np.testing.assert_array_equal(record[tensor], result)


def test_an_honest_order_does_compute_in_another_order(dtype):
    backend, run = get_backend("numpy", dtype=dtype), declared_run()
    *_, plain = watch(run, backend, range(STEPS))
    for fault in FAULTS[-3:]:
        *_, other = watch(run, backend, range(STEPS), xp=FaultyNamespace(backend.xp, fault))
        assert any(not np.array_equal(other.tensors[n], x) for n, x in plain.tensors.items())
        assert first_failure(certify_step(run, plain)) is None


def test_a_checker_that_sees_nothing_or_everything_fails(monkeypatch):
    monkeypatch.setattr(planted, "first_failure", lambda checks: None)
    assert [d.result for d in self_test(["float32"])] == ["MISSED"] * 13 + ["not flagged"] * 3
    monkeypatch.setattr(planted, "first_failure", lambda checks: checks[0])
    results = [d.result for d in self_test(["float32"])]
    assert results == ["MISPLACED"] * 13 + ["FALSE ALARM"] * 3
