"""Whole runs on several backends: verdicts, kinks, noise floors, and what they cost."""

from dataclasses import replace

import numpy as np
import pytest
from parity_support import judge_faulty, make_run

import portadnn.parity.compare
import portadnn.parity.run
from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.parity.certify import Verdict
from portadnn.parity.compare import Outcome, compare, judge
from portadnn.parity.run import watch


@pytest.mark.parametrize(
    ("dims", "m", "batch_size"),
    [((12, 7, 5, 1), 31, None), ((12, 7, 5, 1), 31, 8), ((3, 1), 1, None),
     ((5, *[4] * 9, 2), 9, None)],
)  # fmt: skip
def test_every_pair_of_backends_is_at_parity(dims, m, batch_size, dtype, backends_under_test):
    run = make_run(dims, m, batch_size=batch_size)
    backends = [get_backend(name, dtype=dtype) for name in backends_under_test]
    result = compare(run, backends)
    assert result.outcome is Outcome.PARITY, result.first_divergence
    assert result.outcome.exit_code == 0
    assert result.first_divergence is None
    for certificate in result.certificates:
        assert certificate.full == run.steps
        assert certificate.mode_mismatch is False or certificate.fuses
        assert certificate.environment["library"].startswith(certificate.backend.split(":")[0])
        assert certificate.largest.ratio <= 1
    assert all(kink.undecidable for kink in result.kinks)


def test_one_backend_alone_is_checked_against_the_shadow(backend):
    result = compare(make_run(), [backend])
    assert result.outcome is Outcome.PARITY
    assert result.kinks == []


def test_op_by_op_where_a_backend_would_compile(require):
    require("jax")
    result = compare(make_run(), [get_backend("jax")], jit=False)
    assert result.outcome is Outcome.PARITY
    assert result.certificates[0].mode_mismatch is None  # there is no other program to compare


def test_no_backend_is_no_comparison():
    with pytest.raises(InputError, match="no backend to compare was given"):
        compare(make_run(), [])


def test_the_first_divergence_is_named():
    result = judge_faulty(make_run(), 2, "dW2", lambda x: x * 31)
    assert result.outcome is Outcome.DIVERGED
    assert result.outcome.exit_code == 1
    backend, check = result.first_divergence
    assert backend == "faulty"
    assert (check.step, check.layer, check.tensor) == (2, 2, "dW2")
    assert [certificate.outcome for certificate in result.certificates] == [
        Outcome.PARITY,
        Outcome.DIVERGED,
    ]


def test_a_state_that_is_not_the_last_one_is_found():
    def change(W):
        W = W.copy()
        W[0, 0] = np.nextafter(W[0, 0], 1)
        return W

    backend, check = judge_faulty(make_run(), 2, "W1", change).first_divergence
    assert backend == "faulty"
    assert (check.step, check.tensor, check.index) == (2, "W1", (0, 0))


def test_lower_precision_alone_is_suspect_not_diverged():
    run = make_run((300, 20, 1), m=50, steps=1)
    (record,) = watch(run, get_backend("numpy"), [0])
    t = record.tensors

    def eleven_bits(x):
        mantissa, exponent = np.frexp(x.astype(np.float64))
        return np.ldexp(np.round(np.ldexp(mantissa, 15)), exponent - 15)

    Z = (eleven_bits(t["W1"]) @ eleven_bits(t["X"]) + t["b1"]).astype(np.float32)
    A = np.maximum(Z, 0)
    changed = replace(record, tensors={**t, "Z1": Z, "A1": A})
    result = judge(run, ["low"], [{}], [[changed]], modes=[None])
    check = result.first_divergence[1]
    assert check.tensor == "Z1"
    assert check.verdict is Verdict.SUSPECT


def test_nothing_looked_at_is_no_parity():
    result = judge(make_run(), ["a"], [{}], [[]], modes=[None])
    with pytest.raises(InputError, match="no step was checked"):
        _ = result.outcome


def test_records_of_different_steps_are_not_compared():
    run = make_run()
    first, second = (watch(run, get_backend("numpy"), [step]) for step in (0, 1))
    with pytest.raises(InputError, match=r"the records are of steps \[0, 1\]"):
        judge(run, ["a", "b"], [{}, {}], [first, second], modes=[None] * 2)


def test_another_dtype_than_was_declared_is_a_fault():
    run = make_run()
    wide = [
        replace(r, dtype="float32") for r in watch(run, get_backend("numpy", dtype="float64"), [0])
    ]
    result = judge(run, ["wide"], [{}], [wide], modes=[None])
    assert result.outcome is Outcome.DIVERGED
    assert result.certificates[0].cause.name == "silent float64"


def test_another_rate_is_found_at_the_rate():
    run = make_run()
    faster = replace(run.declaration, learning_rate=0.05 * (1 + 2**-22))
    other = replace(run, declaration=faster)
    result = judge(
        run, ["other"], [{}], [watch(other, get_backend("numpy"), range(4))],
        modes=[None],
    )  # fmt: skip
    assert result.first_divergence[1].tensor == "learning_rate"


def test_data_that_is_not_finite_is_no_run():
    run = make_run()
    with pytest.raises(InputError, match="X of shape .12, 31.: expected 2 axes and finite"):
        replace(run, X=np.full_like(run.X, np.nan))


@pytest.fixture
def a_program_that_updates_twice(monkeypatch):
    honest = portadnn.parity.run.train_step

    def twice(state, inputs, shared, **options):
        state, cost = honest(state, inputs, shared, **options)
        return honest(state, inputs, shared, **options)[0], cost

    monkeypatch.setattr(portadnn.parity.run, "train_step", twice)


@pytest.mark.usefixtures("a_program_that_updates_twice")
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_a_program_that_trains_otherwise_than_the_watched_one_fails(name, dtype, require):
    require(name)
    found = compare(make_run(steps=2), [get_backend(name, dtype=dtype)])
    assert found.outcome is Outcome.DIVERGED
    assert found.outcome.exit_code == 1
    check = found.first_divergence[1]
    assert (check.step, check.tensor) == (0, "W1+")
    assert check.ratio > 100
    assert found.certificates[0].mode.startswith("MODE MISMATCH: the program that trains, DIVERGED")


@pytest.mark.parametrize("optimizer", ["gradient_descent", "adam", "rmsprop"])
def test_a_compiled_program_may_differ_by_the_bounds_of_a_step(optimizer, dtype, require):
    require("jax")
    run = make_run(steps=8, optimizer=optimizer, l2=1e-2, clip_norm=0.1)
    found = compare(run, [get_backend("jax", dtype=dtype)])
    assert found.outcome is Outcome.PARITY
    program = found.certificates[0].program
    assert {check.tensor for check in program} >= {"cost", "W1+", "b3+"}
    # a bound that no fault exceeds would prove nothing
    largest = max(check.bound / check.exact for check in program if check.tensor == "cost")
    assert largest < 500 * np.finfo(dtype).eps  # seen: 90 to 120, a few roundings of each layer


def test_on_an_eager_backend_a_mismatch_of_the_run_alone_fails(monkeypatch):
    run = make_run()
    wrong = {name: p.astype(np.float32) for name, p in run.parameters.items()}
    monkeypatch.setattr(portadnn.parity.compare, "final_parameters", lambda *_: wrong)
    found = compare(run, [get_backend("numpy")])
    assert found.outcome is Outcome.DIVERGED
    assert "ended with other weights" in found.certificates[0].mode
