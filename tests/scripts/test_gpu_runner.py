"""The runner and the report of the GPU check, with stages made for the test."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest


@pytest.fixture
def fakes(gpu, tmp_path):
    """Run fake stages by the names of their functions: (exit code, JSON, Markdown)."""
    runner, report_of = gpu("gpu.runner"), gpu("gpu.report")

    def run(*names, limit=60.0, **context):
        stages = [runner.Stage(n, f"title of {n}", f"fake_stages:{n}", limit) for n in names]
        paths = [tmp_path / "report.json"], [tmp_path / "report.md"]
        report = report_of.Report(stages, {"backend": "numpy"}, *paths)
        whole = {"backend": "numpy", "small": True, "any_device": True, "keep": str(tmp_path)}
        code = runner.run_stages(stages, whole | context, report, lambda line: None)
        return code, json.loads(paths[0][0].read_text()), paths[1][0].read_text()

    return run


def test_a_stage_that_does_not_pass_stops_no_other(fakes):
    code, found, text = fakes("fails", "raises", "crashes", "exits", "skips", "good")
    assert code == 1 == found["exit_code"]
    assert [(s["name"], s["outcome"]) for s in found["stages"]] == [
        ("fails", "failed"), ("raises", "raised"), ("crashes", "crashed"), ("exits", "crashed"),
        ("skips", "skipped"), ("good", "passed"),
    ]  # fmt: skip
    fails, raises, crashes, exits, skips, good = found["stages"]
    assert fails["reason"] == "3 of 4 differ"
    assert "before the fault" in fails["printed"]
    assert fails["text"] == ["the other figures are there"]
    assert raises["reason"] == "ZeroDivisionError: made for the test"
    assert raises["figures"] == {"so far": 1}
    assert 'raise ZeroDivisionError("made for the test")' in raises["printed"]
    assert crashes["reason"] == "its process ended with SIGSEGV"
    assert exits["reason"] == "its process ended with exit code 3, before it had a result"
    assert skips["reason"] == "the stand-in ignores it"
    assert good["figures"] == {"answer": 42, "ratio": None}
    assert found["verdict"] == "FAILED: 1 failed, 1 raised, 2 crashed, 1 skipped, 1 passed"
    assert text.startswith("# GPU check")
    for stage in found["stages"]:
        assert f"## {stage['name']}: title of {stage['name']}\n\n{stage['outcome']} after" in text
        assert 0 < stage["seconds"] < stage["limit"]
    assert "| a | table |" in text
    assert "made for the test" in text


def test_stages_that_pass_or_are_skipped_with_a_reason(fakes):
    code, found, text = fakes("good", "skips")
    assert code == 0
    assert found["verdict"] == "PASSED: 1 passed, 1 skipped"
    assert "skipped after" in text
    assert "the stand-in ignores it" in text


def test_a_stage_over_its_limit_is_killed_with_its_children(fakes):
    code, found, text = fakes("hangs", limit=5.0)
    assert code == 1
    (stage,) = found["stages"]
    assert stage["outcome"] == "timed out"
    assert stage["reason"] == "it was stopped after its limit of 5 s"
    assert "hanging" in stage["printed"]
    assert "hanging" in text
    assert is_gone(stage["figures"]["child"])


def is_gone(pid):
    for _ in range(50):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_the_report_is_written_when_each_stage_ends(fakes, gpu, monkeypatch):
    seen = []
    report_of = gpu("gpu.report").Report
    add = report_of.add

    def looked_at(self, result):
        add(self, result)
        found = json.loads(self.json_paths[0].read_text())
        text = self.markdown_paths[0].read_text()
        seen.append(([s["name"] for s in found["stages"]], found["waiting"], found["verdict"]))
        assert all(f"| {name} | not run |" in text for name in found["waiting"])

    monkeypatch.setattr(report_of, "add", looked_at)
    fakes("good", "fails", "skips")
    assert seen == [
        (["good"], ["fails", "skips"], "UNFINISHED: 1 passed, 2 not run"),
        (["good", "fails"], ["skips"], "UNFINISHED: 1 passed, 1 failed, 1 not run"),
        (["good", "fails", "skips"], [], "UNFINISHED: 1 passed, 1 failed, 1 skipped"),
    ]


def test_the_check_goes_on_if_the_report_cannot_be_written(fakes, gpu, monkeypatch, capsys):
    report_of = gpu("gpu.report")
    replace, full = report_of.replace, [False]

    def replace_or_fail(path, text):
        if full[0] and path.suffix == ".md":
            raise OSError(28, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(report_of, "replace", replace_or_fail)
    add = report_of.Report.add

    def fill_the_disk(self, result):
        add(self, result)
        full[0] = True

    monkeypatch.setattr(report_of.Report, "add", fill_the_disk)
    code, found, text = fakes("good", "skips")
    assert code == 1
    assert [s["outcome"] for s in found["stages"]] == ["passed", "skipped"]
    assert "| skips | not run |" in text  # the last one that could be written
    assert "the report cannot be written: [Errno 28]" in capsys.readouterr().err


def test_a_file_is_replaced_whole_or_left_as_it_was(gpu, tmp_path, monkeypatch):
    work, path = gpu("gpu.work"), tmp_path / "report.md"
    synced = []
    monkeypatch.setattr(work.os, "fsync", synced.append)
    work.replace(path, "1 ± 2")
    assert len(synced) == 1
    with pytest.raises(UnicodeEncodeError):
        work.replace(path, "\udc80")  # no UTF-8
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        work.replace(tmp_path / "folder", "text")
    assert path.read_text(encoding="utf-8") == "1 ± 2"
    assert {p.name for p in tmp_path.iterdir()} == {"report.md", "folder"}


def test_a_stage_can_be_made_to_raise(fakes):
    code, found, _ = fakes("good", "skips", raising=["good"])
    assert code == 1
    assert [s["outcome"] for s in found["stages"]] == ["raised", "skipped"]
    assert "--raise good: this error was asked for" in found["stages"][0]["reason"]


def test_without_a_device_nothing_else_runs(fakes):
    code, found, text = fakes("absent", "good")
    assert code == 2 == found["exit_code"]
    assert found["refusal"] == "no GPU was checked: no card here"
    assert text.startswith("# GPU check: nothing was checked\n")
    assert "no card here" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_finished_stays_in_the_report(gpu, tmp_path, number, code):
    program = f"""
        import signal, sys
        from pathlib import Path
        from gpu.report import Report
        from gpu.runner import Stage, run_stages
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stages = [Stage(n, n, f"fake_stages:{{n}}", 60) for n in ("good", "hangs", "skips")]
        report = Report(stages, {{}}, [Path({str(tmp_path / "report.json")!r})])
        context = {{"backend": "numpy", "small": True, "any_device": True, "keep": "."}}
        sys.exit(run_stages(stages, context, report))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("hangs"):
            break
    time.sleep(1)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    found = json.loads((tmp_path / "report.json").read_text())
    assert [s["outcome"] for s in found["stages"]] == ["passed", "interrupted"]
    assert found["stages"][0]["figures"]["answer"] == 42
    assert found["verdict"] == "STOPPED: 1 passed, 1 interrupted, 1 not run"
    if child := found["stages"][1]["figures"].get("child"):
        assert is_gone(child)


def test_the_first_line_says_what_was_checked(gpu):
    report = gpu("gpu.report").Report([], {})

    def title(device):
        blank = dict.fromkeys(("name", "title", "reason", "printed"), "")
        result = {"device": device, "outcome": "passed", "seconds": 0.0, "limit": 1, "text": []}
        report.results = [blank | result]
        return report.as_markdown().splitlines()[0]

    card, stand_in = "CUDA device 0 (NVIDIA H100)", "CUDA device 0 (stand-in CUDA device (CPU))"
    assert title(card) == f"# GPU check on {card}"
    assert title(stand_in) == f"# GPU check on a stand-in, not a GPU: {stand_in}"
    assert title("cpu") == "# GPU check on cpu, not a GPU"
    assert report.as_json()["gpu"] is False
