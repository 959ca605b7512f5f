"""Whole runs: against PyTorch's autograd and optimizers, again and again, and watched or not."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import get_backend
from portadnn.backends.base import to_host
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.optimizers import OPTIMIZERS
from portadnn.network.spec import Network
from portadnn.training import step as step_module
from portadnn.training.callbacks import BestModel, CSVLog, EarlyStopping, History, ProgressBar
from portadnn.training.fit import make_loop
from portadnn.training.loop import Loop
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.state import RunState
from portadnn.training.step import Shared, make_step
from portadnn.training.stops import DivergenceError, TrainingInterrupted
from portadnn.training.streams import Batches, dropout_mask
from portadnn.training.train import fit

M = 23  # examples in batches of 5: the last of an epoch has 3


def problem(head):
    """X, Y of a kind that suits the head: three labels, classes or numbers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, M))
    scores = rng.standard_normal((3, 4)) @ X
    Y = {
        "sigmoid": (scores > 0).astype(float),
        "softmax": np.eye(3)[scores.argmax(axis=0)].T,
        "identity": scores,
    }[head]
    return X, Y


def plan_of(recipe, epochs=20, *, rate=0.1, schedule="constant", batch_size=5):
    return Plan(rate, epochs, Batches(M, batch_size, seed=7), recipe, schedule)


def torch_run(torch, network, plan, X, Y, S, parameters):
    """The same run by autograd and ``torch.optim``: parameters, and the cost of every epoch."""
    recipe = plan.recipe
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
    rule = recipe.optimizer
    decay = {"weight_decay": rule.weight_decay}
    groups = [
        {"params": [p for n, p in tensors.items() if n.startswith("W")], **decay},
        {"params": [p for n, p in tensors.items() if n.startswith("b")], "weight_decay": 0.0},
    ]
    sgd, F = torch.optim.SGD, torch.nn.functional
    optimizer = {
        "gradient_descent": lambda: sgd(groups, lr=1),
        "momentum": lambda: sgd(groups, lr=1, momentum=0.9),
        "nesterov": lambda: sgd(groups, lr=1, momentum=0.9, nesterov=True),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=1),
        "adam": lambda: torch.optim.Adam(groups, lr=1),
        "adamw": lambda: torch.optim.AdamW(groups, lr=1),
    }[rule.name]()
    costs = []
    for step in range(plan.steps):
        batch = plan.batches.indices(step)
        A, y = torch.tensor(X[:, batch]), torch.tensor(Y[:, batch])
        for l in range(1, network.L + 1):
            Z = tensors[f"W{l}"] @ A + tensors[f"b{l}"]
            if l < network.L:
                A = {"relu": torch.relu, "tanh": torch.tanh}[network.activations[l - 1]](Z)
            if l in recipe.dropped_layers():
                rate = recipe.dropout[l - 1]
                mask = dropout_mask(plan.batches.seed, step, l, tuple(A.shape), rate)
                A = A * torch.tensor(mask) / (1 - rate)
        each = {
            "sigmoid": lambda Z=Z, y=y: F.binary_cross_entropy_with_logits(Z, y, reduction="none"),
            "softmax": lambda Z=Z, y=y: F.cross_entropy(Z.T, y.T, reduction="none")[None, :],
            "identity": lambda Z=Z, y=y: F.mse_loss(Z, y, reduction="none") / 2,
        }[network.head]()
        cost = (each if S is None else each * torch.tensor(S[:, batch])).sum() / len(batch)
        for W in groups[0]["params"]:
            cost = cost + recipe.l2 / 2 * (W**2).sum() + recipe.l1 * W.abs().sum()
        optimizer.zero_grad()
        cost.backward()
        if recipe.clip_norm:
            norm = torch.nn.utils.clip_grad_norm_(tensors.values(), recipe.clip_norm)
            if norm > recipe.clip_norm:  # PyTorch divides by the norm + 1e-6: undone
                for p in tensors.values():
                    p.grad *= (norm + 1e-6) / norm
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        optimizer.step()
        costs.append(cost.item() * len(batch))
    per_epoch = np.asarray(costs).reshape(plan.epochs, -1).sum(axis=1) / M
    return {name: p.detach().numpy() for name, p in tensors.items()}, per_epoch


