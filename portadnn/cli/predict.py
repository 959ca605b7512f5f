"""``portadnn predict``."""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from portadnn.cli.options import (
    BackendOption,
    Distributed,
    Isolated,
    JsonOption,
    ModelFile,
    Split,
    Stream,
)

if TYPE_CHECKING:
    from portadnn.data.dataset import Dataset
    from portadnn.training.models import Model


def predict(
    model: ModelFile,
    /,
    *data: Path,
    split: Split = None,
    format: Literal["csv", "json"] = "csv",
    ground: str = "white",
    backend: BackendOption = "numpy",
    isolated: Isolated = False,
    stream: Stream = None,
    distributed: Distributed = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the model predicts of every example, on stdout.

    It is the label, the class and the probabilities, or the value of every output of a model that
    has no classes.

    Parameters
    ----------
    data
        One file as `portadnn train` reads it (its labels are not read), PNG and JPEG pictures, or a
        folder of them; they are resized to what the model takes. Default: the embedded digits.
    format
        One line per example, or one JSON object (as --json).
    ground
        The colour behind the transparent parts of pictures, for example black or #ffffff.
    """
    from portadnn.cli.output import print_json
    from portadnn.errors import safe_text
    from portadnn.parallel import together, working
    from portadnn.training.inference import predict as predict_model
    from portadnn.training.models import load_model

    with working(distributed) as ranks:
        with together(ranks):
            loaded = load_model(model)
            examples, names = _examples(loaded, data, split, ground, isolated, stream)
        prediction = predict_model(loaded, examples, backend=backend, ranks=ranks)
    if ranks is not None and not ranks.first:
        return
    classes, labels, chances = list(loaded.classes), prediction.labels, prediction.probabilities
    columns: dict[str, list[Any]] = {"example": names}
    if chances is not None and labels.ndim == 1:
        columns |= {"label": labels.tolist(), "class": [classes[label] for label in labels]}
    else:
        columns["values"] = labels.reshape(len(names), -1).tolist()
    if chances is not None:
        columns["probabilities"] = chances.tolist()
    rows = list(zip(*columns.values(), strict=True))
    if as_json or format == "json":
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"classes": classes, "predictions": predictions})
        return
    outputs = classes or [f"y{i}" for i in range(1, loaded.network.layer_dims[-1] + 1)]
    headings = {"values": outputs, "probabilities": [f"p({name})" for name in classes]}
    columns["example"] = list(map(safe_text, names))
    rows = list(zip(*columns.values(), strict=True))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in ([headings.get(name, name) for name in columns], *rows):
        cells = (x if isinstance(x, list) else [x] for x in row)
        writer.writerow(itertools.chain(*cells))


def _examples(
    model: Model,
    data: tuple[Path, ...],
    split: str | None,
    ground: str,
    isolated: bool,
    stream: bool | None,
) -> tuple[Dataset, list[str]]:
    """The examples of a file, of a folder, or of pictures, and their names."""
    from portadnn.cli.output import passes_shown
    from portadnn.data.images import IMAGE_SUFFIXES, load_images
    from portadnn.data.readers.folder import files_of, has_test
    from portadnn.errors import InputError
    from portadnn.training.inference import data_for

    if len(data) == 1 and data[0].is_dir() and not isolated:
        part = split or ("test" if has_test(data[0]) else None)
        data = tuple(files_of(data[0], part, labelled=False)[1])
    pictures = [path for path in data if path.suffix.lower() in IMAGE_SUFFIXES]
    if pictures and isolated:
        raise InputError("--isolated is for files of data: leave it out to read pictures")
    if pictures and len(pictures) == len(data):
        examples = load_images(pictures, model.input_shape, ground=ground, stream=stream)
        names = [str(path) for path in pictures]
    elif len(data) <= 1:
        how: dict[str, Any] = {"labelled": False, "isolated": isolated, "stream": stream}
        with passes_shown():
            examples = data_for(model, data[0] if data else None, split, **how)
        names = [str(i) for i in range(len(examples))]
    else:
        raise InputError(
            f"{len(data)} files were given: expected one file of data, or only pictures "
            f"({', '.join(IMAGE_SUFFIXES)})"
        )
    return examples, names
