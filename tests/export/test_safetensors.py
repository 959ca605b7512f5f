"""Models in safetensors: out and in, and files that are no such models."""

import json
from dataclasses import replace

import numpy as np
import pytest
from export_support import HEADS, KINDS, assert_same, make_model, run_module
from hypothesis import given
from hypothesis import strategies as st

import portadnn as dnn
from portadnn.errors import InputError, safe_text
from portadnn.export.formats import random_rows
from portadnn.export.safetensors import load_safetensors, save_safetensors

numpy = pytest.importorskip("safetensors.numpy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_out_and_in(tmp_path, dtype, head, kind):
    model = make_model(head, ("leaky_relu", "softmax"), dtype, kind)
    save_safetensors(model, tmp_path / "model.safetensors")
    again = load_safetensors(tmp_path / "model.safetensors")
    assert dnn.fingerprint(again) == dnn.fingerprint(model)
    for name in ("network", "classes", "input_shape", "scaled", "columns", "values", "preprocess"):
        assert getattr(again, name) == getattr(model, name), name
    first = (tmp_path / "model.safetensors").read_bytes()
    save_safetensors(again, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == first


def test_weights_have_the_names_of_pytorch(tmp_path):
    model = make_model()
    turned = {name: np.asfortranarray(p) for name, p in model.parameters.items()}
    save_safetensors(replace(model, parameters=turned), tmp_path / "model.safetensors")
    found = numpy.load_file(tmp_path / "model.safetensors")
    assert sorted(found) == ["0.bias", "0.weight", "2.bias", "2.weight", "4.bias", "4.weight"]
    np.testing.assert_array_equal(found["2.weight"], model.parameters["W2"])
    np.testing.assert_array_equal(found["2.bias"], model.parameters["b2"][:, 0])


def test_weights_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    model, path = make_model(kind="numbers"), tmp_path / "model.safetensors"
    save_safetensors(model, path)
    module = dnn.to_torch(model)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    module.load_state_dict(load_file(path))
    assert_same(model, lambda data: run_module(module, model, data))


def weights(**changes):
    parts = {"0.weight": np.ones((3, 2), np.float32), "0.bias": np.zeros(3, np.float32)} | changes
    return {name: x for name, x in parts.items() if x is not None}


def about(**changes):
    given = {
        "network": {"layer_dims": [2, 3], "activations": [], "head": "softmax"},
        "classes": ["a", "b", "c"], "input_shape": [2], "scaled": False,
    }  # fmt: skip
    return {name: x for name, x in (given | changes).items() if x is not None}


def column(**changes):
    given = {"name": "a", "mean": 0.0, "scale": 1.0, "fill": None, "categories": None} | changes
    other = {"name": "b", "mean": 0.0, "scale": 1.0, "fill": None, "categories": None}
    return {"columns": [given, other], "unknown": "refuse", "pixels": False, "targets": []}


def written(path, parts, described):
    metadata = None if described is None else {"portadnn": json.dumps(described)}
    path.write_bytes(numpy.save(parts, metadata))


def test_an_honest_file_of_another_program(tmp_path):
    written(tmp_path / "m.safetensors", weights(), about(preprocess=column(mean=2.0)))
    model = load_safetensors(tmp_path / "m.safetensors")
    np.testing.assert_allclose(model.predict_proba([[1.0, 2.0]]), np.full((1, 3), 1 / 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("parts", "described", "message"),
    [
        (weights(), None, "its metadata do not describe a network. Load the weights in PyTorch"),
        ({}, about(), "it holds nothing, ...: expected 0.weight, 0.bias, ..., two for each of 1"),
        (weights(more=np.ones(1)), about(), "it holds 0.bias, 0.weight, more, ...: expected"),
        (weights(**{"0.bias": np.ones(4, np.float32)}), about(), "b1 has shape (4, 1)"),
        (weights(**{"0.bias": np.ones((3, 1), np.float32)}), about(), "b1 has shape (3, 1, 1)"),
        (weights(**{"0.weight": np.ones((2, 3), np.float32)}), about(), "W1 has shape (2, 3)"),
        (weights(**{"0.bias": np.zeros(3)}), about(), "weights are of float32, float64: expected"),
        (weights(**{"0.bias": np.full(3, np.nan, np.float32)}), about(), "b1 holds values that"),
        ({n: x.astype("f2") for n, x in weights().items()}, about(), "weights are of float16"),
        ({n: x.astype(np.int64) for n, x in weights().items()}, about(), "weights are of int64"),
        (weights(), about(network=None), "network"),
        (weights(), about(network={"layer_dims": [10**9] * 2}), "W1 has shape (3, 2)"),
        (weights(), about(network={"layer_dims": [2, 3], "head": "os.system"}), "unknown head"),
        (weights(), about(network={"layer_dims": [2, 3], "call": 1}), "call"),
        (weights(), about(network=[1]), "is not a safetensors file of portadnn"),
        (weights(), about(input_shape=[3]), "input shape (3,) does not hold 2 values"),
        (weights(), about(input_shape=["2"]), "is not a safetensors file of portadnn"),
        (weights(), about(classes=["a"]), "1 classes, but the network has 3 outputs"),
        (weights(), about(classes="abc"), "its classes are not a list of names"),
        (weights(), about(scaled=None), "scaled is None: expected true or false"),
        (weights(), about(values=[1]), "its values are not a label for each class"),
        (weights(), about(values=[[], {}, 1]), "its values are not a list of names"),
        (weights(), about(preprocess=column(scale=0)), "or one whose scale is 0"),
        (weights(), about(preprocess=column(name="b")), "a column twice"),
        (weights(), about(preprocess=column(name=["a"])), "is not a safetensors file of portadnn"),
        (weights(), about(preprocess=column(mean="1")), "numbers that are not finite"),
        (weights(), about(preprocess=column(mean=float("inf"))), "numbers that are not finite"),
        (weights(), about(preprocess=column(categories=["x", "y"])), "does not make the"),
        (weights(), about(preprocess=column() | {"columns": []}), "has no columns"),
        (weights(), [], "is not a safetensors file of portadnn"),
        (weights(), "x", "is not a safetensors file of portadnn"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, parts, described, message):
    path = tmp_path / "model.safetensors"
    written(path, parts, described)
    with pytest.raises(InputError) as error:
        load_safetensors(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert str(error.value) == safe_text(str(error.value))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"{}",
        bytes(8),
        b"\xff" * 8,
        b"\2" + bytes(7) + b"{}",
        b"\x80\2cposix\nsystem\n.",
    ],
)
def test_what_is_no_safetensors_file(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="model.safetensors"):
        load_safetensors(path)
    with pytest.raises(InputError, match="no such file"):
        load_safetensors(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="expected a regular file"):
        load_safetensors("/dev/null")


def test_a_description_that_is_too_long(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_safetensors(make_model(), path)
    monkeypatch.setattr("portadnn.export.safetensors.LARGEST_HEADER", 200)
    message = r"model.safetensors needs [\d,]+ bytes to describe its content: expected at most 200"
    with pytest.raises(InputError, match=message):
        load_safetensors(path)
    path.unlink()
    with pytest.raises(InputError, match=message):
        save_safetensors(make_model(), path)
    assert not path.exists()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    name=st.sampled_from(["network", "classes", "input_shape", "scaled", "values", "preprocess"]),
    value=values,
)
def test_any_description_is_read_or_refused(tmp_path_factory, name, value):
    path = tmp_path_factory.mktemp("hostile") / "model.safetensors"
    written(path, weights(), about(**{name: value}))
    try:
        model = load_safetensors(path)
        assert len(model.predict(random_rows(model, 2, np.random.default_rng(0)))) == 2
    except InputError as error:
        assert str(error) == safe_text(str(error))
