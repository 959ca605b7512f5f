"""Models in ONNX: what onnxruntime makes of them, and what the file says."""

import json
from dataclasses import replace

import numpy as np
import pytest
from export_support import HEADS, KINDS, assert_same, make_model, unit

from portadnn.data.dataset import Dataset
from portadnn.data.preprocess import Column, Preprocess
from portadnn.errors import InputError
from portadnn.export.formats import FORMATS, checked, random_rows
from portadnn.export.onnx import FUNCTIONS, inputs_of, run, save_onnx
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS as ALL_HEADS
from portadnn.network.spec import Network
from portadnn.training.inference import predict
from portadnn.training.models import Model

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
runtime = pytest.importorskip("onnxruntime")


def test_every_activation_and_head_has_a_row():
    assert FUNCTIONS.keys() == ACTIVATIONS.keys() | ALL_HEADS.keys()


def check(model, path, capfd):
    save_onnx(model, path)
    capfd.readouterr()
    data = assert_same(model, lambda data: run(path, model, data))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = dict(zip((x.name for x in session.get_outputs()),
                     session.run(None, inputs_of(model, data)), strict=True))  # fmt: skip
    assert capfd.readouterr().err == ""  # onnxruntime warns of nothing
    if "values" in found:
        return
    ours = predict(model, data)
    clear = np.sort(ours.probabilities, axis=-1)
    clear = (
        clear[:, -1] - clear[:, -2] > 1e-4
        if model.network.head == "softmax"
        else np.all(np.abs(ours.probabilities - 0.5) > 1e-4, axis=1)
    )
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found["label"][clear], model.predict(data)[clear])
    assert found["probabilities"].shape == ours.probabilities.shape
    assert found["probabilities"].dtype == model.dtype


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_activation(tmp_path, capfd, dtype, head, activation):
    check(make_model(head, (activation,) * 2, dtype), tmp_path / "model.onnx", capfd)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_every_preprocessing(tmp_path, capfd, dtype, head, kind):
    check(make_model(head, ("leaky_relu",), dtype, kind), tmp_path / "model.onnx", capfd)


@pytest.mark.parametrize("name", sorted((ACTIVATIONS.keys() | ALL_HEADS.keys()) - {"softmax"}))
def test_the_whole_range(tmp_path, dtype, name):
    model, data = unit(name, dtype)
    save_onnx(model, tmp_path / "model.onnx")
    assert_same(model, lambda data: run(tmp_path / "model.onnx", model, data), data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_another_runtime(tmp_path, dtype, head, kind):
    model = make_model(head, ("sigmoid", "leaky_relu"), dtype, kind)
    save_onnx(model, tmp_path / "model.onnx")
    evaluator = reference.ReferenceEvaluator(onnx.load(tmp_path / "model.onnx"))

    def run_slowly(data):
        return evaluator.run(None, inputs_of(model, data))[-1][:, -head[1] :].T

    assert_same(model, run_slowly)


def test_another_number_is_seen(tmp_path):
    model = make_model()
    other = {name: p.astype(np.float16).astype(p.dtype) for name, p in model.parameters.items()}
    save_onnx(replace(model, parameters=other), tmp_path / "model.onnx")
    with pytest.raises(AssertionError):
        assert_same(model, lambda data: run(tmp_path / "model.onnx", model, data))
    found = checked(tmp_path / "model.onnx", model, FORMATS["onnx"])
    assert found["runtime"] == "onnxruntime"
    assert found["rows"] == 100
    assert found["error"] > 1e-4
    assert found["ratio"] > 1


def test_what_the_file_says(tmp_path):
    model = make_model(kind="mixed")
    path = tmp_path / "model.onnx"
    save_onnx(model, path)
    made = onnx.load(path)
    assert [(x.domain, x.version) for x in made.opset_import] == [("", 13), ("ai.onnx.ml", 2)]
    assert made.ir_version == 7
    about = {entry.key: json.loads(entry.value) for entry in made.metadata_props}
    assert about["classes"] == ["a", "b", "ç"]
    assert about["network"]["layer_dims"] == [8, 6, 4, 3]
    assert Preprocess.from_json(about["preprocess"]) == model.preprocess
    save_onnx(make_model(), path)
    assert [x.domain for x in onnx.load(path).opset_import] == [""]
    first = path.read_bytes()
    save_onnx(make_model(), path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("unknown", ["ignore", "refuse"])
def test_a_text_that_no_training_row_had(tmp_path, unknown):
    model = make_model(kind="texts")
    model = replace(model, preprocess=replace(model.preprocess, unknown=unknown))
    save_onnx(model, tmp_path / "model.onnx")
    rows = np.asarray([("Basel", "1")], [("town", "U9"), ("x", "U1")])
    data = Dataset(rows, None, ())
    if unknown == "ignore":
        assert_same(model, lambda data: run(tmp_path / "model.onnx", model, data), data)
    else:
        with pytest.raises(Exception, match="Unknown Category"):  # a class of onnxruntime's own
            run(tmp_path / "model.onnx", model, data)


@pytest.mark.parametrize("values", [(), (3, 5, 9), (0.5, 1.0, 2.0), ("ä", "b", "c")])
def test_labels_are_those_of_predict(tmp_path, values):
    model = replace(make_model(), values=values)
    save_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    data = random_rows(model, 200, np.random.default_rng(3))
    label, _ = session.run(None, {"X": data.examples})
    np.testing.assert_array_equal(label, model.predict(data))
    two = replace(make_model(("sigmoid", 1)), values=("n", "y"))
    save_onnx(two, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_array_equal(
        session.run(["label"], {"X": data.examples})[0], two.predict(data)
    )
    assert session.run(["label"], {"X": data.examples[:1]})[0].shape == (1,)


def test_more_than_protobuf_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("portadnn.export.onnx.LARGEST", 100)
    with pytest.raises(InputError, match="the weights have 316 bytes: expected 100 at most"):
        save_onnx(make_model(), tmp_path / "model.onnx")


def test_a_table_of_very_many_columns(tmp_path):
    n = 2000
    columns = tuple(Column(f"c{i}", float(i), 2.0) for i in range(n))
    W, b = np.full((1, n), 1e-3, np.float32), np.zeros((1, 1), np.float32)
    network = Network((n, 1), (), "identity")
    given = {"preprocess": Preprocess(columns), "scaled": False}
    model = Model(network, {"W1": W, "b1": b}, (), (n,), **given)
    save_onnx(model, tmp_path / "model.onnx")
    assert checked(tmp_path / "model.onnx", model, FORMATS["onnx"])["ratio"] <= 1
