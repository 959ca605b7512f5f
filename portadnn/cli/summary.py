"""``portadnn summary``."""

from __future__ import annotations

from portadnn.cli.options import JsonOption, ModelFile


def summary(model: ModelFile, /, *, as_json: JsonOption = False) -> None:
    """Show the layers of a model, its classes and the examples that it takes."""
    from portadnn.cli.output import (
        network_json,
        network_table,
        preprocess_table,
        print_json,
        table_text,
    )
    from portadnn.training.models import load_model

    loaded = load_model(model)
    if as_json:
        print_json(
            {
                "network": network_json(loaded.network),
                "classes": list(loaded.classes),
                "input_shape": list(loaded.input_shape),
                "preprocess": loaded.preprocess and loaded.preprocess.to_json(),
                "dtype": loaded.dtype,
            }
        )
        return
    print(f"input: examples of {loaded.input_shape}, {loaded.network.layer_dims[0]} values")
    if loaded.preprocess is not None:
        print(table_text(preprocess_table(loaded.preprocess, loaded.classes)))
    print(table_text(network_table(loaded.network)))
    print(f"{loaded.named}: {', '.join(loaded.classes)}")
    print(f"dtype: {loaded.dtype}")
