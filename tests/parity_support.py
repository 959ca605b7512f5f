"""A small run, and one with a fault in a step, for the tests of parity."""

from dataclasses import replace

import numpy as np

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.compare import judge
from portadnn.parity.run import Run, watch
from portadnn.training.declaration import Declaration
from portadnn.training.train import train


def make_run(dims=(12, 7, 5, 1), m=31, steps=4, batch_size=None, seed=0, **settings):
    rng = np.random.default_rng(seed)
    of_network = {name: settings.pop(name) for name in ("activations", "head") if name in settings}
    network = Network(dims, **of_network)
    X = rng.standard_normal((dims[0], m))
    Y = rng.integers(0, 2, (dims[-1], m)).astype(float)
    parameters = initialize_parameters_deep(dims, rng=rng)
    usual = {"learning_rate": 0.05, "epochs": steps, "batch_size": batch_size}
    return Run(network, parameters, X, Y, Declaration(**usual | settings), steps)


def faulty_records(run, backend, step, tensor, change):
    """The stream of a run with one tensor of one step changed."""
    for record in watch(run, backend, range(run.steps)):
        if record.step == step:
            tensors = {**record.tensors, tensor: change(record.tensors[tensor])}
            record = replace(record, tensors=tensors)
        yield record


def judge_faulty(run, step, tensor, change):
    backend = get_backend("numpy")
    streams = [
        watch(run, backend, range(run.steps)),
        faulty_records(run, backend, step, tensor, change),
    ]
    return judge(
        run, ["honest", "faulty"], [{}, {}], streams,
        modes=[None, None],
    )  # fmt: skip


def watched_data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 30))
    return Dataset(X, (X[:, 0] + X[:, 1] > 0.4).astype(int), ("no", "yes"))


def watched_run(certify=None, backend="numpy", **settings):
    dtype = "float64" if settings.pop("float64", False) else "float32"
    arithmetic = settings.pop("arithmetic", "fast")
    chosen = get_backend(backend, dtype=dtype, arithmetic=arithmetic)
    usual = {"layers": [5, 4], "learning_rate": 0.05, "epochs": 40, "rng": 1, "backend": chosen}
    return train(watched_data(), certify=certify, **usual | settings)
