import pickle

import numpy as np
import pytest

from portadnn.errors import InputError
from portadnn.network.spec import Network, infer_network


def test_a_network_is_a_value():
    network = Network([4, 3, 2], "tanh", "softmax")
    assert network == Network((4, 3, 2), ("tanh",), "softmax")
    assert hash(network) == hash(Network((4, 3, 2), ("tanh",), "softmax"))
    assert pickle.loads(pickle.dumps(network)) == network
    assert network.L == 2
    assert network.shapes == {"W1": (3, 4), "b1": (3, 1), "W2": (2, 3), "b2": (2, 1)}
    with pytest.raises(AttributeError):
        network.head = "sigmoid"


def test_the_network_of_the_course_is_inferred():
    parameters = {name: np.zeros(shape) for name, shape in Network((4, 3, 1)).shapes.items()}
    assert infer_network(parameters) == Network((4, 3, 1), ("relu",), "sigmoid")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4,),), "expected at least the input's width and one layer's"),
        (((4, 0, 1),), "layer 1 has width 0"),
        (((4, 2.5, 1),), "expected integers"),
        (((4, 3, 1), "rellu"), "unknown activation 'rellu': did you mean 'relu'"),
        (((4, 3, 1), ("relu", "relu")), "2 activations were given for 1 hidden layers"),
        (((4, 3, 1), "relu", "sigmod"), "unknown head 'sigmod': did you mean 'sigmoid'"),
        (((4, 3, 1), "relu", "softmax"), "softmax head over 1 unit is always 1"),
    ],
)
def test_what_is_no_network(arguments, message):
    with pytest.raises(InputError, match=message):
        Network(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W2": None}, "expected W1, b1, W2, b2"),
        ({"b2": np.zeros((2, 1))}, r"b2 has shape \(2, 1\)"),
        ({"W3": np.zeros((1, 1))}, "expected W1, b1, W2, b2 for the layers"),
    ],
)
def test_parameters_of_another_network(change, message):
    network = Network((4, 3, 1))
    parameters = {name: np.zeros(shape) for name, shape in network.shapes.items()} | change
    parameters = {name: p for name, p in parameters.items() if p is not None}
    with pytest.raises(InputError, match=message):
        network.check(parameters)


def test_nothing_to_infer_from():
    with pytest.raises(InputError, match="parameters are empty: expected W1, b1"):
        infer_network({})
