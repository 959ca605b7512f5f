"""Values that are too large to learn from are named once, with the line that helps."""

import numpy as np
import pytest

import portadnn as dnn

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 4, 4))
LABELS = np.arange(20) % 2


def messages(examples, caplog, **settings):
    data = dnn.Dataset(examples, LABELS, ("a", "b"))
    caplog.clear()
    dnn.train(data, layers=[3], epochs=2, learning_rate=0.01, **settings)
    return caplog.messages


@pytest.mark.parametrize("kind", ["int64", "uint16", "float32", "float64"])
def test_pixels_that_are_not_uint8(kind, caplog, backend_name):
    (message,) = messages(PIXELS.astype(kind), caplog, backend=backend_name)
    assert message.startswith("the data hold values from 0 to 255, ")
    assert "X = X / 255. (Images of uint8 are scaled for you.)" in message


def test_pixels_of_16_bits(caplog):
    (message,) = messages(PIXELS.astype("uint16") * 257, caplog)
    assert "X = X / 65535." in message


def test_measured_values(caplog):
    (message,) = messages(RNG.normal(1000, 300, (20, 3)), caplog)
    assert message.endswith("X = (X - X.mean()) / X.std()")
    (message,) = messages(np.arange(20)[:, None] * 25, caplog)  # whole, but no picture's range
    assert message.endswith("X = (X - X.mean()) / X.std()")


@pytest.mark.parametrize(
    "examples", [PIXELS.astype("uint8"), PIXELS / 255, RNG.normal(size=(20, 3)) * 10]
)
def test_scaled_values_need_no_word(examples, caplog):
    assert messages(examples, caplog) == []


def test_the_courses_function_says_it_as_well(backend, caplog):
    X = backend.asarray(PIXELS.reshape(20, -1).T)
    Y = backend.asarray(LABELS[None])
    dnn.L_layer_model(X, Y, [16, 3, 1], 0.01, 2)
    assert "X = X / 255" in caplog.text
