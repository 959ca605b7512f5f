"""The program as a user runs it: what it prints, writes, and returns."""

import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from portadnn import plots
from portadnn.arithmetic import MARK
from portadnn.backends import get_backend
from portadnn.cli.main import main
from portadnn.data.hdf5 import load_digits
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.inference import evaluate
from portadnn.training.models import Model, fingerprint, load_model, save_model
from portadnn.training.texts import parse_layers

QUICK = ["--epochs", "3", "--layers", "4", "--backend", "numpy"]


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def trained(tmp_path, capsys):
    """A model of the embedded digits, hardly trained."""
    code, _, _ = run(capsys, "train", *QUICK, "--out", tmp_path / "run")
    assert code == 0
    return tmp_path / "run" / "model.h5"


@pytest.fixture
def pictures(tmp_path):
    """A course file of 2 x 2 RGB images in two classes, with a test set."""
    rng = np.random.default_rng(0)
    path = tmp_path / "pictures.h5"
    with h5py.File(path, "w") as file:
        for split, m in (("train", 20), ("test", 6)):
            file[f"{split}_set_x"] = rng.integers(0, 256, (m, 2, 2, 3), dtype=np.uint8)
            file[f"{split}_set_y"] = np.arange(m) % 2
        file["list_classes"] = np.asarray([b"no", b"yes"])
    return path


def test_the_curves_name_data_network_and_scores(pictures, tmp_path, capsys, monkeypatch):
    titles, curves = [], plots.training_curves

    def watched(rows, *, title):
        titles.append(title)
        return curves(rows, title=title)

    monkeypatch.setattr(plots, "training_curves", watched)
    code, out, err = run(capsys, "train", pictures, *QUICK, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    accuracy, right = (json.loads(out)["test"][what] for what in ("accuracy", "correct"))
    data, train, test = titles[0].splitlines()
    assert data == "pictures.h5 (train): (12, 4, 1)"
    assert train.startswith("train accuracy ")
    assert test.startswith(f"test accuracy {accuracy:.2%} ({right} of 6), cost 0.")


def test_train_shows_the_network_and_the_scores_and_writes_the_run(tmp_path, capsys):
    code, out, err = run(capsys, "train", *QUICK, "--out", tmp_path / "run")
    assert code == 0
    assert err == ""  # no progress bar where stderr is no terminal
    assert "backend: numpy on cpu, float32" in out
    assert "(4, 64)   (4, 1)    relu" in out
    assert "softmax" in out
    assert "train accuracy" in out
    assert "test accuracy" in out
    written = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert written == [
        "checkpoint-2.h5", "config.toml", "confusion.png", "cost.png", "history.json",
        "mistakes.png", "model.h5", "weights.png",
    ]  # fmt: skip
    for picture in (tmp_path / "run").glob("*.png"):
        with Image.open(picture) as figure:
            figure.verify()
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert history["status"] == "done"
    assert [row["epoch"] for row in history["history"]] == [1, 3]
    assert history["history"][0].keys() == {
        "epoch", "cost", "learning_rate", "validation_cost", "validation_score",
    }  # fmt: skip
    assert history["network"]["layer_dims"] == [64, 4, 10]


def test_train_says_what_auto_took(tmp_path, capsys):
    _, out, _ = run(capsys, "train", "--epochs", 1, "--layers", "none", "--out", tmp_path / "run")
    assert "(auto: " in out


def test_train_json_is_one_object_and_nothing_else(tmp_path, capsys, pictures):
    code, out, err = run(capsys, "train", pictures, *QUICK, "--json", "--out", tmp_path / "run")
    assert code == 0
    assert err == ""
    result = json.loads(out)
    assert result["test"]["examples"] == 6
    assert result["network"]["layer_dims"] == [12, 4, 1]
    assert result["network"]["head"] == "sigmoid"
    assert os.path.exists(result["files"]["model"])


def test_train_quiet_prints_nothing(tmp_path, capsys):
    assert run(capsys, "train", *QUICK, "--quiet", "--out", tmp_path / "run") == (0, "", "")


def test_the_default_directory_is_new_for_every_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "train", *QUICK, "--quiet")[0] == 0
    (directory,) = (tmp_path / "runs").iterdir()
    assert (directory / "model.h5").exists()


