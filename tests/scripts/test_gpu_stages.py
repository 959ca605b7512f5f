"""The stages of the GPU check, as far as they can be tested without a GPU."""

import numpy as np
import pytest


@pytest.fixture
def work(gpu, tmp_path):
    """What a stage is given, on NumPy."""

    def make(limit=120):
        return gpu("gpu.work").Work(
            tmp_path / "found.json", name="stage", backend="numpy", small=True, any_device=True,
            keep=tmp_path, limit=limit,
        )  # fmt: skip

    return make


@pytest.fixture
def checkout(gpu, tmp_path, monkeypatch):
    """A checkout with tests of one's own, in place of this one."""
    tests = tmp_path / "checkout" / "tests"
    tests.mkdir(parents=True)
    (tests.parent / "pytest.ini").write_text("[pytest]\naddopts = -p portadnn.testing\n")
    monkeypatch.setattr(gpu("gpu.stages.suite"), "CHECKOUT", tests.parent)
    monkeypatch.setattr(gpu("gpu.stages.suite"), "OPTIONS", ())
    return tests


def test_tf32_is_found_named_and_accepted_where_it_is_declared(gpu, work):
    from dataclasses import replace

    from portadnn.backends import get_backend
    from portadnn.parity.causes.precision import rounded

    stage = gpu("gpu.stages.parity")
    numpy = get_backend("numpy", dtype="float32")

    def judged(plain, tf32):
        found = work()
        stage.judge_tf32(found, plain, replace(tf32, matmul="tf32"))
        return found

    class Rounding:
        def __getattr__(self, name):
            return getattr(numpy.xp, name)

        def matmul(self, A, B):
            return numpy.xp.matmul(*(rounded(x, 11).astype(x.dtype) for x in (A, B)))

    rounding = replace(numpy, xp=Rounding())
    found = judged(numpy, rounding)
    assert found.faults == []
    assert found.figures["float32_declared"]["outcome"] != "PARITY"
    assert found.figures["float32_declared"]["cause"] == "TF32"
    assert found.figures["tf32_declared"]["outcome"] == "PARITY"
    assert "parity says PARITY" in judged(numpy, numpy).faults[0]
    assert "products are plain, but parity says" in judged(rounding, rounding).faults[0]


@pytest.mark.parametrize("way", ["run_by_file", "run_with_xdist"])
def test_the_suite_in_processes(gpu, work, checkout, tmp_path, way):
    if way == "run_with_xdist":
        pytest.importorskip("xdist")
    (checkout / "test_a.py").write_text("def test_good(): pass\n\ndef test_bad(): assert 1 == 2\n")
    (checkout / "test_b.py").write_text(
        "import pytest\n\ndef test_other(backend): pass\n\n@pytest.mark.skip\ndef test_s(): pass\n"
    )
    suite = gpu("gpu.stages.suite")
    complete, codes = getattr(suite, way)(work(), ["tests"], 2, tmp_path / "junit.xml")
    assert complete
    assert 1 in codes
    counts, failures = suite.read_junit(tmp_path / "junit.xml")
    assert counts == {"passed": 2, "failed": 1, "skipped": 1}
    assert len(failures) == 1
    assert failures[0].endswith("::test_bad")


@pytest.mark.parametrize(("way", "limit"), [("run_by_file", 18), ("run_with_xdist", 25)])
def test_a_suite_near_its_limit_is_stopped_and_counted(gpu, work, checkout, tmp_path, way, limit):
    if way == "run_with_xdist":
        pytest.importorskip("xdist")
    (checkout / "test_a.py").write_text("def test_good(): pass\n" + "#" * 1000)  # the largest
    (checkout / "test_b.py").write_text("import time\n\ndef test_long(): time.sleep(600)\n")
    suite = gpu("gpu.stages.suite")
    given = work(limit)
    complete, _ = getattr(suite, way)(given, ["tests"], 1, tmp_path / "junit.xml")
    assert given.left > -1  # the report can still be written
    assert not complete
    assert suite.read_junit(tmp_path / "junit.xml")[0]["passed"] == 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(8, 0.5), (16, 2.0), (32, 4.0)], 8 * np.sqrt(2)),  # half way in logarithms
        ([(8, 2.0), (16, 0.5), (32, 0.5), (64, 8.0)], 32 * 2**0.25),  # the last time counts
        ([(8, 0.2), (16, 0.9)], None),
        ([(8, 1.5), (16, 3.0)], 8.0),
        ([], None),
    ],
)
def test_where_the_gpu_overtakes(gpu, found, expected):
    timing = gpu("gpu.stages.timing")
    width = timing.crossed(found)
    assert width == (None if expected is None else pytest.approx(expected, abs=0.06))
    words = timing.sentence("cupy", found, width)
    assert words.startswith("cupy is" if found else "no width")


def test_whole_calls_of_the_contest_are_whole_epochs(gpu):
    contest = gpu("gpu.stages.contest")
    for small in (True, False):
        for task in contest.tasks(small):
            assert task.steps > 0
            assert task.steps % task.batches.steps_per_epoch == 0
            assert task.steps <= 234


def test_memory_of_the_card_on_cupy(gpu, cupy):
    hook = gpu("contest.card")._hook(cupy)
    with hook:
        before = hook.used
        x = cupy.ones(2**20, cupy.float32)
        y = x + x
        del x, y
        z = cupy.ones(2**10, cupy.float32)
    assert hook.most - before == 2 * 2**22  # the small array is not part of the peak
    assert hook.used - before == 2**12
    del z
