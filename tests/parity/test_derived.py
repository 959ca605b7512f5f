"""What a run and its declaration used to compute by the same code, wrong in the run alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity_support import make_run
from support import score_of

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.optimizers import Adam
from portadnn.parity import derived
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.run import Run
from portadnn.training import problem, recipe, schedules, streams
from portadnn.training.declaration import Declaration
from portadnn.training.validation import split_validation
from portadnn.training.weights import example_weights


def first_flag(run):
    """The tensor at which NumPy's run is first flagged, or None."""
    found = compare(run, [get_backend("numpy")], check_mode=False)
    if found.outcome is Outcome.PARITY:
        return None
    return found.first_divergence[1].tensor


def order_of_another_epoch(patch):
    honest = streams.Batches.order
    patch.setattr(streams.Batches, "order", lambda self, epoch: honest(self, epoch + 1))


def no_shuffling(patch):
    patch.setattr(streams.Batches, "order", lambda self, epoch: np.arange(self.m))


def inverted_masks(patch):
    honest = recipe.dropout_mask
    patch.setattr(recipe, "dropout_mask", lambda *given: ~honest(*given))


def masks_of_another_step(patch):
    honest = recipe.dropout_mask
    patch.setattr(recipe, "dropout_mask", lambda seed, step, *rest: honest(seed, step + 1, *rest))


def corrections_off_by_one(patch):
    honest = Adam.scalars
    patch.setattr(Adam, "scalars", lambda self, rate, t: honest(self, rate, t + 1))


def schedule_off_by_one(patch):
    for kind in (schedules.Exponential, schedules.Step, schedules.Cosine):
        honest = kind.factor_at
        patch.setattr(
            kind, "factor_at", lambda self, epoch, n, honest=honest: honest(self, epoch + 1, n)
        )


@pytest.mark.parametrize(
    ("fault", "tensor", "settings"),
    [
        (order_of_another_epoch, "X", {"batch_size": 8}),
        (no_shuffling, "X", {"batch_size": 8}),
        (inverted_masks, "D1", {"dropout": 0.3}),
        (masks_of_another_step, "D1", {"dropout": 0.3, "batch_size": 8}),
        (corrections_off_by_one, "correction1", {"optimizer": "adam"}),
        (schedule_off_by_one, "learning_rate", {"schedule": "exponential:0.99"}),
        (schedule_off_by_one, "learning_rate", {"schedule": "step:every=2"}),
        (schedule_off_by_one, "learning_rate", {"schedule": "cosine:warmup=2"}),
    ],
)
def test_what_the_run_alone_has_wrong_is_found(fault, tensor, settings, monkeypatch):
    assert first_flag(make_run(**settings)) is None
    fault(monkeypatch)
    assert first_flag(make_run(**settings)) == tensor


def smaller_share(given):
    return dataclasses.replace(given, label_smoothing=given.label_smoothing / 2)


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_labels_that_are_smoothed_otherwise_are_found(head, monkeypatch):
    n_y = 1 if head == "sigmoid" else 3
    rng = np.random.default_rng(0)
    Y = np.eye(3)[:, rng.integers(0, 3, 31)] if n_y == 3 else rng.integers(0, 2, (1, 31)) * 1.0
    run = make_run((12, 7, n_y), head=head, label_smoothing=1e-3)
    assert first_flag(dataclasses.replace(run, Y=Y)) is None
    honest = recipe.Recipe.targets
    monkeypatch.setattr(
        recipe.Recipe, "targets", lambda self, *given: honest(smaller_share(self), *given)
    )
    assert first_flag(dataclasses.replace(run, Y=Y)) == "Y"


@pytest.mark.parametrize("wrong", [lambda w: w[:, ::-1].copy(), lambda w: None])
def test_weights_that_are_not_the_declared_ones_are_found(wrong, monkeypatch):
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((20, 5)), np.arange(20) // 14, ("no", "yes"))
    declared = Declaration(data=data, test=None, layers=(4,), class_weight="balanced", epochs=3)
    assert first_flag(Run.of(problem.make_problem(declared))) is None
    monkeypatch.setattr(problem, "example_weights", lambda *given: wrong(example_weights(*given)))
    assert first_flag(Run.of(problem.make_problem(declared))) == "S"


