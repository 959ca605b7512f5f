"""The declaration of a run: its text says all of it, and nothing else is read from a text."""

import inspect
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from portadnn.data.dataset import Dataset
from portadnn.data.hdf5 import load_digits
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import Initializer
from portadnn.network.optimizers import OPTIMIZERS, Adam, Momentum
from portadnn.network.spec import Network
from portadnn.training.callbacks import EarlyStopping
from portadnn.training.declaration import SETTINGS, Declaration, Part, parse_setting, parse_toml
from portadnn.training.models import fingerprint
from portadnn.training.problem import make_problem
from portadnn.training.schedules import SCHEDULES, Schedule, Step
from portadnn.training.train import NOT_DECLARED, train, train_problem

NAMES = list(SETTINGS)
NETWORK = Network((64, 5, 10), head="softmax")


@dataclass(frozen=True)
class OwnMomentum(Momentum):
    """An optimizer of one's own, which has the name and the text of another."""


@dataclass(frozen=True)
class Halved(Schedule):
    """A schedule of one's own."""

    name = "halved"

    def factor_at(self, epoch, epochs):
        return 0.5


@pytest.mark.parametrize(
    ("given", "rate", "epochs", "report_every"),
    [
        ({}, 0.5, 1000, 100),
        ({"data": "cats.h5"}, 0.0075, 3000, 100),
        ({"optimizer": "momentum"}, 0.05, 1000, 100),
        ({"optimizer": "adam", "data": "cats.h5"}, 0.001, 3000, 100),
        ({"optimizer": "lbfgs"}, None, 1000, 1),
        ({"batch_size": 32}, 0.5, 23, 1),  # 45 steps an epoch
        ({"batch_size": 1}, 0.5, 20, 1),
        ({"epochs": 7, "learning_rate": 2, "report_every": 3}, 2.0, 7, 3),
    ],
)
def test_defaults_follow_data_optimizer_and_batches(given, rate, epochs, report_every):
    full = Declaration(**given).complete(1437)
    assert full.learning_rate == rate
    assert full.epochs == epochs
    assert full.report_every == report_every


@pytest.mark.parametrize(
    ("m", "given", "found"),
    [
        (100, {}, ("adamw:weight_decay=2.0,", 0.002, 300, "cosine")),
        (353, {}, ("adamw:weight_decay=2.0,", 0.002, 100, "cosine")),
        (8000, {}, ("adamw:weight_decay=0.1,", 0.002, 64, "cosine")),
        (60_000, {}, ("adamw:weight_decay=0.1,", 0.002, 10, "cosine")),
        (60_000, {"learning_rate": 0.1}, ("adamw:", 0.1, 10, "cosine")),
        (60_000, {"schedule": "constant"}, ("adamw:", 0.001, 10, "constant")),
        (60_000, {"optimizer": "adam"}, ("adam:", 0.001, 10, "constant")),
    ],
)
def test_defaults_of_tables_and_of_many_examples(m, given, found):
    full = Declaration(data="table.csv", **given).complete(m, table=True)
    assert str(full.optimizer).startswith(found[0])
    assert (full.learning_rate, full.epochs) == found[1:3]
    assert str(full.schedule).startswith(found[3])
    assert full.complete(m, table=True) == full


@pytest.mark.parametrize(
    ("given", "rng", "seed"),
    [
        ({}, 3, 3),
        ({"seed": 5}, 5, 5),
        ({"rng": 5}, 5, 5),
        ({"rng": 5, "seed": 7}, 5, 7),
        ({"rng": "randomstate:1"}, "randomstate:1", 3),
        ({"rng": "randomstate:1", "seed": 7}, "randomstate:1", 7),
    ],
)
def test_the_initial_draw_and_the_seed(given, rng, seed):
    declared = Declaration(**given)
    assert declared.seeds == (rng, seed)
    state = np.random.RandomState(1) if isinstance(rng, str) else np.random.default_rng(rng)
    W1 = declared.parameters(NETWORK)["W1"]
    np.testing.assert_array_equal(W1, state.standard_normal((5, 64)) * np.sqrt(2 / 64))
    assert declared.complete(9).seeds == declared.seeds
    assert declared.plan(NETWORK, 9).batches.seed == seed


def test_what_train_takes_is_declared():
    taken = set(inspect.signature(train).parameters) - {*NOT_DECLARED}
    renamed = {"activations": "activation"}
    declared = {renamed.get(name, name) for name in taken}
    # the others are for the program or the estimators
    assert set(NAMES) - declared == {
        *("test", "data_sha256", "head", "shuffle"),
        *("labels", "target", "task", "size"),
    }
    assert declared <= set(NAMES)


