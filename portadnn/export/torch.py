"""PyTorch: a model as an ``nn.Sequential``, and an ``nn.Sequential`` of known layers as a model."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from portadnn.choice import known_name
from portadnn.data.foreign import library, reading
from portadnn.data.heads import MEANINGS, meaning_of
from portadnn.errors import InputError
from portadnn.export.safetensors import parameters_of, torch_state
from portadnn.network.activations import NEGATIVE_SLOPE
from portadnn.network.spec import Network
from portadnn.training.models import Model


@functools.cache
def modules() -> dict[str, Any]:
    """PyTorch's modules by our names of activations and heads; a test fails if one is missing."""
    nn = library("torch.nn", "torch")

    class Exp(nn.Module):  # type: ignore[name-defined]  # PyTorch has none
        def forward(self, x: Any) -> Any:
            return x.exp()

    leaky, softmax = nn.LeakyReLU(NEGATIVE_SLOPE), nn.Softmax(dim=1)
    return {"sigmoid": nn.Sigmoid(), "relu": nn.ReLU(), "leaky_relu": leaky, "tanh": nn.Tanh(),
            "identity": nn.Identity(), "softmax": softmax, "poisson": Exp()}  # fmt: skip


def to_torch(model: Model) -> Any:
    """A model's network as a ``torch.nn.Sequential`` on the CPU, in the model's dtype.

    It takes the rows of ``model.prepare(X)`` and returns (m, n_L), probabilities or values. Linear
    layers stand at 0, 2, 4, ..., and an activation after each.

    Raises
    ------
    InputError
        If PyTorch (extra ``torch``) is missing.
    """
    torch = library("torch", "torch")
    layers: list[Any] = []
    dims, dtype = model.network.layer_dims, getattr(torch, model.dtype)
    names = (*model.network.activations, model.network.head)
    for n_prev, n_l, name in zip(dims, dims[1:], names, strict=False):
        # without initial weights, so that PyTorch's generator draws nothing
        linear = torch.nn.utils.skip_init(torch.nn.Linear, n_prev, n_l, dtype=dtype)
        layers += [linear, copy.deepcopy(modules()[name])]
    module = torch.nn.Sequential(*layers)
    module.load_state_dict({name: torch.tensor(x) for name, x in torch_state(model).items()})
    return module


def from_torch(module: Any, *, head: str | None = None, classes: Sequence[str] = ()) -> Model:
    """The model of a ``torch.nn.Sequential`` of Linear layers and activations that portadnn has.

    Dropout and Flatten() change no prediction and are left out. It may hold other Sequentials.

    Parameters
    ----------
    module : torch.nn.Sequential
    head : str, optional
        What the outputs mean, if the last layer is a Linear: "softmax" or "sigmoid" for logits,
        "identity" for values, "poisson" for logarithms of means.
    classes : sequence of str, optional
        Their names, in the order of the outputs; default 0, 1, ...

    Raises
    ------
    InputError
        If PyTorch is missing, or a layer is none of these; the message names it.
    """
    nn = library("torch.nn", "torch")
    ours = {(type(x), str(x)): name for name, x in modules().items()}
    ours[nn.Flatten, str(nn.Flatten())] = ""
    linear: list[Any] = []
    names: list[str] = []  # activations after each
    for place, layer in _layers(nn, module):
        text = re.sub(r"(, )?inplace=True", "", str(layer)).replace("(dim=-1)", "(dim=1)")
        name = ours.get((type(layer), text))
        if type(layer) is nn.Linear:
            linear.append(layer)
            names.append("")
        elif name and linear and names[-1] in ("", "identity"):
            names[-1] = name
        elif name not in ("", "identity") and type(layer) is not nn.Dropout:
            raise InputError(
                f"{place} is {layer}: expected Linear, after it at most one of "
                f"{', '.join(map(str, modules().values()))}, and Dropout and Flatten() anywhere"
            )
    if not linear:
        raise InputError("the module has no Linear layer: expected one or more")
    if not (head or names[-1]):
        raise InputError(
            "the module ends with a Linear, which does not say what its outputs mean: give head, "
            "softmax or sigmoid for logits, identity for values, poisson for logarithms of means"
        )
    last = names.pop()
    head = known_name("head", head or last, MEANINGS)
    if last not in ("", head):
        raise InputError(f"the module ends with {last}, but head is {head!r}: leave head out")
    dims = [linear[0].in_features, *(layer.out_features for layer in linear)]
    if not classes and meaning_of(head).probabilities is not None:
        classes = [str(i) for i in range(meaning_of(head).names(dims[-1])[0])]
    state: list[Any] = []
    with reading("the module", "cannot be read"):
        for layer in linear:
            bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
            state += [x.detach().cpu().numpy() for x in (layer.weight, bias)]
    network = Network(dims, [name or "identity" for name in names], head)
    return Model(network, parameters_of(state), tuple(classes), (dims[0],), scaled=False)


def _layers(nn: Any, module: Any, place: str = "the module") -> Iterator[tuple[str, Any]]:
    """The layers of a Sequential and of those in it, each with its place."""
    if any(getattr(module, f"_forward_{kind}", None) for kind in ("hooks", "pre_hooks")):
        raise InputError(f"{place} has hooks, which may change what it computes: remove them")
    if type(module) is nn.Sequential:
        for i, layer in enumerate(module):
            yield from _layers(nn, layer, f"layer {i} of {place}")
    elif place == "the module":
        kind = type(module).__name__
        raise InputError(f"the module is a {kind}: expected a torch.nn.Sequential, "
                         f"whose order says what is computed")  # fmt: skip
    else:
        yield place, module
