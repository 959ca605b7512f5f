import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import assert_lives_on

from portadnn.errors import InputError
from portadnn.network.initializers import (
    Initializer,
    as_initializer,
    as_rng,
    initialize_parameters_deep,
)


def test_worked_numbers_of_the_course():
    parameters = initialize_parameters_deep([5, 4, 3], init="normal", rng=np.random.RandomState(3))
    first = [0.01788628, 0.0043651, 0.00096497, -0.01863493, -0.00277388]
    np.testing.assert_allclose(parameters["W1"][0], first, rtol=0, atol=5e-9)  # as printed
    last = [-0.00768836, -0.00230031, 0.00745056, 0.01976111]
    np.testing.assert_allclose(parameters["W2"][2], last, rtol=0, atol=5e-9)
    assert not parameters["b1"].any()
    assert parameters["b2"].shape == (3, 1)


def test_a_legacy_random_state_draws_as_randn_does():
    rng = np.random.RandomState(1)
    expected = [rng.randn(20, 12), rng.randn(1, 20)]
    parameters = initialize_parameters_deep([12, 20, 1], init="lecun", rng=np.random.RandomState(1))
    for W, draws, n_prev in zip(
        (parameters["W1"], parameters["W2"]), expected, (12, 20), strict=True
    ):
        # draws / sqrt(n) and draws * sqrt(1 / n) differ by a rounding
        np.testing.assert_allclose(W, draws / np.sqrt(n_prev), rtol=4e-16)


def test_without_rng_it_is_random_state_3():
    default, explicit = (
        initialize_parameters_deep([4, 3], rng=rng) for rng in (None, np.random.RandomState(3))
    )
    np.testing.assert_array_equal(default["W1"], explicit["W1"])


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    ("name", "gain", "variance"),
    [
        ("normal", None, 0.01**2),
        ("normal", 0.5, 0.25),
        ("lecun", None, 1 / 300),
        ("xavier", None, 2 / 500),
        ("xavier", 6.0, 6 / 500),
        ("he", None, 2 / 300),
        ("he", 1.0, 1 / 300),
    ],
)
def test_variance_is_the_formula(name, gain, variance, distribution):
    W = Initializer(name, distribution, gain).draw(200, 300, np.random.default_rng(0))
    # the variance of 60,000 draws has a relative spread of sqrt(2 / 60000) = 0.6 %; 5 of them
    assert abs(W.var() / variance - 1) < 0.03
    assert abs(W.mean()) < 5 * math.sqrt(variance / W.size)
    if distribution == "uniform":
        assert np.abs(W).max() <= math.sqrt(3 * variance)


def test_zeros():
    parameters = initialize_parameters_deep([4, 3, 1], init="zeros")
    assert not any(p.any() for p in parameters.values())


def test_every_backend_starts_from_the_same_bits(backend, dtype):
    host = initialize_parameters_deep([6, 5, 1], rng=7)
    for name, p in initialize_parameters_deep([6, 5, 1], rng=7, backend=backend).items():
        assert_lives_on(p, backend)
        np.testing.assert_array_equal(backend.to_numpy(p), host[name].astype(dtype))


@given(
    st.sampled_from(["zeros", "normal", "lecun", "xavier", "he"]),
    st.sampled_from(["", "_normal", "_uniform"]),
    st.none() | st.floats(1e-6, 1e6),
)
def test_every_text_that_is_well_formed_is_read(name, distribution, gain):
    text = f"{name}{distribution}" + ("" if gain is None else f":{gain!r}")
    initializer = as_initializer(text)
    assert initializer.name == name
    assert initializer.distribution == (distribution[1:] or "normal")
    assert gain is None or initializer.gain == gain


@given(st.text(max_size=20))
def test_any_other_text_is_an_input_error(text):
    try:
        as_initializer(text)
    except InputError:
        pass  # and nothing else
    else:
        assert text.startswith(("zeros", "normal", "lecun", "xavier", "he"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hee", "unknown initialiser 'hee': did you mean 'he'"),
        ("he_unifrm", "unknown distribution 'unifrm': did you mean 'uniform'"),
        ("he:two", "gain of 'he:two' is not a number"),
        ("he:-1", "gain of he is -1.0: expected a positive number"),
        ("he:nan", "gain of he is nan"),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(InputError, match=message):
        as_initializer(text)


def test_bad_generators():
    with pytest.raises(TypeError, match=r"rng is 1\.5: expected an integer seed"):
        as_rng(1.5)
    with pytest.raises(InputError, match="seed is -1: expected 0 or more"):
        as_rng(-1)
