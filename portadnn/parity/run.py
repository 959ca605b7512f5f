"""A training run that is watched: what it declares, and every tensor of the steps that it makes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.choice import check_whole
from portadnn.errors import InputError
from portadnn.network.losses import get_head
from portadnn.network.names import after, before, is_mask, named, of
from portadnn.network.optimizers import Optimizer
from portadnn.network.spec import Network
from portadnn.parity import derived
from portadnn.parity.bounds import Format, declared_format
from portadnn.training.declaration import Declaration, Part
from portadnn.training.problem import Problem
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.sample_space import SampleSpace, choose_form, product_on_host
from portadnn.training.schedules import Plateau
from portadnn.training.step import Shared, make_step, observed_step, train_step

USUAL_STEPS = 50


@dataclass(frozen=True, eq=False)
class Run:
    """A declared run over arrays: all that decides its numbers, except the arithmetic.

    Parameters
    ----------
    network : Network
    parameters : dict of arrays
        The initial parameters, float64 on the host.
    X : array, shape (n_x, m)
    Y : array, shape (n_L, m)
        Float64 on the host; each backend rounds them to its dtype, on the host as well.
    declaration : Declaration
        The rates of a plateau schedule and the steps of L-BFGS follow from the costs, so these
        cannot be declared.
    steps : int, optional
        How many steps to make of those that are declared; default all.
    weights : array, shape (1, m) or (n_L, m), optional
        The weights of the examples, with mean 1.
    drop_last : bool
        Whether the rest of an epoch that does not fill a batch is left out. Only bundles of version
        2 have it; training does not do so.
    sample : bool
        Whether W1 and X are those of sample space: see ``in_sample_space``.
    gram : array, shape (n_1 + m, n_1 + m), optional
        The Gram matrix of sample space, for an l2 penalty.
    declared_weights : array, shape (1, m), optional
        The weights as they should be; default ``weights``.
    given_plan : Plan, optional
        The plan of a run that trains. It replaces that of ``declaration``, which is then not
        used.

    Raises
    ------
    InputError
        If shapes, steps or the declaration cannot be used.
    """

    network: Network
    parameters: Mapping[str, np.ndarray]
    X: np.ndarray
    Y: np.ndarray
    declaration: Declaration
    steps: int = None  # type: ignore[assignment]  # all of them
    weights: np.ndarray | None = None
    drop_last: bool = False
    sample: bool = False
    gram: np.ndarray | None = None
    declared_weights: np.ndarray | None = None
    given_plan: Plan | None = None
    # for ``observe``: zeros of a step's tensors, by backend and batch size
    blanks: dict[tuple[str, int], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.network.check(self.parameters)
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
            raise InputError(
                f"the weights have shape {self.weights.shape}: expected {(1, m)} or {(n_y, m)}"
            )
        if self.given_plan is not None:
            return
        declared = self.declaration
        if not isinstance(declared.solver, Optimizer):
            raise InputError(
                "lbfgs searches along lines for its steps, so they cannot be declared: choose "
                "another optimizer, such as adam"
            )
        if isinstance(self.plan.schedule, Plateau):
            raise InputError(
                "a plateau schedule follows from the costs, so its rates cannot be declared: "
                "choose another schedule, such as cosine"
            )
        steps = self.plan.steps if self.steps is None else self.steps
        if check_whole("number of steps", steps, 1) > self.plan.steps:
            raise InputError(
                f"{steps:,} steps are asked for, but the run has {self.plan.steps:,}: expected no "
                f"more, or a run of more epochs"
            )
        object.__setattr__(self, "steps", steps)
        if declared.data_sha256 is None and not isinstance(declared.data, Part):
            # the arrays are not those that the other settings declare
            declared = replace(
                declared.complete(m),
                data=(self.X, self.Y),
                test=None,
                layers=self.network.layer_dims[1:-1],
                activation=self.network.activations,
                head=self.network.head,
                init=Part(self.parameters),
            )
            object.__setattr__(self, "declaration", declared)

    @classmethod
    def of(cls, problem: Problem, steps: int | None = None) -> Run:
        """The first steps of the run that ``train`` makes of a problem; default 50, or all."""
        declared, plan = problem.declaration, problem.plan
        X, Y = (x.astype(np.float64) for x in problem.arrays())
        weights, again = weights_again(problem)
        run = cls(
            problem.network,
            problem.parameters,
            X,
            Y,
            declared,
            min(USUAL_STEPS, plan.steps) if steps is None else steps,
            weights,
            declared_weights=again,
        )
        if choose_form(declared.first_layer, problem.network, plan) == "feature":
            return run
        return run.in_sample_space(declared.dtype, product_on_host(declared.arithmetic))

    @functools.cached_property
    def plan(self) -> Plan:
        """The run as training has it."""
        if self.given_plan is not None:
            return self.given_plan
        plan = self.declaration.plan(self.network, self.X.shape[1])
        return replace(plan, batches=replace(plan.batches, drop_last=self.drop_last))

    @property
    def recipe(self) -> Recipe:
        """Optimizer, penalties, clipping and dropout."""
        return self.plan.recipe

    @property
    def batch_size(self) -> int | None:
        """None is the whole batch."""
        return self.plan.batches.batch_size

    @functools.cached_property
    def data(self) -> Shared:
        """The data of all examples, as the steps should have them."""
        given = Shared.of(self.X, self.Y, self.weights, network=self.network, recipe=self.recipe)
        return given._replace(gram=self.gram)

    @property
    def shared(self) -> Shared:
        """The arrays that every step reads, in the form that it takes."""
        shared = self.data
        return shared if self.batch_size is None else shared.in_rows()

    def initial_state(self) -> dict[str, np.ndarray]:
        """Parameters and slots before the first step, by name."""
        slots = {
            of(slot, name): np.zeros(shape)
            for name, shape in self.network.shapes.items()
            for slot in self.recipe.slots
        }
        return {**self.parameters, **slots}

    def declared(self, step: int, dtype: str, factor: float = 1.0) -> dict[str, np.ndarray]:
        """What the step should be given: data, weights, scalars and masks, all derived again.

        ``factor`` is that of a plateau schedule on the rate.
        """
        batch, X = derived.batch(self.plan, step), self.X
        given = {"X": X, "Y": self._targets}
        if self.weights is not None:
            given["S"] = self.weights if self.declared_weights is None else self.declared_weights
        if batch is not None:
            given = {name: x[:, batch] for name, x in given.items()}
        again = derived.scalars(self.plan, step, factor)
        for name, x in self.plan.scalars(step, factor).items():
            given[name] = np.full((1, 1), derived.agreed(x, again.get(name, x)))
        rounded = {name: x.astype(dtype, copy=False) for name, x in given.items()}
        if self.sample and batch is not None:
            rounded["place"] = derived.places(batch, X.shape[1])
        size = X.shape[1] if batch is None else len(batch)
        return rounded | {
            named("D", l): derived.mask(self.plan, step, l, self.network.layer_dims[l], size)
            for l in self.recipe.dropped_layers()
        }

    @functools.cached_property
    def _targets(self) -> np.ndarray:
        share, exclusive = self.recipe.label_smoothing, get_head(self.network.head).exclusive
        if not share:
            return self.Y
        return derived.agreed(self.data.Y, derived.targets(self.Y, share, exclusive))

    def entries(self, record: StepRecord) -> int:
        """How many entries the run checks, for the chance that an honest one exceeds its bound."""
        return sum(x.size for x in record.tensors.values()) * self.steps

    def inputs(
        self, start: int, stop: int, backend: Backend, factor: float = 1.0
    ) -> dict[str, Any]:
        """The inputs that change from step to step, for ``backend.repeat``."""
        return self.plan.inputs(start, stop, self.network, backend, factor, sample=self.sample)

    def in_sample_space(self, dtype: str, matmul: Callable[..., np.ndarray] = np.matmul) -> Run:
        """The same training of data and weights in ``dtype``, with the first layer in sample space.

        This is another run: its data are H, and its W1 is K, of ``sample_space.py``.
        """
        W0, X = self.parameters["W1"].astype(dtype), self.X.astype(dtype)
        space = SampleSpace.of(self.network, W0, X, matmul)
        return replace(
            self,
            network=space.network,
            parameters=space.enter(self.parameters),
            X=space.H,
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
    data : dict of arrays, optional
        All examples as the backend has them after the last step, by the names of ``Run.data``.
    arithmetic : {"fast", "reproducible"}
    """

    step: int
    dtype: str
    tensors: dict[str, np.ndarray]
    data: dict[str, np.ndarray] = field(default_factory=dict)
    arithmetic: str = "fast"

    @functools.cached_property
    def wide(self) -> dict[str, np.ndarray]:
        """The tensors in float64, as the bounds take them."""
        return {name: x.astype(np.float64, copy=False) for name, x in self.tensors.items()}

    def form(self, matmul: str | None = None) -> Format:
        """The arithmetic that made it, with products in a declared mode."""
        return declared_format(self.dtype, matmul, self.arithmetic)

    def after(self, network: Network) -> dict[str, np.ndarray]:
        """The parameters that the step ended with."""
        return {name: self.tensors[after(name)] for name in network.shapes}

    def state_after(self) -> dict[str, np.ndarray]:
        """Parameters and slots that the step ended with, by name."""
        return {before(name): x for name, x in self.tensors.items() if name != before(name)}


