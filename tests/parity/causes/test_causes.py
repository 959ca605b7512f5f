"""Faults that are planted in records of honest steps, and the causes that are named for them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.names import kind_and_layer
from portadnn.network.optimizers import Adam
from portadnn.network.spec import Network
from portadnn.parity.bounds import declared_format
from portadnn.parity.causes import HYPOTHESES, name_cause
from portadnn.parity.causes.precision import rounded
from portadnn.parity.certify import Verdict, certify_step, first_failure
from portadnn.parity.run import Run, watch
from portadnn.parity.step.operations import compute, operands
from portadnn.training.declaration import Declaration

RATE = 0.0075
M = 31


def make_run(dims=(60, 7, 7, 1), batch_size=None, head="sigmoid", activations="relu", steps=3):
    rng = np.random.default_rng(5)
    parameters = {
        name: p if name[0] == "W" else rng.standard_normal(p.shape) * 0.1
        for name, p in initialize_parameters_deep(dims, rng=rng).items()
    }
    X = rng.standard_normal((dims[0], M))
    X[:, 0] = 0
    Y = rng.integers(0, 2, (dims[-1], M)).astype(float)
    if head == "softmax":
        Y = np.eye(dims[-1])[:, rng.integers(0, dims[-1], M)]
    declaration = Declaration(learning_rate=RATE, batch_size=batch_size)
    return Run(Network(dims, activations, head), parameters, X, Y, declaration, steps)


RUN = make_run()


def records(run=RUN, dtype="float32"):
    """Steps 0 and 1."""
    return list(watch(run, get_backend("numpy", dtype=dtype), range(2)))


def wide(record):
    return {name: x.astype(np.float64) for name, x in record.tensors.items()}


def diagnose(tensor, value, run=RUN, dtype="float32", *, keep_dtype=False, matmul=None):
    """The cause named for the second step with a tensor replaced, which must be what fails."""
    previous, record = records(run, dtype)
    value = np.asarray(value(wide(record), wide(previous)))
    if not keep_dtype:
        value = value.astype(dtype)
    record = replace(record, tensors={**record.tensors, tensor: value})
    state = previous.state_after()
    failure = first_failure(certify_step(run, record, state, matmul=matmul))
    assert failure is not None
    assert failure.tensor == tensor
    return name_cause(run, record, failure, previous, matmul=matmul)


def half(x):
    return np.asarray(x).astype(np.float16).astype(np.float64)


def swapped(x, axis=0):
    order = np.arange(x.shape[axis])
    order[[1, 2, 4]] = order[[4, 1, 2]]
    return np.take(x, order, axis)


def costs(t):
    """What every example costs under the sigmoid head."""
    return (np.log1p(np.exp(-np.abs(t["Z3"]))) + np.maximum(t["Z3"], 0) - t["Y"] * t["Z3"])[0]


FAULTS = {
    "missing 1/m in dW": ("dW1", lambda t, _: t["dW1"] * M, "missing 1/m"),
    "missing 1/m in db": ("db2", lambda t, _: t["db2"] * M, "missing 1/m"),
    "missing 1/m in the cost": ("cost", lambda t, _: t["cost"] * M, "missing 1/m"),
    "1/(m-1)": ("dW2", lambda t, _: t["dW2"] * M / (M - 1), "1/(m-1)"),
    "1/m in dZ": ("dZ3", lambda t, _: t["dZ3"] / M, "extra 1/m"),
    "first column of db": ("db2", lambda t, _: t["dZ2"][:, :1] / M, "first column only"),
    "first column of db, no mean": ("db2", lambda t, _: t["dZ2"][:, :1], "first column only"),
    "first column of dW": (
        "dW2",
        lambda t, _: (
            t["dZ2"][:, 3:4] @ t["A1"][:, 3:4].T * 0 + t["dZ2"][:, :1] @ t["A1"][:, :1].T / M
        ),
        "first column only",
    ),
    "first column updated": (
        "W1+",
        lambda t, _: np.where(np.arange(60) == 0, t["W1+"], t["W1"]),
        "first column only",
    ),
    "a dropped example": (
        "dW2",
        lambda t, _: np.delete(t["dZ2"], 17, 1) @ np.delete(t["A1"], 17, 1).T / M,
        "dropped sample",
    ),
    "a dropped example and its share": (
        "dW2",
        lambda t, _: np.delete(t["dZ2"], 17, 1) @ np.delete(t["A1"], 17, 1).T / (M - 1),
        "dropped sample",
    ),
    "stale A in Z": ("Z2", lambda t, p: t["W2"] @ p["A1"] + t["b2"], "stale input"),
    "stale A in dW": ("dW3", lambda t, p: t["dZ3"] @ p["A2"].T / M, "stale input"),
    "stale Z in A": ("A3", lambda t, p: p["A3"], "stale input"),
    "stale gradient": ("W2+", lambda t, p: t["W2"] - RATE * p["dW2"], "stale input"),
    "stale everything": ("dA1", lambda t, p: p["dA1"], "stale input"),
    "lost update": ("W2", lambda t, p: p["W2"], "stale state"),
    "no update": ("b1+", lambda t, _: t["b1"], "no update"),
    "updated early": ("dA1", lambda t, _: t["W2+"].T @ t["dZ2"], "updated early"),
    "sign of dZ": ("dZ3", lambda t, _: t["Y"] - t["A3"], "sign flip"),
    "sign of dW": ("dW1", lambda t, _: -t["dW1"], "sign flip"),
    "sign of the update": ("W1+", lambda t, _: t["W1"] + RATE * t["dW1"], "sign flip"),
    "W for W^T": ("dA1", lambda t, _: t["W2"] @ t["dZ2"], "transposed W"),
    "W^T for W": ("Z2", lambda t, _: t["W2"].T @ t["A1"] + t["b2"], "transposed W"),
    "transposed W+": ("W2+", lambda t, _: t["W2+"].T, "transposed W"),
    "bias dropped": ("Z1", lambda t, _: t["W1"] @ t["X"], "bias dropped"),
    "units of A": ("A1", lambda t, _: swapped(t["A1"]), "permuted units"),
    "units of W": ("W1", lambda t, _: swapped(t["W1"]), "permuted units"),
    "examples of X": ("X", lambda t, _: swapped(t["X"], 1), "permuted columns"),
    "rate in float16": (
        "W1+",
        lambda t, _: t["W1"] - float(np.float16(RATE)) * t["dW1"],
        "learning rate in float16",
    ),
    "dW doubled": ("dW2", lambda t, _: 2 * t["dW2"], "doubled"),
    "dW transposed": ("dW2", lambda t, _: t["dW2"].T, "transposed dW"),
    "labels shifted by one": ("Y", lambda t, _: np.roll(t["Y"], 1, axis=1), "shifted by one"),
    "labels shifted, the first one twice": (
        "Y",
        lambda t, _: t["Y"][:, [0, *range(M - 1)]],
        "shifted by one",
    ),
    "an example left out of the cost": (
        "cost",
        lambda t, _: costs(t)[np.arange(M) != 17].sum() / M,
        "dropped sample",
    ),
    "an example left out of the cost and of m": (
        "cost",
        lambda t, _: costs(t)[np.arange(M) != 17].mean(),
        "dropped sample",
    ),
    "rate of another": ("W1+", lambda t, _: t["W1"] - 0.009 * t["dW1"], "another learning rate"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, dtype):
    tensor, plant, name = FAULTS[fault]
    cause = diagnose(tensor, plant, dtype=dtype)
    assert cause is not None
    assert cause.name == name
    assert tensor.rstrip("+") in cause.sentence
    assert cause.remedy


def test_a_mask_that_is_on_at_0():
    run = replace(RUN, parameters={**RUN.parameters, "b1": np.zeros((7, 1))})
    (record,) = watch(run, get_backend("numpy"), [0])
    t = record.tensors
    assert np.any(t["Z1"] == 0)
    dZ = np.where(t["Z1"] >= 0, t["dA1"], np.float32(0))
    record = replace(record, tensors={**t, "dZ1": dZ})
    failure = first_failure(certify_step(run, record))
    assert failure.tensor == "dZ1"
    assert name_cause(run, record, failure).name == "mask >= for >"


def test_the_example_that_was_dropped_is_named():
    tensor, plant, _ = FAULTS["a dropped example"]
    assert "leaves out example 17 of the step, of 31" in diagnose(tensor, plant).sentence


LOW = {
    "TF32": lambda x: rounded(x, 11),
    "TF32 toward zero": lambda x: rounded(x, 11, toward_zero=True),
    "bfloat16": lambda x: rounded(x, 8),
    "float16": half,
}


@pytest.mark.parametrize("tensor", ["Z1", "dA1", "dW1"])
@pytest.mark.parametrize("way", LOW)
def test_low_precision_inputs_of_products_are_named(tensor, way):
    low = LOW[way]

    def plant(t, _):
        if tensor == "Z1":
            return low(t["W1"]) @ low(t["X"]) + t["b1"]
        if tensor == "dW1":
            return low(t["dZ1"]) @ low(t["X"]).T / M
        return low(t["W2"]).T @ low(t["dZ2"])

    cause = diagnose(tensor, plant)
    # TF32 and float16 have the same significand; they differ for small numbers only
    assert cause.name in ({"TF32", "float16"} if way == "float16" else {way.partition(" ")[0]})
    if cause.name == "TF32":
        assert "allow_tf32 = False" in cause.remedy
        assert "CUPY_TF32=0" in cause.remedy


@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("batch_size", [None, 1])
def test_few_bits_of_the_inputs_are_not_taken_for_a_narrow_result(bits, batch_size):
    # with one example, a product of 4 bits and 4 bits has the 8 of bfloat16
    run = make_run(batch_size=batch_size, steps=3)

    def plant(t, _):
        return rounded(t["dZ1"], bits) @ rounded(t["X"], bits).T / t["X"].shape[1]

    cause = diagnose("dW1", plant, run)
    assert cause.name == f"{bits}-bit inputs"
    assert f"to {bits} significant bits" in cause.sentence


@pytest.mark.parametrize("tensor", ["Z1", "dA1", "dW1"])
@pytest.mark.parametrize("operand", [0, 1])
def test_tf32_in_one_operand_is_named(tensor, operand):
    def plant(t, _):
        low = [lambda x: rounded(x, 11), lambda x: x][:: 1 if operand == 0 else -1]
        if tensor == "Z1":
            return low[0](t["W1"]) @ low[1](t["X"]) + t["b1"]
        if tensor == "dW1":
            return low[0](t["dZ1"]) @ low[1](t["X"]).T / M
        return low[0](t["W2"]).T @ low[1](t["dZ2"])

    cause = diagnose(tensor, plant)
    assert cause.name == "TF32 in one operand"
    name = {"Z1": ("W1", "X"), "dW1": ("dZ1", "X"), "dA1": ("W2", "dZ2")}[tensor][operand]
    assert f"of which {name} was rounded" in cause.sentence


@pytest.mark.parametrize("tensor", ["A1", "dZ1"])
def test_another_slope_is_named(tensor, dtype):
    def plant(t, _):
        x = t["Z1"] if tensor == "A1" else t["dA1"]
        return np.where(t["Z1"] > 0, x, 0.02 * x)

    cause = diagnose(tensor, plant, make_run(activations="leaky_relu"), dtype)
    assert cause.name == "another slope"
    assert f"{tensor} has the slope 0.02 below 0, not 0.01" in cause.sentence


ADAM = replace(RUN, declaration=Declaration(learning_rate=RATE, optimizer=Adam(), l2=0.1))
WITH_CLIPPING = replace(RUN, declaration=Declaration(learning_rate=RATE, l2=0.1, clip_norm=0.01))


@pytest.mark.parametrize(
    ("swapped", "name"),
    [("vs", "beta1 and beta2 swapped"), ("v", "beta2 for beta1"), ("s", "beta1 for beta2")],
)
def test_betas_in_the_place_of_each_other_are_named(swapped, name, dtype):
    previous, record = records(ADAM, dtype)
    t, o = wide(record), ADAM.recipe.optimizer
    changed = dict(record.tensors)
    for slot, beta in (("v", o.beta2), ("s", o.beta1)):
        if slot in swapped:
            g = t["rW1"] if slot == "v" else t["rW1"] ** 2
            mean = beta * t[f"{slot}W1"] + (1 - beta) * g
            changed[f"{slot}W1+"] = mean.astype(dtype)
    record = replace(record, tensors=changed)
    failure = first_failure(certify_step(ADAM, record, previous.state_after()))
    assert failure.tensor == f"{swapped[0]}W1+"
    assert name_cause(ADAM, record, failure, previous).name == name


def test_a_penalty_of_the_biases_is_named(dtype):
    def updated(t, _):
        return t["b2"] - RATE * (t["db2"] + 0.1 * t["b2"])

    plain = replace(RUN, declaration=Declaration(learning_rate=RATE, l2=0.1))
    assert diagnose("b2+", updated, plain, dtype).name == "bias penalized"

    def averaged(t, _):
        return 0.9 * t["vb2"] + 0.1 * (t["db2"] + 0.1 * t["b2"])

    assert diagnose("vb2+", averaged, ADAM, dtype).name == "bias penalized"

    def norm(t, _):
        squares = [np.sum(t[f"rW{l}"] ** 2) + np.sum((t[f"db{l}"] + 0.1 * t[f"b{l}"]) ** 2)
                   for l in (1, 2, 3)]  # fmt: skip
        return np.sqrt(np.sum(squares)).reshape(1, 1)

    assert diagnose("norm", norm, WITH_CLIPPING, dtype).name == "bias penalized"


def test_float16_of_small_numbers_is_told_from_tf32():
    def plant(t, _):
        return half(t["dZ1"]) @ half(t["X"]).T / M

    run = replace(RUN, parameters={**RUN.parameters, "W3": RUN.parameters["W3"] * 1e-3})
    assert diagnose("dW1", plant, run).name == "float16"


def test_float32_products_where_float64_was_declared():
    def plant(t, _):
        single = {name: x.astype(np.float32) for name, x in t.items()}
        return single["W1"] @ single["X"] + single["b1"]

    cause = diagnose("Z1", plant, dtype="float64")
    assert cause.name == "silent float32"
    assert "jax.enable_x64" in cause.remedy


@pytest.mark.parametrize("tensor", ["X", "W2", "Z1", "A3", "dZ3", "dW2", "W1+", "cost"])
def test_silent_float16_is_named(tensor):
    cause = diagnose(tensor, lambda t, _: half(t[tensor]))
    assert cause.name == "silent float16"


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_16_bit_product_with_sums_in_float32_is_named(name):
    run = make_run((2000, 7, 1))
    low = half if name == "float16" else lambda x: rounded(x, 8)

    def plant(t, _):
        return low(low(t["W1"]) @ low(t["X"]) + t["b1"])

    assert diagnose("Z1", plant, run).name == f"silent {name}"


def test_overflow_of_float16_is_silent_float16():
    run = replace(RUN, X=RUN.X * 1e5)

    def plant(t, _):
        with np.errstate(over="ignore"):
            return half(t["Z1"])

    assert diagnose("Z1", plant, run).name == "silent float16"


def test_data_that_stayed_float64_are_named():
    cause = diagnose("X", lambda t, _: RUN.X, keep_dtype=True)
    assert cause.name == "silent float64"


def passing_checks(run, record):
    return {check.tensor: check for check in certify_step(run, record)}


def test_products_in_float64_are_named_though_they_pass():
    run = make_run((60, 40, 1))
    (record, _) = records(run)
    honest = [name_cause(run, record, check) for check in passing_checks(run, record).values()]
    assert honest == [None] * len(honest)
    t = wide(record)
    Z = (t["W1"] @ t["X"] + t["b1"]).astype(np.float32)
    better = replace(record, tensors={**record.tensors, "Z1": Z})
    check = passing_checks(run, better)["Z1"]
    assert check.verdict is Verdict.WITHIN_BOUND
    assert name_cause(run, better, check).name == "silent float64"
    kept = replace(record, tensors={**record.tensors, "dW1": t["dW1"]})
    assert name_cause(run, kept, passing_checks(run, kept)["dW1"]).name == "silent float64"


@pytest.mark.parametrize("tensor", ["X", "Y"])
def test_the_step_of_a_different_batch_is_named(tensor):
    run = make_run(batch_size=10, steps=9)

    def plant(t, _):
        return run.declared(6, "float32")[tensor]

    cause = diagnose(tensor, plant, run)
    assert cause.name == "different batch"
    assert cause.sentence == f"{tensor} of step 1 belongs to the batch of step 6"


def test_faults_under_a_declared_mode():
    def plant(t, _):
        return rounded(t["dZ1"], 11) @ rounded(t["X"], 11).T

    assert diagnose("dW1", plant, matmul="tf32").name == "missing 1/m"
    assert diagnose("dW1", plant) is None  # two faults at once


def test_without_the_step_before_nothing_stale_is_named():
    previous, record = records()
    t, p = wide(record), wide(previous)
    Z = (t["W2"] @ p["A1"] + t["b2"]).astype(np.float32)
    record = replace(record, tensors={**record.tensors, "Z2": Z})
    failure = first_failure(certify_step(RUN, record))
    assert name_cause(RUN, record, failure) is None
    assert name_cause(RUN, record, failure, previous).name == "stale input"
    state = {name: previous.tensors[f"{name}+"] for name in RUN.network.shapes}
    b = record.tensors["b1"] + 1
    record = replace(record, tensors={**record.tensors, "b1": b})
    failure = first_failure(certify_step(RUN, record, state))
    assert name_cause(RUN, record, failure) is None


def test_the_lowest_precision_of_long_sums_is_named():
    run = make_run((12288, 20, 1))

    def plant(t, _):
        single = (rounded(t[name], 11).astype(np.float32) for name in ("W1", "X"))
        return np.matmul(*single) + t["b1"]

    assert diagnose("Z1", plant, run).name == "TF32"


TENSORS = [
    *("X", "Y", "W2", "b1", "Z1", "A1", "A3", "cost", "dZ3", "dZ1", "dW1", "db2", "dA1"),
    *("W1+", "b2+"),
]


@given(
    st.sampled_from(TENSORS), st.integers(0, 2**32), st.floats(-4.5, 1), st.sampled_from([1, 0.2])
)
@settings(max_examples=150)
def test_errors_of_no_known_kind_are_not_named(tensor, seed, size, share):
    previous, record = records()
    rng = np.random.default_rng(seed)
    x = record.tensors[tensor].astype(np.float64)
    noise = rng.standard_normal(x.shape) * (rng.random(x.shape) < share)
    scale = np.sqrt(np.mean(np.square(x)))
    changed = np.asarray(x + 10**size * scale * noise, np.float32)
    record = replace(record, tensors={**record.tensors, tensor: changed})
    state = {name: previous.tensors[f"{name}+"] for name in RUN.network.shapes}
    failure = first_failure(certify_step(RUN, record, state))
    if failure is not None:
        assert name_cause(RUN, record, failure, previous) is None


def test_one_entry_by_2_ulp_has_no_name():
    def plant(t, _):
        W = t["W1+"].astype(np.float32)
        W[3, 7] += 4 * np.spacing(W[3, 7])
        return W

    assert diagnose("W1+", plant) is None


def test_nan_has_no_name():
    assert diagnose("Z1", lambda t, _: t["Z1"] * np.nan) is None


def test_every_kind_of_tensor_has_hypotheses():
    dims = (9, 6, 3, 1)
    rich = Declaration(
        learning_rate=RATE, optimizer=Adam(weight_decay=0.1), l2=0.1, clip_norm=0.1,
        dropout=(0.5, 0.0),
    )  # fmt: skip
    record, _ = records(replace(make_run(dims), declaration=rich, weights=np.ones((1, M))))
    sample, _ = records(make_run(dims, batch_size=8).in_sample_space("float32"))
    tensors = {*record.tensors, *sample.tensors}
    assert {kind_and_layer(tensor)[0] for tensor in tensors} == HYPOTHESES.keys()


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "identity"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
def test_an_operation_is_computed_as_it_is_certified(activation, head):
    run = make_run((9, 6, 3), head=head, activations=activation)
    record, _ = records(run)
    form = declared_format("float32")
    t = wide(record)
    for check in certify_step(run, record):
        if operands(run, check.tensor):
            bound = compute(run, check.tensor, t, form, entries=sum(map(np.size, t.values())) * 3)
            assert bound.exact[check.index] == check.exact
            assert bound.stat[check.index] == check.bound


def test_tensors_that_do_not_exist():
    with pytest.raises(InputError, match="unknown tensor 'dX'"):
        kind_and_layer("dX")
    with pytest.raises(InputError, match="W1 is given to a step"):
        compute(RUN, "W1", {}, declared_format("float32"))