RNG = np.random.default_rng(1)
EXAMPLE_WEIGHTS, OUTPUT_WEIGHTS = RNG.random((1, M)) * 2, RNG.random((3, M)) * 2
# head, activations, recipe, schedule, weights
RUNS = {
    **{
        f"{rule}-softmax": ("softmax", "tanh", Recipe(rule), "constant", None)
        for rule in OPTIMIZERS
    },
    "labels": ("sigmoid", "relu", Recipe("momentum", l2=0.01, l1=0.003), "exponential", None),
    "numbers": ("identity", "tanh", Recipe("nesterov", clip_norm=0.5), "cosine:warmup=0.5", None),
    "dropout": ("softmax", "relu", Recipe(dropout=(0.5, 0.2)), "step:5", EXAMPLE_WEIGHTS),
    "outputs": ("sigmoid", "tanh", Recipe("adam", dropout=(0.0, 0.5)), "constant", OUTPUT_WEIGHTS),
    "everything": (
        "identity",
        "tanh",
        Recipe("adamw", l2=0.01, l1=0.01, clip_norm=0.3, dropout=(0.2, 0.4)),
        "cosine:warmup=0.5,final=0.1",
        OUTPUT_WEIGHTS,
    ),
}


def compare(torch, backend, run, epochs):
    head, activations, recipe, schedule, S = RUNS[run]
    network = Network((4, 6, 5, 3), activations, head)
    rate = 0.01 if recipe.optimizer.name in ("rmsprop", "adam", "adamw") else 0.1
    plan = plan_of(recipe, epochs, rate=rate, schedule=schedule)
    X, Y = problem(head)
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    history = History()
    found = fit(
        parameters, X, Y, network=network, backend=backend, plan=plan, weights=S,
        callbacks=[history],
    )  # fmt: skip
    with torch.enable_grad():
        expected, costs = torch_run(torch, network, plan, X, Y, S, parameters)
    # each step is rounded some 50 times; Adam's first ones divide gradients by their own size
    atol = 50 * plan.steps * np.finfo(float).eps
    for name, p in found.items():
        assert_lives_on(p, backend)
        np.testing.assert_allclose(backend.to_numpy(p), expected[name], rtol=0, atol=atol)
    np.testing.assert_allclose([row.cost for row in history.rows], costs, rtol=0, atol=atol)
    assert [row.epoch for row in history.rows] == list(range(1, epochs + 1))
    last = plan.batches.steps_per_epoch * np.arange(1, epochs + 1) - 1
    assert [row.learning_rate for row in history.rows] == [plan.rate(int(step)) for step in last]


@pytest.mark.parametrize("run", RUNS)
def test_a_hundred_minibatch_steps_are_pytorchs(run, torch):
    compare(torch, get_backend("numpy", dtype="float64"), run, 20)


def test_every_backend_makes_the_steps_of_pytorch(backend_name, torch):
    epochs = 1 if backend_name == "dask" else 20
    compare(torch, get_backend(backend_name, dtype="float64"), "everything", epochs)


NETWORK = Network((4, 5, 3), "tanh", "softmax")
EVERYTHING = Recipe("adam", l2=0.01, l1=0.001, clip_norm=1.0, dropout=(0.3,))


def run(backend, plan=None, *, parameters=None, **options):
    """A run of NETWORK with everything in it, to the host."""
    X, Y = problem("softmax")
    found = fit(
        parameters or initialize_parameters_deep(NETWORK.layer_dims, rng=0), X, Y,
        network=NETWORK, backend=backend, weights=EXAMPLE_WEIGHTS,
        plan=plan or plan_of(EVERYTHING, 3, batch_size=10), **options,
    )  # fmt: skip
    return {name: np.array(backend.to_numpy(p)) for name, p in found.items()}


def assert_same_bits(found, expected):
    for name, p in expected.items():
        np.testing.assert_array_equal(found[name], p)


