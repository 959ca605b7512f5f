"""scripts/fingerprints against the values that it ships, and the place of the cat images."""

import importlib.machinery
import importlib.util
import json

import pytest
from support import SCRIPTS, script_module

SHIPPED = {"5": {"digits float64": "a" * 64}, "20": {"digits float64": "b" * 64}}


@pytest.fixture
def fingerprints(monkeypatch, tmp_path):
    loader = importlib.machinery.SourceFileLoader("fingerprints", str(SCRIPTS / "fingerprints"))
    spec = importlib.util.spec_from_loader("fingerprints", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    real = module.SHIPPED
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped.json")
    module.SHIPPED.write_text(json.dumps(SHIPPED))
    module.real = json.loads(real.read_text())

    def main(*arguments):
        monkeypatch.setattr("sys.argv", ["fingerprints", *arguments])
        return module.main()

    module.call = main
    return module


@pytest.mark.parametrize(("made", "code"), [("b", 0), ("c", 1)])
def test_expected_values(fingerprints, monkeypatch, capsys, made, code):
    asked = []

    def run(backend, steps, settings, *, drawn=False):
        asked.append((backend, steps))
        return {"digits float64": made * 64}

    monkeypatch.setattr(fingerprints, "run", run)
    assert fingerprints.call("--expect", "--steps", "20", "--backends", "cupy:1") == code
    assert asked == [("cupy:1", 20)]  # NumPy did not run
    assert ("same bits" if code == 0 else "DIFFERENT") in capsys.readouterr().out


def test_a_task_that_is_not_shipped_is_no_match(fingerprints, monkeypatch):
    monkeypatch.setattr(fingerprints, "run", lambda *_, **__: {"cats float64": "b" * 64})
    assert fingerprints.call("--expect", "--steps", "20", "--backends", "cupy") == 1


def test_steps_that_are_not_shipped(fingerprints, capsys):
    with pytest.raises(SystemExit) as stopped:
        fingerprints.call("--expect", "--steps", "7", "--backends", "cupy")
    assert stopped.value.code == 2
    assert "no values after 7 steps: expected one of 5, 20" in capsys.readouterr().err


def test_without_numpy_there_is_nothing_to_compare_with(fingerprints, capsys):
    with pytest.raises(SystemExit):
        fingerprints.call("--backends", "torch")
    assert "add it to --backends, or --expect" in capsys.readouterr().err


def test_refresh(fingerprints, monkeypatch):
    def run(backend, steps, settings, *, drawn=False):
        assert backend == "numpy"
        return {f"{'drawn cats' if drawn else 'cats'} float64": f"{steps}"}

    monkeypatch.setattr(fingerprints, "run", run)
    assert fingerprints.call("--refresh") == 0
    assert json.loads(fingerprints.SHIPPED.read_text()) == {
        steps: {**old, "cats float64": steps, "drawn cats float64": steps}
        for steps, old in SHIPPED.items()
    }


def test_the_shipped_values_are_those_of_numpy(fingerprints):
    found = fingerprints.run("numpy", 5, {}, drawn=True)
    assert found
    assert found == {task: fingerprints.real["5"][task] for task in found}
    for digests in fingerprints.real.values():
        assert set(digests) == {
            f"{task} {dtype}"
            for task in ("cats", "drawn cats", "digits")
            for dtype in ("float32", "float64")
        }


def test_the_place_of_the_cat_images(monkeypatch, tmp_path):
    cats = script_module("cats.py")
    monkeypatch.delenv(cats.VARIABLE, raising=False)
    assert cats.cat_files() is None
    monkeypatch.setenv(cats.VARIABLE, str(tmp_path))
    (tmp_path / cats.NAMES[0]).touch()
    with pytest.raises(FileNotFoundError, match="test_catvnoncat.h5 is not there: name the folder"):
        cats.cat_files()
    (tmp_path / cats.NAMES[1]).touch()
    assert cats.cat_files() == tuple(tmp_path / name for name in cats.NAMES)