def weights_again(problem: Problem) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The weights of a problem's examples, and the same derived a second time; or None and None."""
    declared, weights = problem.declaration, problem.weights
    examples = problem.examples["train"]
    given = declared.class_weight, declared.given("sample_weight")
    if weights is None and given == (None, None):
        return None, None
    again = derived.weights(examples.labels, examples.classes, *given)
    if weights is None and np.ptp(again) <= derived.AGREE:
        return None, None
    weights = np.ones_like(again) if weights is None else weights
    return weights, derived.agreed(weights, again)


def dtype_of(tensor: str, dtype: str) -> str:
    """The dtype of a tensor in a run of ``dtype``: masks are bool, places int32."""
    if tensor == "place":
        return "int32"
    return "bool" if is_mask(tensor) else dtype


def watch(
    run: Run, backend: Backend, steps: Iterable[int], *, jit: bool = True, xp: Any = None
) -> Iterator[StepRecord]:
    """Make the run on a backend and yield a record of each of ``steps``, in order.

    The steps between are made by the same program as those that are recorded.

    Parameters
    ----------
    jit : bool
        False runs op by op even if the backend would compile.
    xp : namespace, optional
        Another namespace to compute with, a wrapped one for example; it implies op by op.
    """
    wanted = sorted(set(steps))
    if wanted and not 0 <= wanted[0] <= wanted[-1] < run.steps:
        raise InputError(f"steps {wanted[0]} to {wanted[-1]} are wanted, but there are {run.steps}")
    records = _watched(run, backend, wanted, jit=jit, xp=xp)
    while True:
        with backend.scope():  # left before the yield, so scopes of two backends do not overlap
            record = next(records, None)
        if record is None:
            return
        yield record


