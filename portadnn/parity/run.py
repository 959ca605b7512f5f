"""A training run that is watched: what it declares, and every tensor of the steps that it makes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.recipe import PLAIN, Plan, Recipe, check_schedule
from portadnn.training.sample_space import SampleSpace
from portadnn.training.schedules import Constant, Plateau, Schedule, as_schedule
from portadnn.training.step import Shared, make_step, observed_step, train_step
from portadnn.training.streams import Batches, place_of


@dataclass(frozen=True, eq=False)
class Run:
    """The declaration of a run: everything that decides its numbers but the arithmetic.

    Parameters
    ----------
    network : Network
    parameters : dict of arrays
        The initial ones, float64 on the host.
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)
        Float64 on the host; each backend rounds them to its dtype, on the host as well.
    learning_rate : float
    steps : int
    batch_size : int, optional
        None is the whole batch. Every epoch is shuffled, and what does not fill a batch at its end
        is left out.
    seed : int
        Of shuffles and masks.
    recipe : Recipe
        Optimizer, penalties, clipping and dropout.
    schedule : str or Schedule
        Any but a plateau, whose rates are not declared but follow from the costs.
    weights : array, shape (1, m) or (n_L, m), optional
        Of the examples, of mean 1.
    epochs : int, optional
        That the schedule is for; default as many as the steps take.
    sample : bool
        Whether W1 and X are those of sample space: see ``in_sample_space``.
    gram : array, shape (n_1 + m, n_1 + m), optional
        There, with an l2 penalty.

    Raises
    ------
    InputError
        If shapes, rate, steps or batch size cannot be used.
    """

    network: Network
    parameters: Mapping[str, np.ndarray]
    X: np.ndarray
    Y: np.ndarray
    learning_rate: float
    steps: int
    batch_size: int | None = None
    seed: int = 3
    recipe: Recipe = PLAIN
    schedule: Schedule = field(default_factory=Constant)
    weights: np.ndarray | None = None
    epochs: int | None = None
    sample: bool = False
    gram: np.ndarray | None = None

    def __post_init__(self) -> None:
        rate, steps = check_schedule(self.learning_rate, self.steps, "steps")
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        self.network.check(self.parameters)
        self.recipe.check(self.network)
        given = [("X", self.X), ("Y", self.Y), *self.parameters.items()]
        if self.weights is not None:
            given.append(("the weights", self.weights))
        for name, x in given:
            if x.ndim != 2 or not np.isfinite(x).all():
                raise InputError(f"{name} of shape {x.shape}: expected 2 axes and finite numbers")
        n_x, n_y = self.network.layer_dims[0], self.network.layer_dims[-1]
        m = self.X.shape[1]
        if self.X.shape != (n_x, m) or self.Y.shape != (n_y, m) or m == 0:
            raise InputError(
                f"X has shape {self.X.shape} and Y {self.Y.shape}: expected ({n_x}, m) and "
                f"({n_y}, m) for the network {self.network.layer_dims}"
            )
        if self.weights is not None and self.weights.shape not in ((1, m), (n_y, m)):
            raise InputError(f"the weights have shape {self.weights.shape}: expected {(1, m)}")
        if isinstance(self.schedule, Plateau):
            raise InputError(
                "a plateau schedule follows from the costs, so its rates cannot be declared: "
                "choose another schedule, such as cosine"
            )
        _ = self.plan  # its parts are checked

    @functools.cached_property
    def plan(self) -> Plan:
        """The run as training has it."""
        batches = Batches(self.X.shape[1], self.batch_size, self.seed, drop_last=True)
        epochs = self.epochs or -(-self.steps // batches.steps_per_epoch)
        return Plan(self.learning_rate, epochs, batches, self.recipe, self.schedule)

    @property
    def shared(self) -> Shared:
        """What every step reads, as the step takes it."""
        shared = Shared(self.X, self.Y, self.weights, self.gram)
        return shared if self.batch_size is None else shared.in_rows()

    @property
    def slots(self) -> dict[str, tuple[int, int]]:
        """Name and shape of what the optimizer keeps; it starts as zeros."""
        return {
            f"{slot}{name}": shape
            for name, shape in self.network.shapes.items()
            for slot in self.recipe.slots
        }

    def initial_state(self) -> dict[str, np.ndarray]:
        """Parameters and slots before the first step, by name."""
        return {**self.parameters, **{name: np.zeros(shape) for name, shape in self.slots.items()}}

    def first(self, steps: int) -> Run:
        """The same run, ended earlier."""
        return replace(self, steps=steps, epochs=self.plan.epochs)

    def batch(self, step: int) -> np.ndarray | None:
        """The indices of the step's examples, or None for all."""
        return self.plan.batches.indices(step)

    def declared(self, step: int, dtype: str) -> dict[str, np.ndarray]:
        """What the step should be given: data, weights, scalars and masks."""
        batch = self.batch(step)
        given = {"X": self.X, "Y": self.Y}
        if self.weights is not None:
            given["S"] = self.weights
        if batch is not None:
            given = {name: x[:, batch] for name, x in given.items()}
        given |= {name: np.full((1, 1), x) for name, x in self.plan.scalars(step).items()}
        rounded = {name: x.astype(dtype) for name, x in given.items()}
        if self.sample and batch is not None:
            rounded["place"] = place_of(batch, self.X.shape[1])
        return rounded | self.plan.masks(step, self.network)

    def inputs(self, start: int, stop: int, backend: Backend) -> dict[str, Any]:
        """What changes from step to step, for ``backend.repeat``."""
        return self.plan.inputs(start, stop, self.network, backend, sample=self.sample)

    def in_sample_space(self, dtype: str) -> Run:
        """The same training of data and weights in ``dtype``, with the first layer in sample space.

        It is a run of its own, whose data are H and whose W1 is K of ``sample_space.py``.
        """
        W0, X = self.parameters["W1"].astype(dtype), self.X.astype(dtype)
        space = SampleSpace.of(self.network, W0, X)
        return replace(
            self,
            network=space.network,
            parameters=space.enter(self.parameters),
            X=space.H,
            epochs=self.plan.epochs,
            sample=True,
            gram=space.gram if self.recipe.l2 else None,
        )


