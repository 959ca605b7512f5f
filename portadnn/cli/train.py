"""``portadnn train``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from portadnn.cli.options import (
    EXIT_DIVERGED,
    EXIT_SIGNAL,
    EXIT_WRONG,
    AsTyped,
    Distributed,
    Isolated,
    JsonOption,
    LabelsFile,
    Stream,
)
from portadnn.cli.output import complain, passes_shown
from portadnn.cli.run_directory import (
    CERTIFICATE,
    NAMES,
    run_directory,
    write_curves,
    write_figures,
    write_run,
)
from portadnn.cli.run_options import (
    NOTHING_TYPED,
    ConfigOption,
    RunOptions,
    check_apart,
    declared_run,
    files_read,
    parse_every,
    resumed_run,
)
from portadnn.training.stops import interruptible

if TYPE_CHECKING:
    from portadnn.backends import Backend
    from portadnn.parallel import Ranks
    from portadnn.parity.certifier import Certifier
    from portadnn.training.callbacks import History
    from portadnn.training.checkpoints import Checkpoints
    from portadnn.training.declaration import Declaration
    from portadnn.training.models import Model
    from portadnn.training.problem import Problem
    from portadnn.training.state import TrainingState


def train(
    data: Annotated[Path | None, AsTyped] = None,
    labels: LabelsFile = None,
    *,
    options: RunOptions = NOTHING_TYPED,
    config: ConfigOption = None,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    resume_anyway: Annotated[bool, Parameter(negative="")] = False,
    checkpoint_every: str | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    isolated: Isolated = False,
    stream: Stream = None,
    distributed: Distributed = None,
    certify: bool | None = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a network on your data, or on the embedded handwritten digits.

    It reads HDF5, CSV, Parquet, NPZ, NPY and IDX files and folders of pictures; the content tells
    which. Test data in or beside the training data, or those of --test, are scored as well. Model,
    configuration, history and figures are written to a directory. Ctrl-C, SIGTERM and SIGHUP stop
    and keep what was learnt.

    Parameters
    ----------
    data
        The file, or a folder with a sub-folder of pictures for each class; without it the digits:
        1,797 images of 8x8 pixels in ten classes.
    out
        The directory for model.h5, config.toml, history.json, cost.png, confusion.png and, of
        images, mistakes.png and weights.png. Default runs/DATE-TIME.
    overwrite
        Replace a run that is there already.
    resume
        Go on with the run in this directory, from its newest checkpoint. You may raise --epochs and
        change --backend and --test; no other setting of the run may change.
    resume_anyway
        Go on also if the backend or device has changed in fast arithmetic. The bits then differ.
    checkpoint_every
        The time between two checkpoints, such as 60s, 5m or 1h, or off. Default 60s.
    log
        A CSV file that gets a row at every report.
    tensorboard
        A directory that gets event files for TensorBoard.
    certify
        Watch the run, check its steps and write certificate.json for `portadnn verify`. No bit of
        the run changes. Exit code 1 if a check fails. A resumed run is watched if it was watched
        before, unless --no-certify is given.
    quiet
        Print nothing but errors.
    """
    from portadnn.backends import environment, get_backend
    from portadnn.cli.output import (
        evaluation_json,
        evaluation_text,
        network_json,
        network_table,
        print_json,
        print_line,
        table_text,
    )
    from portadnn.data.directories import replaced_together
    from portadnn.errors import InputError
    from portadnn.parallel import together, working
    from portadnn.training.callbacks import History
    from portadnn.training.checkpoints import Checkpoints, newest
    from portadnn.training.inference import evaluate, predict
    from portadnn.training.models import fingerprint
    from portadnn.training.problem import make_problem
    from portadnn.training.sample_space import choose_form
    from portadnn.training.train import ENDINGS, settled

    every = parse_every(checkpoint_every)
    given = {"data": data, "labels": labels, **vars(options)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        ranks = stack.enter_context(working(distributed, *ENDINGS))
        first = ranks is None or ranks.first
        silent = as_json or quiet or not first
        say: Callable[[str], None] = (lambda text: None) if silent else print_line
        found = directory = None
        with together(ranks):
            if resume is not None and first:
                directory = stack.enter_context(run_directory(resume, True))
                found = newest(directory)
        found = found if ranks is None else ranks.told(found)
        with together(ranks):
            if found is None:
                if resume_anyway:
                    raise InputError("--resume-anyway is for --resume DIRECTORY: add it")
                run = declared_run(given, config)
            else:
                certify = found.state.watched is not None if certify is None else certify
                alone = {"out": out, "overwrite": overwrite, "config": config}
                given |= {name: value or None for name, value in alone.items()}
                run = resumed_run(found.declaration, given)
            check_apart([out, log, tensorboard], files_read(run, config))
            backend, backend_text = chosen_backend(run)
            how: dict[str, Any] = {"isolated": isolated, "stream": stream}
            with passes_shown(not quiet and first):
                problem = make_problem(run, **how, backend=backend.name)
            if run.backend == "auto":
                problem, backend, reason = settled(problem, backend)
                backend_text = f"{backend.name} (auto: {reason})" if reason else backend_text
            run, examples, network = problem.declaration, problem.examples, problem.network
            if found and found.first_layer != choose_form(run.first_layer, network, problem.plan):
                # auto may choose another form for this number of epochs, but the run keeps its own
                run = dataclasses.replace(run, first_layer=found.first_layer)
            if resume is None and first:
                directory = stack.enter_context(run_directory(out, overwrite))
        if problem.solver is not None and checkpoint_every is None:
            every = None  # lbfgs has no checkpoints
        checkpoints = Checkpoints(None if every is None else directory, every or 0.0, found)
        checkpoints.anyway = resume_anyway

        def begin() -> None:
            for part in examples.values():
                say(f"data: {part.source}, {len(part)} examples of {part.input_shape}")
            on = f"{backend_text} on {backend.device_text}"
            products = f", {run.matmul} products" if run.matmul else ""
            shared = "" if ranks is None else f", {ranks.text} ranks"
            say(f"backend: {on}, {run.dtype}, {run.arithmetic} arithmetic{products}{shared}")
            say(f"descent: {_descent_text(run)}")
            if found is not None:
                say(f"going on from {found.path}, after {found.state.step} steps")
            say(table_text(network_table(network)))

        watch, reports = _Watch(begin), History()
        bar = not quiet and first and sys.stderr.isatty()
        with together(ranks):
            callbacks = _callbacks(log, tensorboard, watch, reports, bar=bar) if first else []
        started = time.perf_counter()
        certifier = _certifier() if certify else None
        model, status, steps, code = _train(
            problem, backend, callbacks, certifier, checkpoints, ranks
        )
        if not first:
            return code
        seconds = time.perf_counter() - started
        state = watch.state
        assert state is not None
        assert directory is not None
        steps = state.steps_done if steps is None else steps
        epochs = steps // state.steps_per_epoch
        record: dict[str, Any] = {
            "status": status,
            "stopped": state.stopped,
            "epochs_done": epochs,
            "steps_done": steps,
            "seconds": seconds,
            "sources": {name: part.source for name, part in examples.items()},
            "environment": environment(backend) | ({"ranks": ranks.text} if ranks else {}),
            "network": network_json(network),
            "config": run.values(),
            "resumed": checkpoints.resumed,
            "history": [row._asdict() for row in reports.rows],
            "fingerprint": fingerprint(model),
        }
        # these examples are preprocessed already
        bare = dataclasses.replace(
            model, preprocess=model.preprocess and model.preprocess.of_targets
        )
        judge = get_backend("numpy", dtype=run.dtype, arithmetic=run.arithmetic)
        scores = {name: evaluate(bare, part, backend=judge) for name, part in examples.items()}
        lines = [evaluation_text(name, score) for name, score in scores.items()]
        what = f"{os.path.basename(examples['train'].source)}: {network.layer_dims}"
        shown = examples.get("test", examples["train"])
        prediction = predict(bare, shown, backend=judge)
        with replaced_together(directory, NAMES) as new:
            files = write_curves(new, reports.rows, "\n".join([what, *lines]), fingerprint(model))
            files |= write_figures(new, bare, shown, prediction)
            proof = None if certifier is None else certifier.certificate
            if proof is not None:
                proof.save(new / CERTIFICATE)
                files["certificate"] = CERTIFICATE
            files |= write_run(new, model, run, record)
        checkpoints.tidy(directory)
        say("\n".join(lines))
        if state.stopped is not None:
            say(f"stopped after epoch {epochs}: {state.stopped}")
        say(
            f"{epochs} epochs, {steps} steps in {seconds:.1f} s; model, "
            f"configuration, history and figures in {directory}"
        )
        say(f"fingerprint: {record['fingerprint']} {model.arithmetic}".rstrip())
        if proof is not None:
            say(f"certificate: {proof}")
        if status == "interrupted" and checkpoints.own:
            say(f"to go on: portadnn train --resume {directory}")
        if as_json:
            record |= {name: evaluation_json(score) for name, score in scores.items()}
            print_json(record | {"files": {k: str(directory / name) for k, name in files.items()}})
    if proof is not None and proof.outcome != "PARITY":
        complain(f"portadnn: error: {proof}")
        return EXIT_WRONG
    return code


@dataclass(eq=False)
class _Watch:
    """Calls ``begin`` once everything has been checked, and keeps the state."""

    begin: Callable[[], None]
    state: TrainingState | None = None

    def on_train_begin(self, state: TrainingState) -> None:
        self.state = state
        self.begin()


def chosen_backend(run: Declaration) -> tuple[Backend, str]:
    """The backend, and why it was chosen, for the log."""
    from portadnn.backends import choose_backend, get_backend

    if run.backend == "auto":
        chosen, reason = choose_backend(dtype=run.dtype)
        name, text = chosen.name, f"{chosen.name} (auto: {reason})"
    else:
        name = text = run.backend
    backend = get_backend(name, dtype=run.dtype, arithmetic=run.arithmetic, matmul=run.matmul)
    return backend, text if name != run.backend else backend.name


def _callbacks(
    log: Path | None, tensorboard: Path | None, watch: _Watch, reports: History, *, bar: bool
) -> list[Any]:
    """The callbacks. Those that may fail are first, so that no failed run is announced."""
    from portadnn.training.callbacks import CSVLog, ProgressBar, TensorBoard

    return [
        *([] if log is None else [CSVLog(log)]),
        *([] if tensorboard is None else [TensorBoard(tensorboard)]),
        watch,
        reports,
        *([ProgressBar()] if bar else []),
    ]


def _certifier() -> Certifier:
    from portadnn.parity.certifier import Certifier

    return Certifier()


def _train(
    problem: Problem,
    backend: Backend,
    callbacks: list[Any],
    certifier: Certifier | None,
    checkpoints: Checkpoints,
    ranks: Ranks | None,
) -> tuple[Model, str, int | None, int]:
    """The model to keep, how training ended, after how many steps if early, and the exit code."""
    from portadnn.training.stops import DivergenceError, TrainingInterrupted
    from portadnn.training.train import train_problem

    used = checkpoints.directory is not None or checkpoints.found is not None
    said = complain if ranks is None or ranks.first else lambda text: None
    try:
        wanted = checkpoints if used else None
        model = train_problem(problem, backend, callbacks, certifier, wanted, ranks)
    except DivergenceError as error:
        said(f"portadnn: error: {error}")
        return error.model, "diverged", error.iteration, EXIT_DIVERGED
    except TrainingInterrupted as error:
        said(f"\nportadnn: {error}; saving what was learnt")
        return error.model, "interrupted", error.iteration, EXIT_SIGNAL + error.signal
    return model, "done", None, 0


def _descent_text(run: Declaration) -> str:
    rate = "" if run.learning_rate is None else f", rate {run.learning_rate:g}"
    batches = "the whole batch" if run.batch_size is None else f"batches of {run.batch_size}"
    return f"{run.optimizer}{rate}, {run.epochs} epochs, {batches}, schedule {run.schedule}"
