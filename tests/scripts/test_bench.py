"""The benchmark runs, and says so where costs disagree."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parent.parent.parent / "scripts" / "bench"


@pytest.fixture
def contest(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    from contest import measure, tasks

    yield measure, tasks
    for name in [name for name in sys.modules if name.partition(".")[0] == "contest"]:
        del sys.modules[name]


def test_quick_peers(tmp_path):
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, BENCH / "peers.py", "--quick", "--workload", "a", "--threads", "1",
         "--entrants", "textbook,numpy,numpy-direct", "--json", found],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all ran, and all costs agree" in done.stdout
    for title in ("textbook NumPy", "portadnn numpy", "portadnn numpy, direct form"):
        assert sum(line.startswith(f"| {title}") for line in done.stdout.splitlines()) >= 2
    report = json.loads(found.read_text())
    assert [task["task"] for task in report["tasks"]] == ["a, float64", "a, float32"]
    for task in report["tasks"]:
        costs = [result["cost"] for result in task["results"]]
        np.testing.assert_allclose(costs, costs[0], rtol=1e-12 if "64" in task["task"] else 1e-4)
        assert all(len(result["step"]) == 2 for result in task["results"])


def test_costs_that_disagree_are_named(contest):
    measure, tasks = contest
    task = tasks.tasks_of("c", quick=True)[0]
    right, wrong = measure.Result("numpy", cost=0.5), measure.Result("sklearn", cost=0.501)
    (line,) = measure.faults(task, [right, wrong])
    assert line.startswith("c, sgd: sklearn has a cost of 0.501")
    assert measure.faults(task, [right, measure.Result("jax", cost=0.5)]) == []


def test_who_fails_is_named_and_who_is_absent_is_not(contest):
    measure, tasks = contest
    task = tasks.tasks_of("c", quick=True)[0]
    failed = measure.Result("jax", error="out of memory")
    absent = measure.Result("keras", error="Keras is not installed", absent=True)
    assert measure.faults(task, [failed, absent]) == ["c, sgd: jax: out of memory"]


def test_flops_are_those_of_the_direct_form(contest):
    _, tasks = contest
    task = tasks.tasks_of("d", quick=True)[0]
    a, b, c = 784 * 2048, 2048 * 2048, 2048 * 10
    assert task.flops == 2 * 1024 * (2 * a + 3 * b + 3 * c)


def test_who_does_not_answer_is_killed(contest):
    """portadnn that hangs is a fault; a peer that takes too long is listed as absent."""
    measure, tasks = contest
    task = tasks.tasks_of("c", quick=True)[0]
    results = measure.measure(
        task, ["numpy", "sklearn"], rounds=1, whole_rounds=0, seconds=0.01, threads=1,
        products=False, patience=0.001,
    )  # fmt: skip
    assert [r.error for r in results] == ["no answer within 0.001 s"] * 2
    assert measure.faults(task, results) == ["c, sgd: numpy: no answer within 0.001 s"]


def test_a_cpu_has_no_memory_of_a_card(contest):
    measure, tasks = contest
    task = tasks.tasks_of("c", quick=True)[0]
    (result,) = measure.measure(
        task, ["numpy"], rounds=2, whole_rounds=1, seconds=0.01, threads=1, products=False,
        card=True, patience=60,
    )  # fmt: skip
    assert result.error == ""
    assert result.card is None
    assert len(result.step) == 2


def test_jax_scan_learns_the_same_in_both_layouts(contest):
    pytest.importorskip("jax")
    measure, tasks = contest
    for workload in ("c", "f"):
        task = tasks.tasks_of(workload, quick=True)[0]
        results = measure.measure(
            task, ["numpy", "jax-scan", "jax-scan-columns", "jax-scan@1"], rounds=1,
            whole_rounds=1, seconds=0.01, threads=1, products=False,
        )  # fmt: skip
        assert all(r.cost for r in results)
        assert measure.faults(task, results) == []


def test_lost_means_that_the_interquartile_range_lies_below_1(contest):
    from contest.table import asked_rows

    ratios = [0.9, 0.95, 0.97, 0.98, 2.0]
    found = [("x", ratios, 0.5), ("y", ratios, 1.0), ("z", ratios, None)]
    found += [("w", [0.9, 0.95, 1.2], None)]
    lines = asked_rows([(*row, "a / b") for row in found])
    *_, x, y, z, w = lines.splitlines()
    assert x == "| x | 0.97 (a / b) | 0.95 to 0.98 | 0.5 | yes |"
    assert y.endswith("| 1 | NO, lost |")
    assert z.endswith("| not lost | NO, lost |")
    assert w.endswith("| not lost | yes |")


def test_tables_are_written_between_the_marks_of_a_page(contest, tmp_path):
    from contest.table import into

    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->old<!-- end x -->\nb\n", encoding="utf-8")
    for _ in range(2):
        into(page, "x", "| new |")
        text = "a\n<!-- begin x -->\n\n| new |\n\n<!-- end x -->\nb\n"
        assert page.read_text(encoding="utf-8") == text
    with pytest.raises(SystemExit, match="has no marks <!-- begin y -->"):
        into(page, "y", "")


def test_a_day_s_work_is_timed_and_printed_again(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, BENCH / "daily.py"]
    done = subprocess.run(
        [*command, "--quick", "--rounds", "1", "--work", "memory", "--json", found],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(found.read_text())["work"]["memory"]
    loaded = next(answers for name, answers in report.items() if "load" in name)
    assert 0.99 < loaded[0]["value"] < 1.1  # no copy of the data
    again = subprocess.run(
        [*command, "--from", found], capture_output=True, text=True, check=True
    ).stdout
    assert "| Memory over data: 1.05 / portadnn load |" in again


@pytest.fixture
def blas_kernels(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import blas_kernels

    yield blas_kernels
    del sys.modules["blas_kernels"]


def test_products_are_timed_under_the_kernel_that_was_named(blas_kernels):
    if blas_kernels.running_kernel() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS here")
    products = [(8, 16, 4, "float32"), (8, 16, 4, "float64")]
    rates = blas_kernels.measure("Nehalem", products, seconds=0.001, threads=1)
    assert rates is not None
    if rates.kernel != "Nehalem":
        pytest.skip(f"this OpenBLAS has no Nehalem kernel: {rates}")
    assert len(rates.gflops) == 2
    assert min(rates.gflops) > 0


def test_a_process_that_fails_measures_nothing(blas_kernels, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert blas_kernels.measure("Haswell", []) is None
