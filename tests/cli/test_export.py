"""``portadnn export``: what it writes and what it says of it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from cli_support import run
from export_support import make_model

import portadnn as dnn

pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")


@pytest.fixture
def model(tmp_path):
    dnn.save_model(make_model(kind="mixed"), tmp_path / "model.h5")
    return tmp_path / "model.h5"


def test_to_onnx(model, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    code, said, err = run(capsys, "export", model, out)
    assert (code, err) == (0, "")
    assert said.startswith(f"{out}: onnxruntime computed 100 random rows: the largest error is ")
    assert said.endswith(" of its bound\n")
    code, said, _ = run(capsys, "export", model, tmp_path / "other", "--format", "onnx", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["fits"] is True
    assert found["fingerprint"] == dnn.fingerprint(dnn.load_model(model))
    assert found["runtime"] == "onnxruntime"
    assert 0 < found["ratio"] <= 1
    assert (tmp_path / "other").read_bytes() == out.read_bytes()


def test_to_safetensors_and_back(model, tmp_path, capsys):
    between, again = tmp_path / "model.safetensors", tmp_path / "again.h5"
    code, said, _ = run(capsys, "export", model, between)
    assert code == 0
    assert "read back, its weights have the SHA-256 " in said
    code, said, _ = run(capsys, "import", between, again)
    assert code == 0
    assert said.startswith(f"{again}: read back, its weights have the SHA-256 ")
    assert again.read_bytes() == model.read_bytes()


def test_a_runtime_that_is_missing(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, said, _ = run(capsys, "export", model, tmp_path / "model.onnx")
    assert code == 0
    assert said.endswith("model.onnx: it was not run, because onnxruntime is not installed\n")


def test_a_file_that_computes_something_else(model, tmp_path, capsys, monkeypatch):
    from portadnn.export import formats, onnx

    def wrong(given, path):
        parameters = {name: p + np.float32(1e-3) for name, p in given.parameters.items()}
        onnx.save_onnx(replace(given, parameters=parameters), path)

    row = formats.FORMATS["onnx"]._replace(save=wrong)
    monkeypatch.setitem(formats.FORMATS, "onnx", row)
    code, said, _ = run(capsys, "export", model, tmp_path / "model.onnx")
    assert code == 1
    assert said.endswith(": IT DOES NOT FIT THE MODEL\n")
    code, said, _ = run(capsys, "export", model, tmp_path / "model.onnx", "--json")
    assert (code, json.loads(said)["fits"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.h5", "model.onnx"], "absent.h5: no such file"),
        (["absent.safetensors", "model.h5"], "absent.safetensors: no such file"),
        (["model.h5", "model.pt"], "model.pt does not have the suffix of a model format: expected"),
        (["model.h5", "model"], "model does not have the suffix of a model format: expected one"),
        (
            ["model.onnx", "other.h5"],
            "model.onnx is an ONNX file, which portadnn does not read: exp",
        ),
        (["model.h5", "nowhere/model.onnx"], "cannot be written (No such file or directory)"),
    ],
)
def test_bad_input(model, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "export", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_a_library_that_is_missing(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = run(capsys, "export", model, tmp_path / "model.onnx")
    assert code == 2
    assert "this needs onnx" in err
    assert "pip install 'portadnn[onnx]'" in err
