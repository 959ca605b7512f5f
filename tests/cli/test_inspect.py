"""``portadnn inspect`` and ``portadnn gradcheck`` as a user runs them."""

import json

import h5py
import numpy as np
import pytest
from cli_support import run

from portadnn import plots
from portadnn.data.hdf5 import load_digits
from portadnn.diagnostics import (
    EntryCheck,
    GradientCheck,
    TensorCheck,
    check_gradients,
    layer_signals,
    unit_activity,
)
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.models import Model, load_model, save_model


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no cell is folded


@pytest.fixture
def model(tmp_path):
    """An untrained model of the digits, with a dead unit in each layer."""
    network = Network((64, 12, 8, 10), head="softmax")
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    for l in (1, 2):
        parameters[f"b{l}"][3] = -1e3
    path = tmp_path / "model.h5"
    single = {name: p.astype(np.float32) for name, p in parameters.items()}
    save_model(Model(network, single, tuple("0123456789"), (8, 8)), path)
    return path


@pytest.fixture
def digits_file(tmp_path):
    """The embedded test digits as a user's file."""
    _, test = load_digits()
    path = tmp_path / "digits.h5"
    with h5py.File(path, "w") as file:
        file["test_set_x"], file["test_set_y"] = test.examples, test.labels
        file["list_classes"] = np.asarray([name.encode() for name in test.classes])
    return path


def table_rows(out):
    """The rows of all tables, as lists of cells."""
    cells = [line.split() for line in out.splitlines()]
    return [row for row in cells if row and row[0].isdigit()]


def test_the_figure_names_model_and_data(model, digits_file, tmp_path, capsys, monkeypatch):
    titles, draw = [], plots.layer_signals

    def watched(signals, *, title):
        titles.append(title)
        return draw(signals, title=title)

    monkeypatch.setattr(plots, "layer_signals", watched)
    plot = ("--plot", tmp_path / "inspect.png")
    assert run(capsys, "inspect", model, digits_file, *plot)[0] == 0
    assert run(capsys, "inspect", "8,5x50,1", "--examples", 30, *plot)[0] == 0
    assert titles == [
        "model.h5: (64, 12, 8, 10)\ndigits.h5 (test), 360 examples",
        "8,5x50,1\nstandard normal numbers, labels at random, 30 examples",
    ]


