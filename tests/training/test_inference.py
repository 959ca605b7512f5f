"""Every head from labels to a score: training, a model file, prediction and evaluation."""

from dataclasses import replace

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.losses import HEADS
from portadnn.parity.certify import certify_step, first_failure
from portadnn.parity.run import Run, watch
from portadnn.training.declaration import Declaration
from portadnn.training.fit import make_loop
from portadnn.training.inference import Evaluation, evaluate, predict
from portadnn.training.models import Model, load_model, save_model
from portadnn.training.problem import make_problem
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.streams import Batches
from portadnn.training.train import train, train_problem

M = 60
CASES = {
    "two classes": ("sigmoid", ("a", "b")),
    "classes": ("softmax", ("a", "b", "c")),
    "labels": ("sigmoid", ("a", "b", "c")),
    "values": ("identity", ("x", "y")),
    "one value": ("identity", ()),
    "counts": ("poisson", ("x", "y")),
    "one count": ("poisson", ()),
}
SETTINGS = {"layers": [6], "optimizer": "adam", "learning_rate": 0.05, "backend": "numpy"}


def problem(case, m=M):
    """Labels that a network can learn from the examples."""
    head, classes = CASES[case]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, 4))
    T = X @ np.random.default_rng(1).standard_normal((4, 3))
    labels = {
        "two classes": (T[:, 0] > 0).astype(int),
        "classes": np.argmax(T, axis=1),
        "labels": (T > 0).astype(int),
        "values": T[:, :2],
        "one value": T[:, 0],
        "counts": rng.poisson(np.exp(T[:, :2] / 2)),
        "one count": rng.poisson(np.exp(T[:, 0] / 2)),
    }[case]
    head = None if case in ("two classes", "classes") else head
    return Dataset(X, labels, classes, head=head)


def test_every_head_has_a_case():
    assert {head for head, _ in CASES.values()} == HEADS.keys()


@pytest.mark.parametrize("case", CASES)
def test_from_labels_to_a_score(case, tmp_path):
    head, classes = CASES[case]
    data = problem(case)
    model = train(data, epochs=200, validation=0.2, **SETTINGS)
    assert (model.network.head, model.classes) == (head, classes)
    save_model(model, tmp_path / "model.h5")
    model = load_model(tmp_path / "model.h5")
    found = evaluate(model, data)
    assert found.examples == M
    named = found.measures
    score = named.get("accuracy", named.get("r2", named.get("d2")))
    assert score > (0.4 if head == "poisson" else 0.9)  # counts are random, given their mean
    decided = predict(model, data)
    assert decided.labels.shape == data.labels.shape
    if head in ("sigmoid", "softmax"):
        whole = decided.labels == data.labels
        whole = whole.all(axis=1) if whole.ndim == 2 else whole
        assert (found.correct, found.accuracy) == (whole.sum(), whole.mean())
        assert decided.probabilities.shape == (M, len(classes))
    else:
        assert decided.probabilities is None
        with pytest.raises(AttributeError, match="has no .accuracy., but"):
            _ = found.accuracy
    if head == "identity":
        assert named["mse"] == pytest.approx(np.mean((decided.labels - data.labels) ** 2))


def test_the_measures_of_an_evaluation():
    found = Evaluation(4, {"correct": 3, "accuracy": 0.75}, 0.5)
    assert (found.correct, found.accuracy, found.cost) == (3, 0.75, 0.5)


def test_labels_for_another_head_are_refused():
    model = train(problem("one value"), epochs=1, **SETTINGS)
    with pytest.raises(InputError, match="labels for the poisson head, but the model has the iden"):
        evaluate(model, problem("one count"))
    with pytest.raises(InputError, match="labels for the head poisson, but .* has identity"):
        train(problem("one value"), validation=problem("one count"), epochs=1, **SETTINGS)


def test_weights_of_classes_are_not_for_values():
    with pytest.raises(InputError, match="class_weight is for classes, but the labels are values"):
        train(problem("one value"), class_weight="balanced", epochs=1, **SETTINGS)