@pytest.fixture
def backend_dtype():
    """One is enough for what is about bits, not about values."""
    return "float32"


@functools.cache
def plain(backend):
    return run(backend)


def test_a_run_is_repeated_to_the_bit(backend):
    assert_same_bits(run(backend), plain(backend))


def test_another_seed_is_another_run(backend):
    plan = plan_of(EVERYTHING, 1, batch_size=10)
    other = replace(plan, batches=replace(plan.batches, seed=8))
    assert not np.array_equal(run(backend, other)["W1"], run(backend, plan)["W1"])


class Reader:
    """A user's callback, which reads all that there is."""

    def on_train_begin(self, state):
        self.read(state)

    def read(self, state):
        assert state.network == NETWORK
        assert all(type(p) is np.ndarray for p in state.parameters.values())
        assert state.steps_done == state.epoch * 3 or state.steps_done % 3

    on_progress = on_epoch_end = on_train_end = read


def test_a_run_that_is_watched_is_the_same_run(backend, tmp_path):
    X, Y = problem("softmax")
    callbacks = [
        History(), EarlyStopping(patience=100, restore=False), BestModel(restore=False),
        CSVLog(tmp_path / "log.csv"), ProgressBar(), Reader(),
    ]  # fmt: skip
    watched = run(backend, validation=(X, Y), callbacks=callbacks)
    assert_same_bits(watched, plain(backend))
    assert len(callbacks[0].rows) == 3


def test_reports_change_no_number(backend):
    assert_same_bits(run(backend, report_every=2), plain(backend))
    whole = plan_of(Recipe("momentum"), 5, batch_size=None)
    assert_same_bits(run(backend, whole, report_every=1), run(backend, whole, report_every=100))


def test_the_length_of_chunks_changes_no_number(backend, monkeypatch):
    plan = plan_of(EVERYTHING, 6, batch_size=None)
    together = run(backend, plan, report_every=6)
    monkeypatch.setattr("portadnn.training.loop.LARGEST_CHUNK", 1)
    assert_same_bits(run(backend, plan, report_every=6), together)
    monkeypatch.setattr("portadnn.training.loop.LARGEST_CHUNK", 512)
    monkeypatch.setattr("portadnn.training.loop.CHUNK_BYTES", 300)  # two masks of 5 x 23
    assert_same_bits(run(backend, plan, report_every=6), together)


class Stop:
    """Stops or interrupts a run after so many steps, or at a report."""

    def __init__(self, steps, how="stop"):
        self.steps, self.how = steps, how

    def on_progress(self, state):
        if state.steps_done >= self.steps:
            if self.how == "interrupt":
                raise KeyboardInterrupt
            state.stop("enough")


def callbacks_with_a_past(path, patience=2):
    return [
        History(), CSVLog(path), EarlyStopping(patience=patience, min_delta=0.05),
        BestModel("cost"), BestModel(restore=False),
    ]  # fmt: skip


def loop_of(backend, plan, callbacks, first_layer="auto"):
    X, Y = problem("softmax")
    parameters = initialize_parameters_deep(NETWORK.layer_dims, rng=0)
    return make_loop(
        parameters, X, Y, network=NETWORK, backend=backend, plan=plan, weights=EXAMPLE_WEIGHTS,
        validation=(X, np.roll(Y, 1, axis=1)), callbacks=callbacks, report_every=1,
        first_layer=first_layer,
    )  # fmt: skip


def as_values(x):
    """A run's state as something that can be compared."""
    if isinstance(x, RunState | dict):
        return {name: as_values(value) for name, value in getattr(x, "__dict__", x).items()}
    return np.asarray(to_host(x)).tolist() if hasattr(x, "shape") else x


GOING_ON = {
    "everything": (plan_of(EVERYTHING, 5, batch_size=10), "auto"),
    "plateau": (
        plan_of(Recipe("momentum"), 5, schedule="plateau:patience=1", batch_size=10),
        "auto",
    ),
    "sample space": (plan_of(Recipe("nesterov", l2=0.1), 5, batch_size=10), "sample"),
    "whole batch": (plan_of(Recipe("adam"), 9, batch_size=None), "auto"),
}


