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

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.names import after
from portadnn.parity.calls.recording import RecordingNamespace
from portadnn.parity.run import Run, on_backend
from portadnn.parity.step.operations import step_order
from portadnn.training.step import Shared, observed_step

# a function of the namespace and the tensor that the call is for: ("divide", "dW2")
Place: TypeAlias = tuple[str, str]

# A fault may replace these.
FUNCTIONS = ("divide", "exp", "log", "log1p", "matmul", "maximum", "multiply", "sqrt", "sum",
             "take", "where")  # fmt: skip


@dataclass(frozen=True)
class StepCall:
    """One call that the step makes of a function of the namespace, and its place.

    ``last`` has the arguments of the last call at every place: of this step if that has been made,
    of the step before otherwise, so also at the call's own place.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: Place
    last: Mapping[Place, tuple[Any, ...]]

    def compute(self, *args: Any) -> Any:
        """The function's result, with other arguments where they are given."""
        return self.function(*(args or self.args), **self.kwargs)


FaultyCall: TypeAlias = Callable[[StepCall], Any]


class _Traced(RecordingNamespace):
    """It also knows the calls of its functions from those of operators, by their numbers."""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self.of_functions: list[int] = []

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super().call(name, function, *args, **kwargs)
        if name in FUNCTIONS and function is getattr(self._xp, name):
            self.of_functions.append(len(self.calls))
        return result


def call_order(run: Run) -> dict[str, tuple[str, ...]]:
    """The tensors that a step of the run calls each function for, in order.

    A step is recorded: a call is for the first tensor that it leads to. If a tensor takes several
    calls of a function, they are ``"W1+"``, ``"W1+#2"`` and so on. It holds for every step of a
    network of ReLU layers, which has no branch.
    """
    backend = get_backend("numpy")
    traced = _Traced(backend)
    shared, state = on_backend(run, backend)
    inputs = {name: traced.input(x[0, ...]) for name, x in run.inputs(0, 1, backend).items()}
    ((parameters, slots), tensors), _ = observed_step(
        (tuple({name: traced.input(x) for name, x in part.items()} for part in state), {}),
        inputs,
        Shared(*(None if x is None else traced.input(x) for x in shared)),
        network=run.network, recipe=run.recipe, sample=run.sample, xp=traced,
    )  # fmt: skip
    tensors |= {after(name): x for name, x in (parameters | slots).items()}
    made_for: dict[int, str] = {}
    for tensor in ("X", "Y", "S", *(tensor for _, tensor in step_order(run))):
        origins = [tensors[tensor]._origin] if tensor in tensors else []
        while origins:
            number, _ = origins.pop()
            if number and number not in made_for:
                made_for[number] = tensor
                origins += filter(None, traced.calls[number - 1].origins)
    order: dict[str, list[str]] = {}
    for number in filter(made_for.get, traced.of_functions):
        tensor, labels = made_for[number], order.setdefault(traced.calls[number - 1].function, [])
        before = sum(label.partition("#")[0] == tensor for label in labels)
        labels.append(f"{tensor}#{before + 1}" if before else tensor)
    return {function: tuple(labels) for function, labels in order.items()}


class FaultyNamespace:
    """The namespace ``xp`` with the calls at some places replaced, from a step on.

    The run is of ReLU layers. An InputError is raised if its step makes no call at a place.
    """

    def __init__(self, xp: Any, run: Run, calls: Mapping[Place, FaultyCall], step: int = 0) -> None:
        self._xp, self._faulty, self._step = xp, calls, step
        self._order = call_order(run)
        self._calls: Counter[str] = Counter()
        self._last: dict[Place, tuple[Any, ...]] = {}
        for name, tensor in calls:
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
        call = StepCall(function, args, kwargs, place, self._last)
        faulty = self._faulty.get(place) if step >= self._step else None
        result = call.compute() if faulty is None else faulty(call)
        self._last[place] = args
        return result
