"""A model that is trained on, wherever it came from."""

from dataclasses import replace

import numpy as np
import pytest

import portadnn as dnn
from portadnn.data.dataset import Dataset
from portadnn.data.preprocess import Standardise
from portadnn.errors import InputError

X = np.random.default_rng(0).normal(5.0, 3.0, (80, 4))
Y = np.where(X[:, 0] + X[:, 1] > 10, "high", "low")
SETTINGS = {"epochs": 4, "learning_rate": 0.1, "backend": "numpy"}


def model(**options):
    given = {"layers": [6], "activations": "tanh", "preprocess": "standardise", "rng": 1} | options
    return dnn.train(X, Y, **SETTINGS, **given)


def test_two_parts_are_one_run(backend):
    whole = dnn.train(
        X, Y, layers=[6], activations="tanh", preprocess="standardise", rng=1, epochs=8,
        learning_rate=0.1, backend=backend, dtype=backend.dtype_name,
    )  # fmt: skip
    options = {"epochs": 4, "learning_rate": 0.1, "backend": backend}
    first = dnn.train(
        X, Y, layers=[6], activations="tanh", preprocess="standardise", rng=1, **options
    )
    second = dnn.train(X, Y, init=first, **options)
    assert dnn.fingerprint(second) == dnn.fingerprint(whole)
    assert second.preprocess == whole.preprocess
    assert second.network == whole.network
    assert (second.classes, second.values) == (whole.classes, whole.values)


def test_no_step_changes_nothing():
    first = model(dtype="float64")
    again = dnn.train(X, Y, init=first, epochs=1, learning_rate=1e-300, backend="numpy")
    assert again.dtype == "float64"
    assert dnn.fingerprint(again) == dnn.fingerprint(first)
    assert dnn.train(X, Y, init=first, dtype="float32", **SETTINGS).dtype == "float32"


def test_the_preprocessing_is_that_of_the_model():
    first = model()
    again = dnn.train(X + 100.0, Y, init=first, validation=(X, Y), **SETTINGS)
    assert again.preprocess == first.preprocess


def test_fewer_classes_than_the_model_knows():
    y = np.asarray(["a", "b", "c"])[np.arange(80) % 3]
    first = dnn.train(X, y, layers=[6], preprocess="standardise", **SETTINGS)
    again = dnn.train(X[y != "b"], y[y != "b"], init=first, **SETTINGS)
    assert again.classes == again.values == ("a", "b", "c")
    assert set(again.predict(X)) <= {"a", "b", "c"}


def test_it_is_certified_and_its_weights_are_declared():
    first, certifier = model(), dnn.Certifier()
    again = dnn.train(X, Y, init=first, certify=certifier, **SETTINGS)
    assert certifier.certificate.outcome == "PARITY"
    assert certifier.certificate.check_model(again) == []
    assert certifier.certificate.content["declaration"]["init"].startswith("sha256:")
    changed = {name: p + np.float32(1e-3) for name, p in first.parameters.items()}
    other = dnn.Certifier()
    dnn.train(X, Y, init=replace(first, parameters=changed), certify=other, **SETTINGS)
    declared = [c.certificate.content["declaration"]["init"] for c in (certifier, other)]
    assert declared[0] != declared[1]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, :3], Y, "X has|lacks the column|x4"),
        (X, np.where(Y == "low", "tiny", "high"), "the label 'tiny' is not a known class"),
        (X, np.arange(80) / 7, "is not a known class"),
    ],
)
def test_data_that_do_not_fit(x, y, message):
    with pytest.raises(InputError, match=message):
        dnn.train(x, y, init=model(), **SETTINGS)


def test_a_dataset_that_does_not_fit():
    train, _ = dnn.load_digits()
    digits = dnn.train(train, layers=[5], **SETTINGS)
    assert dnn.train(train, init=digits, **SETTINGS).network == digits.network
    numbers = replace(train, examples=train.examples.astype(float))
    with pytest.raises(InputError, match="but the model was trained on uint8, scaled to"):
        dnn.train(numbers, init=digits, **SETTINGS)
    with pytest.raises(InputError, match="has the classes a, b, .* but the model knows 0, 1,"):
        dnn.train(replace(train, classes=tuple("abcdefghij")), init=digits, **SETTINGS)
    with pytest.raises(InputError, match="48 values, but the model takes"):
        dnn.train(replace(train, examples=train.examples[:, :6]), init=digits, **SETTINGS)


def test_an_instance_that_says_how_to_preprocess():
    given = model(preprocess=Standardise(unknown="ignore"))
    assert given.preprocess.unknown == "ignore"
    assert given.preprocess.columns == model().preprocess.columns


def test_a_table_with_texts():
    rows = [(age, "Bern" if other > 5 else "Zug") for age, other in X[:, :2]]
    table = np.asarray(rows, [("age", "f8"), ("town", "U4")])
    data = Dataset(table, (Y == "low").astype(int), ("high", "low"))
    first = dnn.train(data, layers=[6], **SETTINGS)
    again = dnn.train(data, init=first, **SETTINGS)
    assert again.preprocess == first.preprocess
    assert dnn.evaluate(again, data).cost < dnn.evaluate(first, data).cost
    other = Dataset(table[["town"]], data.labels, data.classes)
    with pytest.raises(InputError, match="lacks the column 'age'"):
        dnn.train(other, init=first, **SETTINGS)


def test_it_is_resumed(tmp_path):
    first = model()
    whole = dnn.train(X, Y, init=first, **SETTINGS | {"epochs": 6})
    dnn.train(X, Y, init=first, **SETTINGS, checkpoint=tmp_path)
    options = SETTINGS | {"epochs": 6, "checkpoint": tmp_path, "resume": tmp_path}
    assert dnn.fingerprint(dnn.train(X, Y, init=first, **options)) == dnn.fingerprint(whole)
    with pytest.raises(InputError, match="init"):
        dnn.train(X, Y, init=whole, **options)