@pytest.mark.parametrize("how", ["stop", "interrupt"])
@pytest.mark.parametrize(("plan", "form"), GOING_ON.values(), ids=GOING_ON)
def test_a_run_that_goes_on_is_the_run(plan, form, how, backend, tmp_path, monkeypatch):
    """From any step, with callbacks of its own: every number, row, file and best model."""
    if backend.library == "dask":
        pytest.skip("the loop is the same; Dask takes a second for every few steps")
    patience = 2 if plan.batches.batch_size else 7  # both stop the run before its end
    monkeypatch.setattr("portadnn.training.loop.LARGEST_CHUNK", 1)
    with backend.scope():
        together = callbacks_with_a_past(tmp_path / "whole.csv", patience)
        loop, start = loop_of(backend, plan, together, form)
        before = as_values(start)
        whole = as_values(loop.run(start))
        assert whole["step"] < plan.steps
        # interrupted right before the report that stops it, it makes no step more
        for steps in (1, 4, 6, *([whole["step"]] if how == "interrupt" else [])):
            again = callbacks_with_a_past(tmp_path / "parts.csv", patience)
            loop, start = loop_of(backend, plan, [Stop(steps, how), *again], form)
            try:
                state = loop.run(start)
            except TrainingInterrupted as error:
                state = error.state
            assert as_values(start) == before
            halfway = as_values(state)
            assert state.step == steps < plan.steps
            again = callbacks_with_a_past(tmp_path / "parts.csv", patience)
            loop, _ = loop_of(backend, plan, [ProgressBar(), *again], form)
            # only a run that was stopped from outside goes on
            assert as_values(loop.run(replace(state, stopped=None))) == whole
            assert as_values(state) == halfway
            assert again[0].rows == together[0].rows
            assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()


class Second:
    """Keeps the parameters of the second epoch, without a past of its own."""

    def on_epoch_end(self, state):
        if state.epoch == 2:
            state.keep(state.parameters)


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_parameters_kept_before_an_interruption_are_kept_after_it(how):
    backend = get_backend("numpy")
    plan = plan_of(EVERYTHING, 4, batch_size=10)
    loop, start = loop_of(backend, plan, [Second()])
    whole = loop.run(start)
    assert whole.kept is not None
    loop, _ = loop_of(backend, plan, [Second(), Stop(9, how)])
    try:
        halfway = loop.run(start)
    except TrainingInterrupted as error:
        halfway = error.state
    assert halfway.step == 9 < whole.step
    loop, _ = loop_of(backend, plan, [Second()])
    halfway = replace(halfway, stopped=None)  # only such a run goes on
    assert as_values(loop.run(halfway)) == as_values(whole)


def test_a_run_of_two_plans_is_the_run(backend):
    whole = plan_of(EVERYTHING, 3, batch_size=10)
    first = replace(whole, epochs=2)
    rest = replace(
        whole, epochs=1, first_step=first.steps, batches=replace(whole.batches, first_epoch=2)
    )
    with backend.scope():
        loop, state = loop_of(backend, first, [])
        for plan in (first, rest):
            loop, _ = loop_of(backend, plan, [])
            state = loop.run(state)
        assert state.step == whole.steps
        found = {name: np.array(backend.to_numpy(p)) for name, p in state.parameters.items()}
    assert_same_bits(found, plain(backend))


def test_a_run_that_is_complete_makes_no_step():
    backend = get_backend("numpy")
    loop, start = loop_of(backend, plan_of(EVERYTHING, 1), journal := [Journal()])
    state = loop.run(start)
    assert as_values(loop.run(state)) == as_values(state)
    assert journal[0].calls[-2:] == [("begin", 5), ("end", 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 6}, "at step 6, but the run has the steps 0 to 5"),
        ({"step": -1}, "at step -1"),
        ({"slots": {}}, "the slots none, but adam keeps sW1, .*same optimizer"),
        ({"parameters": {"W1": np.ones((5, 9))}}, "expected W1, b1, W2, b2"),
    ],
)
def test_a_state_of_another_run_is_refused(change, message):
    journal = Journal()
    loop, start = loop_of(get_backend("numpy"), plan_of(EVERYTHING, 1), [journal])
    with pytest.raises(InputError, match=message):
        loop.run(replace(start, **change))
    assert journal.calls == []


