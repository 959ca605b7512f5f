"""Whole runs on several backends: verdicts, kinks, noise floors, and what they cost."""

from dataclasses import replace

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.certify import Verdict
from portadnn.parity.compare import Outcome, compare, judge
from portadnn.parity.coverage import Coverage, affordable_coverage, full_coverage, sampled_coverage
from portadnn.parity.projection import project_step
from portadnn.parity.run import Run, watch
from portadnn.parity.step.kinks import find_kinks
from portadnn.parity.step.noise import noise_floor
from portadnn.training.declaration import Declaration


def make_run(dims=(12, 7, 5, 1), m=31, steps=4, batch_size=None, seed=0, **network):
    rng = np.random.default_rng(seed)
    network = Network(dims, **network)
    X = rng.standard_normal((dims[0], m))
    Y = rng.integers(0, 2, (dims[-1], m)).astype(float)
    parameters = initialize_parameters_deep(dims, rng=rng)
    declaration = Declaration(learning_rate=0.05, epochs=steps, batch_size=batch_size)
    return Run(network, parameters, X, Y, declaration, steps)


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
        assert certificate.mode_mismatch is False
        assert certificate.environment["library"].startswith(certificate.backend.split(":")[0])
        assert certificate.largest.ratio <= 1
    assert all(kink.undecidable for kink in result.kinks)
    if dtype == "float64":
        assert all(deviation.relative < 1e-9 for deviation in result.deviations)


def test_one_backend_alone_is_checked_against_the_shadow(backend):
    result = compare(make_run(), [backend])
    assert result.outcome is Outcome.PARITY
    assert result.deviations == []


def test_op_by_op_where_a_backend_would_compile(require):
    require("jax")
    result = compare(make_run(), [get_backend("jax")], jit=False)
    assert result.outcome is Outcome.PARITY
    assert result.certificates[0].mode_mismatch is None  # there is no other program to compare


def test_no_backend_is_no_comparison():
    with pytest.raises(InputError, match="no backend to compare was given"):
        compare(make_run(), [])


def faulty_records(run, backend, step, tensor, change):
    """The stream of a run with one tensor of one step changed."""
    for record in watch(run, backend, range(run.steps)):
        if record.step == step:
            tensors = {**record.tensors, tensor: change(record.tensors[tensor])}
            record = replace(record, tensors=tensors)
        yield record


def judge_faulty(run, step, tensor, change, coverage=None):
    backend = get_backend("numpy")
    streams = [
        watch(run, backend, range(run.steps)),
        faulty_records(run, backend, step, tensor, change),
    ]
    return judge(
        run, ["honest", "faulty"], [{}, {}], streams,
        coverage=coverage or full_coverage(run.steps), modes=[None, None],
    )  # fmt: skip


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


def test_projections_find_gross_faults_between_the_full_checks():
    run = make_run(steps=9)
    coverage = Coverage(frozenset({0, 8}), every=1)
    honest = compare(run, [get_backend("numpy")], coverage=coverage)
    assert honest.outcome is Outcome.PARITY
    assert (honest.certificates[0].full, honest.certificates[0].projected) == (2, 7)
    result = judge_faulty(run, 4, "dW1", lambda x: x * 31, coverage)
    assert result.outcome is Outcome.DIVERGED
    assert result.first_divergence[1].tensor == "dW1"


@pytest.mark.parametrize("seed", range(20))
def test_projections_flag_no_honest_step(seed, backend):
    run = make_run((40, 9, 6, 2), m=20, steps=2, seed=seed)
    for record in watch(run, backend, range(2)):
        assert project_step(run, record) == []


def test_plans():
    assert full_coverage(3).steps(3) == [0, 1, 2]
    coverage = sampled_coverage(3000, 10)
    assert coverage.full == {0, 1, 2, 5, 10, 100, 1000, 2999}
    assert coverage.steps(30) == [0, 1, 2, 5, 10, 20]
    assert coverage.share(3000) == 304 / 3000  # 1, 2, 5 and 2999 are no multiples of 10


def test_an_affordable_coverage_has_more_projections_for_more_time():
    run = make_run(steps=3000)
    backend = get_backend("numpy")
    assert affordable_coverage(run, backend, share=0.0).every == 0
    generous = affordable_coverage(run, backend, share=1000.0)
    assert generous.every == 1
    assert generous.full == sampled_coverage(3000).full


def kinked_records(nudge):
    """Two records of a step whose Z differ in sign at one entry, by what a nudge of W1 makes."""
    run = make_run(m=1, steps=1)
    (first,) = watch(run, get_backend("numpy"), [0])
    Z = first.tensors["Z1"]
    unit = 3
    parameters = {name: p.copy() for name, p in run.parameters.items()}
    # bring the unit's Z to almost 0 by its bias, a little above on one side and below on the other
    parameters["b1"][unit, 0] -= float(Z[unit, 0])
    sides = []
    for sign in (1, -1):
        nudged = {**parameters, "b1": parameters["b1"].copy()}
        nudged["b1"][unit, 0] += sign * nudge
        side = replace(run, parameters=nudged)
        sides.append(next(iter(watch(side, get_backend("numpy"), [0]))))
    return run, sides, unit


def test_a_mask_that_the_states_explain_is_an_undecidable_kink():
    run, (first, second), unit = kinked_records(1e-5)
    (kink,) = find_kinks(run, first, second, ("a", "b"))
    assert (kink.step, kink.layer, kink.unit, kink.sample) == (0, 1, unit, 0)
    assert kink.first > 0 > kink.second
    assert kink.undecidable
    # two biases 2e-5 apart explain no more than that and the roundings
    assert kink.propagated < 2.2e-5 + 1e-5
    assert "UNDECIDABLE KINK step 0, layer 1, unit 3, sample 0" in str(kink)


