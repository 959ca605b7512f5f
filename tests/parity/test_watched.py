"""A certified run that is interrupted goes on with what was seen of it before."""

import dataclasses
import signal

import numpy as np
import pytest
from parity_support import watched_run as run

from portadnn.errors import InputError
from portadnn.parity import certifier
from portadnn.parity.certifier import Certifier
from portadnn.parity.evidence import Evidence
from portadnn.training.checkpoint_file import (
    packed,
    packed_part,
    part_path,
    read_checkpoint,
    write_packed,
)
from portadnn.training.checkpoints import Checkpoints, newest, paths_in
from portadnn.training.models import fingerprint
from portadnn.training.stops import TrainingInterrupted

PATHS = {
    "adam in batches": {"epochs": 40, "batch_size": 7, "optimizer": "adam", "dropout": 0.2},
    "sample space": {"first_layer": "sample", "l2": 1e-3, "validation": 0.3},
    "early stopping": {"validation": 0.3, "early_stopping": 2, "batch_size": 7},
    "plateau": {"schedule": "plateau:patience=1", "report_every": 1},
    "reproducible": {"arithmetic": "reproducible"},
}


class Stop:
    """Sends a signal to this process after so many steps."""

    def __init__(self, step):
        self.step = step

    def on_progress(self, state):
        if state.steps_done >= self.step:
            signal.raise_signal(signal.SIGINT)


def part(folder, stop=None, *, every=60.0, certify=True, random_steps=10, **settings):
    """Train, or go on; the certificate and the model, up to a step if one is given."""
    watching = Certifier(random_steps=random_steps) if certify else None
    options = {"checkpoint": Checkpoints(folder, every=every)}
    options |= {"resume": folder if paths_in(folder) else None}
    if stop is None:
        model = run(watching, **options, **settings)
    else:
        with pytest.raises(TrainingInterrupted) as caught:
            run(watching, **options, **settings, callbacks=[Stop(stop)])
        model = caught.value.model
    return watching.certificate if watching else None, model


@pytest.mark.parametrize("path", PATHS)
def test_one_certificate_covers_all_parts(path, tmp_path, backend_name):
    if backend_name.startswith(("dask", "strict:device1")):
        pytest.skip("enough of them")
    settings = {"epochs": 250, **PATHS[path], "backend": backend_name}
    whole = Certifier()
    straight = run(whole, **settings)
    for stop in (60, 110, 160):
        if path == "early stopping" and stop > straight.history[-1].epoch * 5:
            continue
        certificate, _ = part(tmp_path, stop, **settings)
        assert certificate.outcome == "PARITY", certificate.content["failures"]
    certificate, model = part(tmp_path, every=0.05, **settings)
    assert fingerprint(model) == fingerprint(straight)
    assert certificate.outcome == "PARITY", certificate.content["failures"]
    assert certificate.content["not_covered"] == []
    assert "earlier_environments" not in certificate.content
    for name in ("initial", "held", "data", "declaration", "weights"):
        assert certificate.content[name] == whole.certificate.content[name]
    steps = certificate.content["steps"]
    checked = sorted(map(int, certificate.checked))
    assert checked[:2] == [0, 1]
    assert checked[-1] == steps["made"] - 1
    assert sum(step["random"] for step in certificate.checked.values()) >= 10
    # nothing is kept that the last checkpoint does not need
    needed = newest(tmp_path).state.watched["parts"]
    assert {p.stem for p in (tmp_path / "watched").iterdir()} == set(needed)
    again, _ = part(tmp_path, **settings)  # no step is made: it is what was seen before
    assert again.outcome == "PARITY"
    assert again.content["steps"]["made"] == steps["made"]
    assert {"0", "1", str(steps["made"] - 1)} <= again.checked.keys()