def test_a_state_in_sample_space_is_not_one_of_the_network():
    backend = get_backend("numpy", dtype="float64")
    plan = plan_of(Recipe("momentum"), 2, batch_size=None)
    sample, _ = loop_of(backend, plan, [], "sample")
    feature, start = loop_of(backend, plan, [], "feature")
    with pytest.raises(InputError, match="W1 has shape"):
        sample.run(start)
    expected = feature.run(start)
    found = sample.left(sample.run(sample.start(start.parameters)))
    for kind in ("parameters", "slots"):
        for name, x in getattr(expected, kind).items():
            # 2 steps of a sum of 23 terms in another order
            np.testing.assert_allclose(getattr(found, kind)[name], x, rtol=0, atol=1e-14)


def test_a_batch_of_all_examples_is_the_whole_batch_in_another_order(backend_name):
    backend = get_backend(backend_name, dtype="float64")
    recipe = Recipe("momentum", l2=0.1)
    batch = run(backend, plan_of(recipe, 4, batch_size=M))
    for name, p in run(backend, plan_of(recipe, 4, batch_size=None)).items():
        # sums of 23 terms in another order, 4 times
        np.testing.assert_allclose(batch[name], p, rtol=0, atol=4 * 23 * 2e-16)


def test_nothing_given_is_changed(backend):
    X, Y = problem("softmax")
    parameters = initialize_parameters_deep(NETWORK.layer_dims, rng=0)
    given = [backend.asarray(x) for x in (X, Y, EXAMPLE_WEIGHTS)]
    initial = {name: backend.asarray(p) for name, p in parameters.items()}
    before = [np.array(backend.to_numpy(x)) for x in (*given, *initial.values())]
    fit(
        initial, *given[:2], network=NETWORK, backend=backend, weights=given[2],
        plan=plan_of(EVERYTHING, 1, batch_size=10),
    )  # fmt: skip
    for x, expected in zip((*given, *initial.values()), before, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(x), expected)


def test_costs_are_of_the_steps_of_the_epoch_by_their_sizes(backend):
    X, Y = problem("softmax")
    history, plan = History(), plan_of(EVERYTHING, 2, batch_size=10)
    steps = {}
    with backend.scope():
        loop = Loop(
            NETWORK, backend, plan, Shared(X, Y, EXAMPLE_WEIGHTS).in_rows().mapped(backend.asarray),
            callbacks=[history],
            on_costs=lambda start, costs: steps.update(enumerate(costs.tolist(), start)),
        )  # fmt: skip
        parameters = initialize_parameters_deep(NETWORK.layer_dims, rng=0, backend=backend)
        loop.run(loop.start(parameters))
    assert list(steps) == list(range(6))
    for epoch, row in enumerate(history.rows):
        mean = sum(steps[3 * epoch + i] * size for i, size in enumerate((10, 10, 3))) / 23
        assert abs(row.cost - mean) < 1e-15 * 23


def test_jax_compiles_once_for_each_shape(require, monkeypatch):
    require("jax")
    backend = get_backend("jax")
    traces = []
    counted = step_module.train_step

    def train_step(state, inputs, shared, **options):
        traces.append(inputs["batch"].shape if "batch" in inputs else shared.X.shape)
        return counted(state, inputs, shared, **options)

    def make_step(network, xp, step, recipe, sample):
        how = {"recipe": recipe, "sample": sample}
        return functools.partial(train_step, network=network, xp=xp, **how)

    monkeypatch.setattr("portadnn.training.loop.make_step", functools.cache(make_step))

    def new_traces(**changes):
        traces.clear()
        changes = {"batch_size": 10, "epochs": 4} | changes
        run(backend, plan_of(Recipe("adam", dropout=(0.3,)), **changes))
        return list(traces)

    # 2 full batches and one of 3 an epoch; jax.eval_shape and jax.jit both look at the step
    assert new_traces() == [(10,)] * 2 + [(3,)] * 2
    assert new_traces(rate=0.5) == []
    assert new_traces(schedule="cosine:warmup=2") == []
    assert new_traces(schedule="plateau:1", epochs=9) == []
    assert new_traces(batch_size=None, epochs=300) == [(4, M)] * 2
    assert new_traces(batch_size=None, epochs=7, rate=0.01) == []


