"""What heads mean, and that nobody forgets a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.data.heads import MEANINGS, head_for, meaning_of
from portadnn.errors import InputError
from portadnn.network.losses import HEADS


def test_every_head_has_a_meaning():
    assert MEANINGS.keys() == HEADS.keys()


def test_an_unknown_head():
    with pytest.raises(InputError, match="unknown head 'poison': did you mean 'poisson'"):
        meaning_of("poison")


def test_the_head_of_classes():
    assert [head_for(n) for n in (2, 3, 10)] == ["sigmoid", "softmax", "softmax"]
    for n, words in ((1, "1 class:"), (0, "0 classes:")):
        with pytest.raises(InputError, match=f"y has {words} expected two or more"):
            head_for(n, "y")


def test_decisions_and_probabilities():
    one, two = np.asarray([[0.5, 0.75]]), np.asarray([[0.5, 0.75], [0.9, 0.2]])
    sigmoid, softmax = meaning_of("sigmoid"), meaning_of("softmax")
    np.testing.assert_array_equal(sigmoid.decide(one), [0, 1])
    np.testing.assert_array_equal(sigmoid.probabilities(one), [[0.5, 0.5], [0.25, 0.75]])
    np.testing.assert_array_equal(sigmoid.decide(two), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(sigmoid.probabilities(two), two.T)
    np.testing.assert_array_equal(softmax.decide(two), [1, 0])
    np.testing.assert_array_equal(softmax.probabilities(two), two.T)
    for head in ("identity", "poisson"):
        assert meaning_of(head).probabilities is None
        np.testing.assert_array_equal(meaning_of(head).decide(one), one[0])
        np.testing.assert_array_equal(meaning_of(head).decide(two), two.T)


@pytest.mark.parametrize(
    ("head", "labels", "expected"),
    [
        ("sigmoid", [0, 1, 1], [[0, 1, 1]]),
        ("sigmoid", [[0, 1], [1, 1]], [[0, 1], [1, 1]]),
        ("softmax", [2, 0], [[0, 1], [0, 0], [1, 0]]),
        ("identity", [1.5, -2.0], [[1.5, -2.0]]),
        ("poisson", [[1.0, 0.0], [3.0, 7.0], [2.0, 2.0]], [[1.0, 3.0, 2.0], [0.0, 7.0, 2.0]]),
    ],
)
def test_targets(head, labels, expected):
    np.testing.assert_array_equal(meaning_of(head).targets(np.asarray(labels), 3), expected)


@given(seed=st.integers(0, 2**32), m=st.integers(2, 20), weighted=st.booleans())
def test_measures_of_values_are_those_of_scikit_learn(seed, m, weighted):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    S = rng.random((1, m)) + 0.1 if weighted else None
    options = {"sample_weight": None if S is None else S[0]}
    Y, AL = rng.poisson(3.0, (2, m)).astype(float), rng.gamma(2.0, 2.0, (2, m))
    Y[:, 0] = 1.0, 5.0  # neither constant nor all 0
    Y[:, 1] = 2.0, 0.0
    found = meaning_of("identity").measures(AL, Y, S)
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(Y.T, AL.T, **options))
    assert found["r2"] == pytest.approx(metrics.r2_score(Y.T, AL.T, **options))
    found = meaning_of("poisson").measures(AL, Y, S)
    both = range(2)
    deviances = [metrics.mean_poisson_deviance(Y[k], AL[k], **options) for k in both]
    shares = [metrics.d2_tweedie_score(Y[k], AL[k], power=1, **options) for k in both]
    assert found["deviance"] == pytest.approx(np.mean(deviances))
    assert found["d2"] == pytest.approx(np.mean(shares))


def test_deviances_at_the_edge():
    measures = meaning_of("poisson").measures
    counts = np.asarray([[0.0, 2.0]])
    assert measures(counts, counts) == {"deviance": 0.0, "d2": 1.0}
    assert measures(np.zeros((1, 2)), counts)["deviance"] == np.inf  # 2 was held to be impossible


def test_measures_of_several_labels():
    AL = np.asarray([[0.9, 0.1, 0.8, 0.2], [0.9, 0.9, 0.9, 0.9]])
    Y = np.asarray([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    found = meaning_of("sigmoid").measures(AL, Y)
    assert found == {"correct": 2, "accuracy": 0.5, "label_accuracies": [0.75, 0.75]}
    weighted = meaning_of("sigmoid").measures(AL, Y, np.asarray([[3.0, 1.0, 0.0, 4.0]]))
    assert (weighted["correct"], weighted["accuracy"]) == (2, 0.5)
