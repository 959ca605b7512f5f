"""``portadnn train``: what it prints and writes, and how it ends."""

import csv
import json
import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from cli_support import QUICK, program, run
from PIL import Image

from portadnn import plots
from portadnn.training.models import load_model


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


def test_a_model_is_not_replaced_unless_asked(trained, capsys):
    before = trained.read_bytes()
    code, _, err = run(capsys, "train", *QUICK, "--out", trained.parent)
    assert code == 2
    assert "already holds a model" in err
    assert trained.read_bytes() == before
    arguments = (*QUICK, "--seed", 9, "--out", trained.parent, "--overwrite")
    assert run(capsys, "train", *arguments)[0] == 0
    assert trained.read_bytes() != before


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