def test_jax_pads_large_masks_no_further_than_its_limit(require, monkeypatch):
    require("jax")
    from portadnn.backends import jax as jax_backend

    capacities, compiled = set(), jax_backend._compiled

    def spy(step):
        def loop(n, state, inputs, shared):
            capacities.add(inputs["D1"].shape[0])
            return compiled(step)(n, state, inputs, shared)

        return loop

    plan = plan_of(EVERYTHING, 6, batch_size=None)
    long = run(get_backend("jax"), plan, report_every=6)
    monkeypatch.setattr(jax_backend, "_compiled", spy)
    monkeypatch.setattr(jax_backend, "_PADDED_BYTES", 1000)  # a mask has 115, all inputs 127
    short = run(get_backend("jax"), plan, report_every=6)
    assert capacities == {4}
    for name, p in long.items():
        # another program: a few roundings in another order, in each of 6 steps of Adam
        np.testing.assert_allclose(short[name], p, rtol=0, atol=6 * 50 * 2**-23)


def test_a_plateau_lowers_the_rate_of_a_run(backend):
    history = History()
    # with a rate of 1e-6 no cost falls by 0.01
    schedule = "plateau:patience=2,factor=0.5,min_delta=0.01"
    plan = plan_of(Recipe(), 7, rate=1e-6, schedule=schedule, batch_size=None)
    run(backend, plan, callbacks=[history], report_every=1)
    rates = [row.learning_rate for row in history.rows]
    # the first report is the best; two that are no better halve the rate of the next
    assert rates == [1e-6] * 3 + [5e-7] * 2 + [2.5e-7] * 2


def test_a_plateau_follows_the_validation_cost_where_there_is_one():
    history = History()
    X, Y = problem("softmax")
    plan = plan_of(Recipe(), 4, schedule="plateau:patience=1,factor=0.5,min_delta=0")
    # wrong labels: the better the run learns, the worse it scores
    run(get_backend("numpy"), plan, validation=(X, np.roll(Y, 1, axis=0)), callbacks=[history])
    costs, validation = ([getattr(row, name) for row in history.rows]
                         for name in ("cost", "validation_cost"))  # fmt: skip
    assert costs == sorted(costs, reverse=True)
    assert validation == sorted(validation)
    assert [row.learning_rate for row in history.rows] == [0.1, 0.1, 0.05, 0.025]


class Journal:
    """What was called, and what it found."""

    def __init__(self, raises_at=None, error=None, stop_at=None):
        self.calls, self.raises_at, self.error, self.stop_at = [], raises_at, error, stop_at

    def on_train_begin(self, state):
        self.calls.append(("begin", state.steps_done))

    def on_epoch_end(self, state):
        self.calls.append(("epoch", state.epoch))
        if state.epoch == self.raises_at:
            raise self.error
        if state.epoch == self.stop_at:
            state.stop("enough")

    def on_train_end(self, state):
        self.calls.append(("end", state.epoch))
        self.stopped, self.parameters = state.stopped, state.parameters


def test_callbacks_are_called_in_order(backend):
    journal = Journal()
    run(backend, callbacks=[journal])
    assert journal.calls == [("begin", 0), ("epoch", 1), ("epoch", 2), ("epoch", 3), ("end", 3)]
    assert journal.stopped is None
    assert_same_bits(journal.parameters, plain(backend))


