"""Faults that are planted in the real step, and what the certificate makes of them."""

import io
from dataclasses import replace

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.losses import HEADS
from portadnn.parity.causes import name_cause
from portadnn.parity.certify import certify_step, first_failure
from portadnn.parity.planted import self_test as bench
from portadnn.parity.planted.fault import BATCH, NETWORK, STEPS, declared_run
from portadnn.parity.planted.faults import FAULTS, HONEST, bfloat16, float16, rounded, tf32
from portadnn.parity.planted.namespace import FaultyNamespace, call_order
from portadnn.parity.planted.self_test import (
    CUSTOMARY,
    detect,
    detection_markdown,
    detection_table,
    self_test,
    totals,
)
from portadnn.parity.planted.training_faults import EVERYTHING, TRAINING_FAULTS
from portadnn.parity.run import watch
from portadnn.parity.step.operations import final_gradient
from portadnn.training.recipe import PLAIN


def by_name(fault):
    return fault.name


def named(name):
    return next(fault for fault in FAULTS if fault.name == name)


def records(run, backend, calls, step=0):
    return list(
        watch(run, backend, range(run.steps), xp=FaultyNamespace(backend.xp, run, calls, step))
    )


def assert_same(ours, theirs, names):
    for name in names:
        np.testing.assert_array_equal(ours.tensors[name], theirs.tensors[name], err_msg=name)


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_every_fault_is_found_at_its_step_layer_and_tensor(fault, dtype):
    detection = detect(fault, get_backend("numpy", dtype=dtype))
    assert detection.passed, f"{detection.result}: expected {fault.place}, got {detection.flag}"
    if dtype == "float64" or fault.in_float32:
        flag = detection.flag
        assert (flag.step, flag.layer, flag.tensor) == fault.place
        assert not flag.verdict.passed


def test_nearly_all_faults_are_required_in_float32():
    assert [fault.name for fault in FAULTS if not fault.in_float32] == [
        "log1p(t + 1e-12) in the cost"
    ]
    assert all(fault.must_show("float64") for fault in FAULTS)


@pytest.mark.parametrize("fault", HONEST, ids=by_name)
def test_another_order_of_summation_is_no_fault_but_not_equal(fault, dtype):
    backend = get_backend("numpy", dtype=dtype)
    detection = detect(fault, backend)
    assert detection.flag is None, str(detection.flag)
    assert (detection.passed, detection.result) == (True, "not flagged")
    # it does compute in another order
    run = replace(fault.declared_run(), steps=STEPS)
    *_, other = records(run, backend, fault.calls)
    *_, plain = watch(run, backend, range(STEPS))
    assert any(not np.array_equal(other.tensors[n], x) for n, x in plain.tensors.items())


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_a_fault_changes_its_tensor_and_nothing_before(fault, dtype):
    backend = get_backend("numpy", dtype=dtype)
    run = fault.declared_run()
    faulty = records(run, backend, fault.calls, fault.step)
    plain = list(watch(run, backend, range(run.steps)))
    for ours, theirs in zip(faulty[: fault.step], plain, strict=False):
        assert_same(ours, theirs, theirs.tensors)
    ours, theirs = faulty[fault.step], plain[fault.step]
    # the order of the checks is the order of the step
    names = [check.tensor for check in certify_step(run, theirs)]
    assert_same(ours, theirs, names[: names.index(fault.tensor)])
    if dtype == "float64" or fault.in_float32:
        assert not np.array_equal(ours.tensors[fault.tensor], theirs.tensors[fault.tensor])


NAMED = {
    "velocity not updated": "no update",
    "weight decay applied twice": "decayed twice",
    "weight decay left out": "decayed not",
    "AdamW's weight decay applied twice": "decayed twice",
    "Nesterov's velocity not updated": "no update",
    "Nesterov without looking ahead": None,
    "bias correction off by one": "bias correction off by one",
    "second moment not updated": "no update",
    "first moment not updated": "no update",
    "second moment with beta1": None,
    "stale gradient in the first moment": "stale input",
    "epsilon under the root": None,
    "mask of another step": "mask of another step",
    "dropout not applied backward": "mask ignored",
    "dropout not scaled": "dropout not scaled",
    "l2 halved in the gradient": "l2 halved",
    "l1 left out of the gradient": "l1 left out",
    "l2 without its half in the cost": None,  # of one layer alone
    "l1 left out of the cost": "l1 left out",
    "not clipped": "not clipped",
    "clipped by the norm of each tensor": "clipped by tensor",
    "biases left out of the norm": None,  # one of them
    "weights of examples left out of the gradient": "weights left out",
    "weights of examples squared in the cost": "weights twice",
    "labels not smoothed": None,
    "weights of the batch before": "different batch",
}


