"""Sample space is the same algorithm: its numbers beside those of the plain form."""

from dataclasses import replace

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.run import Run
from portadnn.training.callbacks import History
from portadnn.training.declaration import Declaration
from portadnn.training.fit import make_loop
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.sample_space import SampleSpace, choose_form
from portadnn.training.streams import Batches
from portadnn.training.train import L_layer_model, train

DIMS, M = (60, 7, 6, 3), 20
RECIPES = {
    "gradient descent": Recipe(),
    "momentum": Recipe("momentum:weight_decay=0.1", l2=0.05, dropout=(0.5, 0.2)),
    "nesterov": Recipe("nesterov", l2=0.1),
}


def problem(head="softmax", seed=0, m=M):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((DIMS[0], m)), np.eye(3)[:, rng.integers(0, 3, m)]
    weights = rng.random((1, m))
    network = Network(DIMS, ("relu", "tanh"), head)
    parameters = initialize_parameters_deep(DIMS, rng=rng)
    return network, parameters, X, Y, weights * m / weights.sum()


def trained(form, backend, recipe=RECIPES["gradient descent"], batch_size=None, **options):
    network, parameters, X, Y, weights = problem(**options)
    _, _, X_val, Y_val, _ = problem(seed=1, m=9)
    history = History()
    with backend.scope():
        loop, start = make_loop(
            parameters, X, Y, network=network, backend=backend, weights=weights,
            plan=Plan(0.05, 12, Batches(M, batch_size), recipe, "exponential:0.95"),
            validation=(X_val, Y_val), callbacks=[history], report_every=3, first_layer=form,
        )  # fmt: skip
        state = loop.left(loop.run(start))
    return state.parameters, history.rows, state.slots


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("head", ["sigmoid", "softmax", "identity"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_it_is_the_same_training(recipe, head, batch_size, backend_name):
    if backend_name == "dask" and (head, batch_size) != ("softmax", 8):
        pytest.skip("the same code; Dask takes a second for every case")
    backend = get_backend(backend_name, dtype="float64")
    sample, rows, slots = trained("sample", backend, recipe, batch_size, head=head)
    feature, expected, others = trained("feature", backend, recipe, batch_size, head=head)
    # 36 steps, each of a sum of 60 and one of 27 terms, which the later ones pass on
    atol = 36 * 100 * np.finfo(float).eps
    for name, p in feature.items():
        assert_lives_on(sample[name], backend)
        assert tuple(sample[name].shape) == tuple(p.shape)
        np.testing.assert_allclose(
            backend.to_numpy(sample[name]), backend.to_numpy(p), rtol=0, atol=atol
        )
    assert slots.keys() == others.keys()
    for name, v in others.items():
        np.testing.assert_allclose(
            backend.to_numpy(slots[name]), backend.to_numpy(v), rtol=0, atol=20 * atol
        )
    assert [row.epoch for row in rows] == [row.epoch for row in expected] == [1, 3, 6, 9, 12]
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, other, rtol=0, atol=10 * atol)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("batch_size", [None, 8])
def test_it_is_certified_like_every_step(recipe, batch_size, backend):
    network, parameters, X, Y, weights = problem()
    declaration = Declaration(learning_rate=0.05, batch_size=batch_size, **recipe.settings())
    run = Run(network, parameters, X, Y, declaration, 4, weights)
    result = compare(run.in_sample_space(backend.dtype_name), [backend], check_mode=False)
    assert result.outcome is Outcome.PARITY, str(result.first_divergence)


def test_a_gradient_in_the_wrong_place_is_found():
    from portadnn.parity.certify import certify_step, first_failure
    from portadnn.parity.run import watch

    network, parameters, X, Y, _ = problem()
    declaration = Declaration(learning_rate=0.05, batch_size=8)
    run = Run(network, parameters, X, Y, declaration, 4).in_sample_space("float64")
    (record,) = watch(run, get_backend("numpy", dtype="float64"), [0])
    assert first_failure(certify_step(run, record)) is None
    moved = np.roll(record.tensors["dW1"], 1, axis=1)
    wrong = replace(record, tensors={**record.tensors, "dW1": moved})
    assert first_failure(certify_step(run, wrong)).tensor == "dW1"
    places = np.roll(record.tensors["place"], 1)
    wrong = replace(record, tensors={**record.tensors, "place": places})
    assert first_failure(certify_step(run, wrong)).tensor == "place"


def test_float32_is_as_close_to_float64_as_the_plain_form_is():
    exact, _, _ = trained("feature", get_backend("numpy", dtype="float64"))
    backend = get_backend("numpy", dtype="float32")
    distance = {}
    for form in ("sample", "feature"):
        found, _, _ = trained(form, backend)
        distance[form] = np.sqrt(sum(np.sum((found[n] - p) ** 2) for n, p in exact.items()))
    # both are a few roundings of the start away; neither is systematically the larger
    assert distance["sample"] < 2 * distance["feature"]


def test_the_data_and_the_way_back():
    network, parameters, X, _, _ = problem()
    space = SampleSpace.of(network, parameters["W1"], X)
    B = np.concatenate([parameters["W1"], X.T])
    np.testing.assert_allclose(space.gram, B @ B.T, rtol=1e-13)
    np.testing.assert_allclose(space.H, B @ X, rtol=1e-12, atol=1e-12)
    other = np.random.default_rng(2).standard_normal((DIMS[0], 4))
    np.testing.assert_allclose(space.data(other), B @ other, rtol=1e-12, atol=1e-12)
    entered = space.enter(parameters)
    np.testing.assert_array_equal(space.leave(entered)["W1"], parameters["W1"])
    K = np.random.default_rng(3).standard_normal(entered["W1"].shape)
    np.testing.assert_allclose(space.leave({"vW1": K})["vW1"], K @ B, rtol=1e-12, atol=1e-12)


def plan(recipe=RECIPES["gradient descent"], m=M, steps=1000, batch_size=None):
    return Plan(0.1, steps, Batches(m, batch_size), recipe)


@pytest.mark.parametrize(
    ("dims", "m", "steps", "batch_size", "expected"),
    [
        ((12288, 20, 7, 5, 1), 209, 3000, None, "sample"),
        ((12288, 20, 7, 5, 1), 209, 1, None, "feature"),  # the Gram matrix does not pay
        ((784, 512, 512, 10), 60000, 10, 256, "feature"),
        ((12288, 20, 1), 209, 100, 32, "sample"),
        ((64, 64, 10), 1437, 1000, None, "feature"),
    ],
)
def test_the_form_follows_from_the_number_of_operations(dims, m, steps, batch_size, expected):
    head = "softmax" if dims[-1] > 1 else "sigmoid"
    chosen = choose_form("auto", Network(dims, head=head), plan(m=m, steps=steps,
                                                               batch_size=batch_size))  # fmt: skip
    assert chosen == expected


@pytest.mark.parametrize(
    ("recipe", "because"),
    [
        (Recipe("adam"), "adam is not linear in the gradient"),
        (Recipe("rmsprop"), "rmsprop is not linear in the gradient"),
        (Recipe(l1=0.1), "an l1 penalty is not linear in W1"),
        (Recipe(clip_norm=1.0), "clipping needs the norm of dW1"),
    ],
)
def test_where_it_is_another_algorithm_it_is_refused_or_not_chosen(recipe, because):
    network = Network((12288, 20, 1))
    assert choose_form("auto", network, plan(recipe, 209)) == "feature"
    with pytest.raises(InputError, match=because):
        choose_form("sample", network, plan(recipe, 209))
    with pytest.raises(InputError, match="unknown first_layer 'samples': did you mean 'sample'"):
        choose_form("samples", network, plan())


class Weights:
    """What a callback sees of W1."""

    def __init__(self):
        self.seen = []

    def on_train_begin(self, state):
        self.seen.append(state.parameters["W1"])

    def on_epoch_end(self, state):
        self.seen.append(state.parameters["W1"])


def test_callbacks_and_the_best_model_see_W1_itself(backend):
    _, _, X, Y, _ = problem()
    labels = np.argmax(Y, axis=0)
    data = Dataset(X.T, labels, ("a", "b", "c"))
    runs = {}
    for form in ("sample", "feature"):
        watch = Weights()
        model = train(
            data, layers=DIMS[1:-1], learning_rate=0.05, epochs=6, report_every=2, rng=0,
            validation=Dataset(X.T[::-1].copy(), labels, data.classes), early_stopping=1,
            callbacks=[watch], first_layer=form, backend=backend,
        )  # fmt: skip
        assert all(W.shape == (DIMS[1], DIMS[0]) for W in watch.seen)
        runs[form] = model, watch.seen
    eps = np.finfo(backend.dtype_name).eps
    for ours, theirs in zip(runs["sample"][1], runs["feature"][1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=600 * eps)  # 6 steps of 100 roundings
    np.testing.assert_allclose(
        runs["sample"][0].parameters["W1"], runs["feature"][0].parameters["W1"], atol=600 * eps
    )


def test_the_course_s_model_takes_either_form():
    _, _, X, Y, _ = problem("sigmoid")
    costs = {}
    for form in ("sample", "feature", "auto"):
        costs[form] = []
        L_layer_model(X, Y[:1], [60, 5, 1], 0.1, 250, rng=0, history=costs[form], first_layer=form)
    assert [i for i, _ in costs["sample"]] == [0, 100, 200]
    np.testing.assert_allclose(costs["sample"], costs["feature"], rtol=1e-11)
    assert costs["auto"] == costs["sample"]  # 60 features, 20 examples
