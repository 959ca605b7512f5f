"""The GPU check itself, on machines without a GPU."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import cupy_problem

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "gpu_check"


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_without_a_gpu_it_says_so_and_fails():
    if cupy_problem() is None:
        done = run("--backend", "cupy:99", "--skip-tests")
    else:
        done = run("--skip-tests")
    assert done.returncode == 2
    assert "no GPU was checked" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_comparison_runs_on_any_backend(tmp_path):
    done = run(
        "--backend", "strict:device1", "--any-device", "--skip-tests",
        "--json", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PASSED" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    for dtype in ("float32", "float64"):
        assert 0 < report["dtypes"][dtype]["largest_ratio"] <= 1


def test_a_cpu_is_no_gpu():
    done = run("--backend", "numpy", "--skip-tests")
    assert done.returncode == 2
    assert "no GPU was checked: the backend numpy computes on cpu" in done.stderr


def test_a_folder_without_wheels(tmp_path):
    done = run("--wheels", tmp_path)
    assert done.returncode == 2
    assert "holds no wheels" in done.stderr
