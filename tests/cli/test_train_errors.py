"""Bad input to ``portadnn train``: it is named before anything is written."""

import os
import stat
import sys

import h5py
import numpy as np
import pytest
from cli_support import QUICK, run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.h5"], "absent.h5: no such file"),
        (["text.h5"], "text.h5 is not an HDF5 file"),
        (["no_y.h5"], "train_set_y is missing"),
        (["nan.h5"], "example 1 holds nan at index (1, 2)"),
        (["labels.h5"], "label 0 is 5: expected integers 0..1"),
        (["empty.h5"], "they are empty"),
        (["good.h5", "--test", "other.h5"], "has examples of shape (4,)"),
        (["good.h5", "--test", "absent.h5"], "absent.h5: no such file"),
        (["--layers", "20,0,5"], "a layer has width 0"),
        (["--layers", "20,x"], "'x' is not a width"),
        (["--learning-rate", "0"], "learning rate is 0"),
        (["--learning-rate", "-0.1"], "learning rate is -0.1"),
        (["--learning-rate", "nan"], "learning rate is nan"),
        (["--learning-rate", "fast"], "learning-rate"),
        (["--epochs", "0"], "number of epochs is 0"),
        (["--iterations", "0"], "number of epochs is 0"),
        (["--optimizer", "adan"], "unknown optimizer 'adan': did you mean 'adam'"),
        (["--optimizer", "adam:beta3=1"], "unknown option of optimizer adam 'beta3'"),
        (
            ["--optimizer", "lbfgs", "--learning-rate", "1"],
            "cannot be combined with lbfgs, which chooses its own step length",
        ),
        (["--optimizer", "lbfgs", "--schedule", "step"], "a schedule cannot be combined with it"),
        (["--optimizer", "lbfgs", "--dropout", "0.1"], "dropout cannot be combined with it"),
        (["--schedule", "cosin"], "unknown schedule 'cosin': did you mean 'cosine'"),
        (["--batch-size", "0"], "batch size is 0"),
        (["--batch-size", "1438"], "batch size is 1438: expected 1 to 1437"),
        (["--validation", "0.001"], "of the 142 examples of class '0', 0 would be for validation"),
        (["--validation", "1"], "validation is 1"),
        (["--validation", "absent.h5"], "absent.h5: no such file"),
        (["--validation", "good.h5"], "has examples of shape"),
        (["--early-stopping", "5"], "needs validation data"),
        (["--early-stopping", "0", "--validation", "0.2"], "patience is 0"),
        (["--class-weight", "balancd"], "expected balanced, or NAME=WEIGHT"),
        (["--class-weight", "1=-2"], "class_weight of '1' is -2"),
        (["--class-weight", "10=2"], "unknown class in class_weight '10'"),
        (["--l2", "-1"], "l2 is -1"),
        (["--l1", "nan"], "l1 is nan"),
        (["--clip-norm", "0"], "clip_norm is 0"),
        (["--dropout", "1"], "dropout is 1"),
        (["--dropout", "0.1,0.2,0.3"], "3 dropout rates were given for 2 hidden layers"),
        (["--activation", "rely"], "unknown activation 'rely': did you mean 'relu'"),
        (["--activation", "relu,tanh,relu"], "3 activations were given for 2 hidden layers"),
        (["--init", "he,he"], "2 initialisers were given for 3 layers"),
        (["--report-every", "0"], "report_every is 0"),
        (["--config", "absent.toml"], "absent.toml: no such file"),
        (["--config", "text.h5"], "text.h5 is not TOML"),
        (["--log", "absent/log.csv"], "log.csv cannot be written"),
        (["--backend", "nunpy"], "unknown backend 'nunpy': did you mean 'numpy'"),
        (["--backend", "strict:device9"], "unknown device"),
        (["--init", "xaver"], "unknown initialiser 'xaver': did you mean 'xavier'"),
        (["--dtype", "float16"], "float16"),
        (["--seed", "-1"], "seed is -1"),
        (["--no-such-option"], "no-such-option"),
        (["--out", "text.h5"], "text.h5 names a file: expected a directory"),
        (["--out", "model.onnx"], "expected a directory, which gets model.h5 and more"),
        (["--out", "text.h5/deeper"], "cannot be written"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    X, Y, classes = np.zeros((2, 3)), np.asarray([0, 1]), np.asarray([b"a", b"b"])
    nan = X.copy()
    nan[1, 2] = np.nan
    for name, x, y in (
        ("good", X, Y), ("no_y", X, None), ("nan", nan, Y), ("labels", X, Y + 5),
        ("empty", X[:0], Y[:0]),
    ):  # fmt: skip
        with h5py.File(f"{name}.h5", "w") as file:
            file["train_set_x"], file["list_classes"] = x, classes
            if y is not None:
                file["train_set_y"] = y
    with h5py.File("other.h5", "w") as file:
        file["test_set_x"], file["test_set_y"] = np.zeros((1, 4)), Y[:1]
        file["list_classes"] = classes
    (tmp_path / "text.h5").write_text("hello")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    code, out, err = run(capsys, "train", "--backend", "numpy", *arguments)
    if "--backend" in arguments:
        code, out, err = run(capsys, "train", *arguments)
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_an_arithmetic_that_is_not_there(tmp_path, capsys):
    code, _, err = run(capsys, "train", "--arithmetic", "exact", "--out", tmp_path / "run")
    assert code == 2
    assert "arithmetic 'exact'" in err
    assert not (tmp_path / "run").exists()
    code, _, err = run(capsys, "train", "--arithmetic", "reproducible", "--optimizer", "lbfgs",
                       "--out", tmp_path / "run")  # fmt: skip
    assert code == 2
    assert "lbfgs cannot be combined with reproducible arithmetic" in err


def test_a_backend_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "train", "--backend", "cupy")
    assert code == 2
    assert out == ""
    assert "backend 'cupy' cannot run here" in err
    assert "pip install" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option", [["--task", "clas"], ["--target", "y"], ["--size", "8"], ["--task", "regression"]]
)
def test_the_digits_take_no_option_for_other_data(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = f"{option[0][2:]} is for your own data, but no file was given: name a file\n"
    assert run(capsys, "train", *option) == (2, "", f"portadnn: error: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--iterations", "2.9"], ["--seed", "1.5"]])
