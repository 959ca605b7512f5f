"""The experiments run, and what they print can be read back."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
EXPERIMENTS = ROOT / "scripts" / "experiments"


@pytest.fixture
def experiment(monkeypatch):
    def load(name, folder=EXPERIMENTS):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def run(*arguments):
            monkeypatch.setattr("sys.argv", [name, *arguments])
            return module.main()

        module.run = run
        return module

    return load


def test_learning_parity(experiment, capsys):
    script = experiment("learn_parity")
    assert script.run("--bits", "1,2", "--seeds", "2", "--iterations", "300") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 + 2 * 6 + 2 * 3 * 3 + 6
    # one bit is its own parity: no shape can fail
    assert all("2 found, mean 1.000" in row for row in rows if row.startswith("| 1 | tree"))


def test_a_parity_that_is_wrong_counts_as_not_found(experiment):
    script = experiment("learn_parity")
    X, Y = script.truth(3)
    right = script.xor_tree(3)
    wrong = right | {"b3": -right["b3"]}
    assert script.score([(right, False), (wrong, True)], X, Y) == (1, 0.75, 1)
    parameters, diverged = script.descend(right, 0.1, X, Y, 1)
    assert not diverged
    np.testing.assert_allclose(parameters["W1"], right["W1"], atol=1e-10)


def test_dead_units(experiment, capsys):
    script = experiment("dead_units")
    assert script.run("--rates", "1,1e9", "--seeds", "1", "--epochs", "5") == 0
    relu, leaky, too_fast, _ = capsys.readouterr().out.splitlines()[2:]
    assert relu.startswith("| 1 | relu | 0.")
    cells = [cell.strip() for cell in relu.split("|")]
    accuracy, lives = script.run_one(1.0, "relu", 0, 5)
    assert cells[3].startswith(f"{accuracy:.3f} ")
    assert cells[4] == ", ".join(f"{n:.1f}" for n in lives.census[-1].dead)
    assert "| 0.0, 0.0 | 0.0, 0.0 | 0.0, 0.0 |" in leaky
    assert too_fast.startswith("| 1e+09 | relu | ")


def test_the_cat_figures(experiment, cat_files, tmp_path, capsys):
    folder = ROOT / "docs" / "text" / "cats"
    assert experiment("draw", folder).run(*map(str, cat_files), "--out", str(tmp_path)) == 0
    *table, training, test = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs" / "text" / "model.md").read_text()
    assert "\n".join(table) in page
    assert "206 of 209 right" in training
    assert "40 of 50 right" in test
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in folder.glob("*.png"))
    assert all(name in page for name in drawn)
