"""Runs that repeat an earlier one to the last bit: ``config.toml`` and seeds."""

import json

import pytest
from cli_support import QUICK, assert_equal_bits, run, weights

from portadnn.backends import get_backend
from portadnn.data.hdf5 import load_digits
from portadnn.training.inference import evaluate
from portadnn.training.models import load_model

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


def test_a_seed_gives_the_same_weights(tmp_path, capsys):
    for name in "ab":
        run(capsys, "train", *QUICK, "--seed", 7, "--out", tmp_path / name, "--quiet")
    assert_equal_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))
