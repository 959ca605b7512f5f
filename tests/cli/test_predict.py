"""``portadnn predict``."""

import csv
import io
import json
import subprocess

import h5py
import pytest
from cli_support import QUICK, program, run
from PIL import Image

from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.models import Model, save_model


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


def test_predict_json_is_an_option_as_elsewhere(trained, capsys):
    _, one, _ = run(capsys, "predict", trained, "--json")
    _, other, _ = run(capsys, "predict", trained, "--format", "json")
    assert json.loads(one) == json.loads(other)


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


def test_predict_without_labels(tmp_path, capsys, pictures):
    run(capsys, "train", pictures, *QUICK, "--out", tmp_path / "run")
    with h5py.File(pictures, "a") as file:
        del file["test_set_y"]
    code, out, _ = run(capsys, "predict", tmp_path / "run" / "model.h5", pictures)
    assert code == 0
    assert len(out.splitlines()) == 7


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


def test_a_reader_that_stops_early_is_no_error(trained):
    process = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *program("predict", trained)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0
    assert process.stderr == ""
