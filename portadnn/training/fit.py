"""Training of any network on arrays: checks, the form of the first layer, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from portadnn.backends import Backend, get_backend, to_host
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.losses import get_head
from portadnn.network.spec import Network
from portadnn.parallel import Ranks
from portadnn.training.checks import advise_scale, check_data
from portadnn.training.feed import Feed
from portadnn.training.lbfgs import LBFGS, LBFGSLoop
from portadnn.training.loop import Loop
from portadnn.training.recipe import Plan
from portadnn.training.sample_space import SampleSpace, choose_form, product_on_host
from portadnn.training.state import RunState
from portadnn.training.step import Shared, one_hot
from portadnn.training.stops import TrainingInterrupted, signal_of
from portadnn.training.validation import Validation

REPORT_EVERY = 100  # epochs between two reports if an epoch is one step


def usual_report_every(batch_size: int | None, solver: Any) -> int:
    """Epochs between two reports: 1, or more if an epoch is one step of an optimizer."""
    epoch_is_step = batch_size is None and not isinstance(solver, LBFGS)
    return REPORT_EVERY if epoch_is_step else 1


def fit(
    parameters: Mapping[str, Any],
    X: Any,
    Y: Any,
    *,
    backend: Backend,
    begin: Callable[[Loop, RunState], RunState] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train any network on arrays; ``train`` and the estimators call this.

    The parameters are those of ``make_loop``, and ``begin``: called with the loop and the state
    before the first step, it returns the state to run from.

    Returns
    -------
    parameters : dict
        On the backend.

    Raises
    ------
    InputError, TypeError, DivergenceError, TrainingInterrupted
        As for ``train``.
    """
    with backend.scope():
        loop, start = make_loop(parameters, X, Y, backend=backend, **settings)
        advise_scale(X, backend)
        if begin is not None:
            start = begin(loop, start)
        return loop.parameters(certified(loop, start))


def certified(loop: Loop, start: RunState) -> RunState:
    """Run the loop from a state; its watcher, if there is one, certifies the run."""
    if loop.watcher is None:
        return loop.run(start)
    loop.watcher.begin(loop.whole or loop, start)
    try:
        state = loop.run(start)
    except TrainingInterrupted as error:
        _finish(loop, error.state)
        raise
    _finish(loop, state)
    return state


def _finish(loop: Loop, state: RunState) -> None:
    """Let the watcher check the run. Ctrl-C ends the checks, but what was learnt is kept."""
    try:
        loop.watcher.finish(state)
    except KeyboardInterrupt as error:
        done, found = state.step - loop.plan.first_step, loop.parameters(state)
        raise TrainingInterrupted(done, found, state, signal_of(error)) from None


