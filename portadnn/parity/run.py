"""A training run that is watched: what it declares, and every tensor of the steps that it makes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.loop import check_schedule
from portadnn.training.step import make_step, observed_step, step_tensors, train_step


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
        None is the whole batch. The examples of an epoch are shuffled by Philox, keyed by seed and
        epoch, and what does not fill a batch at its end is left out.
    seed : int

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
    update: str = field(default="gradient_descent", init=False)

    def __post_init__(self) -> None:
        rate, steps = check_schedule(self.learning_rate, self.steps)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "steps", steps)
        self.network.check(self.parameters)
        for name, x in (("X", self.X), ("Y", self.Y), *self.parameters.items()):
            if x.ndim != 2 or not np.isfinite(x).all():
                raise InputError(f"{name} of shape {x.shape}: expected 2 axes and finite numbers")
        n_x, n_y = self.network.layer_dims[0], self.network.layer_dims[-1]
        m = self.X.shape[1]
        if self.X.shape != (n_x, m) or self.Y.shape != (n_y, m) or m == 0:
            raise InputError(
                f"X has shape {self.X.shape} and Y {self.Y.shape}: expected ({n_x}, m) and "
                f"({n_y}, m) for the network {self.network.layer_dims}"
            )
        if self.batch_size is not None and not 1 <= self.batch_size <= m:
            raise InputError(f"batch size is {self.batch_size}: expected 1 to {m}")

    def first(self, steps: int) -> Run:
        """The same run, ended earlier."""
        return replace(self, steps=steps)

    def batch(self, step: int) -> np.ndarray | None:
        """The indices of the step's examples, or None for all."""
        if self.batch_size is None:
            return None
        epoch, i = divmod(step, self.X.shape[1] // self.batch_size)
        order = self._order(epoch)
        return order[i * self.batch_size : (i + 1) * self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        key = np.asarray([self.seed, epoch], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.X.shape[1])

    def declared(self, step: int, dtype: str) -> dict[str, np.ndarray]:
        """``X``, ``Y`` and ``learning_rate`` as the step should see them."""
        batch = self.batch(step)
        X, Y = (self.X, self.Y) if batch is None else (self.X[:, batch], self.Y[:, batch])
        rate = np.full((1, 1), self.learning_rate)
        given = {"X": X, "Y": Y, "learning_rate": rate}
        return {name: x.astype(dtype) for name, x in given.items()}

    def inputs(self, start: int, stop: int, backend: Backend) -> dict[str, Any]:
        """What changes from step to step, for ``backend.repeat``."""
        rates = np.full((stop - start, 1, 1), self.learning_rate)
        inputs = {"learning_rate": backend.asarray(rates)}
        batches = [batch for step in range(start, stop) if (batch := self.batch(step)) is not None]
        if batches:
            inputs["batch"] = backend.asarray(batches, dtype="int32")
        return inputs


@dataclass(frozen=True, eq=False)
class StepRecord:
    """A step as a backend computed it.

    Attributes
    ----------
    step : int
    dtype : str
    tensors : dict of arrays, on the host
        ``X``, ``Y`` and ``learning_rate`` of the step; ``W1, b1, ...`` before and
        ``W1+, b1+, ...`` after it; ``Zl``,
        ``Al``, ``cost``, ``dZl``, ``dAl``, ``dWl``, ``dbl`` in between.
    """

    step: int
    dtype: str
    tensors: dict[str, np.ndarray]

    def after(self, network: Network) -> dict[str, np.ndarray]:
        """The parameters that the step ended with."""
        return {name: self.tensors[f"{name}+"] for name in network.shapes}


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
        X, Y = backend.asarray(run.X), backend.asarray(run.Y)
        parameters = {name: backend.asarray(p) for name, p in run.parameters.items()}
        compiled = jit and xp is None
        namespace = backend.xp if xp is None else xp
        if compiled:
            step = make_step(run.network, namespace, observed_step)
        else:
            step = functools.partial(observed_step, network=run.network, xp=namespace)
        repeat = backend.repeat if compiled else functools.partial(Backend.repeat, backend)
        state = parameters, _blank_tensors(run, backend, parameters, X, Y)
        done = 0
        for target in wanted:
            state, _ = repeat(step, state, run.inputs(done, target + 1, backend), (X, Y))
            done = target + 1
            after, tensors = state
            if "X" not in tensors:
                tensors = {"X": X, "Y": Y, **tensors}
            tensors = {**tensors, **{f"{name}+": p for name, p in after.items()}}
            host = {name: np.array(backend.to_numpy(x)) for name, x in tensors.items()}
            yield StepRecord(target, backend.dtype_name, host)


def final_parameters(
    run: Run, backend: Backend, step: Callable[..., Any] = train_step
) -> dict[str, np.ndarray]:
    """The parameters after the run as training makes it, with nothing watched."""
    with backend.scope():
        X, Y = backend.asarray(run.X), backend.asarray(run.Y)
        parameters = {name: backend.asarray(p) for name, p in run.parameters.items()}
        step = make_step(run.network, backend.xp, step)
        for start in range(0, run.steps, 100):
            stop = min(start + 100, run.steps)
            parameters, _ = backend.repeat(
                step, parameters, run.inputs(start, stop, backend), (X, Y)
            )
        return {name: np.array(backend.to_numpy(p)) for name, p in parameters.items()}


def _blank_tensors(run: Run, backend: Backend, parameters: Any, X: Any, Y: Any) -> Any:
    """Zeros of the shapes of a step's tensors: a compiled loop fixes its state's shapes."""
    first = {name: x[0, ...] for name, x in run.inputs(0, 1, backend).items()}
    _, tensors = step_tensors(parameters, first, X, Y, network=run.network, xp=backend.xp)
    observed = {**parameters, **tensors, "learning_rate": first["learning_rate"]}
    return {name: backend.xp.zeros_like(x) for name, x in observed.items()}
