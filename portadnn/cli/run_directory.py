"""The directory of a run: checked to be writable before training, filled after it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from portadnn.data.dataset import Dataset
    from portadnn.training.declaration import Declaration
    from portadnn.training.inference import Prediction
    from portadnn.training.models import Model
    from portadnn.training.state import EpochRecord

FILES = {"model": "model.h5", "config": "config.toml", "history": "history.json"}
CURVES = "cost.png"
CERTIFICATE, STATES = "certificate.json", "certificate.h5"
FIGURES = {
    "confusion": "confusion.png",
    "roc": "roc.png",
    "residuals": "residuals.png",
    "mistakes": "mistakes.png",
    "weights": "weights.png",
}
NAMES = [
    CURVES,
    *FIGURES.values(),
    STATES,
    CERTIFICATE,
    *reversed(FILES.values()),
]  # in the order in which they are put in place: the model is the last

_HEADER = """\
# All that decides what this run of portadnn {version} computed. On {where}
# number of threads it gives the same weights, bit for bit:
#     portadnn train --config {name} --out ANOTHER_DIRECTORY
# The fingerprint of these weights is {fingerprint}.
"""
_PARTS = "# It went on in another environment, see `resumed` in history.json.\n"
_WHERE = {
    "fast": "the same backend, device and",
    "reproducible": "any backend, device and",
}


@contextlib.contextmanager
def run_directory(out: Path | None, overwrite: bool) -> Iterator[Path]:
    """The directory of the run, claimed before training; removed if it stays empty."""
    from portadnn.data.directories import claimed
    from portadnn.data.files import format_of
    from portadnn.errors import InputError
    from portadnn.training.checkpoints import paths_in

    if out is not None and format_of(out) and not out.is_dir():
        raise InputError(
            f"--out {out} names a file: expected a directory, which gets {FILES['model']} and "
            f"more, such as {out.with_suffix('')}"
        )
    directory, made = _new_directory() if out is None else (out, [])
    with writable_directory(directory, "--out", NAMES, made), claimed(directory, "--out"):
        check_figures(directory, "--out")
        if not overwrite and (directory / FILES["model"]).exists():
            raise InputError(
                f"{directory} already holds a model: choose another --out, or add --overwrite"
            )
        if not overwrite and paths_in(directory):
            raise InputError(
                f"{directory} holds a run that has not ended: go on with --resume {directory}, or "
                f"add --overwrite"
            )
        yield directory


def _new_directory() -> tuple[Path, list[Path]]:
    """A new directory, named by the time, and the directories that were made for it."""
    runs = Path("runs")
    made = [] if runs.exists() else [runs]
    runs.mkdir(exist_ok=True)
    stem = time.strftime("%Y%m%d-%H%M%S")
    for i in itertools.count(1):
        directory = runs / (stem if i == 1 else f"{stem}-{i}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            break
    return directory, [directory, *made]


@contextlib.contextmanager
def writable_directory(
    directory: Path, option: str, names: list[str], made: Iterable[Path] = ()
) -> Iterator[Path]:
    """A directory in which files of these names can be written; removed if it stays empty."""
    from portadnn.errors import InputError

    missing = list(made)
    try:
        for name in names:
            if (directory / name).is_dir():
                raise InputError(f"{directory / name} is a directory: choose another {option}")
        missing += [p for p in (directory, *directory.parents) if not p.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".portadnn-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        _remove_empty(missing)
        what = "it is a file" if directory.is_file() else error.strerror
        raise InputError(
            f"the directory {directory} cannot be written ({what}): choose another {option}"
        ) from error
    try:
        yield directory
    finally:
        _remove_empty(missing)


def check_figures(directory: Path, option: str) -> None:
    """Raise InputError if a file has the name of a figure to write, but is not a figure of ours."""
    from portadnn.data.files import open_regular
    from portadnn.errors import InputError

    for path in (directory / name for name in (CURVES, *FIGURES.values())):
        if path.exists():
            with open_regular(path) as file:
                if b"tEXtFingerprint\0" not in file.read(4096):
                    raise InputError(
                        f"{path} is not a figure of portadnn, and a figure would replace "
                        f"it: choose another {option}"
                    )


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # the directory may hold files by now
            directory.rmdir()


def write_run(
    directory: Path,
    model: Model,
    config: Declaration,
    record: dict[str, Any],
) -> dict[str, str]:
    """Configuration, history and then the model, in files of these names."""
    import portadnn
    from portadnn.cli.output import finite
    from portadnn.data.files import whole_file
    from portadnn.training.models import save_model

    files = {what: directory / name for what, name in FILES.items()}
    with whole_file(files["config"]) as file:
        where = _WHERE[config.arithmetic]
        header = _HEADER.format(
            version=portadnn.__version__,
            where=where,
            name=FILES["config"],
            fingerprint=record["fingerprint"],
        )
        header += _PARTS if any(entry["changed"] for entry in record["resumed"]) else ""
        file.write((header + "\n" + config.to_toml()).encode())
    with whole_file(files["history"]) as file:
        file.write((json.dumps(finite(record), indent=2, allow_nan=False) + "\n").encode())
    save_model(model, files["model"])
    return {what: path.name for what, path in files.items()}


def write_curves(
    directory: Path, rows: list[EpochRecord], title: str, fingerprint: str
) -> dict[str, str]:
    """The curves of the costs, if there was a report."""
    from portadnn.data.files import whole_file
    from portadnn.plots import training_curves

    if not rows:
        return {}
    with whole_file(directory / CURVES) as file:
        _draw(training_curves(rows, title=title), file, fingerprint)
    return {"cost_curve": CURVES}


def write_figures(
    directory: Path, model: Model, examples: Dataset, prediction: Prediction
) -> dict[str, str]:
    """The figures of the head; for images also the worst mistakes and the first layer's weights."""
    from portadnn.data.files import whole_file
    from portadnn.plots import (
        confusion_matrix,
        first_layer_weights,
        is_image,
        mistakes,
        residuals,
        roc_and_calibration,
    )
    from portadnn.training.models import fingerprint

    assert examples.labels is not None
    title = os.path.basename(examples.source)
    given, chances = examples.labels, prediction.probabilities
    classified = chances is not None and prediction.labels.ndim == 1
    figures: dict[str, Any] = {}
    if classified:
        found = prediction.labels
        figures["confusion"] = confusion_matrix(given, found, model.classes, title=title)
    if chances is None:
        found = prediction.labels
        figures["residuals"] = residuals(given, found, model.classes or ["y"], title=title)
    elif model.network.head == "sigmoid":
        of = model.classes[1:] if classified else model.classes
        shown = chances[:, 1] if classified else chances
        figures["roc"] = roc_and_calibration(given, shown, of, title=title)
    if is_image(model.input_shape):
        figures["weights"] = first_layer_weights(model.parameters["W1"], model.input_shape)
        if classified and (prediction.labels != examples.labels).any():
            figures["mistakes"] = mistakes(
                examples.examples,
                examples.labels,
                prediction.probabilities,
                model.classes,
                title=title,
            )
    files = {}
    for what, name in FIGURES.items():
        if what in figures:
            files[what] = name
            with whole_file(directory / name) as file:
                _draw(figures[what], file, fingerprint(model))
        else:
            (directory / name).unlink(missing_ok=True)  # that of an older run
    return files


def _draw(figure: Any, file: BinaryIO, fingerprint: str) -> None:
    """Write a PNG that holds the fingerprint of the weights."""
    figure.savefig(file, format="png", dpi=120, metadata={"Fingerprint": fingerprint})