def test_whole_numbers_are_whole(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "train", *arguments)
    assert code == 2
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_test_set_that_cannot_be_scored_is_found_before_training(pictures, tmp_path, capsys):
    with h5py.File(pictures, "a") as file:
        del file["train_set_x"]
        file["train_set_x"] = np.ones((20, 2, 2, 3))
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file["test_set_x"], file["test_set_y"] = np.full((1, 2, 2, 3), 1e300), [0]
        file["list_classes"] = np.asarray([b"no", b"yes"])
    arguments = ("train", pictures, "--test", tmp_path / "huge.h5", "--out", tmp_path / "run")
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "too large for float32" in err
    assert not (tmp_path / "run").exists()


def test_a_directory_that_is_a_file(trained, capsys):
    code, _, err = run(capsys, "train", *QUICK, "--out", trained.parent / "cost.png")
    assert (code, "cost.png cannot be written (it is a file): choose another --out" in err) == (
        2,
        1,
    )


def test_a_directory_that_may_not_be_written_is_found_before_training(tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    code, out, err = run(capsys, "train", *QUICK, "--out", locked / "run")
    assert code == 2
    assert out == ""
    assert "cannot be written (Permission denied)" in err


def test_targets_that_cannot_be_replaced(tmp_path, capsys):
    (tmp_path / "run" / "history.json").mkdir(parents=True)
    code, _, err = run(capsys, "train", *QUICK, "--out", tmp_path / "run")
    assert code == 2
    assert "history.json is a directory" in err


@pytest.mark.parametrize("option", [[], ["--out"]])
def test_names_that_are_too_long(option, capsys):
    code, _, err = run(capsys, "train", *option, "x" * 300)
    assert code == 2
    assert "File name too long" in err