def test_options_are_read_before_numpy_is_loaded():
    program = "import sys, portadnn.training.declaration; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# there and back


def rules(table, **extra):
    """Texts of a table: alone, and in full."""
    alone = st.sampled_from([*table, *extra])
    return alone | alone.map(lambda name: str((table | extra)[name]()))


shares = st.floats(0, 0.99)
numbers = st.floats(0, 1e6)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).map(str.strip)
names = st.sampled_from(sorted(ACTIVATIONS))
inits = st.builds(
    lambda name, kind, gain: str(Initializer(name, kind, gain)),
    st.sampled_from(["normal", "lecun", "xavier", "he"]),
    st.sampled_from(["normal", "uniform"]),
    st.floats(1e-9, 1e9),
)
paths = texts.filter(lambda t: t and "\0" not in t).map(lambda t: "/" + t.replace("/", "_") + ".h5")
SAID = {
    "data": paths | st.just("digits"),
    "test": st.none() | st.just("auto") | paths,
    "validation": st.none() | shares | paths,
    "data_sha256": st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    "layers": st.none() | st.lists(st.integers(1, 99), max_size=3).map(tuple),
    "activation": names | st.lists(names, min_size=1, max_size=3).map(tuple),
    "head": st.none() | st.sampled_from(["sigmoid", "softmax", "identity"]),
    "init": inits | st.lists(inits, min_size=1, max_size=3).map(tuple),
    "rng": st.none()
    | st.integers(0, 2**64 - 1)
    | st.integers(0, 2**32 - 1).map("randomstate:{}".format),
    "optimizer": rules(OPTIMIZERS),
    "learning_rate": st.none() | numbers,
    "epochs": st.none() | st.integers(1, 10**9),
    "batch_size": st.none() | st.integers(1, 10**9),
    "shuffle": st.booleans(),
    "schedule": rules(SCHEDULES),
    "labels": st.none() | st.just("/tmp/labels.npy"),
    "target": st.lists(st.sampled_from(["delay", "price (CHF)"]), max_size=2).map(tuple),
    "task": st.sampled_from([None, "regression", "counts"]),
    "size": st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
    "preprocess": st.sampled_from([None, "none", "standardise:missing=median,unknown=ignore"]),
    "clip_norm": st.none() | numbers,
    "l2": numbers,
    "l1": numbers,
    "label_smoothing": shares,
    "dropout": shares | st.lists(shares, max_size=3).map(tuple),
    "class_weight": st.none() | st.just("balanced") | st.dictionaries(texts, numbers, max_size=3),
    "early_stopping": st.none() | st.integers(1, 99),
    "report_every": st.none() | st.integers(1, 99),
    "first_layer": st.sampled_from(["auto", "sample", "feature"]),
    "seed": st.none() | st.integers(0, 2**64 - 1),
    "backend": st.sampled_from(["auto", "numpy", "torch:cuda"]),
    "dtype": st.sampled_from(["float32", "float64"]),
    "arithmetic": st.sampled_from(["fast", "reproducible"]),
    "matmul": st.sampled_from([None, "tf32"]),
}  # fmt: skip


@given(st.fixed_dictionaries({}, optional=SAID))
def test_to_toml_and_from_toml_are_inverse(settings):
    declared = Declaration(**settings)
    text = declared.to_toml()
    again = Declaration.from_toml(text)
    assert again == declared
    assert again.to_toml() == text
    assert set(tomllib.loads(text)) == set(NAMES)  # none is left out


@given(st.fixed_dictionaries({}, optional=SAID), st.integers(1, 10**6))
def test_a_complete_declaration_is_complete(settings, m):
    full = Declaration(**settings).complete(m)
    assert full.complete(m) == full
    assert Declaration.from_toml(full.to_toml()) == full


def test_every_setting_is_drawn_above():
    assert set(SAID) == set(NAMES) - {"sample_weight"}


# Parts that cannot be written as text

DIGITS = load_digits()[0]


