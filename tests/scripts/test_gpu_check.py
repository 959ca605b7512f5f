"""The GPU check: its command line, and a run through all of it."""

import importlib
import json
import subprocess
import sys

from conftest import cupy_problem
from support import SCRIPTS

SCRIPT = SCRIPTS / "gpu_check"


def run(*arguments, flags=()):
    return subprocess.run(
        [sys.executable, *flags, SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_stages_and_their_limits(gpu):
    stages = gpu("gpu.stages").STAGES
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    assert names[0] == "environment"
    assert sum(stage.limit for stage in stages) <= 540
    for stage in stages:
        module, _, function = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    listed = run("--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == names


def test_without_a_gpu_it_says_so_and_fails(tmp_path):
    backend = "cupy:99" if cupy_problem() is None else "cupy"
    done = run("--backend", backend, "--report", tmp_path)
    assert done.returncode == 2
    assert "no GPU was checked" in done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["exit_code"] == 2
    assert "no GPU was checked" in (tmp_path / "report.md").read_text()


def test_a_cpu_is_no_gpu():
    done = run("--backend", "numpy")
    assert done.returncode == 2
    assert "no GPU was checked: the backend numpy computes on cpu" in done.stderr


def test_missing_packages_are_named_in_the_report_too(tmp_path):
    paths = tmp_path / "report.json", tmp_path / "report.md"
    done = run("--json", paths[0], "--markdown", paths[1], flags=["-I", "-S"])  # no site-packages
    assert done.returncode == 2
    assert "this Python does not have numpy, array-api-compat" in done.stderr
    assert "array-api-compat" in json.loads(paths[0].read_text())["refusal"]
    assert "array-api-compat" in paths[1].read_text()


def test_a_folder_without_wheels(tmp_path):
    done = run("--wheels", tmp_path)
    assert done.returncode == 2
    assert "holds no wheels" in done.stderr


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    done = run("--report", tmp_path / "file" / "folder")
    assert done.returncode == 2
    assert "gpu_check: the report cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_stage():
    done = run("--only", "parity,speed")
    assert done.returncode == 2
    assert "no stage 'speed': expected some of environment" in done.stderr


def test_stages_run_on_any_device(tmp_path):
    done = run(
        "--backend", "strict:device1", "--any-device", "--sizes", "small", "--report", tmp_path,
        "--only", "exactness,parity,tf32,sample,contest",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert {name: stage["outcome"] for name, stage in stages.items()} == {
        "environment": "passed", "exactness": "passed", "parity": "passed", "tf32": "skipped",
        "sample": "passed", "contest": "skipped",
    }  # fmt: skip
    assert found["title"].endswith("not a GPU")
    assert stages["parity"]["limit"] == 10 * 45  # limits are meant for a GPU
    parities = stages["parity"]["figures"]
    assert len(parities) == 8
    for figures in parities.values():
        assert figures["outcome"] == "PARITY"
        assert 0 < figures["largest_ratio"] <= 1
    assert len(list(tmp_path.glob("parity-*.html"))) == 4
    for dtype in ("float32", "float64"):
        assert stages["sample"]["figures"][dtype]["feature / sample"]["median"] > 0


def test_on_the_stand_in_it_runs_through(tmp_path, stand_in, monkeypatch):
    monkeypatch.delenv("PORTADNN_CATS", raising=False)
    done = run("--any-device", "--sizes", "small", "--report", tmp_path, "--raise", "exactness")
    found = json.loads((tmp_path / "report.json").read_text())
    text = (tmp_path / "report.md").read_text()
    outcomes = {stage["name"]: stage["outcome"] for stage in found["stages"]}
    passed = dict.fromkeys(("environment", "fingerprints", "parity", "suite", "sample", "crossing",
                            "contest"), "passed")  # fmt: skip
    skipped = {"tf32": "skipped", "libraries": "skipped"}
    assert outcomes == passed | skipped | {"exactness": "raised"}, done.stdout
    assert done.returncode == 1
    assert text.startswith("# GPU check on a stand-in, not a GPU: CUDA device 0 (stand-in")
    assert found["stand_in"]
    assert not found["gpu"]
    figures = {stage["name"]: stage["figures"] for stage in found["stages"]}
    assert "cupy-cuda" in figures["environment"]["cupy package"]
    assert "cupy float32 products" in figures["environment"]["backends"]["cupy"]
    assert figures["suite"]["passed"] > 20
    assert figures["suite"]["failed"] == 0
    assert figures["contest"]["c, sgd"]["cupy"]["bytes of the card"] > 1408 * 64 * 4  # the data
    assert "skipped" in figures["contest"]["c, sgd"]["torch-graph"]
    assert "cupy" in figures["contest"]["a, float32"]
    assert len(figures["crossing"]["widths"]) == 3
