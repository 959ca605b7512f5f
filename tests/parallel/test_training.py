"""Whole trainings on ranks that are threads; scripts/ranks_check makes more of them over MPI."""

import numpy as np
import pytest
from ranks_support import on_ranks

import portadnn
from portadnn.parity.certifier import Certifier
from portadnn.training.models import fingerprint

RNG = np.random.default_rng(1)
X, y = RNG.random((67, 6)), RNG.integers(0, 3, 67).astype(str)
HOW = {
    "layers": [5, 4],
    "epochs": 3,
    "learning_rate": 0.05,
    "report_every": 1,
    "first_layer": "feature",
}
TASKS = {
    "whole batch": {},
    "last batch of 1": {"batch_size": 22, "optimizer": "adam"},
    "recipe": {
        "batch_size": 20, "optimizer": "nesterov", "dropout": 0.3, "l2": 0.01, "l1": 1e-4,
        "clip_norm": 0.5, "sample_weight": RNG.random(67) + 0.5, "class_weight": "balanced",
        "label_smoothing": 0.1,
    },
    "validation": {"batch_size": 20, "schedule": "plateau:patience=1", "validation": 0.2},
    "sample space": {"first_layer": "sample", "optimizer": "momentum", "l2": 0.01},
    "sample space in batches": {"first_layer": "sample", "batch_size": 10},
    "early stopping": {"validation": 0.2, "early_stopping": 1, "epochs": 30, "learning_rate": 3.0},
}  # fmt: skip


def trained(backend, ranks=None, **settings):
    model = portadnn.train(X, y, **{**HOW, **settings}, backend=backend, ranks=ranks)
    return fingerprint(model), [row[:3] for row in model.history]


def assert_same_bits(backend, how, sizes=((2, ""), (3, "1/6/0"))):
    how = {"arithmetic": "reproducible", **how}
    expected = trained("numpy", **how)
    for size, shares in sizes:
        for found in on_ranks(size, lambda ranks: trained(backend, ranks, **how), shares):
            assert found == expected


@pytest.mark.parametrize("task", TASKS)
def test_bits_do_not_depend_on_the_ranks(dtype, task):
    assert_same_bits("numpy", {"dtype": dtype, **TASKS[task]})


def test_bits_do_not_depend_on_the_library_of_the_ranks(backend):
    """One task and two ranks, because JAX compiles for every rank and size of a batch."""
    how = {"dtype": backend.dtype_name, **TASKS["recipe"]}
    if backend.name == "dask":  # a step takes seconds
        how["epochs"] = 1
    assert_same_bits(backend.name, how, [(2, "1/6")])


def test_fast_ranks_agree_and_are_near_one_process(backend):
    how = {"dtype": backend.dtype_name, "batch_size": 22, "optimizer": "adam"}

    def parameters(ranks=None):
        return portadnn.train(X, y, **HOW, **how, backend=backend.name, ranks=ranks).parameters

    expected, (first, second) = parameters(), on_ranks(2, parameters)
    for name, p in expected.items():
        np.testing.assert_array_equal(first[name], second[name])
        # 12 steps of Adam, whose updates have the size of the rate
        tolerance = 1e-3 if backend.dtype_name == "float32" else 1e-9
        np.testing.assert_allclose(first[name], p, atol=tolerance)


def test_lbfgs_runs_on_ranks(backend):
    pytest.importorskip("scipy")
    how = {"dtype": "float64", "optimizer": "lbfgs", "learning_rate": None, "epochs": 5}
    expected, found = (
        portadnn.train(X, y, **{**HOW, **how}, backend=backend.name).history[-1].cost,
        on_ranks(
            2,
            lambda ranks: portadnn.train(
                X, y, **{**HOW, **how}, backend=backend.name, ranks=ranks
            ).history[-1].cost,
        ),
    )  # fmt: skip
    assert found[0] == found[1] == pytest.approx(expected, rel=1e-8)


def test_only_the_first_rank_has_callbacks():
    class Counter:
        calls = 0

        def on_epoch_end(self, state):
            self.calls += 1

    def run(ranks):
        counter = Counter()
        portadnn.train(X, y, **HOW, backend="numpy", ranks=ranks, callbacks=[counter])
        return counter.calls

    assert on_ranks(3, run) == [3, 0, 0]


