"""The estimate by which "auto" chooses, against what an H100 and its host measured."""

import logging

import numpy as np
import pytest

from portadnn.backends import estimate, get_backend, select
from portadnn.backends.estimate import Size, faster, step_seconds
from portadnn.backends.numpy import NumpyBackend
from portadnn.training.train import train

CATS, WIDE = (229, 20, 7, 5, 1), (784, 512, 512, 10)  # the cats in sample space
# docs/measurements/gpu-h100.md: seconds of a step by generated kernels, and by NumPy on 16 cores
MEASURED = {
    "cats": (Size(CATS, 209, 0, 2500), 18.7e-6, 87.6e-6),
    "SGD": (Size(WIDE, 256, 0, 2500), 65e-6, 3.83e-3),
    "Adam": (Size(WIDE, 256, 2, 2500), 68e-6, 6.55e-3),
    "wide": (Size((784, 4096, 4096, 10), 1024, 0, 2500), 3.02e-3, None),
}
# multiplications and moved float32 numbers in a second: the card's as measured, the host's, whose
# rates nobody noted, such that the measured steps fit
H100, HOST = (25e12, 0.6e12), (0.2e12, 8e9)


class Card(NumpyBackend):
    """NumPy under CuPy's name."""

    library = "cupy"
    device_text = "CUDA device 0 (a card)"


@pytest.fixture
def card(monkeypatch):
    numpy = get_backend("numpy")
    monkeypatch.setattr(
        estimate, "rates", lambda backend: H100 if backend.library == "cupy" else HOST
    )
    return Card("cupy", numpy.xp, "cpu", numpy.dtype)


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_is_near_what_was_measured(card, name):
    size, on_card, on_host = MEASURED[name]
    # 1.5 to either side: "auto" only has to tell a step that is several times faster
    assert on_card / 1.5 < step_seconds(card, size) < on_card * 1.5
    if on_host is not None:
        assert on_host / 1.5 < step_seconds(get_backend("numpy"), size) < on_host * 1.5


def test_auto_takes_the_card_for_a_long_run_and_says_why(card):
    backend, reason = faster(card, Size(WIDE, 256, 2, 1000))
    assert backend is card
    assert "us on CUDA device 0 (a card), which takes 0.3 s to start, and at" in reason


@pytest.mark.parametrize(
    ("size", "because"),
    [
        (Size((4, 3, 1), 10, 0, 1000), "few steps"),
        (Size(WIDE, 256, 2, 20), "few steps"),
        (Size((2, 1), 4, 0, 10**6), "a step of few calls is faster on the host"),
    ],
)
def test_auto_takes_numpy_where_the_run_ends_earlier(card, size, because):
    backend, reason = faster(card, size)
    if because == "few steps":
        assert backend.name == "numpy", reason
    ours, theirs = (step_seconds(one, size) for one in (card, get_backend("numpy")))
    assert (backend is card) == (estimate.START + size.steps * ours < size.steps * theirs)


def test_tf32_and_numpy_need_no_estimate(card, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(estimate, "step_seconds", None)
    numpy, declared = get_backend("numpy"), replace(card, matmul="tf32")
    for backend in (numpy, declared):
        assert faster(backend, Size(WIDE, 256, 0, 9)) == (backend, "")


def test_rates_are_measured():
    products, moved = estimate.rates(get_backend("numpy"))
    assert 1e7 < products < 1e14  # from a slow core to a large host
    assert 1e6 < moved < 1e12


def test_a_run_on_auto_says_what_was_chosen_and_why(card, monkeypatch, caplog):
    monkeypatch.setattr(select, "choose_backend", lambda dtype: (card, "it works"))
    X, y = np.eye(4), [0, 1, 0, 1]
    with caplog.at_level(logging.INFO, "portadnn"):
        train(X, y, layers=[3], epochs=3)
    last = [r.message for r in caplog.records if r.message.startswith("backend auto")][-1]
    assert last.startswith("backend auto: numpy (a step is estimated at")
