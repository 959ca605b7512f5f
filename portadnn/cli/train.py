"""``portadnn train``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from portadnn.cli.options import (
    EXIT_DIVERGED,
    EXIT_INTERRUPTED,
    BackendOption,
    Dtype,
    JsonOption,
    WholeNumber,
    parse_layers,
)

if TYPE_CHECKING:
    from portadnn.data.dataset import Dataset
    from portadnn.data.models import Model
    from portadnn.training.loop import Report

FILES = {"model": "model.h5", "history": "history.json", "cost_curve": "cost.png"}
DIGITS_DEFAULTS = {"layers": "64,32", "learning_rate": 0.5, "iterations": 1000}
FILE_DEFAULTS = {"layers": "20,7,5", "learning_rate": 0.0075, "iterations": 3000}


def train(
    data: Path | None = None,
    /,
    *,
    test: Path | None = None,
    layers: str | None = None,
    learning_rate: float | None = None,
    iterations: WholeNumber | None = None,
    init: str = "he",
    seed: WholeNumber = 3,
    backend: BackendOption = "auto",
    dtype: Dtype = "float32",
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a network on an HDF5 file of images, or on the embedded handwritten digits.

    The file holds train_set_x (m, ...), train_set_y (m,) and list_classes; test_set_x and
    test_set_y in the same file, or in the one of --test, are scored as well. Model, cost curve and
    history are written to a directory. Ctrl-C stops and keeps what was learnt.

    Parameters
    ----------
    data
        The HDF5 file; without it the digits: 1,797 images of 8x8 pixels in ten classes.
    test
        An HDF5 file with test_set_x and test_set_y.
    layers
        Widths of the hidden layers, or none. Default 20,7,5 for a file, 64,32 for the digits.
    learning_rate
        Default 0.0075 for a file, 0.5 for the digits.
    iterations
        Steps of gradient descent over the whole batch. Default 3000 for a file, 1000 for the
        digits.
    init
        zeros, normal, lecun, xavier or he, with _normal or _uniform and :GAIN if need be, for
        example xavier_uniform or normal:0.05.
    seed
        Seeds numpy.random.default_rng, which draws the initial weights.
    dtype
        The precision of data, weights and arithmetic.
    out
        The directory for model.h5, cost.png and history.json. Default runs/DATE-TIME.
    overwrite
        Replace a model that is there already.
    quiet
        Print nothing but errors.
    """
    from portadnn.backends import choose_backend, get_backend
    from portadnn.cli.output import (
        evaluation_json,
        evaluation_text,
        network_json,
        network_table,
        print_json,
        print_line,
        table_text,
    )
    from portadnn.network.initializers import as_initializer, as_rng
    from portadnn.training.inference import evaluate
    from portadnn.training.loop import DivergenceError, TrainingInterrupted, check_schedule
    from portadnn.training.train import network_for
    from portadnn.training.train import train as train_model

    defaults: dict[str, Any] = DIGITS_DEFAULTS if data is None else FILE_DEFAULTS
    rate, steps = check_schedule(
        defaults["learning_rate"] if learning_rate is None else learning_rate,
        defaults["iterations"] if iterations is None else iterations,
    )
    hidden = parse_layers(defaults["layers"] if layers is None else layers)
    initializer, rng = as_initializer(init), as_rng(seed)
    if backend == "auto":
        chosen, reason = choose_backend(dtype=dtype)
        backend_text = f"{chosen.name} (auto: {reason})"
    else:
        chosen = get_backend(backend, dtype=dtype)
        backend_text = chosen.name
    train_data, test_data = _load(data, test)
    for examples in filter(None, (train_data, test_data)):
        examples.check_range(dtype)
    network = network_for(train_data, hidden)
    say: Callable[[str], None] = (lambda text: None) if as_json or quiet else print_line

    with _run_directory(out, overwrite) as directory:
        say(f"data: {train_data.source}, {len(train_data)} examples of {train_data.input_shape}")
        say(f"backend: {backend_text}, {dtype}")
        say(table_text(network_table(network)))
        status, exit_code, done = "done", 0, steps
        history: list[tuple[int, float]] = []
        started = time.perf_counter()
        try:
            with _progress(steps, shown=not quiet and sys.stderr.isatty()) as on_report:
                model = train_model(
                    train_data,
                    layers=hidden,
                    learning_rate=rate,
                    num_iterations=steps,
                    init=initializer,
                    rng=rng,
                    backend=chosen,
                    history=history,
                    on_report=on_report,
                )
        except DivergenceError as error:
            status, exit_code, done, model = "diverged", EXIT_DIVERGED, error.iteration, error.model
            print(f"portadnn: error: {error}", file=sys.stderr)
        except TrainingInterrupted as error:
            status, exit_code, done = "interrupted", EXIT_INTERRUPTED, error.iteration
            model = error.model
            print(f"\nportadnn: {error}; saving what was learnt", file=sys.stderr)
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {
            "status": status,
            "iterations_done": done,
            "seconds": seconds,
            "data": train_data.source,
            "test_data": test_data.source if test_data else None,
            "backend": chosen.name,
            "device": str(chosen.device),
            "dtype": dtype,
            "network": network_json(network),
            "learning_rate": rate,
            "iterations": steps,
            "init": str(initializer),
            "seed": seed,
            "history": history,
        }
        files = _write(directory, model, record)
        scores = {"train": evaluate(model, train_data)}
        if test_data is not None:
            scores["test"] = evaluate(model, test_data)
        for name, score in scores.items():
            say(evaluation_text(name, score))
        say(f"{done} iterations in {seconds:.1f} s; model, cost curve and history in {directory}")
        if as_json:
            record |= {name: evaluation_json(score) for name, score in scores.items()}
            print_json(record | {"files": files})
    return exit_code


