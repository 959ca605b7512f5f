"""A step on every backend against derived bounds, and faults that must be found where they are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.spec import Network
from portadnn.parity.bounds import Operands, declared_format, elementwise, product, updates
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.certify import (
    Verdict,
    certify_step,
    check_orders,
    check_tensor,
    first_failure,
)
from portadnn.parity.run import Run, final_parameters, watch
from portadnn.training.declaration import Declaration

RATE = 0.0075


def problem(network, m, seed, scale=1.0):
    """Parameters with biases, data with a blank example (exact zeros), labels."""
    rng = np.random.default_rng(seed)
    parameters = {
        name: p if name[0] == "W" else rng.standard_normal(p.shape) * 0.1
        for name, p in initialize_parameters_deep(network.layer_dims, rng=rng).items()
    }
    X = rng.standard_normal((network.layer_dims[0], m)) * scale
    X[:, 0] = 0
    n_y = network.layer_dims[-1]
    if network.head == "softmax":
        return parameters, X, np.eye(n_y)[:, rng.integers(0, n_y, m)]
    highest = 5 if network.head == "poisson" else 1
    return parameters, X, rng.integers(0, highest + 1, (n_y, m)).astype(float)


def make_run(network, m, seed=0, steps=3, scale=1.0, batch_size=None):
    declaration = Declaration(learning_rate=RATE, batch_size=batch_size)
    return Run(network, *problem(network, m, seed, scale), declaration, steps)


def certify_run(run, backend):
    """The checks of every step, each with the state that it must start from."""
    previous, checks = None, []
    for record in watch(run, backend, range(run.steps)):
        checks.append(certify_step(run, record, previous))
        previous = {name: record.tensors[f"{name}+"] for name in run.network.shapes}
    return checks


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_honest_steps_lie_within_their_bounds(activation, head, backend):
    run = make_run(Network((12, 7, 5, 2), activation, head), m=31)
    for checks in certify_run(run, backend):
        assert first_failure(checks) is None, str(first_failure(checks))
        assert max(check.ratio for check in checks) <= 1
        # X, Y, rate, 6 parameters before and after, and 2 L + 1 + 3 L + L - 1 operations
        assert len(checks) == 3 + 6 + 18 + 6
        masks = [c for c in checks if c.tensor[:2] == "dZ" and c.layer < 3]
        if activation in ("relu", "identity"):
            assert all(check.verdict is Verdict.EXACT for check in masks)
        assert all(c.bits is not None for c in checks if c.tensor in ("Z1", "dW2", "dA1"))


@pytest.mark.parametrize(
    ("dims", "m", "batch_size"),
    [
        ((300, 20, 7, 5, 1), 50, None),
        ((300, 20, 7, 5, 1), 50, 16),
        ((3, 1), 1, None),
        ((5, 1, 2), 4, 1),
        ((9, *[5] * 9, 1), 6, None),
    ],
)
def test_shapes_and_minibatches(dims, m, batch_size, backend):
    run = make_run(Network(dims), m, steps=4, batch_size=batch_size)
    for checks in certify_run(run, backend):
        assert first_failure(checks) is None, str(first_failure(checks))


@st.composite
def honest_cases(draw):
    dims = draw(st.lists(st.integers(1, 9), min_size=2, max_size=7))
    head = draw(st.sampled_from(sorted(HEADS)))
    if head == "softmax":
        dims[-1] += 1
    names = st.sampled_from(sorted(ACTIVATIONS))
    network = Network(tuple(dims), tuple(draw(names) for _ in dims[2:]), head)
    m = draw(st.integers(1, 8))
    batch_size = draw(st.none() | st.integers(1, m))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return make_run(network, m, draw(st.integers(0, 2**32)), 2, scale, batch_size)


@given(honest_cases(), st.sampled_from(["float32", "float64"]))
@settings(max_examples=200)
def test_no_honest_case_is_flagged(run, dtype):
    for checks in certify_run(run, get_backend("numpy", dtype=dtype)):
        assert first_failure(checks) is None, str(first_failure(checks))


def test_the_cat_data(cat_files, backend):
    from portadnn.data.load import load_dataset

    if backend.name == "dask":
        pytest.skip("the smaller cases cover Dask")
    data = load_dataset(cat_files[0])
    network = Network((12288, 20, 7, 5, 1))
    parameters = initialize_parameters_deep(network.layer_dims)
    X, Y = data.columns("float64"), data.targets("float64")
    run = Run(network, parameters, X, Y, Declaration(learning_rate=RATE), 2)
    for checks in certify_run(run, backend):
        assert first_failure(checks) is None, str(first_failure(checks))


NETWORK = Network((12, 7, 5, 1))
RUN = make_run(NETWORK, m=31, steps=2)


def faulty(record, **changes):
    """The record with tensors replaced."""
    return replace(record, tensors={**record.tensors, **changes})


def honest(backend):
    """The second step of a run, which must start where the first ended."""
    first, second = watch(RUN, backend, range(2))
    return second, {name: first.tensors[f"{name}+"] for name in NETWORK.shapes}


def find(record, previous):
    return first_failure(certify_step(RUN, record, previous))


def test_a_wrong_mask_is_found_at_its_tensor(backend):
    record, previous = honest(backend)
    index = tuple(np.argwhere(record.tensors["Z2"] <= 0)[0])
    dZ = record.tensors["dZ2"].copy()
    dZ[index] = record.tensors["dA2"][index]  # let through where the unit was off
    failure = find(faulty(record, dZ2=dZ), previous)
    assert failure.verdict is Verdict.DIVERGED
    assert (failure.step, failure.layer, failure.tensor) == (1, 2, "dZ2")
    assert failure.index == index
    assert failure.flagged == 1


@pytest.mark.parametrize("tensor", ["dW1", "dW3", "db2"])
def test_a_missing_1_over_m_is_found_at_its_tensor(tensor, backend):
    record, previous = honest(backend)
    failure = find(faulty(record, **{tensor: record.tensors[tensor] * 31}), previous)
    assert failure.verdict is Verdict.DIVERGED
    assert failure.tensor == tensor
    assert failure.layer == int(tensor[-1])
    assert f"DIVERGED step 1, layer {failure.layer}, {tensor}[" in str(failure)


def test_a_float16_learning_rate_is_found_at_the_update(backend):
    record, previous = honest(backend)
    rate = np.float64(np.float16(RATE))
    W = record.tensors["W1"].astype(np.float64) - rate * record.tensors["dW1"].astype(np.float64)
    W = W.astype(record.tensors["W1"].dtype)
    failure = find(faulty(record, **{"W1+": W}), previous)
    assert (failure.tensor, failure.layer) == ("W1+", 1)
    assert failure.verdict is Verdict.DIVERGED


def test_another_batch_and_another_state_are_found_bit_for_bit(backend):
    record, previous = honest(backend)
    X = record.tensors["X"].copy()
    X[3, 4] = np.nextafter(X[3, 4], np.inf)
    failure = find(faulty(record, X=X), previous)
    assert (failure.tensor, failure.layer, failure.index) == ("X", 0, (3, 4))
    b = previous["b2"].copy()
    b[1, 0] = np.nextafter(b[1, 0], np.inf)
    failure = find(record, {**previous, "b2": b})
    assert (failure.tensor, failure.layer, failure.index) == ("b2", 2, (1, 0))


def rounded(x, bits):
    """x with so many bits of significand, to nearest."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


