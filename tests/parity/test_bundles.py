"""A run as a file: it comes back as it was, and nothing altered is believed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity.test_compare import make_run
from support import resealed

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.optimizers import Momentum
from portadnn.parity import bundles
from portadnn.parity.bundles import (
    Bundle,
    read_bundle,
    record_bundle,
    replay,
    step_digest,
    write_bundle,
)
from portadnn.parity.compare import Outcome
from portadnn.parity.run import Run
from portadnn.training.declaration import Declaration
from portadnn.training.problem import make_problem
from portadnn.training.recipe import Recipe
from portadnn.training.schedules import Constant


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def recorded(path, **options):
    return record_bundle(make_run(steps=6, **options), get_backend("numpy"), path)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_it_comes_back_as_it_was(path, batch_size):
    written = recorded(path, batch_size=batch_size)
    read = read_bundle(path)
    assert read.run.network == written.run.network
    assert read.run.batch_size == batch_size
    np.testing.assert_array_equal(read.run.X, written.run.X)
    for name, p in written.run.parameters.items():
        np.testing.assert_array_equal(read.run.parameters[name], p)
    assert [record.step for record in read.records] == [0, 1, 2, 5]
    for ours, theirs in zip(written.records, read.records, strict=True):
        assert ours.tensors.keys() == theirs.tensors.keys()
        for name, x in ours.tensors.items():
            np.testing.assert_array_equal(theirs.tensors[name], x)
    assert read.digests == written.digests
    assert len(read.digests) == 6
    assert read.environment == written.environment
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_version_2_still_loads():
    bundle = read_bundle(Path(__file__).with_name("bundle-version-2.h5"))  # written at 18f94fb
    assert [digest[:12] for digest in bundle.digests] == [
        "5f1dc6896bdf", "b3487423ffa9", "5189369eb5ad",
    ]  # fmt: skip
    assert [record.step for record in bundle.records] == [0, 2]
    assert replay(bundle, get_backend("numpy")).outcome is Outcome.PARITY


def test_a_bundle_of_version_2_leaves_out_what_does_not_fill_a_batch():
    """11 examples in batches of 4, with all else that a run can have, written at 18f94fb."""
    read = read_bundle(Path(__file__).parent / "bundle-version-2-batches.h5")
    assert read.run.plan.batches.steps_per_epoch == 2
    assert read.run.plan.epochs == 6
    assert read.run.recipe == Recipe("adam:beta1=0.8", l2=0.1, dropout=(0.5, 0.0))
    result = replay(read, get_backend("numpy"))
    assert result.outcome is Outcome.PARITY


@pytest.mark.parametrize("batch_size", [None, 8])
def test_its_declaration_comes_back(path, batch_size):
    written = recorded(path, batch_size=batch_size).run
    read = read_bundle(path).run
    assert read.declaration == written.declaration
    assert read.declaration.layers == (7, 5)
    assert read.declaration.data.text.startswith("sha256:")  # the data were arrays
    assert read.plan == written.plan


def test_a_run_of_the_program_is_declared_with_the_names_of_its_data(path):
    problem = make_problem(Declaration(epochs=2, layers=(3,), rng="randomstate:1"))
    record_bundle(Run.of(problem), get_backend("numpy"), path)
    assert read_bundle(path).run.declaration == problem.declaration
    assert problem.declaration.data == "digits"


class OwnMomentum(Momentum):
    pass


class OwnSchedule(Constant):
    pass


@pytest.mark.parametrize(
    ("name", "rule"), [("optimizer", OwnMomentum()), ("schedule", OwnSchedule())]
)
def test_a_rule_of_ones_own_is_not_recorded(name, rule, path):
    run = make_run(steps=6)
    run = replace(run, declaration=replace(run.declaration, **{name: rule}))
    kind = type(rule).__name__
    with pytest.raises(InputError, match=f"the {name} is a {kind} of your own"):
        record_bundle(run, get_backend("numpy"), path)
    assert not path.exists()
    write_bundle(replace(recorded(path), run=run), path)
    with pytest.raises(InputError, match=f"{name} is sha256:.* of {kind}: only this digest of it"):
        read_bundle(path)


def test_it_replays_on_every_backend(path, backend):
    record_bundle(make_run(steps=6), get_backend("numpy", dtype=backend.dtype_name), path)
    result = replay(read_bundle(path), backend)
    assert result.outcome is Outcome.PARITY
    assert [certificate.backend for certificate in result.certificates] == [
        "numpy (recorded)",
        backend.name,
    ]


def test_it_replays_in_another_process(path, backends_under_test):
    backend = get_backend(backends_under_test[-1])
    record_bundle(make_run(steps=6), backend, path)
    program = (
        "import sys\n"
        "from portadnn.backends import get_backend\n"
        "from portadnn.parity.bundles import read_bundle, replay\n"
        "print(replay(read_bundle(sys.argv[1]), get_backend('numpy')).outcome.value)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "PARITY\n", done.stderr


def test_a_fault_in_a_step_that_is_not_kept_shows_in_the_digests(path):
    bundle = recorded(path)
    assert replay(bundle, get_backend("numpy")).notes[0] == (
        "all 6 steps have the same bits as the recorded ones, so the results of one run hold for "
        "the other"
    )
    digests = [*bundle.digests[:3], "0" * 64, *bundle.digests[4:]]
    notes = replay(replace(bundle, digests=digests), get_backend("numpy")).notes
    assert "step 3 is the first one that has other bits" in notes[0]
    assert "though the environment is the same" in notes[0]
    assert notes[1].startswith("the file holds 4 of 6 steps")
    digests = ["0" * 64, *bundle.digests[1:]]
    (note, _) = replay(replace(bundle, digests=digests), get_backend("numpy")).notes
    assert note.startswith("step 0 has other bits than the recorded one")


def test_replay_checks_the_steps_that_are_not_kept_while_there_is_time(path, monkeypatch):
    bundle = recorded(path)  # which keeps 0, 1, 2, 5
    kept, own = replay(bundle, get_backend("numpy")).certificates
    assert (kept.full, own.full) == (4, 6)
    assert sorted({check.step for check in own.checks}) == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(bundles, "SECONDS", 0.0)
    result = replay(bundle, get_backend("numpy"))
    assert [certificate.full for certificate in result.certificates] == [4, 4]
    assert result.checked == {0, 1, 2, 5}
    assert result.notes[-1] == "2 of the others were not checked after 0 seconds"


def test_replay_finds_a_fault_in_a_step_that_is_not_kept(path, monkeypatch):
    bundle, watch = recorded(path), bundles.watch

    def faulty(*args, **options):
        for record in watch(*args, **options):
            if record.step == 3:
                wrong = {"dW2": record.tensors["dW2"] * np.float32(1.001)}
                record = replace(record, tensors=record.tensors | wrong)
            yield record

    monkeypatch.setattr(bundles, "watch", faulty)
    backend, check = replay(bundle, get_backend("numpy")).first_divergence
    assert (backend, check.step, check.tensor) == ("numpy", 3, "dW2")


def test_digests_see_signs_and_order():
    bundle = Bundle(make_run(), "numpy", "float32", "float32", {}, [], [])
    from portadnn.parity.run import watch

    (record,) = watch(bundle.run, get_backend("numpy"), [0])
    digests = {step_digest(record)}
    for name, change in (("cost", np.negative), ("dW1", lambda x: x[::-1]), ("A1", lambda x: -x)):
        changed = np.ascontiguousarray(change(record.tensors[name]))
        digests.add(step_digest(replace(record, tensors={**record.tensors, name: changed})))
    assert len(digests) == 4  # A1 has zeros: their sign counts as well


def test_a_weight_changed_in_the_file_is_refused(path):
    recorded(path)
    with resealed(path) as file:
        file["steps/2/W1"][0, 0] += 1e-5
    with pytest.raises(InputError, match="step 2 is not the one that was recorded"):
        read_bundle(path)


def test_a_weight_changed_before_the_digests_were_made_is_caught(path):
    bundle = recorded(path)
    changed = []
    for record in bundle.records:
        tensors = dict(record.tensors)
        if record.step == 2:
            tensors["W1"] = tensors["W1"].copy()
            tensors["W1"][0, 0] += np.float32(1e-5)
        changed.append(replace(record, tensors=tensors))
    digests = list(bundle.digests)
    digests[2] = step_digest(changed[2])
    write_bundle(replace(bundle, records=changed, digests=digests), path)
    result = replay(read_bundle(path), get_backend("numpy"))
    assert result.outcome is Outcome.DIVERGED
    backend, check = result.first_divergence
    assert backend == "numpy (recorded)"
    assert check.tensor == "W1"  # step 1 ended with another
    assert check.step == 2


@pytest.mark.parametrize(
    "name", ["run/X", "run/Y", "run/parameters/b2", "steps/0/Z1", "steps/5/cost"]
)
def test_every_part_is_guarded(path, name):
    recorded(path)
    with resealed(path) as file:
        x = file[name][()]
        del file[name]
        file[name] = np.asarray(x + np.asarray(1e-3, x.dtype))
    with pytest.raises(InputError, match="damaged bundle"):
        read_bundle(path)


@pytest.mark.parametrize("name", ["header", "run/X", "steps/1/dW2"])
def test_missing_parts(path, name):
    recorded(path)
    with resealed(path) as file:
        del file[name]
    with pytest.raises(InputError, match=f"{name} is missing"):
        read_bundle(path)


def test_other_files(path, tmp_path):
    with h5py.File(path, "w") as file:
        file["train_set_x"] = np.zeros((2, 2))
    with pytest.raises(InputError, match="is not a portadnn parity bundle"):
        read_bundle(path)
    with pytest.raises(InputError, match="No such file|no such file"):
        read_bundle(tmp_path / "absent.h5")


def test_a_truncated_file(path):
    recorded(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match="damaged"):
        read_bundle(path)


@given(st.integers(0, 2**31), st.integers(1, 30))
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_damaged_file_is_refused_or_the_same(tmp_path, seed, damage):
    path = tmp_path / "run.h5"
    if not path.exists():
        recorded(path)
    content = path.read_bytes()
    altered = bytearray(content)
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, len(content), damage):
        altered[position] = rng.integers(0, 256)
    copy = tmp_path / "altered.h5"
    copy.write_bytes(altered)
    try:
        read = read_bundle(copy)
    except InputError as error:
        assert "altered.h5" in str(error)
    else:  # the changed byte does not matter: the numbers are those that were recorded
        assert read.digests == read_bundle(path).digests


ODD = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 2.5, 2**63, 10**30, float("inf"), float("nan"), "", "x\x1b"]
    ),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=2), x, max_size=2),
    max_leaves=3,
)


@given(st.data())
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_odd_header_is_refused(tmp_path, data):
    path = tmp_path / "run.h5"
    recorded(path)
    with resealed(path) as file:
        header = json.loads(file["header"][()].tobytes())
        at = data.draw(st.sampled_from(sorted(header)))
        inside = header[at]
        if isinstance(inside, dict | list) and inside and data.draw(st.booleans()):
            keys = sorted(inside) if isinstance(inside, dict) else range(len(inside))
            inside[data.draw(st.sampled_from(keys))] = data.draw(ODD)
        elif data.draw(st.booleans()):
            header[at] = data.draw(ODD)
        else:
            del header[at]
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with pytest.raises(InputError) as caught:
        read_bundle(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_steps_that_are_not_of_the_run(path):
    with pytest.raises(InputError, match="steps .6. are to be kept, but the run has 6 steps"):
        record_bundle(make_run(steps=6), get_backend("numpy"), path, keep=frozenset({6}))
    assert not path.exists()
