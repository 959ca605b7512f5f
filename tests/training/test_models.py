import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import resealed

from portadnn.data.preprocess import Column, Preprocess
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.models import Model, fingerprint, load_model, save_model

CLASSES = ("a", "b", "ç")


def make_model(dtype="float32", head="softmax", n_y=3, classes=CLASSES):
    network = Network((12, 5, n_y), "tanh", head)
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    parameters = {name: p.astype(dtype) for name, p in parameters.items()}
    return Model(network, parameters, classes, (2, 2, 3))


@pytest.mark.parametrize(
    ("head", "n_y", "classes"),
    [
        ("softmax", 3, CLASSES),
        ("sigmoid", 1, CLASSES[:2]),
        ("sigmoid", 3, CLASSES),
        ("identity", 3, CLASSES),
        ("identity", 1, ()),
        ("poisson", 2, ()),
    ],
)
def test_saving_and_loading_back(tmp_path, dtype, head, n_y, classes):
    model = make_model(dtype, head, n_y, classes)
    save_model(model, tmp_path / "model.h5")
    again = load_model(tmp_path / "model.h5")
    assert again.network == model.network
    assert again.classes == model.classes
    assert again.input_shape == model.input_shape
    assert again.dtype == dtype
    for name, p in model.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], p)
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_a_file_of_version_1_still_loads():
    model = load_model(Path(__file__).with_name("model-version-1.h5"))  # written at 18f94fb
    assert fingerprint(model) == "82821b48b792d53393cb77bfb26f2bdb91dc1ab418552c3224a2ee1362160d18"
    assert model.network == Network((12, 5, 3), "tanh", "softmax")
    assert (model.classes, model.input_shape) == (("a", "b", "ç"), (2, 2, 3))
    assert model.scaled is True


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    save_model(make_model(), path)
    before = path.read_bytes()
    monkeypatch.setattr(
        h5py.Group, "create_dataset", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(InputError, match=r"model.h5 cannot be written \(disk full\)"):
        save_model(make_model("float64"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_a_model_is_no_file_of_another_format(tmp_path):
    message = "x.onnx: .onnx is for ONNX files, and this would be HDF5: write .*x.h5. `portadnn exp"
    with pytest.raises(InputError, match=message):
        save_model(make_model(), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_shows_itself_in_two_lines():
    assert repr(make_model()) == (
        "Model: 12 values -> 5 tanh -> 3 softmax; 83 parameters in float32\n"
        "Examples of (2, 2, 3), uint8 scaled to [0, 1]; 3 classes: a, b, ç"
    )
    values = make_model(head="identity", classes=())
    assert repr(values).endswith("Examples of (2, 2, 3), uint8 scaled to [0, 1]")
    one = make_model(head="identity", n_y=1, classes=("delay",))
    assert repr(one).endswith("; 1 value: delay")
    wide = make_model(n_y=1000, classes=tuple(f"class {i}" for i in range(1000)))
    assert len(repr(wide)) < 400
    assert repr(wide).endswith(" ...")


def test_a_model_shows_itself_in_a_notebook():
    page = make_model(classes=("<b>", "&", "c"))._repr_html_()
    assert "<tr><td>5</td><td>tanh</td></tr><tr><td>3</td><td>softmax</td></tr>" in page
    assert "3 classes: &lt;b&gt;, &amp;, c" in page
    assert page.count("<tr>") == page.count("</tr>") == 3


def test_a_model_without_columns_is_the_file_that_it_was(tmp_path):
    save_model(make_model(), tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        names = {"format", "version", "network", "classes", "input_shape", "scaled"}
        assert set(file.attrs) == names


def change(path, name, value):
    with resealed(path) as file:
        if name in file.attrs:
            file.attrs[name] = value
        else:
            del file[name]
            if value is not None:
                file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "other", "is not a portadnn model"),
        ("version", 99, "model of format version 99 with a SHA-256: this portadnn reads 2"),
        ("network", "{}", "damaged model"),
        ("network", "not json", "damaged model"),
        ("network", '{"layer_dims": [12, -5, 3]}', "layer 1 has width -5"),
        ("classes", '["a"]', "1 classes, but the network has 3 outputs"),
        ("classes", "3", "damaged model"),
        ("input_shape", "[5, 5]", r"input shape \(5, 5\) does not hold 12 values"),
        ("input_shape", "[-2, -2, 3]", r"input shape \(-2, -2, 3\)"),
        ("parameters/W2", None, r"parameters/W2 is missing: expected weights of shape \(3, 5\)"),
        ("parameters", h5py.ExternalLink("other.h5", "/"), "parameters/W1 is a link to another"),
        ("parameters/W2", np.zeros((3, 4), "f4"), r"W2 has shape \(3, 4\)"),
        ("parameters/b1", np.full((5, 1), np.nan, "f4"), "b1 holds values that are not finite"),
        ("parameters/b1", np.zeros((5, 1), "f8"), "weights are of float32, float64"),
        ("parameters/b1", np.zeros((5, 1), "i4"), "dtype int32"),
    ],
)
def test_damaged_models_are_refused(tmp_path, name, value, message):
    path = tmp_path / "model.h5"
    save_model(make_model(), path)
    change(path, name, value)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert "model.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "n_y", "classes", "expected"),
    [
        ("sigmoid", 1, CLASSES, "2 names"),
        ("sigmoid", 1, (), "2 names"),
        ("sigmoid", 3, CLASSES[:2], "3 names"),
        ("softmax", 3, (), "3 names"),
        ("identity", 2, CLASSES, "2 or 0 names"),
    ],
)
def test_names_that_do_not_fit_the_head(head, n_y, classes, expected):
    with pytest.raises(
        InputError, match=f"{n_y} outputs with the {head} head: expected {expected}"
    ):
        make_model(head=head, n_y=n_y, classes=classes)


def test_a_dataset_is_no_model(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["train_set_x"] = np.zeros((2, 2))
    with pytest.raises(InputError, match="is not a portadnn model"):
        load_model(path)


def test_swapped_arguments_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"the model is '.*': expected save_model\(model, path\)"):
        save_model(str(tmp_path / "model.h5"), make_model())


def test_scaled_values_are_saved_and_checked(tmp_path):
    scaling = ((150.0, 77.0), (0.0, 1.0), (-1.0, 3.5))
    preprocess = Preprocess(tuple(map(Column, "abcdefghijkl")), scaling=scaling)
    model = dataclasses.replace(make_model(head="identity"), preprocess=preprocess)
    save_model(model, tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5").preprocess == preprocess
    with h5py.File(tmp_path / "model.h5") as file:
        assert file.attrs["version"] == 4  # a portadnn that would leave the scale out refuses it
    with pytest.raises(InputError, match="3 outputs, but 2 of them are scaled"):
        dataclasses.replace(model, preprocess=dataclasses.replace(preprocess, scaling=scaling[:2]))


def test_preprocessing_of_an_older_file_scales_no_values():
    text = Preprocess((Column("a"),)).to_json()
    del text["scaling"]
    assert Preprocess.from_json(text).scaling == ()