@pytest.mark.parametrize(("bits", "mode"), [(11, "tf32"), (8, "bfloat16")])
def test_lower_precision_is_flagged_and_lawful_where_it_is_declared(bits, mode):
    run = make_run(Network((300, 20, 1)), m=50, steps=1)
    (record,) = watch(run, get_backend("numpy"), [0])
    t = {name: x.astype(np.float64) for name, x in record.tensors.items()}
    Z = rounded(t["W1"], bits) @ rounded(t["X"], bits) + t["b1"]
    changed = faulty(record, Z1=Z.astype(np.float32))
    failure = first_failure(certify_step(run, changed))
    assert failure.tensor == "Z1"
    assert failure.verdict in (Verdict.SUSPECT, Verdict.DIVERGED)
    assert abs(failure.bits - {"tf32": 12.4, "bfloat16": 9.4}[mode]) < 0.6
    declared = certify_step(run, changed, matmul=mode)
    assert next(c for c in declared if c.tensor == "Z1").verdict is Verdict.WITHIN_BOUND


@pytest.mark.parametrize("largest", [1e9, 1e30, 1e155, 1e300])
def test_one_huge_target_is_no_fault_in_reproducible_arithmetic(
    largest, dtype, backends_under_test
):
    if dtype == "float32":
        largest = min(largest, 1e15)
    for name in backends_under_test:
        run = make_run(Network((12, 7, 5, 2), head="identity"), m=31)
        run.Y[:, 0] *= largest
        backend = get_backend(name, dtype=dtype, arithmetic="reproducible")
        for record in watch(run, backend, range(1)):
            assert first_failure(certify_step(run, record)) is None
            dW = record.tensors["dW2"]
            halved = replace(record, tensors={**record.tensors, "dW2": dW / 2})
            assert first_failure(certify_step(run, halved)).tensor == "dW2"


