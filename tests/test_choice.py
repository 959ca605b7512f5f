"""Texts that choose an optimizer, a schedule or L-BFGS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.backends import DTYPES, MATMULS, get_backend
from portadnn.backends.registry import CLASSES
from portadnn.choice import _WORDS, check_number, check_whole
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import _VARIANCES, Initializer, as_initializer
from portadnn.network.losses import HEADS
from portadnn.network.optimizers import OPTIMIZERS, Adam, Momentum, Optimizer, as_optimizer
from portadnn.network.spec import Network
from portadnn.training.callbacks import MONITORS, EarlyStopping
from portadnn.training.lbfgs import LBFGS, as_solver
from portadnn.training.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Plateau,
    Schedule,
    Step,
    as_schedule,
)

NAMES = ["lbfgs", *OPTIMIZERS, *SCHEDULES]
FIELDS = ["mu", "beta1", "beta2", "rho", "epsilon", "weight_decay", "memory", "tolerance"]
FIELDS += ["every", "factor", "warmup", "final", "patience", "min_delta", ""]
VALUES = ["0", "1", "-1", "0.5", "2.5", "nan", "-inf", "1e400", "9" * 400, "0x1", "", "true", "١"]
# texts that are nearly right, beside any text at all
NEARLY = st.builds(
    lambda name, parts: f"{name}:{','.join(f'{f}={v}' if f else v for f, v in parts)}",
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(VALUES) | st.text()), max_size=3),
)


@pytest.mark.parametrize("choose", [as_solver, as_optimizer, as_schedule])
@given(text=st.text() | NEARLY)
def test_any_text_is_a_choice_or_an_input_error(choose, text):
    try:
        chosen = choose(text)
    except InputError as error:
        assert str(error)
    else:
        assert choose(str(chosen)) == chosen


UNIT = st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(0, 1e6, exclude_min=True)
FACTOR = st.floats(0, 1, exclude_min=True, exclude_max=True)
CHOICES = [
    *(st.builds(rule, weight_decay=st.floats(0, 10)) for rule in OPTIMIZERS.values()),
    st.builds(Momentum, mu=UNIT),
    st.builds(Adam, beta1=UNIT, beta2=UNIT, epsilon=POSITIVE),
    st.builds(LBFGS, memory=st.integers(1, 10**12), tolerance=st.floats(0, 1)),
    st.just(Constant()),
    st.builds(Step, every=st.integers(1, 10**12), factor=FACTOR),
    st.builds(Exponential, factor=FACTOR),
    st.builds(Cosine, warmup=st.integers(0, 100) | st.floats(0, 100), final=UNIT),
    st.builds(Plateau, patience=st.integers(1, 100), factor=FACTOR, min_delta=UNIT),
]


@given(st.one_of(CHOICES))
def test_the_text_of_a_choice_chooses_it_again(chosen):
    choose = as_schedule if isinstance(chosen, Schedule) else as_solver
    assert choose(str(chosen)) == chosen
    assert choose(chosen) is chosen


def test_a_value_without_a_name_is_that_of_the_first_field():
    assert as_optimizer("momentum:0.95") == Momentum(0.95)
    assert as_schedule("step: 7 , factor = 0.5") == Step(7, 0.5)
    assert as_solver("lbfgs:20") == LBFGS(20)


@pytest.mark.parametrize(
    ("choose", "text", "message"),
    [
        (as_optimizer, "adm", "unknown optimizer 'adm': did you mean 'adam'"),
        (as_optimizer, "adam:beta3=1", "unknown option of optimizer adam 'beta3': did you mean"),
        (as_optimizer, "adam:beta1=0.5,beta1=0.6", "beta1 is given twice"),
        (as_optimizer, "adam:0.9,0.99", "expected adam:beta1=NUMBER,beta2=NUMBER"),
        (as_optimizer, "adam:beta1=1", "beta1 of adam is 1: expected a finite number 0 or more"),
        (as_optimizer, "momentum:fast", "mu is 'fast': expected a number"),
        (as_schedule, "step:2.5", "every is '2.5': expected a whole number"),
        (as_schedule, "step:0", "every of the schedule step is 0: expected 1 or more"),
        (as_schedule, "constant:1", "expected constant alone, which has no options"),
        (as_schedule, "cosin", "unknown schedule 'cosin': did you mean 'cosine'"),
        (as_solver, "lbfgs:0", "memory of lbfgs is 0: expected 1 or more"),
        (as_solver, "lbfgs:evaluations=-1", "evaluations of lbfgs is -1: expected 0 or more"),
        (as_solver, "lbfg", "unknown optimizer 'lbfg': did you mean 'lbfgs'"),
    ],
)
def test_what_is_wrong_with_a_text(choose, text, message):
    with pytest.raises(InputError, match=message):
        choose(text)


@pytest.mark.parametrize("given", [None, 3, Adam, b"adam", Constant()])
def test_neither_a_text_nor_an_instance(given):
    with pytest.raises(TypeError, match="optimizer is .*expected a name such as"):
        as_optimizer(given)


def test_an_instance_of_ones_own_is_taken():
    class Mine(Optimizer):
        name = "mine"
        weight_decay = 0.0

    mine = Mine()
    assert as_optimizer(mine) is mine


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Step(every=n),
        lambda n: Plateau(patience=n),
        lambda n: LBFGS(memory=n),
        lambda n: EarlyStopping(patience=n),
    ],
)
@pytest.mark.parametrize("n", [2.5, "10", 0, -1, float("nan"), None])
def test_counts_are_whole_numbers(make, n):
    with pytest.raises(InputError, match="expected"):
        make(n)


@pytest.mark.parametrize(
    "value", [pytest.param(10**400, id="huge"), "ten", None, [1], float("nan"), float("inf"), 1j]
)
def test_a_number_that_is_none(value):
    with pytest.raises(InputError, match="rate is .*expected a"):
        check_number("rate", value, 0.0)


def test_limits_that_are_open():
    assert check_number("x", 0, 0.0, 1.0) == 0.0
    assert check_number("x", 1, 0.0, 1.0) == 1.0
    with pytest.raises(InputError, match="above 0 and below 1"):
        check_number("x", 0, 0.0, 1.0, low_open=True, high_open=True)
    with pytest.raises(InputError, match="0 or more and below 1"):
        check_number("x", 1, 0.0, 1.0, high_open=True)


def test_a_whole_number_is_a_python_integer():
    import numpy as np

    assert type(check_whole("n", np.int64(3), 1)) is int
    with pytest.raises(InputError, match="n is 3.0: expected a whole number"):
        check_whole("n", 3.0, 1)


def of_network(activation="relu", head="sigmoid"):
    return Network((2, 3, 2), activation, head)


# the words of PyTorch, Keras and scikit-learn; the last is what is taken for them
@pytest.mark.parametrize(
    ("take", "words", "ours"),
    [
        (as_solver, "sgd gd", as_solver("gradient_descent")),
        (as_optimizer, "sgd", as_optimizer("gradient_descent")),
        (as_solver, "sgd:weight_decay=0.1", as_solver("gradient_descent:weight_decay=0.1")),
        (as_solver, "nag", as_solver("nesterov")),
        (as_solver, "l_bfgs", LBFGS()),
        (as_initializer, "kaiming kaiming_normal msra he_normal", as_initializer("he")),
        (as_initializer, "kaiming_uniform he_uniform", as_initializer("he_uniform")),
        (as_initializer, "glorot glorot_normal xavier_normal", as_initializer("xavier")),
        (as_initializer, "glorot_uniform xavier_uniform", as_initializer("xavier_uniform")),
        (as_initializer, "zero", as_initializer("zeros")),
        (Initializer, "kaiming", Initializer("he")),
        (of_network, "logistic", of_network("sigmoid")),
        (of_network, "linear none", of_network("identity")),
        (of_network, "leakyrelu lrelu", of_network("leaky_relu")),
        (lambda head: of_network(head=head), "bce binary_crossentropy", of_network()),
        (
            lambda head: of_network(head=head),
            "categorical_crossentropy sparse_categorical_crossentropy crossentropyloss",
            of_network(head="softmax"),
        ),
        (
            lambda head: of_network(head=head),
            "squared_error linear",
            of_network(head="identity"),
        ),
        (as_schedule, "cosineannealinglr cosine_decay", Cosine()),
        (as_schedule, "reducelronplateau", Plateau()),
        (as_schedule, "steplr", Step()),
        (lambda name: get_backend(name).name, "np", "numpy"),
        (lambda name: get_backend(name).name, "array_api_strict:device1", "strict:device1"),
        (lambda name: get_backend("numpy", dtype=name).dtype_name, "double f8 fp64", "float64"),
        (lambda name: get_backend("numpy", dtype=name).dtype_name, "single f4 fp32", "float32"),
        (lambda name: EarlyStopping(name).monitor, "val_loss", "validation_cost"),
        (lambda name: EarlyStopping(name).monitor, "val_accuracy", "validation_score"),
    ],
)
def test_words_of_other_libraries(take, words, ours):
    for word in words.split():
        assert take(word) == ours, word


def test_a_dataset_holds_our_name_for_its_head():
    X, y = [[1.0], [2.0]], [0.5, 1.0]
    assert Dataset(X, y, (), head="squared_error").head == "identity"


@pytest.mark.parametrize(
    ("take", "words", "message"),
    [
        (get_backend, "cuda gpu cuda:0 GPU", "write cupy, torch:cuda or jax:gpu, or auto"),
        (get_backend, "cpu", "write numpy, torch, jax:cpu or dask"),
        (get_backend, "mps", "write torch:mps"),
        (get_backend, "tpu tpu:0", "write jax:tpu"),
        (get_backend, "NumPy", "did you mean 'numpy'"),
        (get_backend, "PyTorch", "did you mean 'pytorch'"),
        (as_solver, "SGD", "did you mean 'sgd'"),
        (as_solver, "L-BFGS", "did you mean 'l_bfgs'"),
        (as_solver, "Adam ADAM", "did you mean 'adam'"),
        (as_initializer, "uniform", "write normal_uniform:0.05"),
        (as_initializer, "Kaiming", "did you mean 'kaiming'"),
        (of_network, "ReLU", "did you mean 'relu'"),
        (of_network, "LeakyReLU", "did you mean 'leakyrelu'"),
        (lambda head: of_network(head=head), "mse MSELoss l2 mean-squared-error", "write identity"),
        (
            lambda head: of_network(head=head),
            "cross_entropy log_loss nll",
            "write softmax for classes that exclude each other, else sigmoid",
        ),
        (lambda head: of_network(head=head), "CrossEntropyLoss", "mean 'crossentropyloss'"),
        (as_schedule, "adaptive", "write plateau:patience=10,factor=0.2"),
        (lambda name: get_backend("numpy", dtype=name), "float", "write float32, or float64"),
        (lambda name: get_backend("numpy", dtype=name), "FP32", "did you mean 'fp32'"),
    ],
)
def test_words_that_lead_to_the_right_one(take, words, message):
    for word in words.split():
        with pytest.raises(InputError, match=message):
            take(word)


def test_what_the_advice_says_to_write_is_taken():
    assert as_schedule("plateau:patience=10,factor=0.2") == Plateau(10, 0.2)
    assert as_initializer("normal_uniform:0.05").gain == 0.05


def test_every_word_means_one_of_our_names_or_says_what_to_write():
    tables = {
        "optimizer": {**OPTIMIZERS, "lbfgs": LBFGS}, "initialiser": _VARIANCES,
        "activation": ACTIVATIONS, "head": HEADS, "schedule": SCHEDULES, "monitor": MONITORS,
        "backend": CLASSES, "matmul": MATMULS, "dtype": DTYPES,
    }  # fmt: skip
    assert tables.keys() == _WORDS.keys()
    for kind, words in _WORDS.items():
        theirs = " ".join(words.values()).split()
        assert len(theirs) == len(set(theirs))
        assert not set(theirs) & set(tables[kind])
        for ours in words:
            assert ours in tables[kind] or ours.startswith("write "), ours
