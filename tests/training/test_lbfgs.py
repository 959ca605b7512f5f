"""L-BFGS against scikit-learn's optimum, SciPy on PyTorch's gradients, and on every backend."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.callbacks import EarlyStopping, History
from portadnn.training.fit import make_loop
from portadnn.training.inference import evaluate
from portadnn.training.lbfgs import EVALUATIONS_SPENT, LBFGS
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.stops import DivergenceError, TrainingInterrupted
from portadnn.training.streams import Batches
from portadnn.training.train import fit, train

pytest.importorskip("scipy")

M, L2 = 40, 0.05
RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((4, M)), RNG.integers(0, 3, M)
Y = np.eye(3)[LABELS].T
S = RNG.random((1, M)) * 2


class End:
    """Why a run stopped, and when."""

    def on_train_end(self, state):
        self.stopped, self.epoch = state.stopped, state.epoch


def minimise(network, backend, *, epochs=200, tolerance=1e-9, evaluations=0, **options):
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    found = fit(
        parameters, X, Y, network=network, backend=backend,
        solver=LBFGS(tolerance=tolerance, evaluations=evaluations),
        plan=Plan(0.3, epochs, Batches(M), Recipe(l2=L2)), **options,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("weights", [None, S])
def test_softmax_regression_has_the_optimum_of_scikit_learn(weights, backend_name):
    linear_model = pytest.importorskip("sklearn.linear_model")
    # scikit-learn's penalty is |W|^2 / (2 C) beside the sum over examples, ours l2 / 2 of the mean
    judge = linear_model.LogisticRegression(C=1 / (L2 * M), tol=1e-12, max_iter=10_000)
    judge.fit(X.T, LABELS, None if weights is None else weights[0])
    backend = get_backend(backend_name, dtype="float64")
    end = End()
    found = minimise(Network((4, 3), head="softmax"), backend, weights=weights, callbacks=[end])
    assert_lives_on(found["W1"], backend)
    # The cost is strongly convex in W: cost - cost* >= L2 / 2 |W - W*|^2. It ends where an
    # iteration gains less than 64 eps of a cost of about 1, and gains shrink.
    atol = 2 * math.sqrt(2 * 64 * np.finfo(float).eps / L2)
    np.testing.assert_allclose(backend.to_numpy(found["W1"]), judge.coef_, rtol=0, atol=atol)
    b = backend.to_numpy(found["b1"])[:, 0]
    # softmax does not see what all biases have in common; they follow W times X, of up to 3
    np.testing.assert_allclose(
        b - b.mean(), judge.intercept_ - judge.intercept_.mean(), rtol=0, atol=10 * atol
    )
    assert end.epoch < 200
    assert "CONVERGENCE" in end.stopped


@pytest.mark.parametrize(("steps", "tolerance"), [(3, 1e-9), (200, 1e-3)])
def test_a_run_that_goes_on_searches_again_from_where_it_was(steps, tolerance):
    class Stop:
        def on_epoch_end(self, state):
            if state.epoch == steps:
                state.stop("enough")

    network, backend = Network((4, 3), head="softmax"), get_backend("numpy", dtype="float64")
    loop, start = make_loop(
        initialize_parameters_deep(network.layer_dims, rng=0), X, Y, network=network,
        backend=backend, solver=LBFGS(tolerance=tolerance), callbacks=[Stop()],
        plan=Plan(0.3, 200, Batches(M), Recipe(l2=L2)),
    )  # fmt: skip
    state = loop.run(start)
    assert state.step == len(state.rows) <= min(steps, 199)
    loop.callbacks = ()
    parameters = dict(reversed(state.parameters.items()))
    ended = loop.run(replace(state, parameters=parameters, stopped=None))
    assert ended.rows[: state.step] == state.rows
    assert [row.epoch for row in ended.rows] == list(range(1, ended.step + 1))
    costs = [row.cost for row in ended.rows]
    assert costs == sorted(costs, reverse=True)
    # both end where an iteration gains less than 64 eps of a cost of about 1
    assert costs[-1] == pytest.approx(loop.run(start).rows[-1].cost, abs=1e-12)


def test_its_iterations_are_scipys_on_gradients_of_pytorch(torch):
    from scipy.optimize import minimize

    network = Network((4, 5, 3), "tanh", "softmax")
    backend = get_backend("numpy", dtype="float64")
    shapes = list(network.shapes.values())
    start = list(initialize_parameters_deep(network.layer_dims, rng=0).values())
    sizes = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def objective(x):
        parts = np.split(x, sizes)
        W1, b1, W2, b2 = (
            torch.tensor(part.reshape(shape), requires_grad=True)
            for part, shape in zip(parts, shapes, strict=True)
        )
        with torch.enable_grad():
            Z = W2 @ torch.tanh(W1 @ torch.tensor(X) + b1) + b2
            cost = torch.nn.functional.cross_entropy(Z.T, torch.tensor(Y.T))
            cost = cost + L2 / 2 * ((W1**2).sum() + (W2**2).sum())
            cost.backward()
        return cost.item(), np.concatenate([p.grad.numpy().ravel() for p in (W1, b1, W2, b2)])

    x0 = np.concatenate([p.ravel() for p in start])
    costs = []
    expected = minimize(
        objective, x0, jac=True, method="L-BFGS-B", options={"maxiter": 10},
        callback=lambda intermediate_result: costs.append(intermediate_result.fun),
    )  # fmt: skip
    history = History()
    found = minimise(network, backend, epochs=10, callbacks=[history])
    flat = np.concatenate([p.ravel() for p in found.values()])
    # 10 line searches amplify roundings of 1e-16 of a badly conditioned function
    np.testing.assert_allclose(flat, expected.x, rtol=0, atol=1e-9)
    np.testing.assert_allclose([row.cost for row in history.rows], costs, rtol=0, atol=1e-11)


def test_every_report_is_an_iteration_with_a_rate_of_1(backend_name):
    history, end = History(), End()
    backend = get_backend(backend_name)
    found = minimise(Network((4, 5, 3), head="softmax"), backend, epochs=4, tolerance=0.0,
                     validation=(X, Y), callbacks=[history, end])  # fmt: skip
    assert_lives_on(found["W2"], backend)
    assert [row.epoch for row in history.rows] == [1, 2, 3, 4]
    assert {row.learning_rate for row in history.rows} == {1.0}
    costs = [row.cost for row in history.rows]
    assert costs == sorted(costs, reverse=True)
    # the cost is of the parameters after the iteration: that of the same data, and the penalty
    penalty = L2 / 2 * sum(float((backend.to_numpy(found[n]).astype(float) ** 2).sum())
                           for n in ("W1", "W2"))  # fmt: skip
    assert history.rows[-1].validation_cost + penalty == pytest.approx(costs[-1], rel=1e-5)
    assert end.stopped is None


def test_its_last_iteration_has_a_report_wherever_it_ends():
    # without it early stopping knew of the first iteration alone, and returned that
    history = History()
    found = minimise(
        Network((4, 3), head="softmax"), get_backend("numpy"), report_every=100,
        validation=(X, Y), callbacks=[history, EarlyStopping(), end := End()],
    )  # fmt: skip
    assert [row.epoch for row in history.rows] == [1, end.epoch]
    assert 1 < end.epoch < 100
    assert history.rows[1].validation_cost < history.rows[0].validation_cost
    last = minimise(Network((4, 3), head="softmax"), get_backend("numpy"))
    np.testing.assert_array_equal(found["W1"], last["W1"])


def test_it_stops_after_so_many_evaluations():
    network, ends, rows = Network((4, 5, 3), head="softmax"), [], []
    for evaluations in (10, 0):
        ends.append(End())
        rows.append(History())
        minimise(network, get_backend("numpy"), evaluations=evaluations, tolerance=0.0,
                 callbacks=[ends[-1], rows[-1]])  # fmt: skip
    assert ends[0].stopped == EVALUATIONS_SPENT != ends[1].stopped
    assert 5 < ends[0].epoch <= 10 < ends[1].epoch  # an iteration makes one or more
    assert [row.cost for row in rows[0].rows] == [row.cost for row in rows[1].rows[: ends[0].epoch]]


def test_it_stops_where_the_gradient_is_small():
    end = End()
    minimise(Network((4, 3), head="softmax"), get_backend("numpy"), tolerance=0.1, callbacks=[end])
    assert end.epoch < 20
    assert "PROJECTED GRADIENT" in end.stopped.replace("_", " ")  # SciPy wrote both


def test_a_line_search_that_gives_up_says_so(monkeypatch):
    import scipy.optimize

    def minimize(function, x0, **_):
        return scipy.optimize.OptimizeResult(x=x0, status=2, message="ABNORMAL")

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    minimise(Network((4, 3), head="softmax"), get_backend("numpy"), callbacks=[end := End()])
    assert (end.stopped, end.epoch) == ("ABNORMAL", 0)


def test_train_takes_it_by_name(backend_name):
    data = Dataset(X.T, LABELS, ("a", "b", "c"))
    options = {"layers": [6], "activations": "tanh", "rng": 0, "backend": backend_name}
    model = train(data, optimizer="lbfgs:memory=5", epochs=10, **options)
    assert evaluate(model, data).cost < 0.8  # far below log 3: random labels, learnt by heart
    plain = train(data, optimizer="gradient_descent", epochs=10, **options)
    assert evaluate(plain, data).cost > 1.0


def test_a_rate_or_schedule_that_it_would_not_use_is_refused():
    data = Dataset(X.T, LABELS, ("a", "b", "c"))
    with pytest.raises(
        InputError, match="cannot be combined with lbfgs, which chooses its own step length"
    ):
        train(data, optimizer="lbfgs", learning_rate=0.1, backend="numpy")
    with pytest.raises(InputError, match="a schedule cannot be combined with it"):
        train(data, optimizer="lbfgs", schedule="cosine", backend="numpy")


class Stop:
    def __init__(self, how):
        self.how = how

    def on_epoch_end(self, state):
        if state.epoch == 3:
            self.parameters = state.parameters
            self.how(state)


def interrupt(_):
    raise KeyboardInterrupt


def test_a_callback_can_stop_or_interrupt_it(backend_name):
    network, backend = Network((4, 3), head="softmax"), get_backend(backend_name)
    stop = Stop(lambda state: state.stop("enough"))
    found = minimise(network, backend, callbacks=[stop, end := End()])
    assert (end.stopped, end.epoch) == ("enough", 3)
    with pytest.raises(TrainingInterrupted) as caught:
        minimise(network, backend, callbacks=[Stop(interrupt)])
    for name, p in stop.parameters.items():
        np.testing.assert_array_equal(backend.to_numpy(found[name]), p)
        np.testing.assert_array_equal(backend.to_numpy(caught.value.parameters[name]), p)


def test_a_start_that_is_not_finite_is_divergence():
    network, backend = Network((4, 3), head="identity"), get_backend("numpy")
    with pytest.raises(DivergenceError, match="Scale the data"):
        fit(
            initialize_parameters_deep((4, 3), rng=0), X * 1e30, Y, network=network,
            backend=backend, plan=Plan(1.0, 5, Batches(M)), solver=LBFGS(),
        )  # fmt: skip