def test_modes_that_do_not_fit():
    with pytest.raises(InputError, match="unknown matmul mode 'tf23': did you mean 'tf32'"):
        declared_format("float32", "tf23")
    with pytest.raises(InputError, match="products of float64 are never tf32"):
        declared_format("float64", "tf32")


def test_structured_data_is_no_fault():
    # a constant times a constant: every partial sum rounds the same way
    n = 4096
    run = make_run(Network((n, 1)), m=2, steps=1)
    parameters = {"W1": np.full((1, n), 0.1), "b1": np.zeros((1, 1))}
    run = replace(run, parameters=parameters, X=np.full((n, 2), 0.7))
    (record,) = watch(run, get_backend("numpy"), [0])
    products = record.tensors["W1"][0] * record.tensors["X"][:, 0]
    Z = np.add.accumulate(products)[-1]  # an honest, naive order
    changed = faulty(record, Z1=np.full((1, 2), Z, np.float32))
    check = next(c for c in certify_step(run, changed) if c.tensor == "Z1")
    assert check.verdict is Verdict.WITHIN_BOUND
    assert check.ratio > 1


def check_of_means(terms, means):
    """The check of a db that is the mean of the terms of each row."""
    m = terms.shape[1]
    operands = Operands(terms, np.ones((m, 1)), divisor=m)
    form = declared_format("float64")
    bound = product(operands.P, operands.R, form=form, divisor=m, entries=10**6)
    check = check_tensor(0, 1, "db1", means, bound, form)
    return check_orders(check, means, bound, [operands], "float64")


def in_lanes(terms, lanes):
    """The sums of rows, in so many partial sums at once, as vector units and threads add."""
    m = terms.shape[1] // lanes * lanes
    whole = np.add.accumulate(terms[:, :m].reshape(len(terms), -1, lanes), axis=1)[:, -1]
    rest = np.add.accumulate(terms[:, m:], axis=1)[:, -1:].sum(axis=1, keepdims=True)
    return np.add.accumulate(whole, axis=1)[:, -1:] + rest


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), lanes=st.sampled_from([1, 2, 4, 16, 32, 64]))
@example(seed=74, lanes=16)  # these err by more than four times what three other orders do
@example(seed=148, lanes=2)
@example(seed=300, lanes=4)
def test_a_mean_of_two_values_is_no_fault_in_any_order(seed, lanes):
    # an output that does not depend on the example: dZ = A - Y has as many values as Y has
    rng = np.random.default_rng(seed)
    m, a = int(rng.integers(1000, 4000)), rng.uniform(0.4, 0.6)
    terms = rng.choice([a, a - 1], (6, m))
    assert check_of_means(terms, in_lanes(terms, lanes) / m).verdict.passed


def test_terms_that_repeat_hide_no_fault_of_other_terms():
    rng = np.random.default_rng(0)
    m = 1214
    terms = rng.uniform(-1, 1, (6, m))
    terms[3] = rng.choice([0.3, -0.7], m)
    bound = product(terms, np.ones((m, 1)), form=declared_format("float64"), divisor=m)
    wrong = bound.exact.copy()
    wrong[2] += 4 * bound.stat[2]  # about a quarter of what rounding can do at most
    assert np.all(wrong <= bound.exact + bound.det)
    assert check_of_means(terms, wrong).verdict is Verdict.SUSPECT


def test_what_is_not_finite_is_said():
    record, previous = honest(get_backend("numpy"))
    Z = record.tensors["Z1"].copy()
    Z[0, 0] = np.nan
    failure = find(faulty(record, Z1=Z), previous)
    assert failure.verdict is Verdict.NON_FINITE
    assert (failure.tensor, failure.index) == ("Z1", (0, 0))


