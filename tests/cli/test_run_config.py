"""The settings of a run: what goes before what, and that nothing else than settings comes out."""

import dataclasses
import os
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from portadnn.cli.run_config import RunConfig, config_from, parse_setting, parse_toml
from portadnn.cli.run_options import RunOptions
from portadnn.errors import InputError

NAMES = [setting.name for setting in dataclasses.fields(RunConfig)]


def complete(config, m=1437, has_test=True, backend="numpy"):
    return config.complete(m, has_test=has_test, backend=backend)


def test_every_setting_has_an_option():
    options = {field.name for field in dataclasses.fields(RunOptions)}
    assert options | {"data"} == set(NAMES)


def test_what_is_typed_goes_before_the_file_and_the_file_before_the_defaults(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('optimizer = "adam"\nbatch-size = 16\nlearning_rate = 0.1\nl2 = 1\n')
    config = config_from({"batch_size": "32", "learning_rate": "auto", "l1": None}, file)
    assert config.optimizer == "adam"
    assert config.batch_size == 32
    assert config.l2 == 1.0
    assert config.l1 == 0.0
    assert complete(config).learning_rate == 0.001
    assert config_from({"batch_size": "all"}, file).batch_size is None


def test_paths_in_a_file_start_at_its_directory(tmp_path):
    (tmp_path / "there").mkdir()
    file = tmp_path / "there" / "run.toml"
    file.write_text('data = "cats.h5"\ntest = "none"\nvalidation = "../more.h5"\n')
    config = config_from({}, file)
    assert config.data == str(tmp_path / "there" / "cats.h5")
    assert config.test is None
    assert config.values()["validation"] == str(tmp_path / "more.h5")
    assert config_from({"data": "cats.h5"}).values()["data"] == os.path.abspath("cats.h5")
    file.write_text('data = "digits"\ntest = "digits"\n')
    assert config_from({}, file).data == config_from({}, file).test == "digits"


@pytest.mark.parametrize(
    ("given", "rate", "epochs", "report_every"),
    [
        ({}, 0.5, 1000, 100),
        ({"data": "cats.h5"}, 0.0075, 3000, 100),
        ({"optimizer": "momentum"}, 0.05, 1000, 100),
        ({"optimizer": "adam", "data": "cats.h5"}, 0.001, 3000, 100),
        ({"optimizer": "lbfgs"}, None, 1000, 1),
        ({"batch_size": "32"}, 0.5, 23, 1),  # 45 steps an epoch
        ({"batch_size": "1"}, 0.5, 20, 1),
        ({"epochs": "7", "learning_rate": "2", "report_every": "3"}, 2.0, 7, 3),
    ],
)
def test_defaults_follow_data_optimizer_and_batches(given, rate, epochs, report_every):
    config = complete(config_from(given))
    assert config.learning_rate == rate
    assert config.epochs == epochs
    assert config.report_every == report_every


def test_a_complete_configuration_is_read_back_as_it_was():
    given = {
        "data": "/a/cats.h5",
        "optimizer": "adam:beta1=0.8",
        "class_weight": "no=0.5,yes=2",
        "dropout": "0.1,0.2,0.30000000000000004",
        "init": "he,normal:0.1234567890123,lecun,xavier_uniform",
        "validation": "0.2",
        "early_stopping": "5",
        "schedule": "step:10",
    }
    config = complete(config_from(given), backend="numpy")
    again = RunConfig(**parse_toml(config.to_toml(), "config.toml"))
    assert again == config
    assert complete(again) == config
    assert set(tomllib.loads(config.to_toml())) == set(NAMES)  # none is left out
    assert config.class_weight == {"no": 0.5, "yes": 2.0}
    assert config.test == "/a/cats.h5"
    assert complete(config_from(given), has_test=False).test is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key of run.toml 'epoch': did you mean 'epochs'?"),
        ("learning-rat = 3", "did you mean 'learning_rate'?"),
        ("[train]\nepochs = 3", "unknown key of run.toml 'train'"),
        ('out = "x"', "run.toml: out belongs to one command, not to the run: give it as --out"),
        ("epochs = true", "epochs of run.toml is True: expected a whole number"),
        ("epochs = 2.5", "epochs of run.toml is 2.5: expected a whole number"),
        ("epochs = [3]", "expected a whole number"),
        ("epochs = 0x1" + 5000 * "0", "expected a whole number"),
        ("epochs = 1" + 5000 * "0", "run.toml is not TOML"),
        ('l2 = "x"', "l2 of run.toml is 'x': expected a number"),
        ("l2 = 2020-01-01", "expected a number"),
        ("optimizer = 3", "optimizer of run.toml is 3: expected a text"),
        ('activation = ["relu", 3]', "activation of run.toml, entry 2, is 3: expected a text"),
        ("layers = [3, 0]", "a layer has width 0"),
        ("layers = [3.5]", "layers of run.toml is 3.5"),
        ("data = 3", "data of run.toml is 3: expected the path of a file"),
        ('data = "a\\u0000b"', "expected the path of a file"),
        ('class_weight = {cat = "a"}', "class_weight of run.toml, class 'cat', is 'a'"),
        ('class_weight = "cat=1,cat=2"', "cat is given twice"),
        ('dtype = "float16"', "unknown dtype of run.toml 'float16'"),
        ("batch-size = 3\nbatch_size = 4", "batch_size is given twice"),
        ("epochs = 3\niterations = 4", "epochs is given twice, the second time as iterations"),
        ("epochs =", "run.toml is not TOML"),
        ("a = " + 10000 * "[", "run.toml is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text, message):
    with pytest.raises(InputError) as error:
        parse_toml(text, "run.toml")
    assert message in str(error.value)


texts = st.text(max_size=20) | st.sampled_from(
    ["auto", "none", "all", "digits", "64,32", "0.5", "1e-3", "adam:beta1=0.8", "a=1,b=2", "he,he"]
)
values = st.recursive(
    st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(NAMES), texts | values)
def test_a_value_is_read_or_refused(name, value):
    try:
        read = parse_setting(name, value, f"--{name}")
    except InputError as error:
        assert name in str(error)
        return
    written = RunConfig(**{name: read}).values()[name]
    text = tomli_w.dumps({name: written})
    again = parse_toml(text, "config.toml")[name]
    values = [RunConfig(**{name: v}).values()[name] for v in (read, again)]
    assert repr(values[0]) == repr(values[1])  # as texts, because nan is not itself


@given(st.dictionaries(st.sampled_from(NAMES), texts, max_size=5))
def test_options_give_a_configuration_or_an_input_error(given):
    try:
        config = config_from(given)
        full = complete(config)
    except InputError:
        return
    # every text in full says what the shorter one said
    assert (
        complete(RunConfig(**parse_toml(full.to_toml(), "config.toml"))).values() == (full.values())
        or "nan" in full.to_toml()
    )


@given(st.text(max_size=60) | st.dictionaries(texts | st.sampled_from(NAMES), values).map(str))
def test_any_text_is_a_configuration_or_an_input_error(text):
    try:
        settings = parse_toml(text, "run.toml")
    except InputError:
        return
    assert set(settings) <= set(NAMES)


@given(st.dictionaries(texts | st.sampled_from(NAMES), values, max_size=4))
def test_any_table_is_a_configuration_or_an_input_error(table):
    try:
        text = tomli_w.dumps(table)
        settings = parse_toml(text, "run.toml")
    except InputError:
        return
    assert set(settings) <= set(NAMES)
