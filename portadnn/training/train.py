"""Training, from the course's call to a whole dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from portadnn.arithmetic import MARK
from portadnn.backends import DTYPES, Backend, backend_of, get_backend
from portadnn.backends.estimate import faster
from portadnn.data.dataset import Dataset
from portadnn.data.labels import task_of
from portadnn.errors import InputError
from portadnn.network.course import Trained
from portadnn.network.initializers import Initializer, Rng
from portadnn.network.optimizers import Optimizer
from portadnn.network.spec import Network
from portadnn.parallel import EXACT_EXAMPLES, MPI, Ranks, together, working
from portadnn.training import texts
from portadnn.training.callbacks import EarlyStopping, History
from portadnn.training.checkpoints import Checkpoints, checkpointed, of_first
from portadnn.training.declaration import AUTO, Declaration
from portadnn.training.digests import digest_of
from portadnn.training.fit import REPORT_EVERY, fit
from portadnn.training.inference import check_fits
from portadnn.training.lbfgs import LBFGS
from portadnn.training.models import Model
from portadnn.training.parts import Part
from portadnn.training.problem import Problem, make_problem
from portadnn.training.recipe import check_schedule
from portadnn.training.rows import as_dataset
from portadnn.training.schedules import Schedule
from portadnn.training.state import check_callbacks
from portadnn.training.stops import DivergenceError, TrainingInterrupted

logger = logging.getLogger("portadnn")

ENDINGS = (DivergenceError, TrainingInterrupted)  # all ranks of a run raise them
# y goes into the data; the others move no bit
NOT_DECLARED = ("callbacks", "certify", "checkpoint", "resume", "stream", "ranks", "y")
COURSE = "randomstate:3"  # draws the initial weights if nothing else is said


def L_layer_model(
    X: Any,
    Y: Any,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    init: str | Initializer | Sequence[str | Initializer] = "he",
    rng: Rng = None,
    network: Network | None = None,
    backend: str | Backend | None = None,
    history: list[tuple[int, float]] | None = None,
    plot_cost: bool = False,
    callbacks: Iterable[Any] = (),
    first_layer: str = "auto",
    arithmetic: str | None = None,
) -> Trained:
    """Train an L-layer network on the whole batch by gradient descent: ``train``'s plain case.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    Y : array, shape (n_L, m)
    layers_dims : sequence of int
        ``(n_x, n_1, ..., n_L)``.
    learning_rate : float
    num_iterations : int
    print_cost : bool
        Print ``Cost after iteration %i: %f`` every 100 iterations.
    init : str or Initializer
        See ``initialize_parameters_deep``.
    rng : int, str, Generator, RandomState or None
        None draws as ``RandomState(3)``, as "randomstate:3" does; an integer seeds
        ``numpy.random.default_rng``.
    network : Network, optional
        None means ReLU in every hidden layer and a sigmoid head.
    backend : str or Backend, optional
        Where to train; None stays where X is. A name computes in the dtype of X, or in float32
        if X is not floating.
    history : list, optional
        Collects ``(iteration, cost)`` every 100 iterations, in full precision. The cost is that of
        the parameters before the iteration's update.
    plot_cost : bool
        Show the cost curve with matplotlib at the end.
    callbacks : iterable
        See ``TrainingState``; they are given a report every 100 iterations.
    first_layer : {"auto", "sample", "feature"}
    arithmetic : {"fast", "reproducible"}, optional
        Both as for ``train``.

    Returns
    -------
    parameters : dict
        ``W1, b1, ..., WL, bL`` on the backend. As the present course has it, ``parameters, costs =
        L_layer_model(...)`` gives a plain dict and the list of the costs that ``history`` collects.

    Raises
    ------
    InputError, TypeError
        If anything given cannot be used; no work has started then.
    BackendUnavailableError
        If the backend cannot run here.
    DivergenceError, TrainingInterrupted
        They have the last ``.parameters``; a TrainingInterrupted is a KeyboardInterrupt.

    Examples
    --------
    >>> X, Y = np.asarray([[-1.0, 1.0]]), np.asarray([[0.0, 1.0]])
    >>> parameters = L_layer_model(X, Y, [1, 1], 1.0, 200, print_cost=True, rng=0)
    Cost after iteration 0: 0.608189
    Cost after iteration 100: 0.010076

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), section 6.5.
    """
    declared = Network(layers_dims)
    network = network or declared
    if declared.layer_dims != network.layer_dims:
        raise InputError(
            f"layers_dims is {declared.layer_dims}, but the network has {network.layer_dims}: "
            f"expected the same"
        )
    check_schedule(learning_rate, num_iterations, "iterations")
    chosen = _backend_for(X, backend, arithmetic)
    recorded: list[tuple[int, float]] = [] if history is None else history
    before = len(recorded)

    def on_costs(start: int, costs: np.ndarray) -> None:
        for iteration, cost in enumerate(costs.tolist(), start):
            if iteration % REPORT_EVERY == 0:
                recorded.append((iteration, cost))
                if print_cost:
                    print(f"Cost after iteration {iteration}: {cost:f}")

    run = Declaration(
        data=(X, Y),
        layers=network.layer_dims[1:-1],
        activation=network.activations,
        head=network.head,
        init=init,
        rng=COURSE if rng is None else rng,
        learning_rate=learning_rate,
        epochs=num_iterations,
        first_layer=first_layer,
        **_settings_of(chosen),
    )
    parameters = fit(
        run.parameters(network),
        X,
        Y,
        network=network,
        backend=chosen,
        plan=run.plan(network, (*getattr(X, "shape", np.shape(X)), 1)[1]),
        callbacks=callbacks,
        report_every=REPORT_EVERY,
        first_layer=first_layer,
        on_costs=on_costs,
    )
    if plot_cost:
        from portadnn.plots import show_costs

        show_costs(recorded, learning_rate)
    return Trained(parameters, [cost for _, cost in recorded[before:]])


def train(
    data: Any,
    y: Any = None,
    *,
    layers: Sequence[int] = (20, 7, 5),
    activations: str | Sequence[str] = "relu",
    init: str | Initializer | Sequence[str | Initializer] | Model = "he",
    optimizer: str | Optimizer | LBFGS = "gradient_descent",
    learning_rate: float | None = None,
    epochs: int = 3000,
    batch_size: int | None = None,
    schedule: str | Schedule = "constant",
    l2: float = 0.0,
    l1: float = 0.0,
    clip_norm: float | None = None,
    dropout: float | Sequence[float] = 0.0,
    label_smoothing: float = 0.0,
    class_weight: str | Mapping[str, float] | None = None,
    sample_weight: Any = None,
    validation: Dataset | tuple[Any, Any] | float | None = None,
    early_stopping: int | EarlyStopping | None = None,
    callbacks: Iterable[Any] = (),
    report_every: int | None = None,
    first_layer: str = "auto",
    rng: Rng = None,
    seed: int | None = None,
    backend: str | Backend = "auto",
    dtype: str | None = None,
    arithmetic: str | None = None,
    matmul: str | None = None,
    preprocess: Any = None,
    certify: Any = None,
    checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
    resume: str | os.PathLike[str] | None = None,
    stream: bool | None = None,
    ranks: str | MPI | Ranks | None = None,
) -> Model:
    """Train a network that predicts the labels of ``data``, with the head that they have.

    Parameters
    ----------
    data : Dataset, path, or X: array of numbers, shape (m, ...), or table
        Labelled, from ``load_dataset``, ``load_digits`` or your own arrays. With ``y`` it is X: a
        row for each example, as in scikit-learn. uint8 is scaled to [0, 1], but not in a table,
        such as a DataFrame, whose columns are one number each.
    y : array, shape (m,) or (m, K), optional
        The labels of X: texts or few whole numbers name classes, which ``model.predict`` gives
        back, and other numbers are values; see ``portadnn.data.labels.read_labels``.
    layers : sequence of int
        Widths of the hidden layers; the input's and the output's follow from the data.
    activations : str or sequence of str
        Activations of the hidden layers.
    init : str, Initializer or a sequence of them, or Model
        One for all layers or one for each, see ``initialize_parameters_deep``. A model is trained
        on: its weights, layers, activations and preprocessing, if it has one, take the place of
        those given here.
    optimizer : str, Optimizer or LBFGS
        "gradient_descent", "momentum", "nesterov", "rmsprop", "adam", "adamw" or "lbfgs", with
        options as in "adam:beta1=0.8,weight_decay=0.01".
    learning_rate : float, optional
        Default that of the optimizer: 0.0075, a tenth of it with momentum, 0.001 for the adaptive
        ones. lbfgs has none.
    epochs : int
        Passes over the data. With the whole batch each is one step.
    batch_size : int, optional
        None is the whole batch. Every epoch is shuffled; its last batch may be smaller.
    schedule : str or Schedule
        "constant", "step", "exponential", "cosine" or "plateau", with options as in
        "cosine:warmup=5,final=0.01".
    l2, l1 : float
        The cost has ``l2 / 2 sum(W^2) + l1 sum(abs(W))`` added.
    clip_norm : float, optional
        The largest norm of all gradients together.
    dropout : float or sequence of float
        The share of units to drop, of all hidden layers or of each.
    label_smoothing : float
        The share of every label that is spread evenly over all classes; see ``Recipe``.
    class_weight : {"balanced"} or dict, optional
        Weights of the classes by name.
    sample_weight : array, shape (m,), optional
        Weights of the examples; only their ratios count.
    validation : Dataset, (X, y) or float, optional
        Data to score every report on, or the share of ``data`` to hold back for it.
    early_stopping : int or EarlyStopping, optional
        Stop when the validation cost has not fallen for so many reports, and return the best.
    callbacks : iterable
        See ``TrainingState``; ready ones are in ``portadnn.training.callbacks``.
    report_every : int, optional
        Epochs between two reports. Default 1, and 100 if an epoch is one step.
    first_layer : {"auto", "sample", "feature"}
        Whether the first layer is kept in sample space, the same algorithm with fewer operations
        if there are more features than examples; "auto" counts them. See ``sample_space.py``.
    rng : int, str, Generator, RandomState or None
        Draws the initial weights: an integer by ``default_rng``, "randomstate:1" as
        ``RandomState(1)``, None as ``RandomState(3)``.
    seed : int, optional
        The seed of shuffles, masks and splits. Default ``rng`` if that is an integer, else 3.
    backend : str or Backend
        Where to train; "auto" takes a working GPU if it is estimated to be faster, else NumPy.
    dtype : {"float32", "float64"}, optional
        The precision of data, weights and arithmetic; None is that of the backend given, else
        "float32".
    arithmetic : {"fast", "reproducible"}, optional
        The library's own, or one that gives the same bits on every backend; None is that of the
        backend given, else "fast".
    matmul : {"plain", "tf32"}, optional
        Products in the dtype, or of float32 with operands that an NVIDIA GPU may round to TF32;
        None is that of the backend given, else "plain".
    preprocess : str, Standardise, Plain or Pixels, optional
        What makes numbers of columns, as in a CSV file: "standardise" with options as in
        "standardise:missing=median,unknown=ignore", "none" or "pixels". A table may then hold texts
        and gaps. The model keeps it and takes such rows. Default "standardise" for tables that
        ``load_dataset`` read, else "none".
    certify : Certifier, optional
        Watches the run and checks its steps; afterwards it has the certificate. No bit changes. A
        resumed run can only be certified if it was watched from its beginning.
    checkpoint : path or Checkpoints, optional
        A directory that gets a checkpoint every minute; ``Checkpoints(path, every=10)`` says how
        many seconds. docs/runs.md says what is promised.
    resume : path, optional
        A directory with checkpoints of the same call, to go on from the newest. ``epochs`` may be
        more than before, and in reproducible arithmetic the backend may be another.
    stream : bool, optional
        Whether the examples of a path stay in the file, as for ``load_dataset``, which makes a
        Dataset of that kind as well. No bit changes.
    ranks : {"mpi"}, MPI or Ranks, optional
        The processes that train together, each of which makes this call with the same data; also
        with options, as in "mpi:timeout=60". The first has callbacks and writes; all return the
        model. docs/ranks.md says what is promised.

    Returns
    -------
    model : Model
        Its parameters are on the host; ``model.history`` has the reports.

    Raises
    ------
    InputError, TypeError
        If anything given cannot be used; no work has started then.
    BackendUnavailableError
        If the backend cannot run here.
    DivergenceError, TrainingInterrupted
        They have the last finite model as ``.model``.

    Examples
    --------
    >>> from portadnn.data.hdf5 import load_digits
    >>> digits, _ = load_digits()
    >>> train(digits, layers=[32], learning_rate=0.5, epochs=5, backend="numpy").network
    Network(layer_dims=(64, 32, 10), activations=('relu',), head='softmax')
    >>> train([[0.1], [0.9]], ["small", "large"], layers=[4], epochs=1, backend="numpy").classes
    ('large', 'small')
    """
    settings = {name: x for name, x in locals().items() if name not in NOT_DECLARED}
    if certify is not None and not hasattr(certify, "certificate"):
        raise TypeError(f"certify is {certify!r}: expected portadnn.Certifier() or None")
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(working(ranks, *ENDINGS))
        with together(ranks):
            chosen, kept = _declare(settings, y)
            checkpoints = None
            if ranks is None or ranks.first:
                checkpoints = stack.enter_context(checkpointed(checkpoint, resume))
        if ranks is not None:
            checkpoints = of_first(checkpoints, ranks)
        with together(ranks):
            problem = make_problem(Declaration(**settings), stream=stream)
            if isinstance(init, Model):
                check_fits(init, problem.examples["train"], labelled=True)
                kept = {"columns": init.columns, "values": init.values}
            if backend == "auto":
                found = checkpoints.found if checkpoints is not None else None
                problem, chosen, reason = settled(problem, chosen, found.backend if found else None)
                logger.info("backend auto: %s (%s)", chosen.name, reason)
        return train_problem(problem, chosen, callbacks, certify, checkpoints, ranks, **kept)


def _declare(settings: dict[str, Any], y: Any) -> tuple[Backend, dict[str, Any]]:
    """Make settings of the arguments of ``train``; returns the backend, and what a model keeps."""
    data, init, validation = (settings[name] for name in ("data", "init", "validation"))
    preprocess, dtype = settings["preprocess"], settings["dtype"]
    goes_on: dict[str, Any] = {}  # classes and task of the model that is trained on
    if isinstance(init, Model):
        widths, head = init.network.layer_dims, init.network.head
        settings |= {"init": Part(init.parameters), "layers": widths[1:-1], "head": head}
        settings["activations"] = init.network.activations
        preprocess = init.preprocess or preprocess
        settings["preprocess"] = preprocess or "none"
        goes_on = {"classes": init.classes, "task": task_of(head, widths[-1])}
        dtype = init.dtype if dtype is None and isinstance(settings["backend"], str) else dtype
    how = {name: settings[name] for name in ("arithmetic", "matmul")}
    chosen = get_backend(settings["backend"], dtype=dtype, **how)
    kept: dict[str, Any] = {}
    raw = preprocess is not None
    if y is not None:
        settings["data"], kept = as_dataset(data, y, raw=raw, **goes_on)
    elif hasattr(data, "__len__") and not isinstance(data, str | Dataset):
        raise InputError("y is missing: expected train(X, y), or a Dataset that has its labels")
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise InputError(f"validation has {len(validation)} parts: expected (X, y)")
        like, known = settings["data"], {"columns": kept.get("columns", ()), "raw": raw}
        if isinstance(like, Dataset):
            known |= {"classes": like.classes, "task": task_of(str(like.head), like.outputs)}
        settings["validation"], _ = as_dataset(*validation, **known)
    if isinstance(validation, str):  # only the program takes the path of a file
        settings["validation"] = texts.number(validation, "validation")
    rng = COURSE if settings["rng"] is None else settings["rng"]
    settings |= _settings_of(chosen) | {"rng": rng, "test": None}
    settings["activation"] = settings.pop("activations")
    return chosen, kept


def settled(
    problem: Problem, backend: Backend, before: str | None = None
) -> tuple[Problem, Backend, str]:
    """The run on the backend of "auto" or on NumPy, whichever should be faster, and why.

    ``before`` is the backend of a resumed run: if it was NumPy, the run stays there.
    """
    chosen, reason = backend, f"{backend.device_text} works"
    if before is None:
        chosen, reason = faster(backend, problem.size)
    elif before == "numpy":
        how = {"dtype": backend.dtype_name, "arithmetic": backend.arithmetic}
        chosen, reason = get_backend(before, **how), "the run goes on where it was"
    declared = dataclasses.replace(problem.declaration, backend=chosen.name)
    return dataclasses.replace(problem, declaration=declared), chosen, reason


def train_problem(
    problem: Problem,
    backend: Backend,
    callbacks: Iterable[Any] = (),
    certify: Any = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks | None = None,
    **kept: tuple[Any, ...],
) -> Model:
    """Make a declared run on a backend: what ``train`` and the program do.

    The model keeps ``columns`` and ``values``, if they are given.

    Raises
    ------
    InputError, TypeError, DivergenceError, TrainingInterrupted
        As for ``train``.
    """
    run, data = problem.declaration, problem.examples["train"]
    callbacks, early = check_callbacks(callbacks), run.given("early_stopping")
    if early is not None:
        early = early if isinstance(early, EarlyStopping) else EarlyStopping(patience=early)
        callbacks = (early, *callbacks)
    if ranks is not None and not ranks.first:
        callbacks = ()
    history = History()

    def as_model(parameters: dict[str, Any]) -> Model:
        host = {name: np.array(backend.to_numpy(p)) for name, p in parameters.items()}
        for p in host.values():
            p.flags.writeable = False  # a backend may keep its copy for the next prediction
        about: dict[str, Any] = {**kept, "scaled": data.scaled, "history": tuple(history.rows)}
        about["preprocess"] = problem.preprocess
        about["arithmetic"] = MARK if backend.arithmetic == "reproducible" else ""
        return Model(problem.network, host, data.classes, data.input_shape, **about)

    if certify is not None:
        certify.problem = problem
    if ranks is not None:
        check_alike(problem, backend, ranks)
    with backend.scope():  # an OutOfMemoryError then says how much was wanted
        settings = fit_settings(problem)
    begin = None
    if checkpoints is not None:
        begin = functools.partial(checkpoints.begin, run=run)
        if checkpoints.found is not None:
            settings["first_layer"] = checkpoints.found.first_layer
    try:
        parameters = fit(
            **settings,
            backend=backend,
            callbacks=(*callbacks, history),
            certify=certify,
            begin=begin,
            ranks=ranks,
        )
    except ENDINGS as error:
        error.model = as_model(error.parameters)
        raise
    finally:
        if checkpoints is not None:  # before the directory is unlocked
            checkpoints.settle()
    return as_model(parameters)


def check_alike(problem: Problem, backend: Backend, ranks: Ranks) -> None:
    """Raise RanksError unless all ranks are about to make the same run, and can.

    In reproducible arithmetic their libraries and devices may differ.
    """
    from portadnn import __version__

    declared = problem.declaration.values()
    if declared["data_sha256"] != AUTO:  # the paths may differ, the examples may not
        declared = {name: x for name, x in declared.items() if name not in ("data", "labels")}
    fast = backend.arithmetic == "fast"
    of_rank = () if fast else ("backend",)
    facts = {name: str(x) for name, x in declared.items() if name not in of_rank}
    facts |= {"portadnn": __version__, "the bits": MARK, "the shares": ranks.text}
    facts["the initial weights"] = digest_of(problem.parameters)[:12]
    if fast:
        facts["the library"] = f"{backend.library} {backend.report().version}"
    ranks.check_same(facts)
    size = problem.plan.batches.size(0)
    if size > EXACT_EXAMPLES and not fast and backend.dtype_name == "float64":
        raise ranks.error(
            f"a batch has {size} examples: ranks add up to {EXACT_EXAMPLES} in reproducible "
            f"arithmetic of float64. Give a batch size, or take float32"
        )


def fit_settings(problem: Problem) -> dict[str, Any]:
    """What a declared run gives ``fit`` and ``make_loop``."""
    X, Y = problem.learnt()
    return {
        "parameters": problem.parameters,
        "X": X,
        "Y": Y,
        "network": problem.network,
        "plan": problem.plan,
        "solver": problem.solver,
        "weights": problem.weights,
        "validation": problem.learnt("validation") if "validation" in problem.examples else None,
        "report_every": problem.declaration.report_every,
        "first_layer": problem.declaration.first_layer,
    }


def _settings_of(backend: Backend) -> dict[str, Any]:
    return {
        "backend": backend.name,
        "dtype": backend.dtype_name,
        "arithmetic": backend.arithmetic,
        "matmul": backend.matmul,
    }


def _backend_for(X: Any, backend: str | Backend | None, arithmetic: str | None) -> Backend:
    dtype = None
    if backend is None:
        backend, dtype = backend_of(X).name, backend_of(X).dtype_name
    elif not isinstance(backend, Backend):
        dtype = str(getattr(X, "dtype", "")).rpartition(".")[2]
    return get_backend(backend, dtype=dtype if dtype in DTYPES else None, arithmetic=arithmetic)