def _watched(
    run: Run, backend: Backend, wanted: list[int], *, jit: bool, xp: Any
) -> Iterator[StepRecord]:
    """``watch``, inside of the backend's scope."""
    shared, start = on_backend(run, backend)
    compiled = jit and xp is None
    options = {"network": run.network, "recipe": run.recipe, "sample": run.sample}
    if compiled:
        step = make_step(run.network, backend.xp, observed_step, run.recipe, run.sample)
    else:
        step = functools.partial(observed_step, **options, xp=xp or backend.xp)
    repeat = backend.repeat if compiled else functools.partial(Backend.repeat, backend)
    state: Any = (start, {})
    size, done = None, 0
    for target in wanted:
        for part in run.plan.batches.alike(done, target + 1):
            if run.plan.batches.size(part.start) != size:  # the tensors have other shapes
                size = run.plan.batches.size(part.start)
                state = state[0], _blank_tensors(run, backend, start, shared, part.start)
            inputs = run.inputs(part.start, part.stop, backend)
            state, _ = repeat(step, state, inputs, shared)
        done = target + 1
        record = _recorded(target, backend, state, shared)
        data = {}
        if target == wanted[-1] and run.batch_size is not None:
            given = zip(Shared._fields[:3], shared, strict=False)
            data = {name: backend.to_numpy(x).T for name, x in given if x is not None}
        yield replace(record, data=data)