def make_loop(
    parameters: Mapping[str, Any],
    X: Any,
    Y: Any,
    *,
    network: Network,
    backend: Backend,
    plan: Plan,
    solver: LBFGS | None = None,
    weights: Any = None,
    validation: tuple[Any, ...] | None = None,
    scored_as: str | None = None,
    callbacks: Iterable[Any] = (),
    report_every: int | None = None,
    first_layer: str = "auto",
    on_costs: Callable[[int, np.ndarray], None] | None = None,
    certify: Any = None,
    ranks: Ranks | None = None,
) -> tuple[Loop, RunState]:
    """Check everything, choose the first layer's form, place the data, and make the loop.

    Make and run the loop inside the backend's scope.

    Parameters
    ----------
    parameters : dict
        The initial ones, of any library.
    X : array, shape (n_x, m), or Dataset
        The latter if its examples stay in a file: they are read for each batch.
    Y : array, shape (n_L, m)
        What the head takes: 0 and 1 for sigmoid, columns that sum to 1 for softmax, numbers. For
        softmax also (1, m), of integers: the number of each example's class.
    network : Network
    backend : Backend
    plan : Plan
    solver : LBFGS, optional
        Replaces ``plan.recipe.optimizer``; every other optimizer belongs in the recipe.
    weights : array, shape (1, m), optional
        Weights of the examples, of mean 1; (n_L, m) for any head but softmax.
    validation : tuple of arrays (X, Y) or (X, Y, S), optional
        Scored at every report.
    scored_as : str, optional
        The head whose score is reported; default that of the network.
    callbacks, report_every
        As for ``train``.
    first_layer : {"auto", "sample", "feature"}
        As for ``train``.
    on_costs : callable, optional
        Called with the number of a chunk's first step and the costs of its steps.
    certify : Certifier, optional
        Watches the run, see ``portadnn.parity.certifier``.
    ranks : Ranks, optional
        The processes that make the run together. Each is given all data, and takes its share.

    Returns
    -------
    loop : Loop
    start : RunState
        The argument of ``loop.run``. The state of an earlier run of the same declaration also fits.

    Raises
    ------
    InputError, TypeError
        If anything given cannot be used.
    """
    if not isinstance(solver, LBFGS | None):
        raise TypeError(
            f"solver is {solver!r}: expected LBFGS or None; pass any other optimizer as "
            f"Recipe(optimizer=...)"
        )
    if report_every is None:
        report_every = usual_report_every(plan.batches.batch_size, solver)
    plan.recipe.check(network)
    network.check(parameters)
    fed = isinstance(X, Dataset)
    if fed:
        _check_can_be_fed(backend, plan, solver, first_layer, certify)
        first_layer = "feature"
    numbered = _is_numbered(Y, network)
    if numbered and plan.batches.batch_size is None:
        Y, numbered = _dense(Y, network, backend), False
    given = _checked((X, Y, weights), network, backend, numbered=numbered)
    if certify is not None:
        names = zip(("X", "Y", "S"), given, strict=True)
        certify.given = {name: np.asarray(to_host(x)) for name, x in names if x is not None}
        if numbered:  # the steps take the same numbers as without a certificate, and the same bits
            certify.given["Y"] = _dense(Y, network, backend)
    if numbered:
        shared = Shared(*given)._replace(classes=_classes(network))
    else:
        shared = Shared.of(*given, network=network, recipe=plan.recipe)
    held_back = None
    if validation is not None:
        numbered = _is_numbered(validation[1], network)
        checked = _checked(validation, network, backend, "validation ", numbered=numbered)
        X, Y, S = (*checked, None)[:3]
        held_back = Validation(X, Y, S, scored_as, _classes(network) if numbered else None)
    options: dict[str, Any] = {"report_every": report_every, "callbacks": callbacks}
    # in one memory order, whatever the caller's: a step goes over contiguous arrays in blocks
    start = {
        name: backend.asarray(np.ascontiguousarray(to_host(parameters[name])))
        for name in network.shapes
    }
    if solver is None:
        options["on_costs"] = on_costs
        if choose_form(first_layer, network, plan) == "sample":
            W0, examples = (np.asarray(to_host(x)) for x in (start["W1"], shared.X))
            product = product_on_host(backend.arithmetic)
            space = options["space"] = SampleSpace.of(network, W0, examples, product)
            shared = shared._replace(X=space.H, gram=space.gram if plan.recipe.l2 else None)
            if held_back is not None:
                held_back = replace(held_back, X=space.data(np.asarray(to_host(held_back.X))))
        if plan.batches.batch_size is not None:  # a row for each example, in one piece
            X, shared = shared.X, shared._replace(X=None if fed else shared.X)
            shared = shared.mapped(lambda x: _rows(x, backend))
            if fed:
                named = {"Y": shared.Y} | ({} if shared.S is None else {"S": shared.S})
                rest = {name: x.astype(backend.dtype_name) for name, x in named.items()}
                options["feed"] = Feed(X, rest, plan.batches, backend.dtype_name)
                if ranks is not None:
                    options["feed"].own = ranks.own
                shared = Shared(None, None)._replace(classes=shared.classes)
    if held_back is not None:
        X, S = _on(backend, (held_back.X, held_back.S))
        # numbers of classes stay on the host, where each block of them becomes 0 and 1
        Y = held_back.Y if held_back.classes is not None else backend.asarray(held_back.Y)
        options["validation"] = Validation(X, Y, S, scored_as, held_back.classes)
    if ranks is not None:
        options |= {"ranks": ranks, "certified": certify is not None}
        certify = certify if ranks.first else None
    whole = None if ranks is None or certify is None else _in_place(shared, backend, plan)
    if ranks is not None and plan.batches.batch_size is None:
        own = ranks.own(plan.batches.m)
        shared = shared.mapped(lambda x: x[:, own])
    data = _in_place(shared, backend, plan)
    if solver is not None:
        options["solver"] = solver
    loop = (Loop if solver is None else LBFGSLoop)(network, backend, plan, data, **options)
    if certify is not None:
        loop.watcher = certify
        if whole is not None:
            loop.whole = replace(loop, shared=whole, ranks=None)
    return loop, loop.start(start)