def test_a_callback_stops_all_ranks():
    class Stop:
        def on_epoch_end(self, state):
            if state.epoch == 2:
                state.keep(state.parameters)
                state.stop("enough")

    def run(ranks):
        return trained("numpy", ranks, callbacks=[Stop()] if ranks.first else (), epochs=9)

    first, second = on_ranks(2, run)
    assert first[0] == second[0]
    assert len(first[1]) == 2


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_the_first_rank_certifies(arithmetic):
    def run(ranks):
        certifier = Certifier()
        trained("numpy", ranks, certify=certifier, batch_size=22, arithmetic=arithmetic)
        return certifier.certificate

    certificate, none = on_ranks(2, run)
    assert none is None
    assert certificate.outcome == "PARITY", str(certificate)


def test_checkpoints_go_on_with_another_number_of_ranks(tmp_path):
    how = {"arithmetic": "reproducible", "batch_size": 22, "optimizer": "adam"}
    expected = trained("numpy", epochs=6, **how)

    def run(epochs, ranks=None):
        place = {"checkpoint": tmp_path, "resume": tmp_path if epochs > 2 else None}
        return trained("numpy", ranks, epochs=epochs, **how, **place)

    on_ranks(2, lambda ranks: run(2, ranks))
    on_ranks(3, lambda ranks: run(4, ranks))
    assert run(6) == expected


def test_fast_checkpoints_of_other_ranks_are_refused(tmp_path):
    def run(ranks):
        return trained("numpy", ranks, epochs=2, checkpoint=tmp_path)

    on_ranks(2, run)
    with pytest.raises(portadnn.InputError, match="by 2 ranks, and in fast arithmetic no ranks"):
        trained("numpy", epochs=4, checkpoint=tmp_path, resume=tmp_path)


def test_a_rank_with_other_data_is_named():
    def run(ranks):
        with pytest.raises(portadnn.InputError, match="data is .* on rank 0, but .* on rank 1"):
            portadnn.train(X + ranks.rank, y, **HOW, backend="numpy", ranks=ranks)

    on_ranks(2, run)


def test_a_rank_without_the_backend_is_named():
    def run(ranks):
        backend = ["numpy", "nonumpy"][ranks.rank]
        with pytest.raises(portadnn.InputError, match="rank 1 of 2: unknown backend 'nonumpy'"):
            portadnn.train(X, y, **HOW, backend=backend, ranks=ranks)

    on_ranks(2, run)


def test_divergence_stops_all_ranks_at_one_step():
    def run(ranks):
        with pytest.raises(portadnn.DivergenceError) as caught:
            trained("numpy", ranks, learning_rate=1e30, epochs=50)
        return str(caught.value), fingerprint(caught.value.model)

    first, second = on_ranks(2, run)
    assert first == second


def test_streamed_rows_are_read_by_their_rank(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    data = portadnn.load_dataset(tmp_path / "X.npy", labels=tmp_path / "y.npy", stream=True)
    how = {**HOW, "batch_size": 22, "backend": "numpy", "arithmetic": "reproducible"}
    expected = fingerprint(portadnn.train(data, **how))
    found = on_ranks(3, lambda ranks: fingerprint(portadnn.train(data, **how, ranks=ranks)))
    assert found == [expected] * 3


def test_predictions_are_those_of_one_process(monkeypatch):
    from portadnn.training import inference

    monkeypatch.setattr(inference, "block_of", lambda n_x: 10)
    model = portadnn.train(X, y, **HOW, backend="numpy")
    data = portadnn.Dataset.of(X, y) if hasattr(portadnn.Dataset, "of") else X
    expected = inference.predict(model, data).probabilities
    scores = inference.evaluate(model, X, y)
    for chances, found in on_ranks(
        3,
        lambda ranks: (
            inference.predict(model, data, ranks=ranks).probabilities,
            inference.evaluate(model, X, y, ranks=ranks),
        ),
    ):
        np.testing.assert_array_equal(chances, expected)
        assert found == scores