def observe(
    run: Run, backend: Backend, shared: Shared, state: Any, step: int, factor: float = 1.0
) -> StepRecord:
    """A step from a state of the backend, parameters and slots, by the program of ``watch``."""
    made = make_step(run.network, backend.xp, observed_step, run.recipe, run.sample)
    inputs = run.inputs(step, step + 1, backend, factor)
    if backend.regroups:
        key = backend.name, run.plan.batches.size(step)
        if key not in run.blanks:
            run.blanks[key] = _blank_tensors(run, backend, state, shared, step)
        start = state, run.blanks[key]
        return _recorded(step, backend, backend.repeat(made, start, inputs, shared)[0], shared)
    # the bits are the same, and recording a tape or a graph would take longer
    ended, _ = Backend.repeat(backend, made, (state, {}), inputs, shared)
    return _recorded(step, backend, ended, shared)


def _recorded(step: int, backend: Backend, state: Any, shared: Shared) -> StepRecord:
    """The record of a step from the state that ``observed_step`` ended with."""
    (parameters, slots), tensors = state
    if "X" not in tensors:
        whole = {"X": shared.X, "Y": shared.Y, "S": shared.S}
        tensors = {name: x for name, x in whole.items() if x is not None} | tensors
    tensors = {**tensors, **{after(name): p for name, p in (parameters | slots).items()}}
    host = {name: np.array(backend.to_numpy(x)) for name, x in tensors.items()}
    return StepRecord(step, backend.dtype_name, host, arithmetic=backend.arithmetic)


def final_parameters(
    run: Run, backend: Backend, step: Callable[..., Any] = train_step
) -> dict[str, np.ndarray]:
    """The parameters after the run as training makes it, with nothing watched."""
    with backend.scope():
        shared, state = on_backend(run, backend)
        step = make_step(run.network, backend.xp, step, run.recipe, run.sample)
        for part in run.plan.batches.alike(0, run.steps):
            inputs = run.inputs(part.start, part.stop, backend)
            state, _ = backend.repeat(step, state, inputs, shared)
        return {name: np.array(backend.to_numpy(p)) for name, p in state[0].items()}


def training_step(run: Run, backend: Backend) -> Callable[[StepRecord], dict[str, np.ndarray]]:
    """The program that trains, for one step: from the state of a record to cost and next state."""
    with backend.scope():
        shared, (parameters, slots) = on_backend(run, backend)
    step = make_step(run.network, backend.xp, train_step, run.recipe, run.sample)

    def made(record: StepRecord) -> dict[str, np.ndarray]:
        with backend.scope():
            state = tuple(
                {name: backend.asarray(record.tensors[name]) for name in part}
                for part in (parameters, slots)
            )
            inputs = run.inputs(record.step, record.step + 1, backend)
            (updated, kept), costs = backend.repeat(step, state, inputs, shared)
            found = {after(name): x for name, x in (updated | kept).items()}
            return {
                name: np.array(backend.to_numpy(x))
                for name, x in {"cost": costs[0, ...], **found}.items()
            }

    return made


def on_backend(run: Run, backend: Backend) -> tuple[Shared, tuple[Any, Any]]:
    """The arrays that every step reads, and the first state, in the backend's own memory.

    A step that writes into its operands then changes neither the declaration nor the caller's data.
    """
    parameters = {name: backend.asarray(np.array(p)) for name, p in run.parameters.items()}
    state = parameters, run.recipe.optimizer.init(parameters, xp=backend.xp)
    shared = (None if x is None else backend.asarray(np.array(x)) for x in run.shared)
    return Shared(*shared), state


def _blank_tensors(run: Run, backend: Backend, state: Any, shared: Any, step: int) -> Any:
    """Zeros with the shapes of a step's tensors, because a compiled loop fixes these shapes.

    NumPy makes a step on zeros to find the shapes, because a compiler would take seconds.
    """
    host = get_backend("numpy", dtype=backend.dtype_name)

    def zeros(x: Any) -> Any:
        return None if x is None else np.zeros(x.shape, backend.dtype_name)

    blank = tuple({name: zeros(x) for name, x in part.items()} for part in state)
    first = {name: x[0, ...] for name, x in run.inputs(step, step + 1, host).items()}
    made = make_step(run.network, host.xp, observed_step, run.recipe, run.sample)
    with np.errstate(all="ignore"):
        data = Shared(*map(zeros, shared[:4]))._replace(classes=zeros(shared.classes))
        (_, observed), _ = made((blank, {}), first, data)
    return {
        name: backend.asarray(np.zeros_like(x), dtype=x.dtype.name) for name, x in observed.items()
    }
