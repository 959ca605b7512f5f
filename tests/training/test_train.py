import os
import signal
import threading
import tracemalloc

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost
from portadnn.network.optimizers import update_parameters
from portadnn.network.spec import Network
from portadnn.training import loop
from portadnn.training.callbacks import History
from portadnn.training.fit import fit
from portadnn.training.inference import evaluate, predict
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import Shared, make_step
from portadnn.training.stops import DivergenceError, TrainingInterrupted
from portadnn.training.streams import Batches
from portadnn.training.train import L_layer_model, train

# published with the course's programming assignment, for RandomState(1) and 0.0075
PUBLISHED = {
    0: 0.7717493284237686,
    100: 0.6720534400822914,
    200: 0.6482632048575212,
    2400: 0.09287821526472398,
}


def cats(cat_files):
    from portadnn.data.load import load_dataset

    return tuple(load_dataset(path) for path in cat_files)


def course_run(data, iterations, backend):
    history = []
    parameters = L_layer_model(
        data.columns("float64"),
        data.targets("float64"),
        [12288, 20, 7, 5, 1],
        0.0075,
        iterations,
        init="lecun",
        rng=np.random.RandomState(1),
        backend=backend,
        history=history,
    )
    return parameters, dict(history)


def test_the_published_costs_of_the_course(cat_files):
    from portadnn.training.models import Model

    data, test_data = cats(cat_files)
    parameters, costs = course_run(data, 2500, None)
    for iteration, cost in PUBLISHED.items():
        assert abs(costs[iteration] - cost) < 1e-9  # as the course prints them, and the issue asks
    assert list(costs) == list(range(0, 2500, 100))
    model = Model(Network((12288, 20, 7, 5, 1)), parameters, data.classes, data.input_shape)
    assert evaluate(model, data).correct == 206  # 98.56 % of 209
    assert evaluate(model, test_data).correct == 40  # 80 % of 50


def test_the_published_costs_on_every_backend(cat_files, backend_name):
    if backend_name == "dask":
        pytest.skip("100 persisted steps of this size take a minute; the tests below train on Dask")
    data, _ = cats(cat_files)
    backend = get_backend(backend_name, dtype="float64")
    _, costs = course_run(data, 101, backend)
    for iteration in (0, 100):
        assert abs(costs[iteration] - PUBLISHED[iteration]) < 1e-8  # the figure


def small_problem(seed=0, m=12):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((5, m))
    return X, (X[:1] + X[1:2] > 0).astype(float)


def test_it_is_the_textbook_loop(backend):
    X, Y = (backend.asarray(x) for x in small_problem())
    history = []
    trained = L_layer_model(X, Y, [5, 4, 1], 0.1, 3, rng=0, history=history)
    parameters = initialize_parameters_deep([5, 4, 1], rng=0, backend=backend)
    first_cost = None
    for _ in range(3):
        AL, caches = L_model_forward(X, parameters)
        first_cost = first_cost or float(compute_cost(AL, Y))
        parameters = update_parameters(parameters, L_model_backward(AL, Y, caches), 0.1)
    eps = float(backend.xp.finfo(backend.dtype).eps)
    assert history[0][0] == 0
    assert abs(history[0][1] - first_cost) < 20 * eps
    for name, p in trained.items():
        # a compiled step may contract a product and a sum: 3 steps of a few roundings each
        np.testing.assert_allclose(
            backend.to_numpy(p), backend.to_numpy(parameters[name]), rtol=0, atol=50 * eps
        )


def test_it_stays_where_X_is(backend):
    X, Y = small_problem()
    parameters = L_layer_model(backend.asarray(X), Y, [5, 1], 0.1, 2)
    assert parameters["W1"].dtype == backend.dtype
    assert type(parameters["W1"]) is type(backend.asarray(X))


def test_it_prints_what_the_course_prints(capsys):
    X, Y = small_problem()
    history = []
    L_layer_model(X, Y, [5, 3, 1], 0.1, 201, True, rng=0, history=history)
    assert [iteration for iteration, _ in history] == [0, 100, 200]
    printed = [f"Cost after iteration {iteration}: {cost:f}" for iteration, cost in history]
    assert capsys.readouterr().out.splitlines() == printed