def test_a_mask_that_nothing_explains_is_a_divergence():
    run, (first, _), unit = kinked_records(1e-5)
    Z = first.tensors["Z1"].copy()
    Z[unit, 0] = -0.5
    other = replace(first, tensors={**first.tensors, "Z1": Z})
    (kink,) = find_kinks(run, first, other, ("a", "b"))
    assert not kink.undecidable
    assert "UNEXPLAINED MASK" in str(kink)
    result = judge(
        run,
        ["a", "b"],
        [{}, {}],
        [[first], [other]],
        coverage=Coverage(frozenset()),
        modes=[None, None],
    )
    assert result.outcome is Outcome.DIVERGED


def test_no_kink_without_a_kinked_activation():
    run = make_run(activations="tanh")
    (first,) = watch(run, get_backend("numpy"), [0])
    other = replace(first, tensors={name: -x for name, x in first.tensors.items()})
    assert find_kinks(run, first, other, ("a", "b")) == []


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
    result = judge(run, ["low"], [{}], [[changed]], coverage=full_coverage(1), modes=[None])
    check = result.first_divergence[1]
    assert check.tensor == "Z1"
    assert check.verdict is Verdict.SUSPECT


def test_the_noise_floor(backend):
    floor = noise_floor(make_run(), backend)
    eps = float(backend.xp.finfo(backend.dtype).eps)
    assert floor["repeat"] == 0
    assert floor["batch split"] < 100 * eps  # 4 steps of a few roundings each
    if backend.library in ("numpy", "torch"):
        assert floor["threads"] < 100 * eps
    else:
        assert floor["threads"] is None


@pytest.mark.parametrize("batch_size", [None, 9])
def test_a_step_in_halves_adds_penalty_and_clipping_once(batch_size):
    backend = get_backend("numpy", dtype="float64")
    run = make_run(batch_size=batch_size)
    declared = replace(run.declaration, optimizer="momentum", l2=0.1, dropout=(0.5, 0.2))
    run = replace(run, declaration=declared, weights=np.linspace(0, 2, 31)[None])
    eps = np.finfo(float).eps
    clipped = replace(run, declaration=replace(declared, clip_norm=0.1))
    for form in (run, clipped, run.in_sample_space("float64")):
        # 4 steps of a few roundings each
        assert noise_floor(form, backend)["batch split"] < 100 * eps


def test_the_noise_floor_of_batches_of_one():
    assert noise_floor(make_run(m=1), get_backend("numpy"))["batch split"] is None
    assert noise_floor(make_run(batch_size=8), get_backend("numpy"))["batch split"] > 0


def test_nothing_looked_at_is_no_parity():
    result = judge(make_run(), ["a"], [{}], [[]], coverage=Coverage(frozenset()), modes=[None])
    with pytest.raises(InputError, match="no step was looked at"):
        _ = result.outcome


def test_records_of_different_steps_are_not_compared():
    run = make_run()
    first, second = (watch(run, get_backend("numpy"), [step]) for step in (0, 1))
    with pytest.raises(InputError, match=r"the records are of steps \[0, 1\]"):
        judge(
            run, ["a", "b"], [{}, {}], [first, second], coverage=full_coverage(4), modes=[None] * 2
        )


def test_another_dtype_than_was_declared_is_a_fault():
    run = make_run()
    wide = [
        replace(r, dtype="float32") for r in watch(run, get_backend("numpy", dtype="float64"), [0])
    ]
    result = judge(run, ["wide"], [{}], [wide], coverage=full_coverage(4), modes=[None])
    assert result.outcome is Outcome.DIVERGED
    assert result.certificates[0].cause.name == "silent float64"


def test_another_rate_is_found_at_the_rate():
    run = make_run()
    faster = replace(run.declaration, learning_rate=0.05 * (1 + 2**-22))
    other = replace(run, declaration=faster)
    result = judge(
        run, ["other"], [{}], [watch(other, get_backend("numpy"), range(4))],
        coverage=full_coverage(4), modes=[None],
    )  # fmt: skip
    assert result.first_divergence[1].tensor == "learning_rate"


@pytest.mark.parametrize("tensor", ["Y", "A1", "db2", "dZ1", "b1+"])
def test_projected_steps_check_all_but_products_in_full(tensor):
    run = make_run(steps=9)
    coverage = Coverage(frozenset({0, 8}), every=1)
    result = judge_faulty(run, 4, tensor, lambda x: x + np.float32(0.01), coverage)
    assert result.first_divergence[1].tensor == tensor


def test_data_that_is_not_finite_is_no_run():
    run = make_run()
    with pytest.raises(InputError, match="X of shape .12, 31.: expected 2 axes and finite"):
        replace(run, X=np.full_like(run.X, np.nan))


def test_kinks_of_declared_lower_precision_are_lawful():
    # one side's products have inputs of 11 bits, as it declares: its masks may differ by as much
    run = make_run((200, 40, 1), m=300, steps=1)
    (plain,) = watch(run, get_backend("numpy"), [0])

    def eleven_bits(x):
        mantissa, exponent = np.frexp(x.astype(np.float64))
        return np.ldexp(np.round(np.ldexp(mantissa, 11)), exponent - 11)

    t = plain.tensors
    Z = (eleven_bits(t["W1"]) @ eleven_bits(t["X"]) + t["b1"]).astype(np.float32)
    low = replace(plain, tensors={**t, "Z1": Z})
    kinks = find_kinks(run, low, plain, ("gpu", "cpu"), ("tf32", None))
    assert kinks
    assert all(kink.undecidable for kink in kinks)
