"""``portadnn evaluate``."""

from __future__ import annotations

from pathlib import Path

from portadnn.cli.options import BackendOption, JsonOption, Split


def evaluate(
    model: Path,
    data: Path | None = None,
    /,
    *,
    split: Split | None = None,
    backend: BackendOption = "numpy",
    as_json: JsonOption = False,
) -> None:
    """Print the accuracy and the cost of a model on labelled data.

    Parameters
    ----------
    model
        A model.h5 of `portadnn train`.
    data
        An HDF5 file in the layout of `portadnn train`; without it the embedded digits.
    split
        Which part of the data; default test where it is there, else train.
    """
    from portadnn.cli.data import load_split
    from portadnn.cli.output import evaluation_json, evaluation_text, print_json
    from portadnn.data.models import load_model
    from portadnn.training.inference import evaluate as evaluate_model

    loaded = load_model(model)
    examples = load_split(data, split)
    evaluation = evaluate_model(loaded, examples, backend=backend)
    if as_json:
        print_json({"data": examples.source, **evaluation_json(evaluation)})
    else:
        print(evaluation_text(f"{examples.source}:", evaluation))
