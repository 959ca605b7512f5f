"""The calls of the course's notebooks, in its earlier form and its present one."""

import copy
import pickle
import sys

import numpy as np
import pytest

from portadnn.errors import InputError
from portadnn.network.course import Trained
from portadnn.network.model import L_model_forward
from portadnn.training.inference import predict
from portadnn.training.train import L_layer_model


def problem():
    X = np.random.default_rng(0).standard_normal((5, 12))
    return X, (X[:1] + X[1:2] > 0).astype(float)


@pytest.mark.parametrize("layers_dims", [[5, 1], [5, 3, 1], [5, 4, 3, 2, 1]])
def test_parameters_and_costs(layers_dims):
    history = [(-100, 0.0)]  # left by an earlier run
    parameters, costs = L_layer_model(*problem(), layers_dims, 0.1, 201, history=history)
    assert type(parameters) is dict
    assert costs == [cost for _, cost in history[1:]]
    assert [iteration for iteration, _ in history[1:]] == [0, 100, 200]
    alone = L_layer_model(*problem(), layers_dims, 0.1, 201)
    assert list(alone) == list(parameters)
    assert all((alone[name] == p).all() for name, p in parameters.items())


def test_in_every_other_way_it_is_a_dict():
    W1, b1 = np.ones((1, 2)), np.zeros((1, 1))
    trained = Trained({"W1": W1, "b1": b1}, [0.5])
    assert isinstance(trained, dict)
    assert [name for name in trained] == list(trained) == sorted(trained) == ["W1", "b1"]  # noqa: C416
    assert len(trained) == 2
    assert "b1" in trained
    assert trained["W1"] is W1
    assert dict(trained) == {**trained} == {"W1": W1, "b1": b1}
    first, *rest = trained
    assert (first, rest) == ("W1", ["b1"])
    for again in (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained)), trained | {}):
        assert type(again) is dict
        assert list(again) == ["W1", "b1"]


def test_unpacking_under_a_debugger_and_in_a_comprehension():
    trained = Trained({"W1": 1, "b1": 2}, [0.5])
    assert [costs for _, costs in [trained]] == [[0.5]]
    seen = []
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        parameters, costs = trained
        seen.append((parameters, costs))
    finally:
        sys.settrace(before)
    assert seen == [({"W1": 1, "b1": 2}, [0.5])]


def test_jax_goes_through_it_as_through_a_dict(require):
    require("jax")
    import jax

    X, Y = (jax.numpy.asarray(x) for x in problem())
    trained = L_layer_model(X, Y, [5, 3, 1], 0.1, 5)
    found = jax.jit(lambda X, parameters: L_model_forward(X, parameters)[0])(X, trained)
    np.testing.assert_allclose(found, L_model_forward(X, dict(trained))[0], rtol=1e-5)
    gradient = jax.grad(lambda p: L_model_forward(X, p)[0].sum())(trained)
    assert {name: g.shape for name, g in gradient.items()} == {
        name: p.shape for name, p in trained.items()
    }


def test_predict_of_the_course_says_what_to_write(capsys):
    X, y = problem()
    parameters, _ = L_layer_model(X, y, [5, 1], 0.1, 10)
    with pytest.raises(InputError, match="predict takes a model and data") as caught:
        predict(X, y, parameters)
    lines = str(caught.value).partition("write: ")[2]
    names = {"L_model_forward": L_model_forward, "X": X, "y": y, "parameters": parameters}
    exec(lines, names)
    accuracy = np.mean((L_model_forward(X, parameters)[0] > 0.5) == y)
    assert capsys.readouterr().out == f"Accuracy: {accuracy}\n"