@given(
    st.sampled_from(["adam:beta1=0.8,beta2=0.9999", "adamw:beta1=0", "momentum:weight_decay=0.1"]),
    st.sampled_from(["constant", "step:every=3,factor=0.7", "exponential:0.93", "cosine:warmup=2.5",
                     "cosine:final=0.1"]),
    st.integers(1, 31) | st.none(),
    st.integers(0, 2**40),
)  # fmt: skip
def test_every_step_is_derived_as_the_run_has_it(optimizer, schedule, batch_size, seed):
    run = make_run(
        steps=40, optimizer=optimizer, schedule=schedule, batch_size=batch_size, seed=seed,
        dropout=0.4,
    )  # fmt: skip
    for step in (0, 1, 5, run.steps - 1):
        given = run.plan.batches.indices(step)
        again = derived.batch(run.plan, step)
        assert (given is None) == (again is None)
        np.testing.assert_array_equal(given, again)
        scalars = derived.scalars(run.plan, step, 0.5)
        for name, x in run.plan.scalars(step, 0.5).items():
            assert scalars[name] == pytest.approx(x, rel=derived.AGREE / 50)
        size = 31 if given is None else len(given)
        for name, mask in run.plan.masks(step, run.network).items():
            l = int(name[1:])
            units = run.network.layer_dims[l]
            np.testing.assert_array_equal(mask, derived.mask(run.plan, step, l, units, size))


@given(
    head=st.sampled_from(["sigmoid", "softmax", "identity", "poisson"]),
    outputs=st.integers(2, 4),
    seed=st.integers(0, 99),
    weights=st.sampled_from([0, 1, 2]),
)
def test_scores(head, outputs, seed, weights):
    rng = np.random.default_rng(seed)
    A, Y = rng.random((outputs, 9)), rng.random((outputs, 9))
    if head in ("sigmoid", "softmax"):
        Y = np.round(Y) if head == "sigmoid" else np.eye(outputs)[rng.integers(0, outputs, 9)].T
        A = np.abs(Y - 0.9 * (A > 0.8)) if head == "sigmoid" else A
    if head == "poisson":
        Y = np.round(4 * Y)
    S = None if not weights else rng.random(((1, outputs)[weights - 1], 9)) + 0.1
    expected = score_of(A.astype("f4"), Y.astype("f4"), head, S)
    assert derived.score(head, A.astype("f4"), Y.astype("f4"), S) == pytest.approx(
        expected, 1e-12, 1e-12
    )


@given(
    classes=st.sampled_from([0, 2, 3, 4]),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
    m=st.integers(30, 60),
)
def test_splits(classes, share, seed, m):
    """Of values, without classes, the share is one of all."""
    labels = np.arange(m) % classes if classes else np.arange(m) / 2
    head = {} if classes else {"head": "identity"}
    data = Dataset(np.arange(m)[:, None] * 1.0, labels, tuple("abcd"[: classes or 1]), **head)
    rest, held = split_validation(data, share, seed)
    mask = derived.split(labels, share, seed)
    np.testing.assert_array_equal(np.flatnonzero(mask), held.examples[:, 0])
    np.testing.assert_array_equal(np.flatnonzero(~mask), rest.examples[:, 0])


@pytest.mark.parametrize("init", ["zeros", "normal", "lecun", "xavier", "he", "xavier_uniform:6"])
@pytest.mark.parametrize("rng", [0, 7, "randomstate:1"])
def test_initial_draws(init, rng):
    expected = initialize_parameters_deep((5, 4, 3), init=init, rng=rng)
    found = derived.initial([init] * 2, rng, (5, 4, 3))
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-12, atol=1e-15)