def test_nothing_given_is_changed():
    X, Y = small_problem()
    X.flags.writeable = Y.flags.writeable = False
    copies = X.copy(), Y.copy()
    L_layer_model(X, Y, [5, 3, 1], 0.1, 5)
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(Y, copies[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0}, "learning rate is 0: expected a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"learning_rate": "fast"}, "learning rate is 'fast': expected a number"),
        ({"num_iterations": 0}, "number of iterations is 0: expected 1 or more"),
        ({"num_iterations": 2.5}, "number of iterations is 2.5: expected a whole number"),
        ({"layers_dims": [4, 3, 1]}, r"X has shape \(5, 12\), but the network takes 4 values"),
        ({"layers_dims": [5, 3, 2]}, r"Y has shape \(1, 12\): expected \(2, 12\)"),
        ({"network": Network((5, 2, 1))}, r"layers_dims is \(5, 3, 1\), but the network has"),
        ({"init": "hi"}, "unknown initialiser 'hi'"),
        ({"backend": "numpyy"}, "unknown backend 'numpyy': did you mean 'numpy'"),
        ({"X": np.full((5, 12), np.nan)}, r"X holds nan at index \(0, 0\): expected finite"),
        ({"Y": np.full((1, 12), 3.0)}, r"Y holds 3 at index \(0, 0\): expected 0 to 1"),
        (
            {"layers_dims": [5, 2], "Y": np.ones((2, 12)),
             "network": Network((5, 2), head="softmax")},
            r"sum of the columns of Y holds 2 at index \(0, 0\): expected 1",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_training(change, message, capsys):
    X, Y = small_problem()
    arguments = {"X": X, "Y": Y, "layers_dims": [5, 3, 1], "print_cost": True} | change
    with pytest.raises(InputError, match=message):
        L_layer_model(**arguments)
    assert capsys.readouterr().out == ""


def test_the_wrong_index_is_found_on_every_backend(backend):
    X, Y = small_problem()
    X[3, 7] = np.inf
    with pytest.raises(InputError, match=r"X holds inf at index \(3, 7\)"):
        L_layer_model(backend.asarray(X), Y, [5, 1])


def divergence(X, Y, rate, iterations=400, **options):
    with pytest.raises(DivergenceError) as caught:
        L_layer_model(X, Y, [5, 4, 1], rate, iterations, network=NETWORK, **options)
    return caught.value


# half the squared error over ReLU units: a rate that is too large makes it explode
NETWORK = Network((5, 4, 1), "relu", "identity")


def test_divergence_names_the_iteration_and_keeps_the_last_finite_parameters(backend):
    X, Y = small_problem()
    error = divergence(backend.asarray(X), Y, 50.0, rng=1)
    assert "smaller learning rate, for example 5 (it was 50)" in str(error)
    # one step at a time from the start: the iteration named is the first that is not finite
    parameters = initialize_parameters_deep([5, 4, 1], rng=1, backend=backend)
    step = make_step(NETWORK, backend.xp)
    inputs = Plan(50.0, 1, Batches(12)).inputs(0, 1, NETWORK, backend)
    data = Shared(backend.asarray(X), backend.asarray(Y))
    for iteration in range(400):  # noqa: B007 (used after the loop)
        (after, _), cost = backend.repeat(step, (parameters, {}), inputs, data)
        finite = all(np.isfinite(backend.to_numpy(p)).all() for p in after.values())
        if not (finite and np.isfinite(backend.to_numpy(cost)).all()):
            break
        parameters = after
    assert error.iteration == iteration > 0
    for name, p in error.parameters.items():
        np.testing.assert_array_equal(backend.to_numpy(p), backend.to_numpy(parameters[name]))


def test_divergence_at_the_first_cost_blames_the_data():
    X, Y = small_problem()
    error = divergence(X * 1e200, Y, 0.1)
    assert error.iteration == 0
    assert "Scale the data" in str(error)


def test_ctrl_c_keeps_what_was_learnt(backend_name):
    """A signal in the middle of the run, on every backend; the state is that of a whole step."""
    backend = get_backend(backend_name)
    X, Y = small_problem()
    done = []

    class CtrlC:
        def on_progress(self, state):
            done.append(state.steps_done)
            if len(done) == 3:
                threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()

    with pytest.raises(TrainingInterrupted) as caught:
        L_layer_model(X, Y, [5, 4, 1], 0.01, 10**9, rng=0, backend=backend, callbacks=[CtrlC()])
    error = caught.value
    assert isinstance(error, KeyboardInterrupt)
    assert 3 <= error.iteration < 10**9
    assert error.iteration == done[-1]
    # a second run of that many iterations gives the same bits
    again = L_layer_model(X, Y, [5, 4, 1], 0.01, error.iteration, rng=0, backend=backend)
    for name, p in again.items():
        np.testing.assert_array_equal(backend.to_numpy(p), backend.to_numpy(error.parameters[name]))


def test_a_handler_of_the_users_own_is_left_alone():
    X, Y = small_problem()
    calls = []

    class CtrlC:
        def on_progress(self, state):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        L_layer_model(X, Y, [5, 1], 0.1, 20, callbacks=[CtrlC()])
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls


def test_training_in_a_thread():
    X, Y = small_problem()
    results = []
    thread = threading.Thread(target=lambda: results.append(L_layer_model(X, Y, [5, 1], 0.1, 5)))
    thread.start()
    thread.join()
    assert set(results[0]) == {"W1", "b1"}


def test_chunks_are_short_enough_for_ctrl_c(monkeypatch):
    X, Y = small_problem()
    clock = iter(np.arange(0, 1e6, 0.2))  # every look at the clock is 0.2 s later
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    done = [0]

    class Progress:
        def on_progress(self, state):
            done.append(state.steps_done)

    L_layer_model(X, Y, [5, 1], 0.1, 20, callbacks=[Progress()])
    assert max(np.diff(done)) == 1


def test_train_returns_a_model_on_the_host(digits, backend_name):
    data = Dataset(digits[0].examples[:100], digits[0].labels[:100], digits[0].classes)
    backend = get_backend(backend_name)
    history = History()
    model = train(
        data,
        layers=[6],
        activations="tanh",
        learning_rate=0.5,
        epochs=5,
        rng=0,
        backend=backend,
        callbacks=[history],
    )
    assert model.network == Network((64, 6, 10), "tanh", "softmax")
    assert all(type(p) is np.ndarray for p in model.parameters.values())
    assert model.dtype == "float32"
    assert model.input_shape == (8, 8)
    assert [row.epoch for row in history.rows] == [1, 5]
    prediction = predict(model, data, backend=backend_name)
    assert prediction.probabilities.shape == (100, 10)
    on_numpy = predict(model, data)
    # two layers of float32 sums over 64 and 6 terms
    np.testing.assert_allclose(prediction.probabilities, on_numpy.probabilities, atol=1e-5)
    correct = int(np.sum(prediction.labels == data.labels))
    assert evaluate(model, data, backend=backend_name).correct == correct


def test_the_embedded_default_learns_the_digits(digits):
    model = train(
        digits[0], layers=[64, 32], learning_rate=0.5, epochs=1000, rng=3, backend="numpy"
    )
    assert evaluate(model, digits[1]).accuracy >= 0.96  # the figure


class Interrupt:
    def on_progress(self, state):
        raise KeyboardInterrupt


def test_interrupted_training_carries_what_was_learnt(backend_name):
    data = Dataset(np.eye(4), [0, 1, 2, 0], ("a", "b", "c"))
    options = {"layers": [3], "backend": backend_name}
    with pytest.raises(TrainingInterrupted) as caught:
        train(data, **options, callbacks=[Interrupt()])
    error = caught.value
    assert error.iteration == 1
    expected = train(data, **options, epochs=1).parameters
    backend = get_backend(backend_name)
    for name, p in expected.items():
        np.testing.assert_array_equal(error.model.parameters[name], p)
        assert_lives_on(error.parameters[name], backend)


def test_diverged_training_carries_a_model(digits):
    with pytest.raises(DivergenceError) as diverged:
        train(digits[0], layers=[64, 32], backend="numpy", learning_rate=1e6, epochs=50)
    assert all(np.isfinite(p).all() for p in diverged.value.model.parameters.values())


def test_two_classes_get_one_sigmoid_unit():
    X, Y = small_problem()
    data = Dataset(X.T, Y[0].astype(int), ("no", "yes"))
    model = train(data, layers=[], learning_rate=1.0, epochs=500, backend="numpy")
    assert model.network == Network((5, 1), (), "sigmoid")
    assert evaluate(model, data).accuracy == 1
    prediction = predict(model, data)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(prediction.labels, Y[0])


def test_evaluating_on_other_data():
    X, Y = small_problem()
    data = Dataset(X.T, Y[0].astype(int), ("no", "yes"))
    model = train(data, layers=[], epochs=1, backend="numpy")
    other = Dataset(X.T, Y[0].astype(int), ("cat", "dog"))
    with pytest.raises(InputError, match="has the classes cat, dog, but the model knows no, yes"):
        evaluate(model, other)
    narrow = Dataset(X.T[:, :3], Y[0].astype(int), ("no", "yes"))
    with pytest.raises(InputError, match=r"examples of shape \(3,\), 3 values, but the model"):
        predict(model, narrow)


def test_arguments_of_another_kind():
    X, Y = small_problem()
    data = Dataset(X.T, Y[0].astype(int), ("no", "yes"))
    settings = {"layers": [], "epochs": 1, "backend": "numpy"}
    with pytest.raises(TypeError, match=r"certify is True: expected portadnn.Certifier\(\)"):
        train(data, **settings, certify=True)
    with pytest.raises(InputError, match=r"validation has 3 parts: expected \(X, y\)"):
        train(data, **settings, validation=(X.T, Y[0], Y[0]))
    with pytest.raises(InputError, match="has no labels"):
        evaluate(train(data, **settings), X.T)


def test_plot_cost_shows_the_curve(monkeypatch):
    shown = []
    monkeypatch.setattr("portadnn.plots.show_costs", lambda *args: shown.append(args))
    X, Y = small_problem()
    L_layer_model(X, Y, [5, 1], 0.1, 2)
    assert shown == []
    L_layer_model(X, Y, [5, 1], 0.1, 2, plot_cost=True)
    (history, rate), = shown  # fmt: skip
    assert history[0][0] == 0
    assert rate == 0.1


def test_a_backend_by_name_keeps_the_dtype_of_X(backend_name, dtype):
    X, Y = small_problem()
    parameters = L_layer_model(X.astype(dtype), Y, [5, 1], 0.1, 1, backend=backend_name)
    assert parameters["W1"].dtype == get_backend(backend_name, dtype=dtype).dtype


def test_layers_that_are_no_sequence():
    X, Y = small_problem()
    with pytest.raises(InputError, match="layer_dims is 5: expected integers"):
        L_layer_model(X, Y, 5)


def test_data_scaled_in_another_way_is_refused(digits):
    model = train(digits[0], layers=[3], epochs=1, backend="numpy")
    floats = Dataset(digits[1].examples.astype(float), digits[1].labels, digits[1].classes)
    with pytest.raises(InputError, match="holds numbers that are taken as they are, but the model"):
        predict(model, floats)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_numbers_of_classes_give_the_bits_of_one_hot_labels(share, backend):
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((5, 40)), rng.integers(0, 4, (1, 40))
    network = Network((5, 6, 4), ("relu",), "softmax")
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    plan = Plan(0.1, 3, Batches(40, 7), Recipe("adam", label_smoothing=share))
    ends = []
    for Y in (np.eye(4)[:, labels[0]], labels):
        history, options = History(), {"network": network, "backend": backend, "plan": plan}
        found = fit(parameters, X, Y, validation=(X, Y), callbacks=[history], **options)
        # a compiler may add the terms of the cost of a batch in another order
        rows = [row._replace(cost=0.0) if backend.fuses else row for row in history.rows]
        ends.append((rows, [backend.to_numpy(p) for p in found.values()]))
    assert ends[0][0] == ends[1][0]
    for one_hot, numbered in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(numbered, one_hot)


def test_numbers_of_classes_are_checked():
    backend, network = get_backend("numpy"), Network((2, 3), (), "softmax")
    plan, options = (
        Plan(0.1, 1, Batches(4, 2)),
        {"network": network, "backend": get_backend("numpy")},
    )
    parameters = initialize_parameters_deep(network.layer_dims, backend=backend)
    for Y in (np.asarray([[0, 1, 2, 3]]), np.asarray([[0, -1, 2, 1]])):
        with pytest.raises(InputError, match="expected numbers of classes, 0 to 2"):
            fit(parameters, np.ones((2, 4)), Y, plan=plan, **options)


def test_labels_of_many_classes_take_little_memory():
    m, C = 20_000, 1000
    data = Dataset(np.zeros((m, 4), np.float32), np.arange(m) % C, tuple(map(str, range(C))))
    options = {"layers": [2], "epochs": 1, "batch_size": 50, "backend": "numpy"}
    train(data, **options)
    tracemalloc.start()
    train(data, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # one-hot labels in float32 are 80 MB; the batches of a chunk, and all else, are far less
    assert peak < 8e6