@dataclass(frozen=True, eq=False)
class StepRecord:
    """A step as a backend computed it.

    Attributes
    ----------
    step : int
    dtype : str
    tensors : dict of arrays, on the host
        What the step was given, as ``Run.declared`` names it; ``W1, b1, ...`` and the slots before
        and ``W1+, b1+, ...`` after it; what ``step_tensors`` names in between.
    """

    step: int
    dtype: str
    tensors: dict[str, np.ndarray]

    def after(self, network: Network) -> dict[str, np.ndarray]:
        """The parameters that the step ended with."""
        return {name: self.tensors[f"{name}+"] for name in network.shapes}

    def state_after(self) -> dict[str, np.ndarray]:
        """Parameters and slots that the step ended with, by name."""
        return {name[:-1]: x for name, x in self.tensors.items() if name.endswith("+")}


def dtype_of(tensor: str, dtype: str) -> str:
    """That a tensor must have in a run of ``dtype``: masks are bool, places int32."""
    if tensor == "place":
        return "int32"
    return "bool" if re.fullmatch(r"D\d+", tensor) else dtype


def watch(
    run: Run, backend: Backend, steps: Iterable[int], *, jit: bool = True, xp: Any = None
) -> Iterator[StepRecord]:
    """Make the run on a backend and yield a record of each of ``steps``, in order.

    The steps between are made by the same program as those that are recorded.

    Parameters
    ----------
    jit : bool
        False runs op by op also where the backend would compile.
    xp : namespace, optional
        Another namespace to compute with, a wrapped one for example; it implies op by op.
    """
    wanted = sorted(set(steps))
    if wanted and not 0 <= wanted[0] <= wanted[-1] < run.steps:
        raise InputError(f"steps {wanted[0]} to {wanted[-1]} are asked for, of {run.steps}")
    with backend.scope():
        shared, start = _on(backend, run)
        compiled = jit and xp is None
        options = {"network": run.network, "recipe": run.recipe, "sample": run.sample}
        if compiled:
            step = make_step(run.network, backend.xp, observed_step, run.recipe, run.sample)
        else:
            step = functools.partial(observed_step, **options, xp=xp or backend.xp)
        repeat = backend.repeat if compiled else functools.partial(Backend.repeat, backend)
        state = start, _blank_tensors(run, backend, start, shared)
        done = 0
        for target in wanted:
            state, _ = repeat(step, state, run.inputs(done, target + 1, backend), shared)
            done = target + 1
            (after, slots), tensors = state
            if "X" not in tensors:
                whole = {"X": shared.X, "Y": shared.Y, "S": shared.S}
                tensors = {name: x for name, x in whole.items() if x is not None} | tensors
            tensors = {**tensors, **{f"{name}+": p for name, p in {**after, **slots}.items()}}
            host = {name: np.array(backend.to_numpy(x)) for name, x in tensors.items()}
            yield StepRecord(target, backend.dtype_name, host)


def final_parameters(
    run: Run, backend: Backend, step: Callable[..., Any] = train_step
) -> dict[str, np.ndarray]:
    """The parameters after the run as training makes it, with nothing watched."""
    with backend.scope():
        shared, state = _on(backend, run)
        step = make_step(run.network, backend.xp, step, run.recipe, run.sample)
        for start in range(0, run.steps, 100):
            stop = min(start + 100, run.steps)
            state, _ = backend.repeat(step, state, run.inputs(start, stop, backend), shared)
        return {name: np.array(backend.to_numpy(p)) for name, p in state[0].items()}


def _on(backend: Backend, run: Run) -> tuple[Shared, tuple[Any, Any]]:
    """What every step reads, and the state before the first, on the backend."""
    parameters = {name: backend.asarray(p) for name, p in run.parameters.items()}
    state = parameters, run.recipe.optimizer.init(parameters, xp=backend.xp)
    return Shared(*(None if x is None else backend.asarray(x) for x in run.shared)), state


def _blank_tensors(run: Run, backend: Backend, state: Any, shared: Any) -> Any:
    """Zeros of the shapes of a step's tensors: a compiled loop fixes its state's shapes."""
    first = {name: x[0, ...] for name, x in run.inputs(0, 1, backend).items()}
    step = make_step(run.network, backend.xp, observed_step, run.recipe, run.sample)
    (_, observed), _ = step((state, {}), first, shared)
    return {name: backend.xp.zeros_like(x) for name, x in observed.items()}
