"""A namespace that computes the step of training, but for chosen calls.

The step takes its array namespace as an argument, so a fault is planted there, in the very code
that trains: there is no second copy of the mathematics to keep a fault in.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from portadnn.errors import InputError
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.run import Run

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


def call_order(run: Run) -> dict[str, tuple[str, ...]]:
    """The tensors that a step of the run calls each function for, in order.

    It holds for a network of ReLU layers, whose step has no branch. If a tensor takes several calls
    of a function, they are ``"W1+"``, ``"W1+#2"`` and so on.
    """
    order: dict[str, list[str]] = {}
    for function, tensor in _calls(run):
        labels = order.setdefault(function, [])
        before = sum(label.partition("#")[0] == tensor for label in labels)
        labels.append(f"{tensor}#{before + 1}" if before else tensor)
    return {function: tuple(labels) for function, labels in order.items()}


def _calls(run: Run) -> Iterator[tuple[str, str]]:
    """Function and tensor of every call of a step that may be tampered with."""
    recipe, weighted = run.recipe, run.weights is not None
    L, names, dropped = run.network.L, list(run.network.shapes), recipe.dropped_layers()

    def each(tensor: str, *functions: str) -> Iterator[tuple[str, str]]:
        return ((function, tensor) for function in functions)

    if run.batch_size is not None:
        yield from (("take", name) for name in ("X", "Y", *(("S",) if weighted else ())))
    for l in range(1, L):
        yield from (("matmul", f"Z{l}"), ("maximum", f"A{l}"))
        yield from each(f"AD{l}", "multiply", "where") if l in dropped else ()
    head = HEAD_BOUNDS[run.network.head]
    yield ("matmul", f"Z{L}")
    yield from each(f"A{L}", *head.output_calls)
    yield from each("cost", *head.cost_calls, *(["multiply"] * weighted), "sum", "divide")
    for _ in range(L) if recipe.penalized else ():
        yield from each("penalty", "multiply", "sum", "multiply") if recipe.l2 else ()
        yield from each("penalty", "sum", "multiply") if recipe.l1 else ()
    yield from [("multiply", f"dZ{L}")] if weighted else ()
    for l in range(L, 0, -1):
        yield from [("where", f"dZ{l}")] if l < L else ()
        yield from (*each(f"dW{l}", "matmul", "divide"), *each(f"db{l}", "sum", "divide"))
        if l - 1 in dropped:
            yield ("matmul", f"dAD{l - 1}")
            yield from each(f"dA{l - 1}", "multiply", "where")
        elif l > 1:
            yield ("matmul", f"dA{l - 1}")
    for l in range(1, L + 1) if recipe.penalized else ():
        yield from [("multiply", f"rW{l}")] if recipe.l2 else ()
        yield from each(f"rW{l}", "where", "where") if recipe.l1 else ()
    if recipe.clip_norm is not None:
        for _ in names:
            yield from each("norm", "multiply", "sum")
        yield ("sqrt", "norm")
        for name in names:
            yield from each(f"g{name}", "where", "divide", "where", "multiply")
    for name in names:
        for place, functions in _UPDATES[recipe.optimizer.name]:
            yield from each(f"{place.replace('+', '')}{name}+", *functions)
        if recipe.optimizer.weight_decay and name.startswith("W"):
            yield ("multiply", f"{name}+")


_ADAM = [
    ("v+", ["multiply"] * 2),
    ("s+", ["multiply"] * 3),
    ("+", ["multiply", "sqrt", "multiply", "multiply", "divide"]),
]
# the calls that each optimizer makes for a parameter, by what they are for
_UPDATES = {
    "gradient_descent": [("+", ["multiply"])],
    "momentum": [("v+", ["multiply"]), ("+", ["multiply"])],
    "nesterov": [("v+", ["multiply"]), ("+", ["multiply"] * 2)],
    "rmsprop": [("s+", ["multiply"] * 3), ("+", ["multiply", "sqrt", "divide"])],
    "adam": _ADAM,
    "adamw": _ADAM,
}


class Tampered:
    """The namespace ``xp`` with some calls of the step replaced.

    Parameters
    ----------
    xp : namespace
    run : Run
        Of ReLU layers.
    tampers : dict
        What is called instead of the function, by the place of the call.
    step : int
        The first step that is tampered with; those before are computed as they should be.

    Raises
    ------
    InputError
        If the step makes no call at a place.
    """

    def __init__(self, xp: Any, run: Run, tampers: Mapping[Place, Tamper], step: int = 0) -> None:
        self._xp, self._tampers, self._step = xp, tampers, step
        self._order = call_order(run)
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