def weights(directory):
    return load_model(directory / "model.h5").parameters


def assert_equal_bits(first, second):
    assert first.keys() == second.keys()
    for name, p in first.items():
        assert p.dtype == second[name].dtype
        np.testing.assert_array_equal(p, second[name])


EVERYTHING = [
    "--optimizer", "adam:beta1=0.85", "--learning-rate", "0.003", "--epochs", "4",
    "--batch-size", "100", "--schedule", "cosine:warmup=1,final=0.1", "--l2", "1e-4",
    "--l1", "1e-5", "--clip-norm", "1.5", "--dropout", "0.2,0", "--validation", "0.25",
    "--early-stopping", "2", "--class-weight", "balanced", "--activation", "tanh,leaky_relu",
    "--init", "xavier_uniform,he,normal:0.123456789", "--layers", "9,5", "--seed", "11",
    "--dtype", "float64",
]  # fmt: skip


def assert_repeated(tmp_path, capsys, *arguments):
    first, again = tmp_path / "first", tmp_path / "again"
    assert run(capsys, "train", *arguments, "--out", first)[0] == 0
    code, _, err = run(capsys, "train", "--config", first / "config.toml", "--out", again)
    assert code == 0, err
    assert_equal_bits(weights(first), weights(again))
    assert (first / "config.toml").read_bytes() == (again / "config.toml").read_bytes()
    histories = [json.loads((d / "history.json").read_text())["history"] for d in (first, again)]
    assert histories[0] == histories[1]


def test_config_toml_repeats_the_run_to_the_last_bit(tmp_path, capsys, backend_name):
    if backend_name == "dask":
        pytest.skip("a step of Dask takes tens of milliseconds")
    assert_repeated(tmp_path, capsys, *EVERYTHING, "--backend", backend_name)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--optimizer", "momentum", "--class-weight", "1=2,8=0.5"], ["--optimizer", "lbfgs"]],
    ids=["plain", "momentum", "lbfgs"],
)
def test_so_do_simpler_ones(arguments, tmp_path, capsys):
    if "lbfgs" in arguments:
        pytest.importorskip("scipy")
    assert_repeated(tmp_path, capsys, *QUICK, *arguments)


