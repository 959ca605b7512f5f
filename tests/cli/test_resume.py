"""A run that is killed, stopped or overwritten, as a user of the program sees it."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_support import run
from PIL import Image

from portadnn.cli.run_options import parse_every
from portadnn.data.directories import claimed
from portadnn.errors import InputError
from portadnn.training.checkpoints import newest, paths_in
from portadnn.training.models import fingerprint, load_model

QUICK = ["train", "--layers", "4", "--backend", "numpy", "--batch-size", "300"]
LONG = [*QUICK, "--epochs", "1000000", "--report-every", "5000"]


STARTED = []


@pytest.fixture(autouse=True)
def no_run_is_left():
    """A test that fails does not leave a run of a million epochs behind."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def start(*arguments, **options):
    command = [sys.executable, "-m", "portadnn", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    STARTED.append(subprocess.Popen(command, **streams, **options))
    return STARTED[-1]


def wait_for_checkpoint(directory, number=1):
    deadline = time.monotonic() + 60
    while not any(int(p.stem.partition("-")[2]) >= number for p in paths_in(directory)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def history(directory):
    return json.loads((directory / "history.json").read_text())


def files(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


def assert_whole(directory):
    """All files are of one run."""
    found = fingerprint(load_model(directory / "model.h5"))
    assert history(directory)["fingerprint"] == found
    assert found in (directory / "config.toml").read_text()
    for path in directory.glob("*.png"):
        with Image.open(path) as figure:
            assert figure.info["Fingerprint"] == found


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_a_second_one_breaks_nothing(number, code, tmp_path, capsys):
    out = tmp_path / "run"
    process = start(*LONG, "--out", out)
    wait_for_checkpoint(out)
    process.send_signal(number)
    if number == signal.SIGTERM:
        wait_for_checkpoint(out, 2)
        process.send_signal(number)  # while figures are drawn
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    step = newest(out).state.step
    assert step > 0
    if (out / "model.h5").exists():
        assert_whole(out)
        assert history(out)["status"] == "interrupted"
        assert history(out)["steps_done"] == step
    assert not list(out.glob(".portadnn-*"))
    found = newest(out).declaration
    code, _, err = run(capsys, "train", "--resume", out, "--epochs", found.epochs - 1)
    assert (code, "expected as many, or more" in err) == (2, True)


def test_a_terminal_that_goes_away(tmp_path):
    """The program gets SIGHUP, and then can write to it no more."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "portadnn", *LONG, "--out", tmp_path / "run"]
    # the first terminal that the leader of a session opens is the session's own
    opening = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(follower)]
    process = subprocess.Popen([*opening, *command], start_new_session=True)
    STARTED.append(process)

    def read():
        while not gone.is_set():
            try:
                os.read(leader, 1000)
            except OSError:
                return

    gone = threading.Event()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_for_checkpoint(tmp_path / "run")
    os.close(follower)
    time.sleep(0.5)
    gone.set()
    reader.join(timeout=10)
    os.close(leader)
    assert process.wait(timeout=60) == 129
    assert_whole(tmp_path / "run")
    assert history(tmp_path / "run")["status"] == "interrupted"


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, capsys):
    options = [
        *QUICK, "--epochs", "3000", "--optimizer", "adam", "--validation", "0.2", "--dropout", "0.1"
    ]  # fmt: skip
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    logs = tmp_path / "straight.csv", tmp_path / "killed.csv"
    assert run(capsys, *options, "--log", logs[0], "--out", straight)[0] == 0
    certified = [*options, "--certify", "--out", killed, "--checkpoint-every", "0.05s"]
    process = start(*certified, "--log", logs[1])
    wait_for_checkpoint(killed, 4)
    process.kill()
    process.communicate()
    assert not (killed / "model.h5").exists()
    code, _, err = run(capsys, *options, "--out", killed)
    assert (code, "holds a run that has not ended: go on with --resume" in err) == (2, True)
    code, out, err = run(capsys, "train", "--resume", killed, "--log", logs[1])
    assert code == 0, err
    assert "going on from" in out
    same = [(history(d)["history"], history(d)["fingerprint"]) for d in (straight, killed)]
    assert same[0] == same[1]
    assert logs[0].read_text() == logs[1].read_text()
    for name in ("model.h5", "config.toml", "confusion.png", "cost.png"):
        assert (straight / name).read_bytes() == (killed / name).read_bytes()
    assert len(history(killed)["resumed"]) == 1
    proof = json.loads((killed / "certificate.json").read_text())
    made, checked = proof["steps"]["made"], proof["steps"]["checked"]
    assert (proof["outcome"], proof["not_covered"]) == ("PARITY", [])
    assert {"0", "1", str(made - 1)} <= checked.keys()
    assert proof["weights"] == history(killed)["fingerprint"]
    assert run(capsys, "verify", killed / "model.h5", "--replay", "numpy")[0] == 0
    assert [*map(len, map(paths_in, (straight, killed)))] == [1, 1]
    before = files(killed)
    assert run(capsys, "train", "--resume", killed)[0] == 0  # nothing is left to do
    after = files(killed)
    assert before["model.h5"] == after["model.h5"]
    assert before.keys() == after.keys()


def test_a_killed_overwrite_leaves_the_old_run(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(capsys, *QUICK, "--epochs", 2, "--out", out)[0] == 0
    old = files(out)
    process = start(*LONG, "--out", out, "--overwrite")
    wait_for_checkpoint(out, 3)
    process.kill()
    process.communicate()
    for name, content in old.items():
        assert (out / name).read_bytes() == content
    assert newest(out).declaration.epochs == 1_000_000
    assert run(capsys, *QUICK, "--epochs", 3, "--out", out, "--overwrite")[0] == 0
    assert_whole(out)
    assert len(paths_in(out)) == 1


def test_more_epochs(tmp_path, capsys):
    for name, epochs in (("a", 4), ("b", 9)):
        arguments = [*QUICK, "--epochs", epochs, "--out", tmp_path / name]
        assert run(capsys, *arguments)[0] == 0
    assert run(capsys, "train", "--resume", tmp_path / "a", "--epochs", 9)[0] == 0
    for name in ("model.h5", "config.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert history(tmp_path / "a")["history"] == history(tmp_path / "b")["history"]


def test_another_backend_is_written_down(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(capsys, *QUICK, "--epochs", 4, "--out", out)[0] == 0
    arguments = ["train", "--resume", out, "--backend", "strict", "--epochs", 5]
    code, _, err = run(capsys, *arguments)
    assert (code, "in fast arithmetic strict" in err) == (2, True)
    assert run(capsys, *arguments, "--resume-anyway")[0] == 0
    (entry,) = history(out)["resumed"]
    assert entry["backend"] == "strict"
    assert "library" in entry["changed"]
    assert "# It went on in another environment" in (out / "config.toml").read_text()


def test_changed_data_are_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = rng.normal(size=(20, 3)), np.arange(20) % 2
        file["list_classes"] = np.asarray([b"no", b"yes"])
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "data.h5"
    arguments = ["train", tmp_path / "data.h5", "--epochs", 3, "--backend", "numpy"]
    assert run(capsys, *arguments, "--out", tmp_path / "run")[0] == 0
    (tmp_path / "data.h5").rename(moved)
    code, _, err = run(capsys, "train", "--resume", tmp_path / "run", "--epochs", 4)
    assert (code, "data.h5: no such file" in err) == (2, True)
    code, _, err = run(capsys, "train", moved, "--resume", tmp_path / "run", "--epochs", 4)
    assert code == 0, err
    with h5py.File(moved, "a") as file:
        file["train_set_x"][0, 0] += 1
    code, _, err = run(capsys, "train", "--resume", tmp_path / "run", "--epochs", 5)
    assert (code, "are not those of the declared run" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "absent"], "absent has no checkpoint to go on from"),
        (["--resume", "run", "--out", "other"], "--out cannot be combined with --resume"),
        (["--resume", "run", "--certify"], "began without certify, so a certificate would not"),
        (["--resume", "run", "--overwrite"], "--overwrite cannot be combined with --resume"),
        (["--resume", "run", "--learning-rate", "1"], "--learning-rate cannot be combined with"),
        (["--resume", "run", "--log", "run/model.h5"], "model.h5 is not a log"),
        (["--checkpoint-every", "often"], "--checkpoint-every is 'often': expected a time such as"),
        (["--checkpoint-every=-1s"], "--checkpoint-every is -1"),
        (["--checkpoint-every", "9s", "--optimizer", "lbfgs"], "lbfgs has no checkpoints"),
        (["--log", "data.h5"], "data.h5 is not a log"),
        (["--resume-anyway"], "--resume-anyway is for --resume DIRECTORY"),
    ],
)
def test_what_cannot_be_done(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data.h5").write_bytes(b"\x89HDF\r\n\x1a\n and all that was measured")
    assert run(capsys, *QUICK, "--epochs", 2, "--out", "run")[0] == 0
    before = files(tmp_path), files(tmp_path / "run")
    code, out, err = run(capsys, "train", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert (files(tmp_path), files(tmp_path / "run")) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5", "run"]


def test_checkpoints_may_be_off(tmp_path, capsys):
    arguments = [*QUICK, "--epochs", 2, "--out", tmp_path / "run"]
    assert run(capsys, *arguments)[0] == 0
    assert len(paths_in(tmp_path / "run")) == 1
    assert run(capsys, *arguments, "--overwrite", "--checkpoint-every", "off")[0] == 0
    assert paths_in(tmp_path / "run") == []  # those of the old run would be mixed with the new
    arguments = ["train", "--optimizer", "lbfgs", "--epochs", 2, "--backend", "numpy"]
    pytest.importorskip("scipy")
    assert run(capsys, *arguments, "--out", tmp_path / "lbfgs")[0] == 0
    assert paths_in(tmp_path / "lbfgs") == []


def test_a_resumed_run_without_checkpoints_keeps_the_one_that_it_went_on_from(tmp_path, capsys):
    directory = tmp_path / "run"
    assert run(capsys, *QUICK, "--epochs", 2, "--out", directory)[0] == 0
    kept = paths_in(directory)
    resumed = "train", "--resume", directory, "--epochs", 4
    assert run(capsys, *resumed, "--checkpoint-every", "off")[0] == 0
    assert paths_in(directory) == kept
    first = run(capsys, "fingerprint", directory / "model.h5")
    assert run(capsys, *resumed)[0] == 0
    assert run(capsys, "fingerprint", directory / "model.h5") == first


def test_a_directory_in_use(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with claimed(tmp_path / "run", "--out"):
        code, out, err = run(capsys, *QUICK, "--epochs", 2, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert f"is in use by another run (process {os.getpid()})" in err
    assert list((tmp_path / "run").iterdir()) == []


def test_default_names_cannot_collide(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20200101-000000")
    for _ in range(3):
        assert run(capsys, *QUICK, "--epochs", 1)[0] == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["20200101-000000", "20200101-000000-2", "20200101-000000-3"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 60), ("off", None), ("60s", 60), ("5m", 300), ("1.5h", 5400), ("7", 7), ("0s", 0)],
)
def test_times_are_read(text, seconds):
    assert parse_every(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "nan", "infs", "1 2"])
def test_other_texts_are_no_times(text):
    with pytest.raises(InputError, match="--checkpoint-every is .*: expected"):
        parse_every(text)


def test_the_forms_of_a_time_are_named():
    with pytest.raises(InputError, match="'5x': expected a time such as 60s, 5m or 1h, or off"):
        parse_every("5x")
