"""A namespace that computes the step of training, but for chosen calls.

The step takes its array namespace as an argument, so a fault is planted there, in the very code
that trains: there is no second copy of the mathematics to keep a fault in.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from portadnn.errors import InputError
from portadnn.network.spec import Network

# a function of the namespace and the tensor that the call is for: ("divide", "dW2")
Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Call:
    """One call that the step makes.

    Attributes
    ----------
    function : callable
        The namespace's own.
    args, kwargs
        What the step calls it with.
    last : dict
        The arguments of the last call at every place: of this step where that has been made, of the
        step before otherwise. At the call's own place they are those of the step before.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    last: Mapping[Place, tuple[Any, ...]]

    def compute(self, *args: Any) -> Any:
        """The function's result, with other arguments where they are given."""
        return self.function(*(args or self.args), **self.kwargs)


Tamper: TypeAlias = Callable[[Call], Any]


def call_order(network: Network) -> dict[str, tuple[str, ...]]:
    """The tensors that a step calls each function for, in order.

    It holds for a network of ReLU layers under a sigmoid head, whose step has no branch.
    """
    L = network.L
    forward, backward = range(1, L + 1), range(L, 0, -1)
    hidden = tuple(f"A{l}" for l in range(1, L))
    products = [name for l in backward for name in (f"dW{l}", f"dA{l - 1}")]
    return {
        "take": ("X", "Y"),  # of a minibatch
        "matmul": (*(f"Z{l}" for l in forward), *products[:-1]),  # all but dA0
        "maximum": (*hidden, "cost"),
        "where": (f"A{L}", *(f"dZ{l}" for l in backward[1:])),
        "log1p": ("cost",),
        "divide": (f"A{L}", "cost", *(f"d{p}{l}" for l in backward for p in "Wb")),
        "sum": ("cost", *(f"db{l}" for l in backward)),
        "multiply": ("cost", *(f"{name}+" for name in network.shapes)),
    }


class Tampered:
    """The namespace ``xp`` with some calls of the step replaced.

    Parameters
    ----------
    xp : namespace
    network : Network
        ReLU layers and a sigmoid head.
    tampers : dict
        What is called instead of the function, by the place of the call.
    step : int
        The first step that is tampered with; those before are computed as they should be.

    Raises
    ------
    InputError
        If the step makes no call at a place.
    """

    def __init__(
        self, xp: Any, network: Network, tampers: Mapping[Place, Tamper], step: int = 0
    ) -> None:
        self._xp, self._tampers, self._step = xp, tampers, step
        self._order = call_order(network)
        self._calls: Counter[str] = Counter()
        self._last: dict[Place, tuple[Any, ...]] = {}
        for name, tensor in tampers:
            if tensor not in self._order.get(name, ()):
                raise InputError(
                    f"the step does not call {name} for {tensor!r}: expected one of {self._order}"
                )

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._xp, name)
        if name not in self._order:
            return function
        return functools.partial(self._call, name, function)

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # the step makes the same calls every time, so a count says which step and which tensor
        step, i = divmod(self._calls[name], len(self._order[name]))
        self._calls[name] += 1
        place = name, self._order[name][i]
        call = Call(function, args, kwargs, self._last)
        tamper = self._tampers.get(place) if step >= self._step else None
        result = call.compute() if tamper is None else tamper(call)
        self._last[place] = args
        return result