def test_a_softmax_of_two_classes_is_a_model_too():
    data = problem("two classes")
    model = train(Dataset(data.examples, data.labels, data.classes, head="softmax"), epochs=100,
                  **SETTINGS)  # fmt: skip
    assert model.network.layer_dims[-1] == 2
    assert predict(model, data).probabilities.shape == (M, 2)
    assert isinstance(model, Model)


# --- label smoothing


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("case", ["two classes", "classes", "labels"])
def test_smoothed_labels_are_those_that_parity_declares(case, batch_size, backend):
    data = problem(case)
    recipe = Recipe(label_smoothing=0.1)
    model = train(data, epochs=1, **SETTINGS)
    X, Y = data.columns(backend.dtype_name), data.targets(backend.dtype_name)
    network, parameters = model.network, model.parameters
    plan = Plan(0.1, 2, Batches(M, batch_size), recipe)
    with backend.scope():
        loop, _ = make_loop(parameters, X, Y, network=network, backend=backend, plan=plan)
        given = backend.to_numpy(loop.shared.Y)
    settings = {"learning_rate": 0.1, "epochs": 2, "batch_size": batch_size}
    declaration = Declaration(**settings, label_smoothing=0.1)
    run = Run(network, parameters, X.astype("f8"), Y.astype("f8"), declaration, 2)
    declared = run.data.Y.astype(backend.dtype_name)
    np.testing.assert_array_equal(given if batch_size is None else given.T, declared)
    (record,) = watch(run, backend, [1])
    # jitted JAX fuses softmax and AL - Y, which lie close together
    assert first_failure(certify_step(run, record)) is None
    chosen = slice(None) if batch_size is None else run.plan.batches.indices(1)
    np.testing.assert_array_equal(record.tensors["Y"], declared[:, chosen])
    low, high = (0.1 / 3, 0.9 + 0.1 / 3) if case == "classes" else (0.05, 0.95)
    eps = np.finfo(declared.dtype).eps  # two roundings of float64, and one of the dtype
    np.testing.assert_allclose(declared, np.where(Y > 0, high, low), rtol=2 * eps)


def test_validation_keeps_its_labels_as_they_are():
    data = problem("classes")
    plain, smooth = (
        train(data, epochs=150, label_smoothing=share, **SETTINGS) for share in (0.0, 0.2)
    )
    assert evaluate(smooth, data).accuracy > 0.9
    # smoothed labels want no certainty
    assert predict(smooth, data).probabilities.max() < predict(plain, data).probabilities.max()


@pytest.mark.parametrize("share", [-0.1, 1.0, np.nan, "much"])
def test_shares_that_cannot_be_used(share):
    with pytest.raises(InputError, match="label_smoothing is"):
        Recipe(label_smoothing=share)


def test_values_are_not_smoothed():
    with pytest.raises(InputError, match="label_smoothing is 0.1, but the poisson head has values"):
        train(problem("counts"), label_smoothing=0.1, epochs=1, **SETTINGS)


def test_no_smoothing_is_no_other_run():
    data, backend = problem("classes"), get_backend("numpy")
    options = {"network": train(data, epochs=1, **SETTINGS).network, "backend": backend}
    plan = Plan(0.1, 1, Batches(M))
    parameters = train(data, epochs=1, **SETTINGS).parameters
    X, Y = data.columns("float32"), data.targets("float32")
    loop, _ = make_loop(parameters, X, Y, plan=plan, **options)
    np.testing.assert_array_equal(loop.shared.Y, Y)


