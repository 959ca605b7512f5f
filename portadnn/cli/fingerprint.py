"""``portadnn fingerprint``."""

from __future__ import annotations

from portadnn.cli.options import JsonOption, ModelFile


def fingerprint(model: ModelFile, /, *, as_json: JsonOption = False) -> None:
    """Print the SHA-256 of a model's weights: equal fingerprints are equal bits.

    It covers their names, shapes, dtype and values, in one order of bytes on every machine, and
    nothing else of the file.
    """
    from portadnn.cli.output import print_json
    from portadnn.training.models import fingerprint as fingerprint_of
    from portadnn.training.models import load_model

    found = fingerprint_of(load_model(model))
    if as_json:
        print_json({"fingerprint": found})
    else:
        print(found)
