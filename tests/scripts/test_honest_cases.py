"""The script of honest cases: it counts what it checked, reproduces a case, and can fail."""

import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "honest_cases"


@pytest.fixture
def script(monkeypatch):
    loader = importlib.machinery.SourceFileLoader("honest_cases", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["honest_cases", *arguments])
        return module.main()

    module.run = run
    return module


def test_honest_cases_pass(script, capsys):
    assert script.run("--cases", "100", "--backends", "numpy,strict") == 0
    out = capsys.readouterr().out
    assert "all                  100" in out
    assert "0 flagged" in out


def test_a_case_is_drawn_from_its_number(script):
    first, again, other = (script.draw_case(0, "numpy", n) for n in (7, 7, 8))
    np.testing.assert_array_equal(first.run.X, again.run.X)
    assert str(first) == str(again) != str(other)
    networks = {script.draw_case(0, "jax", n).run.network for n in range(200)}
    assert len(networks) == 2  # compiled twice


def test_what_is_flagged_is_said_and_fails(script, capsys, monkeypatch):
    from portadnn.parity.bounds import within
    from portadnn.parity.bounds.heads import HEAD_BOUNDS

    tight = lambda AL, Y, form, S=None: within(AL - Y, np.zeros_like(Y))  # noqa: E731
    for head, bounds in HEAD_BOUNDS.items():
        monkeypatch.setitem(HEAD_BOUNDS, head, bounds._replace(gradient=tight))
    assert script.run("--cases", "20", "--backends", "numpy", "--seed", "5") == 1
    flagged = capsys.readouterr().out.splitlines()[0]
    assert flagged.startswith("--backends numpy --seed 5 --case ")
    number = flagged.split()[5].rstrip(":")
    assert script.run("--case", number, "--backends", "numpy", "--seed", "5") == 1
    assert flagged in capsys.readouterr().out


def test_a_backend_that_is_not_there(script, capsys):
    assert script.run("--backends", "nunpy") == 2
    assert "unknown backend 'nunpy'" in capsys.readouterr().err