def _load(data: Path | None, test: Path | None) -> tuple[Dataset, Dataset | None]:
    from portadnn.data.hdf5 import has_split, load_dataset, load_digits

    if data is None:
        train_data, test_data = load_digits()
        if test is not None:
            test_data = load_dataset(test, "test")
    else:
        train_data, test_data = load_dataset(data, "train"), None
        if test is not None or has_split(data, "test"):
            test_data = load_dataset(test or data, "test")
    if test_data is not None:
        train_data.check_alike(test_data)
    return train_data, test_data


@contextlib.contextmanager
def _run_directory(out: Path | None, overwrite: bool) -> Iterator[Path]:
    """The directory of the run, found writable before training; removed if nothing came of it."""
    from portadnn.errors import InputError

    directory = out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    missing: list[Path] = []
    try:
        if (directory / FILES["model"]).exists() and not overwrite:
            raise InputError(
                f"{directory} already holds a model: choose another --out, or add --overwrite"
            )
        for name in FILES.values():
            if (directory / name).is_dir():
                raise InputError(f"{directory / name} is a directory: choose another --out")
        missing += [p for p in (directory, *directory.parents) if not p.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".portadnn-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        _remove_empty(missing)
        raise InputError(
            f"the output directory {directory} cannot be written ({error.strerror}): "
            f"choose another --out"
        ) from error
    try:
        yield directory
    finally:
        _remove_empty(missing)


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # it holds files by now
            directory.rmdir()


@contextlib.contextmanager
def _progress(steps: int, *, shown: bool) -> Iterator[Callable[[Report], None] | None]:
    """A progress bar on stderr: iteration, cost, rate, time left."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("iteration {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("cost {task.fields[cost]:.6f}"),
        TextColumn("{task.fields[rate]:.0f} it/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=steps, cost=float("nan"), rate=0.0)

        def on_report(report: Report) -> None:
            rate = report.iteration / report.seconds
            bar.update(task, completed=report.iteration, cost=report.cost, rate=rate)

        yield on_report


def _write(directory: Path, model: Model, record: dict[str, Any]) -> dict[str, str]:
    """Model, cost curve and history, each whole or not there."""
    import json

    from portadnn.data.files import atomic_path
    from portadnn.data.models import save_model
    from portadnn.plots import save_cost_curve

    files = {what: directory / name for what, name in FILES.items()}
    save_model(model, files["model"])
    with atomic_path(files["history"]) as path:
        path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
    with atomic_path(files["cost_curve"]) as path:
        save_cost_curve(record["history"], record["learning_rate"], path)
    return {name: str(path) for name, path in files.items()}
