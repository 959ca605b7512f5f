"""scripts/torture finds what it looks for."""

import shutil
import signal
import subprocess
import sys
import types

import pytest
from support import SCRIPTS, script_module

from portadnn.cli.main import main

torture = script_module("torture_runs.py")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Two runs, and what their fingerprints are called."""
    folder, fingerprints = tmp_path_factory.mktemp("runs"), {}
    for name, seed in (("old", "1"), ("new", "2")):
        options = ["--epochs", "3", "--layers", "4", "--backend", "numpy", "--quiet"]
        assert main(["train", *options, "--seed", seed, "--out", str(folder / name)]) == 0
        fingerprints[torture.state_of(folder / name)] = name
    assert len(fingerprints) == 2

    def named(state):
        return "nothing" if state is None else fingerprints.get(state, state)

    return types.SimpleNamespace(
        old=folder / "old", new=folder / "new", fingerprints=fingerprints, name=named
    )


@pytest.mark.parametrize("name", ["history.json", "config.toml", "cost.png", "model.h5"])
def test_a_file_of_another_run_is_seen(case, tmp_path, name):
    mixed = shutil.copytree(case.old, tmp_path / "mixed")
    shutil.copy(case.new / name, mixed / name)
    assert torture.state_of(mixed).startswith("mixed: ")
    (mixed / name).unlink()
    expected = case.name(torture.state_of(mixed))
    assert expected == "old" if name == "cost.png" else expected.startswith("mixed: only")


def test_a_directory_without_a_run(case, tmp_path):
    assert case.name(torture.state_of(tmp_path)) == "nothing"


@pytest.mark.parametrize(
    ("code", "which", "said", "wrong"),
    [
        (0, "new", "", False),
        (2, "old", "portadnn: error: no space\n", False),
        (0, "old", "", True),  # "saved", and it is not
        (2, "new", "portadnn: error: no space\n", True),
        (2, "old", "", True),
        (2, "old", "Traceback\nportadnn: error: no space\n", True),
        (99, "old", "", True),
    ],
)
def test_a_failed_run_is_judged(case, code, which, said, wrong):
    tally = torture.Tally("part")
    torture.judge_failed(case, getattr(case, which), code, said, tally, "write 1")
    assert bool(tally.row().fault) == wrong


def test_what_must_be_told_and_is_not_is_a_fault(case):
    tally = torture.Tally("part")
    torture.judge_failed(case, case.new, 0, "a warning\n", tally, "fsync 1", told=True)
    torture.judge_failed(case, case.new, 0, "", tally, "fsync 2", told=True)
    assert tally.row().fault == "1, the first: fsync 2: not a word"


def test_what_is_left_is_seen(case, tmp_path):
    left = shutil.copytree(case.new, tmp_path / "left")
    (left / ".portadnn-0.tmp").touch()
    tally = torture.Tally("part")
    torture.judge_failed(case, left, 0, "", tally, "write 1")
    assert ".portadnn-0.tmp" in tally.row().fault


def test_the_parts_are_listed_and_others_refused():
    def script(*arguments):
        command = [sys.executable, SCRIPTS / "torture", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    parts = [*torture.PARTS, *script_module("torture_files.py").PARTS, "formats"]
    listed = [line.split()[0] for line in script("--list").stdout.splitlines()]
    assert sorted(listed) == sorted(parts)
    done = script("kil")
    assert done.returncode == 2
    assert "unknown part 'kil': expected some of kill" in done.stderr


def test_a_run_is_interrupted_even_if_ctrl_c_was_ignored(monkeypatch):
    monkeypatch.setattr(torture.loop, "LARGEST_CHUNK", 1)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    try:
        assert torture.interrupted(torture.RUNS["momentum"], 5, backend="numpy")
        assert not torture.interrupted(torture.RUNS["momentum"], 5000, backend="numpy")
    finally:
        signal.signal(signal.SIGINT, before)
