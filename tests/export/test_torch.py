"""Models as modules of PyTorch, and modules of PyTorch as models."""

import copy

import numpy as np
import pytest
from export_support import HEADS, KINDS, assert_same, make_model, run_module, unit

import portadnn as dnn
from portadnn.errors import InputError
from portadnn.export.torch import from_torch, modules, to_torch
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS as ALL_HEADS

torch = pytest.importorskip("torch")
nn = torch.nn


def test_every_activation_and_head_has_a_module():
    assert modules().keys() == ACTIVATIONS.keys() | ALL_HEADS.keys()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_activation(dtype, head, activation):
    model = make_model(head, (activation,) * 2, dtype)
    module = to_torch(model)
    assert_same(model, lambda data: run_module(module, model, data))
    again = from_torch(module, classes=model.classes)
    assert dnn.fingerprint(again) == dnn.fingerprint(model)
    assert (again.network, again.classes) == (model.network, model.classes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_preprocessing(dtype, kind):
    model = make_model(("identity", 2), dtype=dtype, kind=kind)
    module = to_torch(model)
    assert_same(model, lambda data: run_module(module, model, data))


@pytest.mark.parametrize("name", sorted((ACTIVATIONS.keys() | ALL_HEADS.keys()) - {"softmax"}))
def test_the_whole_range(dtype, name):
    model, data = unit(name, dtype)
    assert_same(model, lambda data: run_module(to_torch(model), model, data), data)


def test_the_state_dict_is_that_of_linear_layers():
    model = make_model()
    before = torch.get_rng_state()
    module = to_torch(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [*module.state_dict()] == [
        f"{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")
    ]
    with torch.no_grad():
        module[0].weight += 1.0
    assert dnn.fingerprint(model) == dnn.fingerprint(make_model())  # the model has its own memory
    again = from_torch(module)
    bits = dnn.fingerprint(again)
    with torch.no_grad():
        module[0].weight += 1.0
        module[0].bias += 1.0
    assert dnn.fingerprint(again) == bits


def sequential(*layers):
    torch.manual_seed(3)
    return nn.Sequential(*layers)


def test_what_predicts_nothing_is_left_out():
    act = nn.ReLU(inplace=True)  # one module at two places
    module = sequential(
        nn.Flatten(), nn.Linear(12, 8, bias=False), act, nn.Dropout(0.5),
        nn.Sequential(nn.Linear(8, 6), act, nn.Identity()), nn.Linear(6, 5), nn.Linear(5, 4),
        nn.LeakyReLU(), nn.Linear(4, 3), nn.Softmax(dim=-1),
    ).double().eval()  # fmt: skip
    model = from_torch(module)
    assert model.network == dnn.Network(
        (12, 8, 6, 5, 4, 3), ("relu", "relu", "identity", "leaky_relu"), "softmax"
    )
    assert (model.input_shape, model.classes, model.dtype) == ((12,), ("0", "1", "2"), "float64")

    def run(data):
        with torch.no_grad():
            return module(torch.tensor(data.examples)).numpy().T

    assert_same(model, run)


@pytest.mark.parametrize(
    ("head", "outputs", "of_logits"),
    [
        ("softmax", 3, lambda Z: torch.softmax(Z, dim=1)),
        ("sigmoid", 1, torch.sigmoid),
        ("identity", 2, lambda Z: Z),
        ("poisson", 1, torch.exp),
    ],
)
def test_a_module_that_ends_in_logits(head, outputs, of_logits):
    module = sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs))
    model = from_torch(module, head=head)

    def run(data):
        with torch.no_grad():
            return of_logits(module(torch.tensor(data.examples))).numpy().T

    assert_same(model, run)
    with pytest.raises(InputError, match="does not say what its outputs mean: give head, softmax"):
        from_torch(module)


class Own(nn.Module):
    def forward(self, x):
        raise AssertionError("it was run")


class Flatten(nn.Module):
    """Another than PyTorch's, which shows itself as that does."""

    def __repr__(self):
        return str(nn.Flatten())


def hooked(place):
    module = sequential(nn.Linear(2, 2), nn.Sigmoid())
    (module[0] if place else module).register_forward_pre_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 1)), "layer 1 of the module"),
        (lambda: sequential(nn.Linear(2, 2), nn.GELU()), "is GELU(approximate='none'): e"),
        (lambda: sequential(nn.Linear(2, 2), nn.LeakyReLU(0.2)), "is LeakyReLU(negative_slope=0."),
        (lambda: sequential(nn.Linear(2, 2), nn.Softmax(dim=0)), "is Softmax(dim=0): expected"),
        (lambda: sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "is BatchNorm1d(2"),
        (lambda: sequential(nn.Linear(2, 2), nn.AlphaDropout()), "is AlphaDropout("),
        (lambda: sequential(nn.Flatten(2), nn.Linear(2, 2)), "is Flatten(start_dim=2"),
        (lambda: sequential(nn.Linear(2, 2), nn.Sequential(Own())), "layer 0 of layer 1 of"),
        (lambda: nn.Linear(2, 2), "the module is a Linear: expected a torch.nn.Sequential"),
        (Own, "the module is a Own: expected a torch.nn.Sequential"),
        (lambda: 3, "the module is a int: expected a torch.nn.Sequential"),
        (lambda: sequential(), "the module has no Linear layer"),
        (lambda: sequential(nn.ReLU(), nn.Linear(2, 2)), "is ReLU(): expected Linear, after"),
        (lambda: sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh()), "layer 2 of the module is"),
        (lambda: sequential(nn.Linear(2, 2), nn.ReLU()), "unknown head 'relu'"),
        (lambda: sequential(nn.Linear(2, 2), nn.Sigmoid()).half(), "weights are of float16"),
        (lambda: sequential(nn.Linear(2, 2), nn.Sigmoid()).bfloat16(), "cannot be read: Got"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "ParametrizedLinear"),
        (lambda: sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Tanh()),
         "ParametrizedLinear"),
        (lambda: hooked(True), "layer 0 of the module has hooks"),
        (lambda: hooked(False), "the module has hooks"),
        (lambda: sequential(Flatten(), nn.Linear(2, 2)), "layer 0 of the module is Flatten("),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_named(module, message):
    with pytest.raises(InputError) as error:
        from_torch(module())
    assert message in str(error.value)


def test_a_head_that_is_another_than_the_module_has():
    module = sequential(nn.Linear(2, 2), nn.Softmax(dim=1))
    with pytest.raises(InputError, match="ends with softmax, but head is 'sigmoid'"):
        from_torch(module, head="sigmoid")
    with pytest.raises(InputError, match="3 classes, but the network has 2 outputs"):
        from_torch(module, classes=["a", "b", "c"])
    mixed = copy.deepcopy(module)
    mixed[0].bias = nn.Parameter(mixed[0].bias.double())
    with pytest.raises(InputError, match="weights are of float32, float64"):
        from_torch(mixed)
    with torch.no_grad():
        module[0].weight[0, 0] = np.nan
    with pytest.raises(InputError, match="W1 holds values that are not finite"):
        from_torch(module)