def test_inspect_compares_initialisers_of_fifty_layers(tmp_path, capsys):
    plot = tmp_path / "deep.png"
    code, out, err = run(
        capsys, "inspect", "64,64x50,1", "--init", "normal", "--init", "lecun", "--init", "xavier",
        "--init", "he", "--plot", plot, "--examples", "20", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert plot.read_bytes().startswith(b"\x89PNG")
    result = json.loads(out)
    assert list(result["weights"]) == ["normal", "lecun", "xavier", "he"]
    assert result["plot"] == str(plot)
    assert (result["examples"], result["data"][:15]) == (20, "standard normal")
    kept = {name: rows[49]["a_square"] for name, rows in result["weights"].items()}
    # 64 * 0.01^2 / 2 a layer, a half, and 1: vanished, shrunk, kept within a factor of chance
    assert kept["normal"] < 1e-110
    assert 1e-20 < kept["lecun"] < 1e-10
    assert 1e-20 < kept["xavier"] < 1e-10
    assert 1e-4 < kept["he"] < 1e4
    for rows in result["weights"].values():
        assert len(rows) == 51
        np.testing.assert_allclose([row["z_square_over_given"] for row in rows[:50]], 1, atol=0.9)


def test_inspect_prints_a_row_per_layer(tmp_path, capsys):
    code, out, _ = run(capsys, "inspect", "8,5,1", "--plot", tmp_path / "a.svg", "--seed", "7")
    assert code == 0
    assert "standard normal numbers, labels at random, 200 examples; numpy, float64" in out
    assert "weights: he" in out
    first, last = table_rows(out)
    X = np.random.default_rng([7, 1]).standard_normal((8, 200))
    parameters = initialize_parameters_deep([8, 5, 1], rng=7)
    expected = layer_signals(X, parameters, init="he")
    assert first[:5] == ["1", "5", *(f"{x:.2g}" for x in (
        expected[0].z_variance, expected[0].z_square, expected[0].z_predicted))]  # fmt: skip
    assert last[:2] == ["2", "1"]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_inspect_a_model_on_data(model, digits_file, tmp_path, capsys):
    plot = tmp_path / "figures" / "model.png"
    code, out, _ = run(capsys, "inspect", model, digits_file, "--plot", plot, "--json")
    assert code == 0
    assert plot.exists()
    (rows,) = json.loads(out)["weights"].values()
    X = load_digits()[1].columns("float32")
    loaded = load_model(model)
    signals = layer_signals(X, loaded.parameters, network=loaded.network)
    units = unit_activity(X, loaded.parameters, network=loaded.network)
    assert [row["a_square"] for row in rows] == [layer.a_square for layer in signals]
    assert [row["dead"] for row in rows] == [*(int(u.dead.sum()) for u in units), None]
    assert rows[0]["dead"] >= 1
    assert rows[1]["dead"] >= 1
    assert rows[2]["a_predicted"] is None  # softmax


def test_inspect_draws_new_weights_for_a_model(model, tmp_path, capsys):
    arguments = ("inspect", model, "--plot", tmp_path / "a.png", "--init", "zeros", "--json")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    (rows,) = json.loads(out)["weights"].values()
    assert [row["dead"] for row in rows[:2]] == [12, 8]
    assert rows[0]["z_square_over_given"] is None


def test_inspect_weights_of_one_sign(tmp_path, capsys):
    code, out, _ = run(
        capsys, "inspect", "20,20x3,1", "--one-sign", "--plot", tmp_path / "a.png", "--json"
    )
    assert code == 0
    (name, rows), = json.loads(out)["weights"].items()  # fmt: skip
    assert name == "he, one sign"
    assert rows[2]["z_square"] > 5 * rows[2]["z_predicted"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["8"], "layers 8: expected two widths or more"),
        (["8,0,1"], "a layer has width 0"),
        (["8,5x0,1"], "0 layers: expected 1 to 10000"),
        (["8,5x2x2,1"], "'5x2x2' is not a width"),
        (["nothing.h5"], "nothing.h5: no such file"),
        (["8,5,1", "--init", "hee"], "unknown initialiser 'hee': did you mean 'he'?"),
        (["8,5,1", "--activation", "relo"], "unknown activation 'relo'"),
        (["8,5,1", "--examples", "0"], "--examples is 0: expected 1 or more"),
        (["8,5,1", "--plot", "a.txt"], "--plot a.txt: expected a file that ends in .png"),
        (["8,5,10", "DATA"], "has 64 values per example and takes 10 outputs: expected 64,...,10"),
        (["MODEL", "--one-sign"], "--one-sign is for weights that are drawn: add --init"),
        (["MODEL", "--activation", "tanh"], "is a model, which has its own"),
    ],
)
def test_inspect_says_what_is_wrong_before_it_writes(
    arguments, message, model, digits_file, tmp_path, capsys, monkeypatch
):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    names = {"MODEL": model, "DATA": digits_file}
    code, out, err = run(capsys, "inspect", *(names.get(a, a) for a in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert list(work.iterdir()) == []


def test_gradcheck_passes_a_model(model, digits_file, capsys):
    code, out, err = run(capsys, "gradcheck", model, digits_file, "--entries", "5")
    assert (code, err) == (0, "")
    assert "right: 30 gradients" in out
    named = [line.split()[0] for line in out.splitlines() if line.split()[1:2] and "(" in line]
    assert named[:6] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    code, out, _ = run(
        capsys, "gradcheck", model, "--entries", "5", "--examples", "20", "--seed", "4", "--json"
    )
    result = json.loads(out)
    assert (code, result["passed"]) == (0, True)
    test = load_digits()[1]
    loaded = load_model(model)
    expected = check_gradients(
        test.columns("float64")[:, :20], test.targets("float64")[:, :20], loaded.parameters,
        network=loaded.network, entries=5, rng=4,
    )  # fmt: skip
    found = [(t["name"], t["checked"], t["kinked"], t["blind"]) for t in result["tensors"]]
    assert found == [(t.name, t.checked, t.kinked, t.blind) for t in expected.tensors]
    assert result["told"] == expected.told
    assert result["tensors"][4]["worst"]["gradient"] == expected.tensors[4].worst.gradient


def test_gradcheck_fails_a_backward_pass_that_is_wrong(model, capsys, monkeypatch):
    from portadnn.network import layers

    right = layers.linear_backward

    def without_mean(dZ, cache, **options):
        dA_prev, dW, db = right(dZ, cache, **options)
        return dA_prev, dW * dZ.shape[1], db

    monkeypatch.setattr("portadnn.network.model.linear_backward", without_mean)
    code, out, _ = run(capsys, "gradcheck", model, "--entries", "40", "--examples", "20")
    assert code == 1
    assert "WRONG: " in out
    assert out.rstrip().endswith("in W1, W2, W3")


def test_gradcheck_that_tells_nothing_is_no_success(model, capsys, monkeypatch):
    tensors = (
        TensorCheck("W1", (12, 64), 0, kinked=5, blind=0, faults=0, worst=None),
        TensorCheck(
            "b1", (12, 1), 3, 0, blind=3, faults=0, worst=EntryCheck((0, 0), 0, 1e-9, 1e-8)
        ),
    )
    monkeypatch.setattr(
        "portadnn.diagnostics.check_gradients", lambda *a, **options: GradientCheck(tensors)
    )
    code, out, _ = run(capsys, "gradcheck", model)
    assert code == 1
    assert "NOTHING CHECKED: 5 entries sit on kinks, and the other 3 have gradients" in out


def test_gradcheck_says_what_is_wrong(model, tmp_path, capsys):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = np.zeros((3, 4, 4), np.uint8), [0, 1, 0]
        file["list_classes"] = np.asarray([b"no", b"yes"])
    for arguments, message in (
        ([model, tmp_path / "other.h5"], "has the classes no, yes, but the model knows 0, 1"),
        ([model, "--entries", "0"], "--entries is 0: expected 1 or more"),
        ([tmp_path / "nothing.h5"], "no such file"),
    ):
        code, out, err = run(capsys, "gradcheck", *arguments)
        assert (code, out) == (2, "")
        assert message in err