def test_plain_numbers_are_preprocessed_too(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text("a,b,y\n" + "1,2,0\n3,5,1\n2,9,0\n4,1,1\n" * 3)
    model = train_problem(
        make_problem(Declaration(data=str(tmp_path / "d.csv"), target=("y",), epochs=3,
                                 backend="numpy")),
        get_backend("numpy"),
    )  # fmt: skip
    rows = np.asarray([[1.0, 2.0], [3.0, 5.0]])
    raw = Dataset(rows, np.asarray([0, 1]), ("0", "1"))
    expected = predict(replace(model, preprocess=None), model.preprocess(raw)).probabilities
    np.testing.assert_array_equal(predict(model, raw).probabilities, expected)
    np.testing.assert_array_equal(model.predict_proba(rows), expected)
    assert (
        evaluate(model, raw).cost
        == evaluate(replace(model, preprocess=None), model.preprocess(raw)).cost
    )


def test_values_of_a_table_are_learned_standardised(tmp_path):
    """Scores and predictions are in the labels' own units; the cost is that of training."""
    data = problem("values")
    far = replace(data, labels=1e6 + 1e3 * data.labels)
    options = SETTINGS | {"epochs": 200, "rng": 1, "preprocess": "standardise"}
    near, model = train(data, **options), train(far, **options)
    for name, p in near.parameters.items():  # standardised, both have the same values
        np.testing.assert_allclose(model.parameters[name], p, rtol=0, atol=1e-4)
    save_model(model, tmp_path / "model.h5")
    model = load_model(tmp_path / "model.h5")
    found, other = evaluate(model, far), evaluate(near, data)
    assert found.r2 == pytest.approx(other.r2, abs=1e-5)
    assert found.r2 > 0.9
    assert found.cost == pytest.approx(other.cost, rel=1e-3)
    assert found.mse == pytest.approx(1e6 * other.mse, rel=1e-3)
    residual = predict(model, far).labels - far.labels
    assert np.mean(residual**2) == pytest.approx(found.mse, rel=1e-6)
    bare = replace(model, preprocess=model.preprocess.of_targets)
    assert evaluate(bare, model.preprocess(far)) == found


@pytest.mark.parametrize("backend", [None, "jax", "torch"])
def test_few_rows_are_predicted_as_a_dataset_is(backend, require):
    if backend is not None:
        require(backend)
    data = problem("classes")
    model = train(data, epochs=3, rng=1, **SETTINGS)
    rows = data.examples.astype(np.float32)
    whole = predict(model, Dataset(rows, None, ()), backend=backend)
    for m in (1, 7):
        few = predict(model, rows[:m], backend=backend)
        np.testing.assert_array_equal(few.labels, whole.labels[:m])
        np.testing.assert_allclose(few.probabilities, whole.probabilities[:m], rtol=1e-5)
    wrong = rows[:2].copy()
    wrong[1, 2] = np.inf
    with pytest.raises(InputError, match=r"example 1 holds inf at index \(1, 2\)"):
        predict(model, wrong, backend=backend)
    with pytest.raises(InputError, match="3 values, but the model takes"):
        predict(model, rows[:1, :3], backend=backend)
    # squares that overflow are no reason to refuse
    assert predict(model, np.full((1, 4), 1e25, np.float32), backend=backend).labels.shape == (1,)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_parameter_that_is_replaced_is_used(backend, require):
    require(backend)
    data = problem("classes")
    model = train(data, epochs=1, rng=1, **SETTINGS)
    with pytest.raises(ValueError, match="read-only"):
        model.parameters["b2"][:] = 0
    row = data.examples[:1].astype(np.float32)
    predict(model, row, backend=backend)
    for chosen in (0, 2):
        model.parameters["b2"] = np.eye(3, dtype=np.float32)[:, [chosen]] * 100
        assert predict(model, row, backend=backend).labels.tolist() == [chosen]


def test_the_columns_of_rows_are_no_copy_and_training_leaves_them():
    rows = np.random.default_rng(0).random((300, 4), dtype=np.float32)
    data = Dataset(rows, np.arange(300) % 3, ("a", "b", "c"))
    assert np.shares_memory(data.columns("float32"), rows)
    before = rows.copy()
    train(data, epochs=2, batch_size=32, rng=1, **SETTINGS)
    np.testing.assert_array_equal(rows, before)


def test_outputs_that_are_not_numbers_are_told(caplog):
    X = np.arange(12.0, dtype=np.float32).reshape(6, 2) / 12
    model = train(X, [0, 1, 2] * 2, layers=[4], epochs=2, backend="numpy", rng=0)
    with caplog.at_level("WARNING", "portadnn"):
        model.predict(X)
        assert not caplog.messages
        X[4] = 3e38
        model.predict(X)
    (message,) = caplog.messages
    assert message.startswith(
        "the outputs of 1 of the examples are not numbers, first of example 4: "
    )
