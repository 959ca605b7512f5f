"""A run that goes on from a checkpoint is the run that was never interrupted."""

import importlib
import shutil
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import resealed

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.training import checkpoints
from portadnn.training.callbacks import BestModel, CSVLog, History
from portadnn.training.checkpoint_file import Checkpoint, packed, read_checkpoint, write_packed
from portadnn.training.checkpoints import Checkpoints, newest, paths_in
from portadnn.training.declaration import Declaration
from portadnn.training.models import fingerprint
from portadnn.training.schedules import Schedule, Tracker
from portadnn.training.state import EpochRecord, RunState
from portadnn.training.stops import TrainingInterrupted
from portadnn.training.train import train


def examples(m=40, n=6):
    rng = np.random.default_rng(0)
    return Dataset(rng.normal(size=(m, n)), np.arange(m) % 3, ("a", "b", "c"))


def write_checkpoint(checkpoint, path):
    write_packed(packed(checkpoint), path)


class Interrupt:
    """Sends a signal to this process after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, state):
        if state.steps_done == self.steps:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module", autouse=True)
def every_step_is_a_chunk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portadnn.training.loop.LARGEST_CHUNK", 1)
        yield


PLAIN = {"layers": [5], "epochs": 6, "learning_rate": 0.1, "report_every": 1, "rng": 3}
RUNS = {
    "sample space": {**PLAIN, "epochs": 20, "first_layer": "sample", "report_every": 3},
    "momentum": {**PLAIN, "optimizer": "momentum", "batch_size": 16, "l2": 0.01},
    "adam": {**PLAIN, "optimizer": "adam", "batch_size": 16, "dropout": 0.3, "clip_norm": 1.0},
    "plateau": {**PLAIN, "epochs": 20, "schedule": "plateau:patience=2", "validation": 0.3},
    "early stopping": {
        **PLAIN, "epochs": 40, "batch_size": 10, "learning_rate": 1.0, "validation": 0.3,
        "early_stopping": 3,
    },
}  # fmt: skip


def run(folder, steps=None, *, every=0.0, data=None, **options):
    """Train, or go on if there are checkpoints; the fingerprint, rows, log and best rows."""
    history, best = History(), BestModel("cost", restore=False)
    stop = [] if steps is None else [Interrupt(steps)]
    model = train(
        examples() if data is None else data,
        callbacks=[*stop, history, best, CSVLog(folder / "log.csv")],
        checkpoint=Checkpoints(folder, every=every),
        resume=folder if paths_in(folder) else None,
        **options,
    )
    return fingerprint(model), history.rows, (folder / "log.csv").read_text(), best.record


def interrupted(folder, steps, **options):
    with pytest.raises(TrainingInterrupted, match=f"after {steps} iterations"):
        run(folder, steps, **options)


@pytest.fixture
def two(tmp_path):
    for name in ("straight", "parts"):
        (tmp_path / name).mkdir()
    return tmp_path / "straight", tmp_path / "parts"


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("every", [0.0, 60.0])
def test_a_resumed_run_is_the_run(options, every, two, backend_name):
    if backend_name == "dask":
        pytest.skip("Dask takes a second for every few steps")
    straight, parts = two
    expected = run(straight, **options, backend=backend_name)
    for steps in (1, 6, 11):
        interrupted(parts, steps, every=every, **options, backend=backend_name)
        assert len(paths_in(parts)) == 2
    assert run(parts, **options, backend=backend_name) == expected
    assert len(paths_in(parts)) == 1
    # a run that has ended makes no step more
    assert run(parts, **options, backend=backend_name) == expected


def test_a_chain_of_backends_in_reproducible_arithmetic(two, backends_under_test):
    straight, parts = two
    names = [name for name in backends_under_test if name != "dask"]
    options = {**RUNS["adam"], "arithmetic": "reproducible"}
    expected = run(straight, **options, backend="numpy")
    for steps, name in enumerate(names, start=2):
        interrupted(parts, steps, **options, backend=name)
    assert run(parts, **options, backend="numpy") == expected


def test_other_reproducible_arithmetic_only_if_it_is_accepted(tmp_path, monkeypatch):
    """Of a run that began before the bits of the arithmetic changed."""
    options = {**RUNS["adam"], "arithmetic": "reproducible", "backend": "numpy"}
    with monkeypatch.context() as patch:
        module = importlib.import_module("portadnn.backends.environment")
        patch.setattr(module, "MARK", "reproducible-1")
        interrupted(tmp_path, 4, **options)
    with pytest.raises(InputError, match="in reproducible-1 arithmetic, and this is .*-2,"):
        run(tmp_path, **options)
    given = Checkpoints(tmp_path, anyway=True)
    train(examples(), **options, checkpoint=given, resume=tmp_path)
    assert given.resumed[0]["changed"] == {"bits": ["reproducible-1", "reproducible-2"]}


def test_another_backend_in_fast_arithmetic_only_if_it_is_accepted(tmp_path, caplog):
    interrupted(tmp_path, 4, **RUNS["adam"], backend="numpy")
    with pytest.raises(InputError, match="computed by numpy on cpu, and in fast .* strict on"):
        run(tmp_path, **RUNS["adam"], backend="strict")
    given = Checkpoints(tmp_path, anyway=True)
    train(examples(), **RUNS["adam"], backend="strict", checkpoint=given, resume=tmp_path)
    (entry,) = given.resumed
    assert (entry["step"], entry["backend"]) == (4, "strict")
    assert entry["changed"]["library"][0].startswith("numpy ")
    assert "the bits may differ" in caplog.text
    (again,) = newest(tmp_path).resumed
    assert again == entry


class Own(Schedule):
    name = "own"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 5}, "from 6 to 5: expected as many, or more"),
        ({"learning_rate": 0.2}, "learning_rate is 0.2, but the run to go on with has 0.1"),
        ({"seed": 4}, "seed is 4, but the run to go on with has 3"),
        ({"arithmetic": "reproducible"}, "arithmetic is reproducible, but .* has fast"),
        ({"data": examples(41)}, "data is sha256:.*, but the run to go on with has sha256:"),
        ({"optimizer": "lbfgs", "learning_rate": None}, "lbfgs has no checkpoints, because SciPy"),
    ],
)
def test_what_may_not_change(change, message, tmp_path):
    interrupted(tmp_path, 4, **PLAIN, backend="numpy")
    before = [path.read_bytes() for path in paths_in(tmp_path)]
    with pytest.raises(InputError, match=message):
        run(tmp_path, **{**PLAIN, **change}, backend="numpy")
    assert [path.read_bytes() for path in paths_in(tmp_path)] == before


@pytest.mark.parametrize("schedule", ["constant", "step:every=4", "exponential", "plateau"])
@pytest.mark.parametrize("steps", [4, None])
def test_epochs_may_be_raised(schedule, steps, two):
    options = {**PLAIN, "schedule": schedule, "backend": "numpy"}
    straight, parts = two
    expected = run(straight, **{**options, "epochs": 12})
    if steps is None:
        run(parts, **options)
    else:
        interrupted(parts, steps, **options)
    assert run(parts, **{**options, "epochs": 12}) == expected


@pytest.mark.parametrize("schedule", ["cosine", Own()])
def test_but_not_under_a_schedule_that_depends_on_the_total(schedule, tmp_path):
    options = {**PLAIN, "schedule": schedule, "backend": "numpy"}
    interrupted(tmp_path, 4, **options)
    with pytest.raises(InputError, match="from 6 to 7 under the schedule .* depend on the number"):
        run(tmp_path, **{**options, "epochs": 7})


def test_a_report_that_only_the_shorter_run_has(tmp_path):
    options = {**PLAIN, "report_every": 4, "backend": "numpy"}
    train(examples(), **options, checkpoint=tmp_path)
    history = History()
    longer = {**options, "epochs": 9}
    train(examples(), **longer, resume=tmp_path, callbacks=[history])
    assert [row.epoch for row in history.rows] == [1, 4, 8, 9]
    followed = {**options, "schedule": "plateau"}
    train(examples(), **followed, checkpoint=tmp_path / "b")
    with pytest.raises(InputError, match="the last report, at epoch 6, is not a multiple of 4"):
        train(examples(), **{**followed, "epochs": 9}, resume=tmp_path / "b")


def test_the_form_of_the_first_layer_stays(tmp_path):
    # the more epochs, the more sample space pays
    data, options = examples(4, 60), {**PLAIN, "epochs": 1, "backend": "numpy"}
    train(data, **options, checkpoint=tmp_path)
    assert newest(tmp_path).first_layer == "feature"
    form = newest(tmp_path).first_layer
    longer = {**options, "epochs": 400}
    found = train(data, **longer, resume=tmp_path)
    assert fingerprint(found) == fingerprint(train(data, **longer, first_layer=form))
    assert fingerprint(found) != fingerprint(train(data, **longer))


def damage(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_the_older_one_is_taken_if_the_newer_is_damaged(two, caplog):
    straight, parts = two
    expected = run(straight, **RUNS["adam"], backend="numpy")
    interrupted(parts, 6, **RUNS["adam"], backend="numpy")
    newer, older = paths_in(parts)
    damage(newer)
    assert run(parts, **RUNS["adam"], backend="numpy") == expected
    assert f"{newer} is damaged: its SHA-256" in caplog.text
    assert "Going on from the checkpoint before it" in caplog.text
    assert not older.exists()
    assert not newer.exists()


def test_two_damaged_ones_are_an_error(tmp_path):
    interrupted(tmp_path, 6, **PLAIN, backend="numpy")
    for path in paths_in(tmp_path):
        damage(path)
    with pytest.raises(InputError, match=r"checkpoint-\d+\.h5 is damaged"):
        run(tmp_path, **PLAIN, backend="numpy")


def test_a_directory_without_checkpoints(tmp_path):
    with pytest.raises(InputError, match="has no checkpoint to go on from"):
        train(examples(), **PLAIN, backend="numpy", resume=tmp_path / "absent")


def test_checkpoints_of_another_run_are_not_replaced(tmp_path):
    train(examples(), **PLAIN, backend="numpy", checkpoint=tmp_path)
    before = [path.name for path in tmp_path.iterdir()]
    with pytest.raises(InputError, match="holds the checkpoints of a run: go on .* resume="):
        train(examples(), **PLAIN, backend="numpy", checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == before


def test_a_disk_that_is_full_at_first_is_told_before_the_first_step(tmp_path, monkeypatch):
    def full(*_):
        raise InputError("no space")

    monkeypatch.setattr(checkpoints, "write_packed", full)
    history = History()
    with pytest.raises(InputError, match="no space"):
        train(examples(), **PLAIN, backend="numpy", checkpoint=tmp_path, callbacks=[history])
    assert history.rows == []


def test_a_disk_that_is_full_later_ends_no_run(tmp_path, monkeypatch, caplog):
    real, calls = write_packed, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise InputError("no space")
        real(*arguments)

    monkeypatch.setattr(checkpoints, "write_packed", full)
    options = {**PLAIN, "backend": "numpy"}
    model = train(examples(), **options, checkpoint=Checkpoints(tmp_path, every=0))
    assert fingerprint(model) == fingerprint(train(examples(), **options))
    assert "no checkpoint: no space. Training goes on" in caplog.text
    assert newest(tmp_path).state.step == 0


def test_steps_do_not_wait_for_the_disk(tmp_path, monkeypatch):
    """And what is written is the state at that step, not a later one."""
    real, gate, calls = write_packed, threading.Event(), []

    def slow(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            assert gate.wait(60)
        real(*arguments)

    class Open:
        def on_progress(self, state):
            if state.steps_done == 4:
                assert len(calls) == 2
                gate.set()
            if state.steps_done == 5:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoints, "write_packed", slow)
    times = iter([0.0, 0.0, *[2.0] * 3, *[3.0] * 99])
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(times))
    options = {**RUNS["adam"], "backend": "numpy"}
    given = Checkpoints(tmp_path, every=1.5)
    with pytest.raises(TrainingInterrupted):
        train(examples(), **options, checkpoint=given, callbacks=[Open()])
    newer, older = paths_in(tmp_path)
    assert read_checkpoint(newer).state.step == 5
    found = read_checkpoint(older).state
    assert found.step == 1
    with pytest.raises(TrainingInterrupted):
        train(examples(), **options, checkpoint=tmp_path / "b", callbacks=[Interrupt(1)])
    for name, x in newest(tmp_path / "b").state.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], x)


def test_nothing_is_written_any_more_after_a_run_that_failed(tmp_path, monkeypatch):
    real, begun, ended = write_packed, [], []

    def slow(*arguments):
        begun.append(arguments)
        time.sleep(0.2)
        real(*arguments)
        ended.append(arguments)

    class Fail:
        def on_progress(self, state):
            if len(begun) == 2:
                raise ArithmeticError

    monkeypatch.setattr(checkpoints, "write_packed", slow)
    with pytest.raises(ArithmeticError):
        train(
            examples(), **PLAIN, backend="numpy", checkpoint=Checkpoints(tmp_path, every=0),
            callbacks=[Fail()],
        )  # fmt: skip
    assert len(ended) == len(begun) == 2


def test_another_directory_gets_a_checkpoint_before_the_first_step(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    options = {**PLAIN, "backend": "numpy"}
    train(examples(), **options, checkpoint=first)
    train(examples(), **options, checkpoint=second, resume=first)  # makes no step
    assert newest(second).state.step == newest(first).state.step


def test_a_callback_that_remembers_what_no_file_holds(tmp_path):
    class Odd:
        def on_epoch_end(self, state):
            pass

        def state_dict(self):
            return {"seen": object()}

        def load_state_dict(self, past):
            pass

    with pytest.raises(TypeError, match="callbacks, Odd 1, seen: .* cannot hold a object"):
        train(examples(), **PLAIN, backend="numpy", checkpoint=tmp_path, callbacks=[Odd()])


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
arrays = st.builds(np.asarray, st.lists(st.floats(width=32)), st.sampled_from(["f4", "f8"]))
values = st.recursive(
    numbers | arrays,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    | st.lists(inner).map(tuple),
    max_leaves=12,
)  # fmt: skip


def alike(x, y):
    if type(x) is not type(y):
        return False
    if isinstance(x, np.ndarray):
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(alike(x[key], y[key]) for key in x)
    if isinstance(x, list | tuple):
        return len(x) == len(y) and all(map(alike, x, y))
    return repr(x) == repr(y)  # NaN and -0.0 as well


def made(**state):
    W = {"W1": np.ones((2, 3), np.float32)}
    parts = {"parameters": W, "slots": {"vW1": -W["W1"]}, **state}
    return Checkpoint(Declaration(), RunState(**parts), "feature", "numpy", {"device": "cpu"}, [])


@settings(max_examples=30)
@given(st.dictionaries(st.text(), values), st.lists(st.floats()))
def test_whatever_a_callback_remembers_is_read_back(tmp_path_factory, past, costs):
    path = tmp_path_factory.mktemp("c") / "checkpoint-1.h5"
    rows = [EpochRecord(1, 0.5, 0.1), EpochRecord(2, float("inf"), 0.1, 0.25, -0.0)]
    state = {
        "callbacks": {"Own 1": past}, "costs": costs, "rows": rows, "step": 7, "stopped": "enough",
        "tracker": Tracker(0.1, float("inf"), 2), "kept": {"W1": np.zeros((2, 3))},
    }  # fmt: skip
    checkpoint = made(**state)
    write_checkpoint(checkpoint, path)
    found = read_checkpoint(path)
    assert found.path == path
    for name, value in vars(checkpoint.state).items():
        assert alike(value, getattr(found.state, name)), name
    assert replace(found, state=None, path=None) != checkpoint  # compared by identity
    assert found.declaration == checkpoint.declaration
    assert found.environment == checkpoint.environment


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"step": 0', b'"step": []'),
        (b'"arrays/0"', b'"arrays/9"'),
        (b'"arrays/0"', b"[1, 2, 3]"),
        (b'{"array": "arrays/0"}', b"17"),
        (b'"tracker": [1.0', b'"tracker": [1.0, 7, 7'),
        (b'"rows": []', b'"rows": [7]'),
        (b'"rows": []', b'"rows": [[7]]'),
        (b'"callbacks": {"dict": {}}', b'"callbacks": {"set": [7]}'),
        (b'"callbacks": {"dict": {}}', b'"callbacks": {"EpochRecord": [7]}'),
        (b'"kept": null', b'"kept": []'),
        (b'"since"', b'"hence"'),
        (b'"costs": []', b'"costs": ["a"]'),
        (b'"costs": []', b'"costs": [NaN'),
        (b'"costs": []', b'"costs": ' + b"[" * 100_000 + b"]" * 100_000),
        (b'"environment": {', b'"environment": 7, "more": {'),
        (b'"resumed": []', b'"resumed": [5]'),
        (b'"declaration": "', b'"declaration": "x = 1\\n'),
        (b'"state"', b'"stat"'),
    ],
)
def test_a_file_that_was_made_by_somebody_else(tmp_path, old, new):
    path = tmp_path / "checkpoint-1.h5"
    write_checkpoint(made(), path)
    with resealed(path) as file:
        header = file["header"][()].tobytes()
        assert header.count(old) == 1
        del file["header"]
        file["header"] = np.frombuffer(header.replace(old, new), np.uint8)
    with pytest.raises(InputError, match=r"checkpoint-1\.h5") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_parameters_of_another_shape_are_refused_before_the_first_step(tmp_path):
    interrupted(tmp_path, 4, **PLAIN, backend="numpy")
    found = newest(tmp_path)
    wrong = replace(found.state, parameters={**found.state.parameters, "W1": np.ones((2, 2))})
    write_checkpoint(replace(found, state=wrong), found.path)
    with pytest.raises(InputError, match="W1 has shape"):
        run(tmp_path, **PLAIN, backend="numpy")


def test_parameters_are_of_the_layout_that_a_run_has(tmp_path):
    """The bits of a product may depend on the order in memory."""
    backend = get_backend("numpy")
    interrupted(tmp_path, 4, **RUNS["adam"], backend=backend)
    state = newest(tmp_path).state
    for x in (*state.parameters.values(), *state.slots.values()):
        assert x.flags.c_contiguous


@pytest.mark.parametrize("name", ["checkpoint", "resume"])
def test_a_number_is_no_directory(name):
    with pytest.raises(TypeError, match=f"{name} is 3: expected the path of a directory"):
        train(examples(), **PLAIN, **{name: 3})


def test_a_signal_during_the_last_checkpoint_interrupts(tmp_path, monkeypatch):
    real = write_packed

    def write(*arguments):
        real(*arguments)
        if read_checkpoint(arguments[1]).state.step == PLAIN["epochs"]:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoints, "write_packed", write)
    with pytest.raises(TrainingInterrupted, match="after 6 iterations") as caught:
        train(examples(), **PLAIN, backend="numpy", checkpoint=Checkpoints(tmp_path, every=0))
    assert fingerprint(caught.value.model) == fingerprint(
        train(examples(), **PLAIN, backend="numpy")
    )


def test_a_value_of_checkpoints_serves_one_run_after_the_other(tmp_path):
    given = Checkpoints(tmp_path / "a", every=60.0)
    options = {**PLAIN, "backend": "numpy"}
    train(examples(), **options, checkpoint=given)
    train(examples(), **options | {"epochs": 9}, checkpoint=given, resume=tmp_path / "a")
    assert given.found is not None
    shutil.rmtree(tmp_path / "a")
    train(examples(), **options, checkpoint=given)
    assert given.found is None
    # the first was written before the first step
    assert [path.name for path in paths_in(tmp_path / "a")] == ["checkpoint-2.h5"]
