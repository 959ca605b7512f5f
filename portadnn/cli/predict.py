"""``portadnn predict``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Literal

from portadnn.cli.options import BackendOption, JsonOption, Split


def predict(
    model: Path,
    /,
    *data: Path,
    split: Split | None = None,
    format: Literal["csv", "json"] = "csv",
    backend: BackendOption = "numpy",
    as_json: JsonOption = False,
) -> None:
    """Print label, class and probabilities of every example, on stdout.

    Parameters
    ----------
    model
        A model.h5 of `portadnn train`.
    data
        One HDF5 file (labels are not needed), or PNG and JPEG pictures, which are resized to what
        the model takes; without any the embedded digits.
    split
        Which part of an HDF5 file; default test where it is there, else train.
    format
        One line per example, or one JSON object (as --json).
    """
    from portadnn.cli.output import print_json
    from portadnn.data.hdf5 import load_split
    from portadnn.data.images import IMAGE_SUFFIXES, load_images
    from portadnn.data.models import load_model
    from portadnn.errors import InputError
    from portadnn.training.inference import predict as predict_model

    loaded = load_model(model)
    pictures = [path for path in data if path.suffix.lower() in IMAGE_SUFFIXES]
    if pictures and len(pictures) == len(data):
        examples = load_images(pictures, loaded.input_shape)
        names = [str(path) for path in pictures]
    elif len(data) <= 1:
        examples = load_split(data[0] if data else None, split, labelled=False)
        names = [str(i) for i in range(len(examples))]
    else:
        raise InputError(
            f"{len(data)} files were given: expected one HDF5 file, or only pictures "
            f"({', '.join(IMAGE_SUFFIXES)})"
        )
    prediction = predict_model(loaded, examples, backend=backend)
    rows = zip(names, prediction.labels.tolist(), prediction.probabilities.tolist(), strict=True)
    if as_json or format == "json":
        predictions = [
            {
                "example": name,
                "label": label,
                "class": loaded.classes[label],
                "probabilities": probabilities,
            }
            for name, label, probabilities in rows
        ]
        print_json({"classes": list(loaded.classes), "predictions": predictions})
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["example", "label", "class", *(f"p({name})" for name in loaded.classes)])
    for name, label, probabilities in rows:
        writer.writerow([name, label, loaded.classes[label], *probabilities])