@pytest.mark.parametrize(
    ("arithmetic", "promise"),
    [("fast", "On the same backend, device and"), ("reproducible", "On any backend, device and")],
)
def test_config_toml_says_where_the_run_is_repeated(arithmetic, promise, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(capsys, "train", *QUICK, "--arithmetic", arithmetic, "--out", out)[0] == 0
    header = (out / "config.toml").read_text().splitlines()
    assert header[0].endswith(promise)


def test_the_scores_of_a_reproducible_run_are_reproducible_too(tmp_path, capsys):
    arguments = [*QUICK, "--dtype", "float64", "--arithmetic", "reproducible"]
    found = []
    for seed in range(3):  # in fast arithmetic, not every cost has other bits
        out = tmp_path / str(seed)
        _, text, _ = run(capsys, "train", *arguments, "--seed", seed, "--json", "--out", out)
        model = load_model(out / "model.h5")
        for part, data in zip(("train", "test"), load_digits(), strict=True):
            cost = json.loads(text)[part]["cost"]
            judge = get_backend("numpy", dtype="float64", arithmetic="reproducible")
            assert cost == evaluate(model, data, backend=judge).cost
            found.append(cost == evaluate(model, data).cost)
    assert not all(found)


def test_a_run_of_a_file_is_repeated_from_elsewhere(tmp_path, capsys, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "train", pictures.name, *QUICK, "--out", "first")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    arguments = ("train", "--config", "../first/config.toml", "--out", "again", "--json")
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    assert json.loads(out)["test"]["examples"] == 6
    assert_equal_bits(weights(tmp_path / "first"), weights(tmp_path / "elsewhere" / "again"))


def test_the_share_for_validation_is_not_learnt_from(tmp_path, capsys):
    code, out, _ = run(
        capsys, "train", *QUICK, "--validation", 0.25, "--json", "--out", tmp_path / "run"
    )
    result = json.loads(out)
    assert code == 0
    assert result["train"]["examples"] + result["validation"]["examples"] == 1437
    last = result["history"][-1]
    assert last["validation_score"] == pytest.approx(result["validation"]["accuracy"])


def test_validation_in_a_file(tmp_path, capsys, pictures):
    arguments = (*QUICK, "--validation", pictures, "--test", "none", "--json")
    code, out, err = run(capsys, "train", pictures, *arguments, "--out", tmp_path / "run")
    assert code == 0, err
    assert json.loads(out)["validation"]["examples"] == 6
    assert "test" not in json.loads(out)


def test_early_stopping_is_said_and_keeps_the_best(tmp_path, capsys):
    arguments = [
        "--optimizer", "adam", "--learning-rate", "0.05", "--batch-size", "64", "--epochs", "200",
        "--layers", "32", "--validation", "0.3", "--early-stopping", "3", "--backend", "numpy",
    ]  # fmt: skip
    code, out, _ = run(capsys, "train", *arguments, "--out", tmp_path / "run")
    assert code == 0
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert history["epochs_done"] == len(history["history"]) < 200
    assert "early stopping: validation_cost has not been better for 3 reports" in out
    assert history["stopped"] in out
    best = min(row["validation_cost"] for row in history["history"])
    said = next(line for line in out.splitlines() if line.startswith("validation accuracy"))
    assert float(said.rpartition(" ")[2]) == pytest.approx(best, abs=2e-6)


def test_rows_are_logged_as_the_run_goes(tmp_path, capsys):
    arguments = (
        *QUICK,
        "--report-every",
        1,
        "--log",
        tmp_path / "log.csv",
        "--out",
        tmp_path / "r",
    )
    assert run(capsys, "train", *arguments)[0] == 0
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    history = json.loads((tmp_path / "r" / "history.json").read_text(encoding="utf-8"))["history"]
    assert [float(row["cost"]) for row in rows] == [row["cost"] for row in history]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_figures_of_an_older_run_do_not_stay(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(capsys, "train", *QUICK, "--out", out)[0] == 0
    assert (out / "weights.png").exists()
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = np.eye(4), np.arange(4) % 2
        file["list_classes"] = np.asarray([b"no", b"yes"])
    code, _, err = run(capsys, "train", tmp_path / "rows.h5", *QUICK, "--out", out, "--overwrite")
    assert code == 0, err
    assert (out / "confusion.png").exists()
    assert not (out / "weights.png").exists()  # rows of numbers are no images
    assert not (out / "mistakes.png").exists()


def test_figures_replace_no_picture_of_others(trained, tmp_path, capsys):
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "residuals.png").write_bytes(b"\x89PNG of mine")
    for command in (
        ["evaluate", trained, "--plots", directory],
        ["train", *QUICK, "--out", directory, "--overwrite"],
    ):
        code, _, err = run(capsys, *command)
        assert code == 2
        assert "residuals.png is not a figure of portadnn, and one of this name would" in err
    assert [path.name for path in directory.iterdir()] == ["residuals.png"]
    assert (directory / "residuals.png").read_bytes() == b"\x89PNG of mine"
    (directory / "residuals.png").unlink()
    for _ in range(2):  # the figures of an earlier run are replaced
        assert run(capsys, "evaluate", trained, "--plots", directory)[0] == 0


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


def test_a_seed_gives_the_same_weights(tmp_path, capsys):
    for name in "ab":
        run(capsys, "train", *QUICK, "--seed", 7, "--out", tmp_path / name, "--quiet")
    assert_equal_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_model_is_not_replaced_unless_asked(trained, capsys):
    before = trained.read_bytes()
    code, _, err = run(capsys, "train", *QUICK, "--out", trained.parent)
    assert code == 2
    assert "already holds a model" in err
    assert trained.read_bytes() == before
    arguments = (*QUICK, "--seed", 9, "--out", trained.parent, "--overwrite")
    assert run(capsys, "train", *arguments)[0] == 0
    assert trained.read_bytes() != before


def test_evaluate(trained, capsys, pictures):
    code, out, _ = run(capsys, "evaluate", trained)
    assert code == 0
    assert out.startswith("the embedded digits (test): accuracy")
    _, out, _ = run(capsys, "evaluate", trained, "--split", "train", "--json")
    assert json.loads(out)["examples"] == 1437
    code, _, err = run(capsys, "evaluate", trained, pictures)
    assert code == 2
    assert "has the classes no, yes" in err


def test_predict_csv_and_json_say_the_same(trained, capsys):
    code, out, _ = run(capsys, "predict", trained)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) == 360
    _, out, _ = run(capsys, "predict", trained, "--format", "json")
    predictions = json.loads(out)["predictions"]
    for row, prediction in zip(rows, predictions, strict=True):
        assert int(row["label"]) == prediction["label"]
        assert row["class"] == prediction["class"]
        probabilities = [float(row[f"p({name})"]) for name in "0123456789"]
        assert probabilities == prediction["probabilities"]
        assert abs(sum(probabilities) - 1) < 1e-5


