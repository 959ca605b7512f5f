"""The architecture of a network, as a value."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from portadnn.choice import known_name
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS
from portadnn.network.names import layer_of, named


@dataclass(frozen=True)
class Network:
    """``[LINEAR -> activation] * (L-1) -> LINEAR -> head``: frozen, hashable, everything.

    Parameters
    ----------
    layer_dims : sequence of int
        ``(n_x, n_1, ..., n_L)``: the width of the input and of every layer.
    activations : str or sequence of str
        Activations of the L-1 hidden layers; one name stands for all of them.
    head : str
        Output activation and cost, a row of ``portadnn.network.losses``.

    Raises
    ------
    InputError
        If a width is not a positive integer, a name is unknown, or the number of activations is
        not L-1.

    Examples
    --------
    >>> Network((64, 32, 10), head="softmax").shapes["W2"]
    (10, 32)
    """

    layer_dims: tuple[int, ...]
    activations: tuple[str, ...] = "relu"  # type: ignore[assignment]  # one name for all
    head: str = "sigmoid"

    if TYPE_CHECKING:  # the arguments have more types than the fields

        def __init__(
            self,
            layer_dims: Sequence[int],
            activations: str | Sequence[str] = "relu",
            head: str = "sigmoid",
        ) -> None: ...

    def __post_init__(self) -> None:
        dims = _check_layer_dims(self.layer_dims)
        hidden = len(dims) - 2
        names: Any = self.activations
        one = isinstance(names, str)
        names = [known_name("activation", x, ACTIVATIONS) for x in ([names] if one else names)]
        names = tuple(names * hidden if one else names)
        head = known_name("head", self.head, HEADS)
        if len(names) != hidden:
            raise InputError(
                f"{len(names)} activations were given for {hidden} hidden layers: "
                f"expected one name, or one for each hidden layer (the last layer has the head)"
            )
        if HEADS[head].exclusive and dims[-1] < 2:
            raise InputError(f"a {head} head over 1 unit is always 1: expected 2 units or more")
        object.__setattr__(self, "layer_dims", dims)
        object.__setattr__(self, "activations", names)
        object.__setattr__(self, "head", head)

    @property
    def L(self) -> int:
        """The number of layers, the input not counted."""
        return len(self.layer_dims) - 1

    @cached_property  # every step asks
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of every parameter, in the order W1, b1, W2, b2, ..."""
        shapes = {}
        for l, (n_prev, n_l) in enumerate(
            zip(self.layer_dims, self.layer_dims[1:], strict=False), start=1
        ):
            shapes[named("W", l)] = (n_l, n_prev)
            shapes[named("b", l)] = (n_l, 1)
        return shapes

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise InputError unless ``parameters`` are those of this network, by name and shape."""
        missing = [name for name in self.shapes if name not in parameters]
        extra = [name for name in parameters if name not in self.shapes]
        if missing or extra:
            raise InputError(
                f"parameters are {', '.join(parameters) or 'empty'}: expected "
                f"{', '.join(self.shapes)} for the layers {self.layer_dims}"
            )
        for name, expected in self.shapes.items():
            shape = tuple(parameters[name].shape)
            if shape != expected:
                l = layer_of(name)
                raise InputError(
                    f"{name} has shape {shape}, but layer {l - 1} has {self.layer_dims[l - 1]} "
                    f"units and layer {l} has {self.layer_dims[l]}: expected {expected}"
                )


def infer_network(parameters: Mapping[str, Any]) -> Network:
    """The course's network of these parameters: ReLU hidden layers and a sigmoid head.

    The widths are read from the shapes of ``W1 .. WL``; all else about them is checked.
    """
    L = len(parameters) // 2
    if L == 0 or any(named("W", l) not in parameters for l in range(1, L + 1)):
        raise InputError(
            f"parameters are {', '.join(map(str, parameters)) or 'empty'}: "
            f"expected W1, b1, ..., WL, bL"
        )
    for l in range(1, L + 1):
        if len(parameters[named("W", l)].shape) != 2:
            raise InputError(
                f"W{l} has shape {tuple(parameters[f'W{l}'].shape)}: expected (n_l, n_prev)"
            )
    n_x = parameters["W1"].shape[1]
    network = Network((n_x, *(parameters[named("W", l)].shape[0] for l in range(1, L + 1))))
    network.check(parameters)
    return network


def _check_layer_dims(layer_dims: Iterable[int]) -> tuple[int, ...]:
    try:
        dims = tuple(operator.index(n) for n in layer_dims)
    except TypeError:
        raise InputError(
            f"layer_dims is {layer_dims!r}: expected integers (n_x, n_1, ..., n_L)"
        ) from None
    if len(dims) < 2:
        raise InputError(
            f"layer_dims is {dims}: expected at least the input's width and one layer's"
        )
    for l, n in enumerate(dims):
        if n < 1:
            raise InputError(f"layer {l} has width {n} in layer_dims {dims}: expected 1 or more")
    return dims
