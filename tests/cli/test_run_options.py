"""The options of a run: what goes before what, and that train and parity declare the same run."""

import dataclasses
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_support import run
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.backends import get_backend
from portadnn.cli.main import main
from portadnn.cli.run_options import RunOptions, declared_run, read_config
from portadnn.errors import InputError
from portadnn.parity.run import Run, final_parameters
from portadnn.training.declaration import SETTINGS, Declaration
from portadnn.training.problem import make_problem


def test_every_setting_has_an_option_but_those_that_no_text_says():
    options = {field.name for field in dataclasses.fields(RunOptions)}
    assert set(SETTINGS) - options == {
        *("data", "labels", "data_sha256", "head", "shuffle", "sample_weight")
    }
    assert options <= set(SETTINGS)


@pytest.mark.parametrize("command", [["train"], ["parity"], ["parity", "record"]])
def test_the_help_of_every_option_is_that_of_the_declaration(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = run(capsys, *command, "--help")
    text = " ".join(out.replace("│", " ").split())
    for field in dataclasses.fields(RunOptions):
        assert f"--{field.name.replace('_', '-')} " in text
    assert "randomstate:1, which draws those of the course" in text
    assert "--epochs --iterations" in text
    assert "--learning-rate --lr" in text


def test_words_of_other_libraries_in_a_file_and_typed(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('lr = 0.1\noptimizer = "sgd"\ninit = "kaiming"\ndtype = "double"\n')
    declared = declared_run({"activation": "logistic"}, file)
    again = declared_run({"learning_rate": "0.1", "dtype": "float64", "activation": "sigmoid"})
    full, plain = declared.complete(1), again.complete(1)
    assert full.network(4, 1, "sigmoid") == plain.network(4, 1, "sigmoid")
    for name in ("learning_rate", "optimizer", "init", "dtype"):
        assert getattr(full, name) == getattr(plain, name), name
    with pytest.raises(InputError, match="--dtype 'float': write float32, or float64"):
        declared_run({"dtype": "float"})
    with pytest.raises(InputError, match="unknown optimizer 'SGD': did you mean 'sgd'"):
        declared_run({"optimizer": "SGD"})


def test_what_is_typed_goes_before_the_file_and_the_file_before_the_defaults(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('optimizer = "adam"\nbatch-size = 16\nlearning_rate = 0.1\nl2 = 1\n')
    declared = declared_run({"batch_size": "32", "learning_rate": "auto", "l1": None}, file)
    assert declared.optimizer == "adam"
    assert declared.batch_size == 32
    assert declared.l2 == 1.0
    assert declared.l1 == 0.0
    assert declared.complete(1437).learning_rate == 0.001
    assert declared_run({"batch_size": "all"}, file).batch_size is None


def test_paths_in_a_file_start_at_its_directory(tmp_path):
    (tmp_path / "there").mkdir()
    file = tmp_path / "there" / "run.toml"
    file.write_text('data = "cats.h5"\ntest = "none"\nvalidation = "../more.h5"\n')
    declared = declared_run({}, file)
    assert declared.data == str(tmp_path / "there" / "cats.h5")
    assert declared.test is None
    assert declared.values()["validation"] == str(tmp_path / "more.h5")
    assert declared_run({"data": "cats.h5"}).values()["data"] == os.path.abspath("cats.h5")
    file.write_text('data = "digits"\ntest = "digits"\n')
    assert declared_run({}, file).data == declared_run({}, file).test == "digits"


@pytest.mark.parametrize("isolated", [[], ["--isolated"]])
def test_no_pipe_is_waited_for(tmp_path, capsys, isolated):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    out = ["--out", str(tmp_path / "run")]
    for options in ([pipe], ["--config", pipe], ["--test", pipe], ["--validation", pipe]):
        assert main(["train", *map(str, options), *out, *isolated]) == 2
        assert "pipe is a pipe or a device: expected a regular file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_file_of_settings_is_short(tmp_path):
    (tmp_path / "a.toml").write_text("#" * 2**21)
    with pytest.raises(InputError, match="a.toml is not TOML: it is longer than 1 MiB"):
        read_config(tmp_path / "a.toml")


def test_other_data_are_typed_over_those_of_a_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(f'data_sha256 = "{"0" * 64}"\n')
    assert declared_run({}, file).data_sha256 == "0" * 64
    assert declared_run({"data": "cats.h5"}, file).data_sha256 is None
    assert declared_run({"validation": "more.h5"}, file).data_sha256 is None
    for validation in ("none", "0.1"):  # a share is held back after the digest
        assert declared_run({"validation": validation}, file).data_sha256 == "0" * 64
    assert declared_run({"seed": "1"}, file).data_sha256 == "0" * 64
    file.write_text(f'validation = "more.h5"\n{file.read_text()}')
    for validation in ("none", "0.1", "other.h5"):
        assert declared_run({"validation": validation}, file).data_sha256 is None


def test_the_course_by_the_name_of_its_draw(cat_files, tmp_path, capsys):
    """The command of the README: 80 % of the test images, as published."""
    train, test = cat_files
    code, out, err = run(
        capsys, "train", train, "--test", test, "--layers", "20,7,5", "--learning-rate", 0.0075,
        "--epochs", 2500, "--init", "lecun", "--rng", "randomstate:1", "--dtype", "float64",
        "--backend", "numpy", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert "test accuracy 80.00% (40 of 50)" in out


def test_the_file_of_a_run_names_its_data(tmp_path, capsys):
    """A data file that changed since is not taken for the one that was learnt from."""
    data = small_file(tmp_path)
    code, _, err = run(capsys, "train", data, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0, err
    with h5py.File(data, "a") as file:
        file["train_set_x"][0, 0, 0] ^= 1
    config = tmp_path / "run" / "config.toml"
    for command in (["train", "--out", tmp_path / "again"], ["parity", "numpy"]):
        code, _, err = run(capsys, *command, "--config", config)
        assert code == 2
        assert "are not those of the declared run" in err
    code, _, err = run(capsys, "train", data, "--config", config, "--out", tmp_path / "again")
    assert code == 0, err


texts = st.text(max_size=20) | st.sampled_from(
    ["auto", "none", "all", "digits", "64,32", "0.5", "1e-3", "adam:beta1=0.8", "a=1,b=2", "he,he"]
)


@given(st.dictionaries(st.sampled_from(sorted(SETTINGS)), texts, max_size=5))
def test_options_give_a_declaration_or_an_input_error(given):
    try:
        full = declared_run(given).complete(1437)
    except InputError:
        return
    # every text in full says what the shorter one said
    again = Declaration.from_toml(full.to_toml())
    assert again.complete(1437).values() == full.values() or "nan" in full.to_toml()


# train and parity


def small_file(folder):
    """23 images of 3 x 2 pixels in three classes, with more values than the first layer."""
    path = Path(folder) / "small.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["train_set_x"] = rng.integers(0, 256, (23, 3, 2), dtype=np.uint8)
        file["train_set_y"] = np.arange(23) % 3
        file["list_classes"] = np.asarray([b"a", b"b", b"c"])
    return path


def settings_of(options):
    """What was typed, by the names of settings."""
    return {option[2:].replace("-", "_"): str(value) for option, value in options.items()}


class Caught(Exception):
    """A run that was declared, and need not be made."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_file(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def declared_by(tmp_path_factory):
    """What a command hands on: to ``fit``, or to parity's ``compare``."""
    folder = tmp_path_factory.mktemp("runs")

    def caught(target, *arguments):
        def catch(*args, **options):
            raise Caught(args, options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, catch)
            patch.chdir(folder)
            with pytest.raises(Caught) as found:
                main([str(a) for a in arguments])
        return found.value.args

    return caught


DRAWN = {
    "--seed": st.integers(0, 2**64 - 1),
    "--rng": st.integers(0, 2**64 - 1) | st.integers(0, 2**32 - 1).map("randomstate:{}".format),
    "--batch-size": st.integers(1, 14),  # as many examples are left by --validation 0.4
    "--dropout": st.sampled_from(["0.3", "0.1,0.0", "0,0.5"]),
    "--validation": st.sampled_from(["0.25", "0.4"]),
    "--class-weight": st.sampled_from(["balanced", "a=2,c=0.5"]),
    "--optimizer": st.sampled_from(["momentum:0.8", "adam:beta1=0.7", "adamw", "rmsprop"]),
    "--schedule": st.sampled_from(["step:2", "exponential:0.9", "cosine:warmup=1,final=0.1"]),
    "--init": st.sampled_from(["lecun", "xavier_uniform,he,normal:0.1"]),
    "--activation": st.sampled_from(["tanh", "relu,sigmoid"]),
    "--learning-rate": st.sampled_from(["0.1", "0.003"]),
    "--l2": st.sampled_from(["0.01"]),
    "--l1": st.sampled_from(["0.01"]),
    "--clip-norm": st.sampled_from(["0.5"]),
    "--dtype": st.sampled_from(["float32", "float64"]),
}
OPTIONS = st.fixed_dictionaries({}, optional=DRAWN)
EPOCHS = 5


@given(OPTIONS, st.booleans())
@settings(max_examples=60)
def test_train_and_parity_declare_the_same_run(data, declared_by, tmp_path_factory, options, file):
    options |= {"--epochs": EPOCHS, "--layers": "5,4"}
    given = [text for option, value in options.items() for text in (option, value)]
    if file:  # the same in a file, which has been completed
        declared = declared_run(settings_of(options) | {"data": str(data)})
        config = tmp_path_factory.mktemp("config") / "config.toml"
        config.write_text(make_problem(declared).declaration.to_toml())
        to_train = to_parity = ["--config", config]
    else:
        to_train, to_parity = [data, *given], ["--data", data, *given]
    _, made = declared_by("portadnn.training.train.fit", "train", *to_train, "--backend", "numpy")
    (run, _), _ = declared_by(
        "portadnn.parity.compare.compare", "parity", "numpy", *to_parity, "--steps", EPOCHS
    )
    dtype, plan = options.get("--dtype", "float32"), made["plan"]
    parameters, X, Y = made["parameters"], made["X"], made["Y"]
    assert run.network == made["network"]
    assert run.plan == plan
    assert run.plan.steps == plan.steps
    for name, p in parameters.items():
        np.testing.assert_array_equal(run.parameters[name], p)
    assert X.dtype == dtype
    np.testing.assert_array_equal(run.X.astype(dtype), X)
    np.testing.assert_array_equal(run.Y, np.eye(3)[:, Y[0]])  # Y has the numbers of the classes
    weights = made["weights"]
    assert (run.weights is None) == (weights is None)
    if weights is not None:
        np.testing.assert_array_equal(run.weights, weights)
    for epoch in range(EPOCHS):
        np.testing.assert_array_equal(run.plan.batches.order(epoch), plan.batches.order(epoch))
    for step in range(plan.steps):
        declared, batch = run.declared(step, dtype), plan.batches.indices(step)
        chosen = X if batch is None else X[:, batch]
        np.testing.assert_array_equal(declared["X"], chosen)
        if weights is not None:
            S = weights if batch is None else weights[:, batch]
            np.testing.assert_array_equal(declared["S"], S.astype(dtype))
        for name, x in plan.scalars(step).items():
            assert declared[name] == np.asarray(x).astype(dtype)
        for name, mask in plan.masks(step, run.network).items():
            np.testing.assert_array_equal(declared[name], mask)
            assert mask.shape[1] == chosen.shape[1]


@given(OPTIONS, st.sampled_from(["fast", "reproducible"]))
@settings(max_examples=15)
def test_the_run_of_parity_ends_with_the_weights_of_train(data, options, arithmetic):
    from portadnn.training.train import train_problem

    given = settings_of(options)
    given |= {"data": str(data), "epochs": "3", "layers": "5,4", "first_layer": "feature"}
    problem = make_problem(declared_run(given | {"arithmetic": arithmetic}))
    backend = get_backend("numpy", dtype=problem.declaration.dtype, arithmetic=arithmetic)
    model = train_problem(problem, backend)
    for name, p in final_parameters(Run.of(problem, problem.plan.steps), backend).items():
        np.testing.assert_array_equal(p, model.parameters[name])


def test_in_sample_space_too(data):
    from portadnn.training.train import train_problem

    given = {"data": str(data), "epochs": "4", "layers": "5", "first_layer": "sample", "l2": "0.1"}
    for arithmetic in ("fast", "reproducible"):
        problem = make_problem(declared_run(given | {"arithmetic": arithmetic}))
        backend = get_backend("numpy", arithmetic=arithmetic)
        model, run = train_problem(problem, backend), Run.of(problem)
        assert run.sample
        for name, p in final_parameters(run, backend).items():
            if name != "W1":  # W1 lies in the run's own space
                np.testing.assert_array_equal(p, model.parameters[name])


@pytest.mark.parametrize("option", ["--log", "--out", "--tensorboard"])
@pytest.mark.parametrize("name", ["data.h5", "test.h5", "validation.h5", "run.toml"])
def test_train_writes_over_no_file_that_it_reads(option, name, tmp_path, capsys):
    declared = 'data = "data.h5"\ntest = "test.h5"\nvalidation = "validation.h5"\n'
    (tmp_path / "run.toml").write_text(declared)
    for data in ("data.h5", "test.h5", "validation.h5"):
        small_file(tmp_path).rename(tmp_path / data)
    before = (tmp_path / name).read_bytes()
    os.link(tmp_path / name, tmp_path / "linked")
    for path in (tmp_path / name, tmp_path / "linked"):
        code, _, err = run(capsys, "train", "--config", tmp_path / "run.toml", option, path)
        assert code == 2
        assert f"{path} is a file that is read" in err
    assert (tmp_path / name).read_bytes() == before


def test_parity_writes_over_no_file_that_it_reads(tmp_path, capsys, monkeypatch):
    data = small_file(tmp_path)
    file = tmp_path / "run.toml"
    file.write_text(f"validation = '{data}'\n")
    before = data.read_bytes()
    for command, path in (
        (["numpy", "--config", file, "--html"], file),
        (["record", "--config", file, "--overwrite", "--out"], file),
        (["record", "--data", "digits", "--validation", data, "--overwrite", "--out"], data),
    ):
        code, _, err = run(capsys, "parity", *command, path)
        assert code == 2
        assert "is a file that is read" in err
    assert data.read_bytes() == before
    monkeypatch.chdir(tmp_path)  # the word digits is no path
    command = ["parity", "numpy", "--steps", 1, "--layers", 3, "--no-noise", "--html", "digits"]
    assert run(capsys, *command)[0] == 0
    assert (tmp_path / "digits").is_file()