def test_predict_pictures(tmp_path, capsys, pictures):
    run(capsys, "train", pictures, *QUICK, "--out", tmp_path / "run")
    files = []
    for i, suffix in enumerate((".png", ".jpg")):
        files.append(tmp_path / f"photo{i}{suffix}")
        Image.new("RGB", (30, 20), (200, 10, 50)).save(files[-1])
    code, out, _ = run(capsys, "predict", tmp_path / "run" / "model.h5", *files)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["example"] for row in rows] == [str(path) for path in files]
    assert {row["class"] for row in rows} <= {"no", "yes"}
    Image.new("RGBA", (30, 20), (200, 10, 50, 0)).save(files[0])
    Image.new("RGB", (30, 20), "lime").save(files[1], format="PNG")
    code, out, _ = run(
        capsys, "predict", tmp_path / "run" / "model.h5", *files, "--ground", "#00ff00"
    )
    shown, lime = (row.split(",")[1:] for row in out.splitlines()[1:])
    assert shown == lime
    code, _, err = run(capsys, "predict", tmp_path / "run" / "model.h5", files[0], pictures)
    assert code == 2
    assert "expected one file of data, or only pictures" in err


def test_a_directory_that_is_a_file(trained, capsys):
    code, _, err = run(capsys, "train", *QUICK, "--out", trained.parent / "cost.png")
    assert (code, "cost.png cannot be written (it is a file): choose another --out" in err) == (
        2,
        1,
    )


