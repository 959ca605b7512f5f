"""``portadnn evaluate``."""

import json

import h5py
import numpy as np
from cli_support import run


def test_evaluate(trained, capsys, pictures):
    code, out, _ = run(capsys, "evaluate", trained)
    assert code == 0
    assert out.startswith("the embedded digits (test): accuracy")
    _, out, _ = run(capsys, "evaluate", trained, "--split", "train", "--json")
    assert json.loads(out)["examples"] == 1437
    code, _, err = run(capsys, "evaluate", trained, pictures)
    assert code == 2
    assert "has the classes no, yes" in err


def test_evaluate_draws(trained, tmp_path, capsys):
    directory = tmp_path / "new" / "plots"
    code, out, _ = run(capsys, "evaluate", trained, "--plots", directory, "--json")
    assert code == 0
    assert set(json.loads(out)["files"]) == {"confusion", "mistakes", "weights"}
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["confusion.png", "mistakes.png", "weights.png"]
    code, _, err = run(capsys, "evaluate", trained, "--plots", trained)
    assert code == 2
    assert "cannot be written" in err


def test_a_file_with_several_labels(tmp_path, capsys):
    rng = np.random.default_rng(0)
    data, out = tmp_path / "people.h5", tmp_path / "run"
    X = rng.standard_normal((20, 3))
    with h5py.File(data, "w") as file:
        file["data"], file["sex"], file["age"] = X, X[:, 0] > 0, X[:, 1]
    quick = "--backend", "numpy", "--layers", 2, "--epochs", 2, "--target", "sex"
    code, _, err = run(capsys, "train", data, *quick, "--out", out, "--quiet")
    assert (code, err) == (0, "")
    model = out / "model.h5"
    _, out, _ = run(capsys, "evaluate", model, data, "--target", "sex", "--json")
    scores = json.loads((model.parent / "history.json").read_text(encoding="utf-8"))["history"][-1]
    found = json.loads(out)
    assert found["examples"] == 20
    assert 0 < found["cost"] < scores["cost"]  # the report's is of the weights before the update
    code, _, err = run(capsys, "evaluate", model, data)
    assert code == 2
    assert "holds no labels beside data" in err