def test_the_random_steps_are_drawn_evenly_from_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(certifier, "SPARE", 0)
    monkeypatch.setattr(Evidence, "check", lambda self, watched: None)
    monkeypatch.setattr(
        Evidence, "certificate", lambda self, *_: [one.step for one in self.seen.reservoir]
    )
    settings = {"epochs": 90, "backend": "numpy", "layers": [2], "random_steps": 4}  # and one more
    drawn = []
    for i in range(30):
        part(tmp_path / str(i), 30, **settings)
        drawn += part(tmp_path / str(i), **settings)[0]
    thirds = np.bincount(np.asarray(drawn) // 30, minlength=3)
    assert len(drawn) == 5 * 30
    # a third has 50 of the 150, with a deviation of 5.8: five of them
    assert np.abs(thirds - 50).max() < 29


def test_a_run_that_began_without_it_gets_none(tmp_path):
    part(tmp_path, 10, certify=False, backend="numpy")
    with pytest.raises(InputError, match="began without certify"):
        part(tmp_path, backend="numpy")
    certificate, model = part(tmp_path, certify=False, backend="numpy")
    assert certificate is None
    assert newest(tmp_path).state.watched is None
    assert fingerprint(model) == fingerprint(run(None, backend="numpy"))


def rewritten(folder, change):
    """Change the parts of the newest checkpoint as somebody who can also name and seal them."""
    found = newest(folder)
    said, parts = (dict(found.state.watched[name]) for name in ("said", "parts"))
    change(said, parts)
    state = dataclasses.replace(found.state, watched={"said": said, "parts": parts})
    files = {name: packed_part(value) for name, value in parts.items()}
    write_packed(packed(dataclasses.replace(found, state=state)), found.path, files)


def a_step(said, parts):
    for name in said["drawn"]:
        made = {n: np.nextafter(x, np.float32(9)) for n, x in parts[name]["made"].items()}
        parts[name] = {**parts[name], "made": made}


def a_rate(said, parts):
    parts[said["fixed"][0]] = {**parts[said["fixed"][0]], "cost": 7.0}


def the_start(said, parts):
    start = parts[said["start"]]
    parts[said["start"]] = {name: x + np.float32(1e-3) for name, x in start.items()}


def the_data(said, parts):
    said["data"] = {**said["data"], "X": "0" * 64}


def the_arrays(said, parts):
    said["held"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (a_step, "the program that trains, DIVERGED step"),
        (a_rate, "the program that trains, DIVERGED step 0, layer 0, cost"),
        (the_start, "did not start from the declared initial weights"),
        (the_data, "the examples that the run was given changed"),
        (the_arrays, "the data that the backend holds changed"),
    ],
)
def test_a_past_that_was_tampered_with_is_found(change, found, tmp_path):
    part(tmp_path, 20, backend="numpy")
    rewritten(tmp_path, change)
    certificate, _ = part(tmp_path, backend="numpy")
    assert certificate.outcome == "DIVERGED"
    assert any(found in failure for failure in certificate.content["failures"])


def drop(name):
    return lambda said, parts: said.pop(name)


def put(name, value):
    return lambda said, parts: said.update({name: value})


def one_step(**values):
    return lambda said, parts: parts.update({n: {**parts[n], **values} for n in said["fixed"]})


@pytest.mark.parametrize(
    "change",
    [
        *map(drop, ("start", "fixed", "drawn", "last", "reports", "data", "held", "moved")),
        put("start", "start-0123456789abcdef"),
        put("fixed", "start"),
        put("last", {"step": 3}),
        put("last", [7]),
        put("data", 7),
        put("moved", "x"),
        put("seconds", []),
        put("earlier", [7]),
        put("environment", 7),
        put("reports", {"first": 7}),
        one_step(step="x"),
        one_step(step=-1),
        one_step(cost="x"),
        one_step(before=7),
        one_step(made={"W1": np.ones((2, 2), np.float32)}),
        one_step(more=1),
    ],
)
def test_a_past_that_holds_something_else_is_refused(change, tmp_path):
    part(tmp_path, 20, backend="numpy")
    rewritten(tmp_path, change)
    with pytest.raises(InputError, match="what was watched of the run before"):
        part(tmp_path, backend="numpy")


def test_a_part_that_is_damaged_or_missing_or_named_otherwise(tmp_path, caplog):
    settings = {"backend": "numpy", "epochs": 100}
    part(tmp_path, 6, every=0.0, **settings)  # every step is drawn
    newer = set(newest(tmp_path).state.watched["parts"])
    (name, *_) = sorted(newer - set(read_checkpoint(paths_in(tmp_path)[1]).state.watched["parts"]))
    path = tmp_path / "watched" / f"{name}.h5"
    path.write_bytes(path.read_bytes()[:-1])
    certificate, model = part(tmp_path, **settings)  # from the checkpoint before it
    assert "is damaged: it holds" in caplog.text
    assert certificate.outcome == "PARITY"
    assert fingerprint(model) == fingerprint(run(None, **settings))
    (path,) = (tmp_path / "watched").glob("start-*.h5")
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        newest(tmp_path)
    for name in ("../../start-0123456789abcdef", "x"):
        with pytest.raises(InputError, match="is not the name of a part"):
            part_path(tmp_path / "checkpoint-1.h5", name)


def test_files_of_others_in_the_folder_stay(tmp_path):
    (tmp_path / "watched").mkdir()
    for name in ("mine.txt", "start-1.h5", "birds.h5"):
        (tmp_path / "watched" / name).write_text("mine")
    part(tmp_path, backend="numpy")
    part(tmp_path, backend="numpy", certify=False)
    found = {path.name for path in (tmp_path / "watched").iterdir()}
    assert {"mine.txt", "start-1.h5", "birds.h5"} <= found


def test_another_environment_is_bounded_and_named(tmp_path):
    settings = {"batch_size": 7, "epochs": 60, "validation": 0.3}
    part(tmp_path, 90, backend="numpy", **settings)
    watching = Certifier()
    given = Checkpoints(tmp_path, anyway=True)
    run(watching, checkpoint=given, resume=tmp_path, backend="strict", **settings)
    content = watching.certificate.content
    assert content["outcome"] == "PARITY", content["failures"]
    (before,) = content["earlier_environments"]
    assert before["until_step"] >= 90
    assert before["environment"]["library"].startswith("numpy ")
    assert content["environment"]["library"].startswith("strict ")