@pytest.mark.parametrize("folder", ["new", "new/apples"])
def test_predict_a_folder_of_other_pictures(folder, tmp_path, capsys, pictures):
    run(capsys, "train", pictures, *QUICK, "--out", tmp_path / "run")
    files = []
    for i, colour in enumerate(("white", "black")):
        files.append(tmp_path / "new" / "apples" / f"{i}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), colour).save(files[-1])
    model = tmp_path / "run" / "model.h5"
    code, out, err = run(capsys, "predict", model, tmp_path / folder)
    assert (code, err) == (0, "")
    assert [row.split(",")[0] for row in out.splitlines()[1:]] == list(map(str, files))
    assert out == run(capsys, "predict", model, *files)[1]


@pytest.mark.parametrize(
    "option", [["--task", "clas"], ["--target", "y"], ["--size", "8"], ["--task", "regression"]]
)
def test_the_digits_take_no_option_for_other_data(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = f"{option[0][2:]} is for your own data, but no file was given: name a file\n"
    assert run(capsys, "train", *option) == (2, "", f"portadnn: error: {message}")
    assert not list(tmp_path.iterdir())


def test_predict_without_labels(tmp_path, capsys, pictures):
    run(capsys, "train", pictures, *QUICK, "--out", tmp_path / "run")
    with h5py.File(pictures, "a") as file:
        del file["test_set_y"]
    code, out, _ = run(capsys, "predict", tmp_path / "run" / "model.h5", pictures)
    assert code == 0
    assert len(out.splitlines()) == 7


def test_summary(trained, capsys):
    code, out, _ = run(capsys, "summary", trained)
    assert code == 0
    assert "(4, 64)" in out
    assert "310" in out
    assert "10 classes: 0, 1, 2" in out
    _, out, _ = run(capsys, "summary", trained, "--json")
    assert json.loads(out)["network"]["parameters"] == 4 * 64 + 4 + 10 * 4 + 10


def test_fingerprints_say_whether_all_bits_are_equal(tmp_path, capsys):
    found = []
    for i, backend in enumerate(("numpy", "strict:device1")):
        code, out, _ = run(
            capsys, "train", "--epochs", 2, "--optimizer", "adam", "--batch-size", 64, "--json",
            "--backend", backend, "--arithmetic", "reproducible", "--out", tmp_path / str(i),
        )  # fmt: skip
        assert code == 0
        written = json.loads(out)
        assert written["config"]["arithmetic"] == "reproducible"
        model = tmp_path / str(i) / "model.h5"
        code, out, _ = run(capsys, "fingerprint", model)
        assert code == 0
        assert out.split() == [written["fingerprint"], MARK]
        assert written["fingerprint"] == fingerprint(load_model(model))
        found.append(out)
    assert found[0] == found[1]
    code, out, _ = run(capsys, "train", "--config", tmp_path / "0" / "config.toml",
                       "--out", tmp_path / "again")  # fmt: skip
    assert f"fingerprint: {found[0].strip()}" in out
    _, out, _ = run(capsys, "fingerprint", tmp_path / "again" / "model.h5", "--json")
    assert list(json.loads(out).values()) == found[0].split()


def test_an_arithmetic_that_is_not_there(tmp_path, capsys):
    code, _, err = run(capsys, "train", "--arithmetic", "exact", "--out", tmp_path / "run")
    assert code == 2
    assert "arithmetic 'exact'" in err
    assert not (tmp_path / "run").exists()
    code, _, err = run(capsys, "train", "--arithmetic", "reproducible", "--optimizer", "lbfgs",
                       "--out", tmp_path / "run")  # fmt: skip
    assert code == 2
    assert "lbfgs cannot be combined with reproducible arithmetic" in err


def test_backends(capsys):
    code, out, _ = run(capsys, "backends")
    assert code == 0
    assert "numpy" in out
    assert "cupy" in out
    _, out, _ = run(capsys, "backends", "--json")
    statuses = {status["name"]: status for status in json.loads(out)["backends"]}
    assert statuses["numpy"]["usable"]
    assert "kernel" in statuses["numpy"]["report"]["details"]


def test_backends_measures_a_step_of_each(capsys, monkeypatch):
    from portadnn.backends import registry

    monkeypatch.setattr(registry, "CLASSES", {"numpy": "NumpyBackend", "strict": "StrictBackend"})
    monkeypatch.setattr("portadnn.backends.select.CLASSES", registry.CLASSES)
    code, out, _ = run(capsys, "backends", "--time", "6,4,2", "--json")
    assert code == 0
    numpy, strict = (found["step_seconds"] for found in json.loads(out)["backends"])
    for seconds in (*numpy.values(), strict["measured"]):
        assert 1e-6 < seconds < 1.0  # 22 calls of microseconds
    assert strict["estimated"] is None
    _, out, _ = run(capsys, "backends", "--time", "6,4,2")
    assert re.search(r"numpy +cpu +[\d,]+ us +[\d,]+ us", out)
    for arguments, message in (
        (["6,4,2"], "the network 6,4,2 is for --time: add it"),
        (["--time", "6,x"], "the network 6,x: 'x' is not a width"),
        (["--time", "6"], "the network 6: expected two widths or more"),
        (["--time", "none"], "the network none: expected two widths or more"),
    ):
        code, _, err = run(capsys, "backends", *arguments)
        assert code == 2
        assert message in err


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


def test_a_backend_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "train", "--backend", "cupy")
    assert code == 2
    assert out == ""
    assert "backend 'cupy' cannot run here" in err
    assert "pip install" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict", "summary", "fingerprint"])
def test_a_model_that_is_none(command, tmp_path, capsys):
    code, _, err = run(capsys, command, tmp_path / "absent.h5")
    assert code == 2
    assert "no such file" in err


def test_divergence_is_said_and_the_last_finite_weights_are_kept(tmp_path, capsys):
    code, out, err = run(
        capsys, "train", "--learning-rate", 1e6, "--backend", "numpy", "--json",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 1
    assert "diverged at iteration 2" in err
    assert "smaller learning rate" in err
    result = json.loads(out)
    assert result["status"] == "diverged"
    assert result["steps_done"] == result["epochs_done"] == 2
    load_model(tmp_path / "run" / "model.h5")  # refuses weights that are not finite


def program(*arguments):
    return [sys.executable, "-m", "portadnn", *map(str, arguments)]


def test_ctrl_c_saves_what_was_learnt(tmp_path):
    process = subprocess.Popen(
        program("train", "--epochs", 10**7, "--backend", "numpy", "--out", tmp_path / "run"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("  total"):  # training begins behind the table
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert time.monotonic() - sent < 20  # a second and the scores; a loaded machine needs more
    assert "saving what was learnt" in err
    assert "Traceback" not in err
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert history["status"] == "interrupted"
    assert 0 < history["steps_done"] < 10**7
    load_model(tmp_path / "run" / "model.h5")


def test_a_reader_that_stops_early_is_no_error(trained):
    process = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *program("predict", trained)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0
    assert process.stderr == ""


def test_without_arguments_it_shows_its_help(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert "Usage: portadnn COMMAND" in out


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_layers_are_read_back(widths):
    assert parse_layers(", ".join(map(str, widths))) == tuple(widths)


def test_widths_may_be_repeated():
    assert parse_layers("784, 512x3,10 x 2") == (784, 512, 512, 512, 10, 10)


@given(st.text(max_size=12))
def test_layers_are_widths_or_an_input_error(text):
    try:
        widths = parse_layers(text)
    except InputError:
        return
    assert all(width > 0 for width in widths)
    assert widths or text.strip().lower() == "none"


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


def test_predict_json_is_an_option_as_elsewhere(trained, capsys):
    _, one, _ = run(capsys, "predict", trained, "--json")
    _, other, _ = run(capsys, "predict", trained, "--format", "json")
    assert json.loads(one) == json.loads(other)


def test_training_goes_on_when_nobody_reads(tmp_path):
    command = program("train", *QUICK, "--out", tmp_path / "run")
    done = subprocess.run(
        ["bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "-", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.h5").exists()


@pytest.mark.parametrize("head", ["poisson", "sigmoid"])
def test_predictions_of_values_and_of_labels_that_go_together(tmp_path, capsys, head):
    network = Network((64, 2), head=head)
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    classes = ("x", "y") if head == "sigmoid" else ()
    save_model(Model(network, parameters, classes, (8, 8)), tmp_path / "model.h5")
    _, out, _ = run(capsys, "predict", tmp_path / "model.h5")
    table = out.splitlines()
    _, out, _ = run(capsys, "predict", tmp_path / "model.h5", "--json")
    found = json.loads(out)["predictions"]
    heading = "example,y1,y2" if head == "poisson" else "example,x,y,p(x),p(y)"
    assert table[0] == heading
    assert len(table) == 1 + len(found) == 361
    for line, row in zip(table[1:], found, strict=True):
        cells = [*row["values"], *row.get("probabilities", [])]
        assert [float(cell) for cell in line.split(",")[1:]] == cells
    code, _, err = run(capsys, "evaluate", tmp_path / "model.h5")
    assert code != 0
    assert "expected the same" in err


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


def test_streamed_data_give_what_data_in_memory_give(tmp_path, capsys):
    x, y, said = tmp_path / "x.npy", tmp_path / "y.npy", []
    rng = np.random.default_rng(0)
    np.save(x, rng.integers(0, 256, (90, 4, 5)).astype(np.uint8))
    np.save(y, np.arange(90) % 3)
    for i, option in enumerate(([], ["--stream"])):
        out, model = tmp_path / str(i), tmp_path / str(i) / "model.h5"
        options = ["--layers", "4", "--epochs", "3", "--batch-size", "20", "--validation", "0.2"]
        code, _, _ = run(capsys, "train", x, y, *options, *option, "--out", out)
        assert code == 0
        commands = (["fingerprint", model], ["evaluate", model, x, y], ["predict", model, x])
        reads = ([], option, option)
        said.append([run(capsys, *c, *o) for c, o in zip(commands, reads, strict=True)])
        assert (out / "mistakes.png").exists()
    assert said[0] == said[1]
    options = ["--batch-size", "all", "--out", tmp_path / "2"]
    code, _, error = run(capsys, "train", x, y, "--stream", *options)
    assert code == 2
    assert "give a batch size, such as 128" in error