def test_a_callback_can_stop_the_run(backend):
    journal = Journal(stop_at=2)
    found = run(backend, plan_of(EVERYTHING, 9, batch_size=10), callbacks=[journal])
    assert journal.calls[-2:] == [("epoch", 2), ("end", 2)]
    assert journal.stopped == "enough"
    assert_same_bits(found, journal.parameters)


def test_ctrl_c_ends_callbacks_and_keeps_the_parameters(backend):
    journal, watcher = Journal(2, KeyboardInterrupt()), Journal()
    with pytest.raises(TrainingInterrupted, match="after 6 iterations") as caught:
        run(backend, callbacks=[watcher, journal])
    assert journal.calls[-1] == watcher.calls[-1] == ("end", 2)
    assert caught.value.iteration == 6
    for name, p in caught.value.parameters.items():
        assert_lives_on(p, backend)
        np.testing.assert_array_equal(backend.to_numpy(p), journal.parameters[name])


def test_an_error_of_a_callback_is_its_own_and_ends_the_others():
    watcher = Journal()
    with pytest.raises(ZeroDivisionError):
        run(get_backend("numpy"), callbacks=[watcher, Journal(1, ZeroDivisionError())])
    assert watcher.calls == [("begin", 0), ("epoch", 1), ("end", 1)]


def test_a_callback_that_cannot_begin_ends_those_that_have(tmp_path):
    watcher = Journal()
    with pytest.raises(InputError, match="cannot be written"):
        run(get_backend("numpy"), callbacks=[watcher, CSVLog(tmp_path / "no" / "log.csv")])
    assert watcher.calls == [("begin", 0), ("end", 0)]


class Counter:
    """A callback whose past exists from ``on_train_begin`` on."""

    def on_train_begin(self, state):
        self.reports = 0

    def on_epoch_end(self, state):
        self.reports += 1

    def state_dict(self):
        return {"reports": self.reports}

    def load_state_dict(self, past):
        self.reports = past["reports"]


def test_a_callback_that_has_not_begun_is_not_asked_for_its_past(tmp_path):
    backend = get_backend("numpy")
    plan = plan_of(EVERYTHING, 2, batch_size=10)
    with pytest.raises(InputError, match="cannot be written"):
        run(backend, plan, callbacks=[CSVLog(tmp_path / "no" / "log.csv"), Counter()])
    loop, start = loop_of(backend, plan, [Stop(3), Counter()])
    state = loop.run(start)
    assert state.callbacks == {"Counter 1": {"reports": 1}}
    early = Stop(0, "interrupt")
    early.on_train_begin = early.on_progress
    loop, _ = loop_of(backend, plan, [early, Counter()])
    with pytest.raises(TrainingInterrupted) as caught:
        loop.run(state)
    assert caught.value.state.callbacks == state.callbacks


def test_divergence_ends_callbacks_and_names_the_step(backend):
    X, Y = problem("identity")
    network = Network((4, 5, 3), "relu", "identity")
    journal = Journal()
    plan = plan_of(Recipe(), 200, rate=50.0, batch_size=10)
    with pytest.raises(DivergenceError, match="Try a smaller learning rate") as caught:
        fit(
            initialize_parameters_deep(network.layer_dims, rng=0), X, Y,
            network=network, backend=backend, plan=plan, callbacks=[journal],
        )  # fmt: skip
    error = caught.value
    assert journal.calls[-1][0] == "end"
    # so many steps are finite, and the next one is not
    for p in error.parameters.values():
        assert_lives_on(p, backend)
        assert np.isfinite(backend.to_numpy(p)).all()
    X, Y = (x[:, plan.batches.indices(error.iteration)] for x in (X, Y))
    step = make_step(network, np)
    host = {name: backend.to_numpy(p) for name, p in error.parameters.items()}
    with np.errstate(all="ignore"):
        rate = np.full((1, 1), 50.0, backend.dtype_name)
        data = Shared(X.astype(backend.dtype_name), Y.astype(backend.dtype_name))
        (after, _), cost = step((host, {}), {"learning_rate": rate}, data)
    assert not all(np.isfinite(x).all() for x in (cost, *after.values()))