def test_lawful_overflow_is_no_fault():
    form = declared_format("float32")
    P, R = np.full((1, 2), 2e38), np.full((2, 1), 0.9)
    bound = product(P, R, form=form)
    assert bound.exact[0, 0] > form.largest
    run = make_run(Network((2, 1)), m=2, steps=1)
    parameters = {"W1": np.full((1, 2), 2e38), "b1": np.zeros((1, 1))}
    run = replace(run, parameters=parameters, X=np.full((2, 2), 0.9))
    (record,) = watch(run, get_backend("numpy"), [0])
    assert np.isinf(record.tensors["Z1"]).all()
    check = next(c for c in certify_step(run, record) if c.tensor == "Z1")
    assert check.verdict in (Verdict.VACUOUS, Verdict.WITHIN_BOUND)


@pytest.mark.parametrize("head", ["identity", "sigmoid"])
def test_lawful_overflow_within_an_operation_is_no_fault(head):
    # Z cancels and the cost divides by m, but what is summed before exceeds the largest float32
    run = make_run(Network((3, 1), head=head), m=4, steps=1)
    parameters = {"W1": np.asarray([[2e38, 2e38, -2e38]]), "b1": np.zeros((1, 1))}
    run = replace(run, parameters=parameters, X=np.ones((3, 4)))
    (record,) = watch(run, get_backend("numpy"), [0])
    overflowed = faulty(record, Z1=np.full((1, 4), np.inf, np.float32))
    check = next(c for c in certify_step(run, overflowed) if c.tensor == "Z1")
    assert check.verdict.passed
    wrong = faulty(record, Z1=np.full((1, 4), -1e38, np.float32))
    assert first_failure(certify_step(run, wrong)).tensor == "Z1"
    run = replace(run, parameters=parameters | {"W1": np.full((1, 3), 4e18)})
    (record,) = watch(run, get_backend("numpy"), [0])
    check = next(c for c in certify_step(run, record) if c.tensor == "cost")
    assert np.isinf(record.tensors["cost"]) == (head == "identity")
    assert check.verdict.passed


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (elementwise.ACTIVATION_BOUNDS, "relu"),
        (HEAD_BOUNDS, "sigmoid"),
        (updates.UPDATE, "gradient_descent"),
    ],
)
def test_an_operation_without_a_bound_is_not_certified(table, name, monkeypatch):
    monkeypatch.delitem(table, name)
    (record,) = watch(RUN, get_backend("numpy"), [0])
    with pytest.raises(InputError, match=f"no bound is derived for '{name}'"):
        certify_step(RUN, record)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_recording_a_run_does_not_change_it(batch_size, backend):
    run = make_run(NETWORK, m=31, steps=7, batch_size=batch_size)
    unwatched = final_parameters(run, backend)
    for steps in (range(7), [3, 6]):
        *_, last = watch(run, backend, steps)
        for name, p in unwatched.items():
            np.testing.assert_array_equal(last.tensors[f"{name}+"], p)


def test_a_run_that_cannot_be():
    with pytest.raises(InputError, match="batch size is 32: expected 1 to 31"):
        make_run(NETWORK, m=31, batch_size=32)
    with pytest.raises(InputError, match="steps 2 to 2 are wanted, but there are 2"):
        list(watch(RUN, get_backend("numpy"), [2]))