@pytest.mark.parametrize(
    ("name", "make", "other", "kind"),
    [
        ("data", lambda: replace(DIGITS, source="x"), replace(DIGITS, labels=DIGITS.labels[::-1]),
         "Dataset"),
        ("validation", lambda: DIGITS, replace(DIGITS, classes=tuple("abcdefghij")), "Dataset"),
        ("init", lambda: np.ones, np.zeros, "function"),
        ("rng", lambda: np.random.default_rng(1), np.random.default_rng(2), "Generator"),
        ("rng", lambda: np.random.RandomState(1), np.random.RandomState(2), "RandomState"),
        ("optimizer", lambda: OwnMomentum(0.5), OwnMomentum(0.6), "OwnMomentum"),
        ("schedule", Halved, Step(3), "Halved"),
        ("sample_weight", lambda: np.arange(5.0), np.arange(5), "ndarray"),
        ("early_stopping", lambda: EarlyStopping(patience=3), EarlyStopping(patience=4),
         "EarlyStopping"),
    ],
)  # fmt: skip
def test_what_no_text_says_goes_in_by_its_digest(name, make, other, kind):
    declared = Declaration(**{name: make()})
    assert declared == Declaration(**{name: make()})
    assert declared != Declaration(**{name: other})
    text = declared.to_toml()
    assert f'{name} = "sha256:' in text
    with pytest.raises(InputError) as error:
        Declaration.from_toml(text, "run.toml")
    assert f"{name} of run.toml is known by its SHA-256 alone" in str(error.value)
    assert f"because a {kind} of your own has no text" in str(error.value)
    again = Declaration.from_toml(text, parts=True)
    assert again == declared
    with pytest.raises(InputError, match="only this digest of it is known"):
        again.given(name)


def test_rules_of_the_library_are_held_as_their_texts():
    declared = Declaration(
        optimizer=Adam(beta1=0.8), schedule=Step(10), init=[Initializer("he"), "lecun"],
        layers=np.asarray([5, 3]), dropout=np.float32(0.25), rng=np.int64(4),
        class_weight={"a": np.float32(0.5)},
    )  # fmt: skip
    assert declared == Declaration(
        optimizer="adam:weight_decay=0.0,beta1=0.8,beta2=0.999,epsilon=1e-08",
        schedule="step:every=10,factor=0.1", init=("he_normal:2.0", "lecun"), layers=(5, 3),
        dropout=0.25, rng=4, class_weight={"a": 0.5},
    )  # fmt: skip
    assert Declaration.from_toml(declared.to_toml()) == declared


def test_a_table_is_part_of_a_frozen_value():
    declared = Declaration(class_weight={"a": 1.0, "b": 2.0})
    assert hash(declared) == hash(Declaration(class_weight={"b": 2.0, "a": 1.0}))
    with pytest.raises(InputError, match="class_weight has the key 0: expected texts, such as '0'"):
        Declaration(class_weight={0: 1.0})


def test_an_unknown_head_is_told_before_any_data_are_read():
    with pytest.raises(InputError, match="unknown head 'softmx': did you mean 'softmax'"):
        Declaration(data="nowhere.h5", head="softmx").complete(1)


@pytest.mark.parametrize("share", [np.float32(0.25), np.asarray(0.25)])
def test_a_share_may_be_a_number_of_numpy(share):
    declared = Declaration(validation=share)
    assert declared == Declaration(validation=0.25)
    assert len(make_problem(declared).examples["validation"]) == 359


def test_a_generator_is_declared_as_it_was_before_it_drew():
    rng = np.random.default_rng(1)
    declared = Declaration(rng=rng)
    declared.parameters(NETWORK)
    assert declared == Declaration(rng=np.random.default_rng(1)) != Declaration(rng=rng)


def test_an_own_part_in_a_list():
    declared = Declaration(init=("he", np.ones))
    assert isinstance(declared.init[1], Part)
    assert Declaration.from_toml(declared.to_toml(), parts=True) == declared
    with pytest.raises(InputError, match="known by its SHA-256 alone"):
        Declaration.from_toml(declared.to_toml())


# Reading a declaration


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
        ('rng = "randomstate:x"', "rng of run.toml: rng is 'randomstate:x': expected a whole"),
        ('rng = "mt:1"', "expected a whole number, which seeds numpy.random.default_rng"),
        ('rng = "randomstate:4294967296"', "with a seed below 2**32"),
        ("rng = 1.5", "rng of run.toml is 1.5: expected a whole number"),
        ('shuffle = "no"', "shuffle of run.toml is 'no': expected true or false"),
        ('data_sha256 = "12"', "expected a SHA-256 of 64 hexadecimal digits"),
        ("sample_weight = [1, 2]", "it has no text: give it to portadnn.train"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text, message):
    with pytest.raises(InputError) as error:
        Declaration.from_toml(text, "run.toml")
    assert message in str(error.value)


words = st.text(max_size=20) | st.sampled_from(
    ["auto", "none", "all", "digits", "64,32", "0.5", "1e-3", "adam:beta1=0.8", "a=1,b=2", "he,he",
     "randomstate:1", "randomstate:", "sha256:", "sha256:0 of x", "3", "true"]
)  # fmt: skip
values = st.recursive(
    st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)