def _in_place(shared: Shared, backend: Backend, plan: Plan) -> Shared:
    """The data on the backend, with the slices that are cut once, not in every step."""
    data = Shared(*_on(backend, shared))
    if backend.arithmetic == "reproducible" and plan.batches.batch_size is None:
        operands = {"X": data.X} if data.gram is None else {"X": data.X, "gram": data.gram}
        slices = {name: backend.xp.slices_of(x, axis=0) for name, x in operands.items()}
        data = data._replace(slices=slices)
    return data


def _check_can_be_fed(
    backend: Backend, plan: Plan, solver: LBFGS | None, first_layer: str, certify: Any
) -> None:
    """Raise InputError if a run needs all examples at once, but they stay in a file."""
    needs = {
        "lbfgs minimises over all of them: choose another optimizer, such as adam": solver,
        "a step takes the whole batch of them: give a batch size, such as 128":
            plan.batches.batch_size is None,
        "the sample space holds products of all of them: leave first_layer out":
            first_layer == "sample",
        "a certificate holds all of them against their bounds: leave certify out":
            certify is not None,
        "Dask keeps them in chunks of its own: choose another backend": backend.library == "dask",
    }  # fmt: skip
    for reason, holds in needs.items():
        if holds:
            raise InputError(f"the examples are streamed from a file, but {reason}")


def _is_numbered(Y: Any, network: Network) -> bool:
    """Whether Y holds the number of each example's class in the place of 0 and 1."""
    whole = isinstance(Y, np.ndarray) and Y.dtype.kind in "iu" and Y.ndim == 2 and len(Y) == 1
    return whole and get_head(network.head).exclusive and network.layer_dims[-1] > 1


def _dense(numbers: np.ndarray, network: Network, backend: Backend) -> np.ndarray:
    """0 and 1, (C, m), from the numbers of the classes, (1, m)."""
    made = one_hot(numbers.T, _classes(network), np)
    return np.ascontiguousarray(made.T, dtype=backend.dtype_name)


def _classes(network: Network) -> np.ndarray:
    return np.arange(network.layer_dims[-1])[None, :]


def _checked(
    data: Iterable[Any], network: Network, backend: Backend, what: str = "", **form: bool
) -> list[Any]:
    """``data`` in the dtype of the run, checked on the backend if it is there, else on the host."""
    data = list(data)
    if not all(x is None or backend.owns(x) for x in data):
        holder = get_backend("numpy", dtype=backend.dtype_name)
    else:
        holder = backend
    ready = _on(holder, data)
    check_data(*ready, network=network, backend=holder, what=what, **form)
    return ready


def _rows(x: Any, backend: Backend) -> Any:
    """The columns of ``x`` as rows, in memory as well; an array of the backend stays there."""
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x.T)  # itself if it is in rows already
    xp = backend.xp
    return xp.take(x.T, xp.arange(x.shape[1], device=backend.device), axis=0)


def _on(backend: Backend, arrays: Iterable[Any]) -> list[Any]:
    kept = (Dataset, type(None))
    return [x if isinstance(x, kept) else backend.place(x) for x in arrays]