@pytest.mark.parametrize("fault", TRAINING_FAULTS, ids=by_name)
def test_the_cause_is_named_where_it_is_known(fault, dtype):
    backend, run = get_backend("numpy", dtype=dtype), fault.declared_run()
    previous = None
    for record in records(run, backend, fault.calls, fault.step):
        state = previous.state_after() if previous else None
        failure = first_failure(certify_step(run, record, state))
        if failure is not None:
            break
        previous = record
    cause = name_cause(run, record, failure, previous)
    assert (cause and cause.name) == NAMED[fault.name]


RUNS = {
    "plain": declared_run(),
    "batches": declared_run(batch_size=BATCH),
    "everything": declared_run(batch_size=BATCH, recipe=EVERYTHING, weighted=True),
    **{fault.name: fault.declared_run() for fault in TRAINING_FAULTS},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("head", [name for name, row in HEADS.items() if not row.exclusive])
def test_the_calls_of_every_head_are_counted(head, weighted):
    run = declared_run(head=head, weighted=weighted)
    seen = []
    calls = {
        (name, tensor): lambda call, place=(name, tensor): (
            seen.append((place, call.compute())) or seen[-1][1]
        )
        for name, tensors in call_order(run).items()
        for tensor in tensors
    }
    steps = records(run, get_backend("numpy"), calls)
    assert len(seen) == len(calls) * STEPS
    for i, ((name, tensor), result) in enumerate(seen):
        record = steps[i // len(calls)].tensors
        if (name == "divide" and tensor in record) or (name, tensor) in (
            ("matmul", "dA1"),
            ("maximum", "A2"),
            ("where", "dZ3"),
        ):
            np.testing.assert_array_equal(record[tensor], result)


@pytest.mark.parametrize("name", ["plain", "batches", "everything"])
def test_a_namespace_that_nothing_is_done_to_changes_nothing(name, dtype):
    backend = get_backend("numpy", dtype=dtype)
    run = RUNS[name]
    previous = None
    plain = watch(run, backend, range(STEPS))
    for ours, theirs in zip(records(run, backend, {}), plain, strict=True):
        assert_same(ours, theirs, theirs.tensors)
        assert first_failure(certify_step(run, ours, previous)) is None
        previous = ours.state_after()


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_calls_are_counted_in_the_order_of_the_step(run):
    seen = []

    def watching(place):
        def faulty(call):
            result = call.compute()
            seen.append((place, call.args, result))
            return result

        return faulty

    order = call_order(run)
    places = [(name, tensor) for name, tensors in order.items() for tensor in tensors]
    steps = records(run, get_backend("numpy"), {place: watching(place) for place in places})
    made = len(places)
    assert len(seen) == made * STEPS
    last = {f"g{name}": f"multiply g{name}" for name in NETWORK.shapes} | {"norm": "sqrt norm"}
    for i, ((name, tensor), args, result) in enumerate(seen):
        record = steps[i // made].tensors
        m = record["X"].shape[1]
        label = tensor.partition("#")[0]
        if label in last:
            if last[label] == f"{name} {tensor}":
                np.testing.assert_array_equal(record[tensor], result)
        elif label == "penalty" or label[0] in "rvs" or (name, tensor) == ("multiply", "AD1"):
            continue  # parts of it
        elif label.endswith("+") and run.recipe.optimizer != PLAIN.optimizer:
            if name == "divide":  # the last call for a parameter, but for the decay
                before = record[tensor[:-1]]
                decayed = run.recipe.optimizer.weight_decay and tensor[0] == "W"
                before = before * record["shrinkage"] if decayed else before
                np.testing.assert_array_equal(record[tensor], before - result)
        elif name == "multiply" and label.startswith(("A", "dA")):
            assert result.shape == record[label].shape
        elif name == "multiply" and label.endswith("+"):
            np.testing.assert_array_equal(record[tensor], record[tensor[:-1]] - result)
            np.testing.assert_array_equal(record[final_gradient(run, tensor[:-1])], args[0])
        elif name == "sum" or (name == "matmul" and tensor[:2] == "dW"):
            mean = result / np.float32(m)
            penalty = record.get("penalty", 0) if tensor == "cost" else 0
            np.testing.assert_array_equal(record[tensor], mean + np.float32(penalty))
        elif name == "take":
            np.testing.assert_array_equal(record[tensor], result.T)  # rows become columns
        elif label != "cost" and (name, tensor) not in (("where", "A4"), ("exp", "A4")):
            np.testing.assert_array_equal(record[tensor], result)
        elif (name, tensor) == ("divide", "cost"):
            assert record["cost"] == result + record.get("penalty", np.float32(0))


def test_a_place_that_the_step_does_not_pass():
    xp = get_backend("numpy").xp
    for place in (("matmul", "dA0"), ("exp", "A1")):
        with pytest.raises(InputError, match=f"does not call {place[0]} for '{place[1]}'"):
            FaultyNamespace(xp, RUNS["plain"], {place: lambda call: call.compute()})


def test_a_checker_that_sees_nothing_fails_the_self_test(monkeypatch):
    monkeypatch.setattr(bench, "first_failure", lambda checks: None)
    detection = detect(named("1/m missing"), get_backend("numpy"))
    assert (detection.passed, detection.located, detection.result) == (False, False, "MISSED")


def test_a_checker_that_cries_wolf_fails_the_self_test(monkeypatch):
    monkeypatch.setattr(bench, "first_failure", lambda checks: checks[0])
    for fault, result in (
        (named("1/m missing"), "MISPLACED"),
        (named("log1p(t + 1e-12) in the cost"), "MISPLACED"),
        (HONEST[0], "FALSE ALARM"),
    ):
        detection = detect(fault, get_backend("numpy"))
        assert (detection.passed, detection.result) == (False, result)


def test_the_table_is_made_from_the_run(monkeypatch):
    from rich.console import Console

    chosen = ("1/m missing", "one entry of W+ off by 2 ulp", "log1p(t + 1e-12) in the cost")
    monkeypatch.setattr(bench, "FAULTS", tuple(map(named, chosen)))
    monkeypatch.setattr(bench, "HONEST", HONEST[:1])
    rows = self_test(["float32"])
    assert [row.fault.name for row in rows] == [*chosen, HONEST[0].name]
    first, *_ = rows
    text = detection_markdown(rows)
    lines = text.splitlines()
    assert len(lines[0].split("|")) == len(lines[1].split("|")) == len(lines[2].split("|"))
    assert lines[2] == (
        "| 1/m missing | float32 | 1, 2, dW2 | 1, 2, dW2 | "
        f"{first.flag.ratio:.3g} | found | found | found | - |"
    )
    assert "| one entry of W+ off by 2 ulp | float32 | 1, 2, W2+ | 1, 2, W2+" in lines[3]
    assert lines[3].endswith("| found | - | - | - |")
    assert "| none |  | below the rounding level | - | - | - |" in lines[4]
    assert "| none | none |  | not flagged | - | - | - |" in lines[5]
    faults, honest = totals(rows)
    assert faults == (
        "float32, faults above the rounding level: the certificate finds 2 of 2 at their place; "
        "of all 3, assert_allclose 1, assert_close 1, cosine 0"
    )
    assert honest == (
        "float32, false alarms in 1 honest runs: the certificate 0, assert_allclose 0, "
        "assert_close 0, cosine 0"
    )
    for total in (faults, honest):
        assert f"- {total}" in lines
    console = Console(width=250, file=io.StringIO())
    console.print(detection_table(rows))
    shown = console.file.getvalue()
    for word in ("1/m missing", f"{first.flag.ratio:.3g}", "below the rounding level", faults):
        assert word in shown


def end(value):
    return {"W1": np.asarray([[1.0, value]], np.float32), "b1": np.zeros((1, 1), np.float32)}


@pytest.mark.parametrize("off", [0.0, 1e-6, 9e-6, 1.2e-5, 1e-4, 0.1])
def test_the_customary_checks_are_what_they_are_called(off, torch):
    ours, theirs = end(2 + off), end(2)

    def passes(check, *args, **kwargs):
        try:
            for name in theirs:
                check(*(kind(p[name]) for p in (ours, theirs)), *args, **kwargs)
        except AssertionError:
            return False
        return True

    kind = np.asarray
    numpys = passes(np.testing.assert_allclose, rtol=1e-5)
    assert CUSTOMARY["assert_allclose"](ours, theirs) == numpys
    kind = torch.from_numpy
    assert CUSTOMARY["assert_close"](ours, theirs) == passes(torch.testing.assert_close)


def test_cosine_similarity_sees_the_direction_alone():
    assert CUSTOMARY["cosine"](end(2.0), end(2.0))
    assert CUSTOMARY["cosine"](end(2.01), end(2.0))
    assert not CUSTOMARY["cosine"](end(-2.0), end(2.0))


def test_lower_precision_keeps_so_many_bits(dtype):
    x = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    for rounding, bits in ((tf32, 11), (bfloat16, 8), (float16, 11)):
        y = rounding(x)
        assert y.dtype == x.dtype
        error = np.abs(y - x) / np.abs(x)
        assert 2.0 ** -(bits + 1) < error.max() <= 2.0**-bits
    ordinary = np.abs(x) > 2.0**-14  # where float16 has all its bits
    np.testing.assert_array_equal(float16(x)[ordinary], rounded(x, 11)[ordinary])
    assert tf32(x.dtype.type(1e-30)) != 0  # its range is float32's
    assert float16(x.dtype.type(1e-30)) == 0
