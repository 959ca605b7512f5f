"""``portadnn fingerprint``."""

from __future__ import annotations

from portadnn.cli.options import JsonOption, ModelFile


def fingerprint(model: ModelFile, /, *, as_json: JsonOption = False) -> None:
    """Print the SHA-256 of a model's weights: equal fingerprints are equal bits.

    It covers their names, shapes, dtype and values (little-endian on every machine), and nothing
    else in the file. If reproducible arithmetic trained the model, its mark follows: fingerprints
    of different marks cannot be compared.
    """
    from portadnn.cli.output import print_json
    from portadnn.training.models import fingerprint as fingerprint_of
    from portadnn.training.models import load_model

    loaded = load_model(model)
    found = fingerprint_of(loaded)
    if as_json:
        print_json({"fingerprint": found, "arithmetic": loaded.arithmetic})
    else:
        print(*filter(None, [found, loaded.arithmetic]))