def test_batches_are_a_shuffle_of_every_epoch():
    run = make_run(NETWORK, m=31, batch_size=8, steps=12)
    batch = run.plan.batches.indices
    epochs = [np.concatenate([batch(4 * e + i) for i in range(4)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(31))
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(batch(4), batch(4))


def test_a_nan_of_two_lawful_overflows_is_no_fault():
    run = make_run(Network((2, 1)), m=2, steps=1)
    parameters = {"W1": np.asarray([[2.0, -2.0]]), "b1": np.zeros((1, 1))}
    run = replace(run, parameters=parameters, X=np.full((2, 2), 3e38))
    (record,) = watch(run, get_backend("numpy"), [0])
    assert not np.isfinite(record.tensors["Z1"]).any()
    check = next(c for c in certify_step(run, record) if c.tensor == "Z1")
    assert check.verdict.passed


@pytest.mark.parametrize(("Z", "lawful"), [(3e38, True), (1e38, False)])
def test_a_poisson_cost_is_nan_only_if_both_its_parts_overflow(Z, lawful):
    # exp(Z) is infinite in both; 2 Z overflows in the first
    run = make_run(Network((1, 1), head="poisson"), m=1, steps=1)
    parameters = {"W1": np.ones((1, 1)), "b1": np.zeros((1, 1))}
    run = replace(run, parameters=parameters, X=np.full((1, 1), Z), Y=np.full((1, 1), 2.0))
    (record,) = watch(run, get_backend("numpy"), [0])
    assert np.isnan(record.tensors["cost"]) == lawful
    wrong = faulty(record, cost=np.float32(np.nan))
    check = next(c for c in certify_step(run, wrong) if c.tensor == "cost")
    assert check.verdict.passed == lawful


def test_a_zero_of_the_other_sign_is_found_in_what_a_step_is_given():
    run = make_run(Network((12, 7, 5, 1)), m=31, steps=1)
    (record,) = watch(run, get_backend("numpy"), [0])
    assert record.tensors["X"][3, 0] == 0  # the blank example
    X = record.tensors["X"].copy()
    X[3, 0] = -0.0
    check = first_failure(certify_step(run, replace(record, tensors={**record.tensors, "X": X})))
    assert (check.tensor, check.index, check.verdict) == ("X", (3, 0), Verdict.DIVERGED)


def test_a_computed_zero_of_the_other_sign_is_not_exact():
    run = make_run(Network((12, 7, 5, 1)), m=31, steps=1)
    (record,) = watch(run, get_backend("numpy"), [0])

    def verdict(A):
        tensors = {**record.tensors, "A1": A}
        checks = {c.tensor: c.verdict for c in certify_step(run, replace(record, tensors=tensors))}
        return checks["A1"]

    A = record.tensors["A1"]
    assert verdict(A) is Verdict.EXACT
    assert verdict(np.where(A == 0, np.float32(-0.0), A)) is Verdict.WITHIN_BOUND


def test_a_gradient_that_was_flushed_may_be_there_in_the_fused_update():
    # XLA makes S (rate / m) of it, and S is a normal number although S / m is not
    run = make_run(Network((3, 1)), m=4, steps=1)
    run = replace(run, declaration=Declaration(learning_rate=6.35))
    (record,) = watch(run, get_backend("numpy"), [0])
    tensors = dict(record.tensors)
    for name in ("b1", "db1", "gb1"):
        tensors[name] = np.zeros_like(tensors["b1"])
    check = {}
    for g in (8.7e-39, 8.7e-38):
        tensors["b1+"] = np.full((1, 1), -6.35 * g, np.float32)
        checks = certify_step(run, replace(record, tensors=tensors))
        check[g] = next(c.verdict for c in checks if c.tensor == "b1+")
    assert check[8.7e-39] is Verdict.WITHIN_BOUND
    assert check[8.7e-38] is Verdict.DIVERGED


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_nan_for_an_infinity_is_lawful_in_reproducible_products_alone(arithmetic):
    run = make_run(Network((12, 7, 5, 1)), m=31, steps=1)
    backend = get_backend("numpy", arithmetic=arithmetic)
    (record,) = watch(run, backend, [0])
    dZ, dW = record.tensors["dZ2"].copy(), record.tensors["dW2"].copy()
    dZ[0, 0], A = np.inf, record.tensors["A1"]
    with np.errstate(invalid="ignore"):
        dW[0] = (dZ @ A.T)[0] / 31
    assert np.isposinf(dW[0]).any()
    dW[0] = np.nan
    checks = certify_step(run, replace(record, tensors={**record.tensors, "dZ2": dZ, "dW2": dW}))
    found = next(c for c in checks if c.tensor == "dW2")
    assert found.verdict.passed == (arithmetic == "reproducible")


@pytest.mark.parametrize("g", [0.9, 1.1])
def test_a_velocity_below_the_least_counts_as_0_in_reproducible_float32(g):
    # the step is 6.35 times the velocity, which is just below or above 2^-80
    declaration = Declaration(learning_rate=6.35, optimizer="momentum")
    run = replace(make_run(Network((3, 1)), m=4, steps=1), declaration=declaration)
    (record,) = watch(run, get_backend("numpy", arithmetic="reproducible"), [0])
    v = np.full((1, 1), g * 2.0**-80, np.float32)
    tensors = {**record.tensors, "b1": 0 * v, "vb1": 0 * v, "db1": v, "gb1": v}
    kept = v if g > 1 else 0 * v
    verdicts = {}
    for wrong in (0.0, 1e-24):
        tensors |= {"vb1+": kept, "b1+": (-np.float32(6.35) * kept - wrong).astype(np.float32)}
        checks = certify_step(run, replace(record, tensors=tensors))
        verdicts[wrong] = {c.tensor: c.verdict.passed for c in checks}
    assert verdicts[0.0]["b1+"]
    assert verdicts[0.0]["vb1+"]
    assert not verdicts[1e-24]["b1+"]