@example("size", 1.5)
@given(st.sampled_from(NAMES), words | values)
def test_a_value_is_read_or_refused(name, value):
    try:
        read = parse_setting(name, value, f"--{name}")
    except InputError as error:
        assert name in str(error)
        return
    written = Declaration(**{name: read}).values()[name]
    again = parse_toml(tomli_w.dumps({name: written}), "config.toml")[name]
    found = [Declaration(**{name: v}).values()[name] for v in (read, again)]
    assert repr(found[0]) == repr(found[1])  # as texts, because nan is not itself


def read_or_refused(text, parts):
    try:
        declared = Declaration.from_toml(text, "run.toml", parts=parts)
    except InputError as error:
        assert "run.toml" in str(error) or "rng" in str(error)
        return
    again = Declaration.from_toml(declared.to_toml(), parts=parts)
    assert again.to_toml() == declared.to_toml()


@given(st.text(max_size=60) | st.dictionaries(words | st.sampled_from(NAMES), values).map(str),
       st.booleans())  # fmt: skip
def test_any_text_is_a_declaration_or_an_input_error(text, parts):
    read_or_refused(text, parts)


@given(st.dictionaries(words | st.sampled_from(NAMES), values, max_size=4), st.booleans())
def test_any_table_is_a_declaration_or_an_input_error(table, parts):
    try:
        text = tomli_w.dumps(table)
    except ValueError:  # a surrogate
        return
    read_or_refused(text, parts)


@given(st.fixed_dictionaries({}, optional=SAID), st.data())
def test_a_damaged_text_is_a_declaration_or_an_input_error(settings, data):
    text = Declaration(**settings).to_toml()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(start + 20, len(text))))
    read_or_refused(text[:start] + data.draw(words) + text[stop:], data.draw(st.booleans()))


# Making a run from a declaration

# config.toml of a run of version 0.1.0, at commit 18f94fb. In float64 reproducible-2 kept the bits,
# so the fingerprint is the one that commit cec497c gave before that mark.
EARLIER = """
data = "digits"
test = "digits"
validation = 0.25
layers = [9, 5]
activation = ["tanh", "relu"]
init = "he_normal:2.0"
optimizer = "adam:weight_decay=0.0,beta1=0.85,beta2=0.999,epsilon=1e-08"
learning_rate = 0.003
epochs = 3
batch_size = 100
schedule = "cosine:warmup=1.0,final=0.1"
clip_norm = 1.5
l2 = 0.0001
l1 = 0.0
dropout = [0.2, 0.0]
class_weight = "balanced"
early_stopping = "none"
report_every = 1
first_layer = "auto"
seed = 11
backend = "numpy"
dtype = "float64"
arithmetic = "reproducible"
"""
ITS_FINGERPRINT = "9ca7db27e132429888de4d9a190a66c48c7c152d12fc5c25f12f6ea26d521e57"


def test_a_file_of_an_earlier_version_gives_the_same_bits():
    from portadnn.backends import get_backend

    problem = make_problem(Declaration.from_toml(EARLIER))
    backend = get_backend("numpy", dtype="float64", arithmetic="reproducible")
    assert fingerprint(train_problem(problem, backend)) == ITS_FINGERPRINT
    again = Declaration.from_toml(problem.declaration.to_toml())
    assert fingerprint(train_problem(make_problem(again), backend)) == ITS_FINGERPRINT


def test_other_data_than_were_declared_are_refused():
    full = make_problem(Declaration(epochs=1)).declaration
    assert make_problem(full).declaration == full
    wrong = replace(full, data_sha256="0" * 64)
    with pytest.raises(
        InputError, match="are not those of the declared run.*leave data_sha256 out"
    ):
        make_problem(wrong)


def test_a_head_that_does_not_fit_the_classes():
    with pytest.raises(InputError, match="the head is 'identity': expected 'softmax'"):
        make_problem(Declaration(head="identity"))


def test_data_that_are_none():
    with pytest.raises(TypeError, match="expected a Dataset or the path of a file"):
        train(3)
    unlabelled = Dataset(np.ones((2, 2)), None, ("a", "b"))
    with pytest.raises(InputError, match="has no labels"):
        train(unlabelled)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("t.csv", {"target": ("y",), "labels": "l.csv"}, "a CSV file, which does not use labels"),
        ("t.csv", {"target": ("y",), "size": (8, 8)}, "a CSV file, which does not use size"),
        ("x.npy", {"labels": "y.npy", "target": ("y",)}, "an NPY file, which does not use target"),
    ],
)
def test_a_setting_that_the_format_does_not_have(name, settings, message, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,1\n")
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match=message):
        make_problem(Declaration(data=str(tmp_path / name), **settings))
