"""Models of every kind that can be exported, and a check that a program computes the same."""

import importlib
from dataclasses import replace

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.data.preprocess import Column, Preprocess, in_units
from portadnn.export.formats import random_rows, reach
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS as ALL_HEADS
from portadnn.network.spec import Network
from portadnn.training.inference import predict
from portadnn.training.models import Model

# by the head and the number of its outputs
HEADS = {
    ("softmax", 3): ("a", "b", "ç"),
    ("sigmoid", 1): ("no", "yes"),
    ("sigmoid", 3): ("x", "y", "z"),
    ("identity", 1): (),
    ("identity", 2): ("height", "weight"),
    ("poisson", 1): (),
}
NUMBERS = (Column("year", 1.7e9, 31.0), Column("size", -0.25, 1e-3))
TEXTS = (
    Column("town", categories=("", "Bern", 'a "b", c', "Zürich")),
    Column("x", categories=("1",)),
)
KINDS = {
    "plain": None,
    "pictures": None,
    "numbers": Preprocess(NUMBERS),
    "texts": Preprocess(TEXTS),
    "mixed": Preprocess(
        (TEXTS[0], Column("age", 40.0, 7.0, fill=39.5), TEXTS[1], *NUMBERS), "ignore"
    ),
    "values": Preprocess(NUMBERS, scaling=((120.0, 0.5), (-3e6, 40.0))),
    "pixels": Preprocess((Column("p1"), Column("p2")), pixels=True),
    "as they are": Preprocess((Column("a"), Column("b"))),
}


def make_model(head=("softmax", 3), activations=("relu", "tanh"), dtype="float32", kind="plain"):
    """A model with weights and biases that are drawn."""
    preprocess, rng = KINDS[kind], np.random.default_rng(7)
    if kind == "values":
        preprocess = replace(
            preprocess, scaling=preprocess.scaling[: head[1] * (head[0] == "identity")]
        )
    shape = (2, 3, 2) if kind == "pictures" else (5,)
    columns = () if preprocess is None else tuple(c.name for c in preprocess.columns)
    n_x = int(np.prod(shape)) if preprocess is None else len(preprocess.names)
    network = Network((n_x, *(6, 4)[: len(activations)], head[1]), activations, head[0])
    parameters = initialize_parameters_deep(network.layer_dims, rng=rng)
    parameters |= {
        name: rng.normal(size=p.shape) for name, p in parameters.items() if name[0] == "b"
    }
    return Model(
        network,
        {name: p.astype(dtype) for name, p in parameters.items()},
        HEADS[head],
        shape if preprocess is None else (n_x,),
        scaled=kind in ("pictures", "pixels"),
        columns=columns,
        values=HEADS[head] if head[0] == "softmax" else (),
        preprocess=preprocess,
    )


def outputs_of(model, data):
    """(n_L, m) on NumPy."""
    found = predict(model, data)
    found = found.labels if found.probabilities is None else found.probabilities
    return found.reshape(len(data), -1).T[-model.network.layer_dims[-1] :]


def run_module(module, model, data):
    """The outputs (n_L, m) of a module of PyTorch."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return in_units(module(torch.tensor(model.prepare(data))).numpy().T, model.preprocess)


def unit(name, dtype):
    """A model that is one activation or head, of one value, and rows of it over its whole range."""
    values = np.concatenate([np.linspace(-120, 120, 20_001), np.linspace(-4, 4, 10_001)])
    names = ("identity", name) if name in ALL_HEADS else (name, "identity")
    if name == "poisson":
        values = values[np.abs(values) < 80]  # float32 holds exp of these
    one, zero = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    parameters = {"W1": one, "b1": zero, "W2": one, "b2": zero}
    classes = ("a", "b") if name == "sigmoid" else ()
    model = Model(Network((1, 1, 1), *names), parameters, classes, (1,), scaled=False)
    return model, Dataset(values.astype(dtype)[:, None], None, ())


def assert_same(model, run, data=None, moved=0.0):
    """What ``run(data)`` returns, (n_L, m), lies within the derived bound of what the model says.

    By default it is of 1,000 random rows; ``moved(data)`` is by how much other values of X differ.
    """
    data = random_rows(model, 1000, np.random.default_rng(1)) if data is None else data
    found = np.asarray(run(data), dtype=np.float64)
    bound = reach(model, data, moved(data) if callable(moved) else moved)
    assert found.shape == bound.exact.shape
    error = np.abs(found - bound.exact)
    assert np.isfinite(found).all()
    assert (np.abs(outputs_of(model, data) - bound.exact) <= bound.det).all()  # nor do we
    assert (error <= bound.det).all(), np.max(error / bound.det)
    assert np.median(bound.det) < 1e-3 * np.ptp(bound.exact)  # the bound says something
    return data
