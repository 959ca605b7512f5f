"""``portadnn inspect``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from portadnn.cli.options import (
    FOR_MODEL,
    BackendOption,
    DataOptions,
    Dtype,
    JsonOption,
    LabelsFile,
    WholeNumber,
)
from portadnn.training.texts import parse_layers

if TYPE_CHECKING:
    from portadnn.data.dataset import Dataset
    from portadnn.diagnostics import LayerSignal, LayerUnits
    from portadnn.network.spec import Network
    from portadnn.training.models import Model

DRAWN_EXAMPLES = 200
FIGURE_TYPES = (".png", ".svg", ".pdf")


def inspect(
    model_or_layers: str,
    /,
    data: Path | None = None,
    labels: LabelsFile = None,
    *,
    options: DataOptions = FOR_MODEL,
    init: Annotated[list[str] | None, Parameter(negative="")] = None,
    one_sign: Annotated[bool, Parameter(negative="")] = False,
    activation: str | None = None,
    examples: WholeNumber | None = None,
    seed: WholeNumber = 3,
    plot: Path = Path("inspect.png"),
    dtype: Dtype | None = None,
    backend: BackendOption = "numpy",
    as_json: JsonOption = False,
) -> None:
    """Show signals, gradients, sparsity and dead units of every layer, and what theory predicts.

    Parameters
    ----------
    model_or_layers
        A model.h5 of `portadnn train`, or widths from the input to the output, such as
        784,512x50,10 (50 layers of 512).
    data
        A file or folder as `portadnn train` reads it; without it standard normal numbers, with
        random labels.
    init
        How to draw weights, as for `portadnn train`. Repeat it to compare several. Default he, or
        the weights of the model.
    one_sign
        Take the absolute values of the weights that are drawn.
    activation
        The activation of the hidden layers, if widths are given; default relu.
    examples
        How many of the first examples to use; default all of a file, or 200 random ones.
    seed
        Draws weights and random numbers.
    plot
        Where to write the figure: a .png, .svg or .pdf file.
    dtype
        Default: the model's dtype, or float64 for widths.
    """
    from portadnn.backends import get_backend
    from portadnn.choice import check_whole
    from portadnn.cli.output import network_json, print_json, table_text
    from portadnn.cli.run_directory import writable_directory
    from portadnn.data.files import whole_file
    from portadnn.diagnostics import layer_signals, unit_activity
    from portadnn.errors import InputError
    from portadnn.plots import layer_signals as figure_of

    if plot.suffix.lower() not in FIGURE_TYPES:
        raise InputError(f"--plot {plot}: expected a file that ends in {', '.join(FIGURE_TYPES)}")
    if examples is not None:
        check_whole("--examples", examples, 1)
    network, model = _network(model_or_layers, activation)
    if one_sign and not init and model:
        raise InputError("--one-sign is for weights that are drawn: add --init")
    weights = _weights(network, model, init, one_sign, seed)
    chosen = get_backend(backend, dtype=dtype or (model.dtype if model else "float64"))
    read = None if data is None else options.load(model, data, labels)
    X, Y, source = _examples(network, model, read, examples, seed, chosen.dtype_name)
    with writable_directory(plot.parent, "--plot", [plot.name]):
        signals, units = {}, {}
        with chosen.scope():
            arrays = {"X": chosen.asarray(X), "Y": chosen.asarray(Y)}
            for name, (parameters, drawn) in weights.items():
                placed = {key: chosen.asarray(p) for key, p in parameters.items()}
                given: dict[str, Any] = {"network": network, "xp": chosen.xp}
                signals[name] = layer_signals(
                    arrays["X"], placed, Y=arrays["Y"], init=drawn, **given
                )
                units[name] = unit_activity(arrays["X"], placed, **given)
        with whole_file(plot) as file:
            what, where = os.path.basename(model_or_layers), os.path.basename(source)
            title = f"{what}: {network.layer_dims}" if model else what
            figure = figure_of(signals, title=f"{title}\n{where}, {X.shape[1]} examples")
            figure.savefig(file, format=plot.suffix[1:].lower(), dpi=120)
    if as_json:
        layers = {name: _rows(signals[name], units[name]) for name in signals}
        print_json(
            {
                "network": network_json(network),
                "data": source,
                "examples": X.shape[1],
                "weights": layers,
                "plot": str(plot),
            }
        )
        return
    print(f"data: {source}, {X.shape[1]} examples; {chosen.name}, {chosen.dtype_name}")
    for name in signals:
        print(f"\nweights: {name}")
        print(table_text(_table(signals[name], units[name])))
    print("theory: from the data's mean square and the variances of the weights alone")
    print("ratio: z² over its prediction from the layer before; per example 1 ± sqrt(2 / units)")
    print(f"figure: {plot}")


def _network(text: str, activation: str | None) -> tuple[Network, Model | None]:
    from portadnn.data.heads import head_for
    from portadnn.errors import InputError
    from portadnn.network.spec import Network
    from portadnn.training.models import load_model

    if not re.fullmatch(r"[\d\s,x]+", text):
        model = load_model(text)
        if activation is not None:
            raise InputError(
                f"--activation {activation}: {text} is a model, which has its own. Leave it out"
            )
        return model.network, model
    dims = parse_layers(text, "layers")
    if len(dims) < 2:
        raise InputError(f"layers {text}: expected two widths or more, from input to output")
    head = head_for(2) if dims[-1] == 1 else "softmax"
    return Network(dims, activation or "relu", head), None


def _weights(
    network: Network, model: Model | None, inits: Sequence[str] | None, one_sign: bool, seed: int
) -> dict[str, tuple[Mapping[str, Any], str | None]]:
    """Parameters by name, and how they were drawn, or None."""
    import numpy as np

    from portadnn.network.initializers import initialize_parameters_deep

    if model is not None and not inits:
        return {"the model's": (model.parameters, None)}
    found: dict[str, tuple[Mapping[str, Any], str | None]] = {}
    for init in inits or ["he"]:
        parameters = initialize_parameters_deep(network.layer_dims, init=init, rng=seed)
        name = init
        if one_sign:
            parameters = {key: np.abs(p) for key, p in parameters.items()}
            name = f"{init}, one sign"
        found[name] = parameters, init
    return found


def _examples(
    network: Network,
    model: Model | None,
    given: Dataset | None,
    examples: int | None,
    seed: int,
    dtype: str,
) -> tuple[Any, Any, str]:
    """X and Y on the host, and a text that describes them."""
    import numpy as np

    from portadnn.data.preprocess import targets_of
    from portadnn.training.inference import check_fits, prepared

    n_x, n_y = network.layer_dims[0], network.layer_dims[-1]
    if given is not None:
        if model is not None:
            given = prepared(model, given)
            check_fits(model, given, labelled=True)
        else:
            _check_widths(network, given)
        return (
            given.columns(dtype, slice(examples)),
            targets_of(given, dtype, model.preprocess if model else None)[:, :examples],
            given.source,
        )
    m = examples or DRAWN_EXAMPLES
    rng = np.random.default_rng([seed, 1])  # not the stream of the weights
    X = rng.standard_normal((n_x, m))
    labels = rng.integers(0, max(n_y, 2), m)
    Y = labels[None, :] if n_y == 1 else labels == np.arange(n_y)[:, None]
    return X, Y.astype(np.float64), "standard normal numbers, labels at random"


def _check_widths(network: Network, data: Dataset) -> None:
    from portadnn.errors import InputError

    expected = data.n_x, data.outputs
    if (network.layer_dims[0], network.layer_dims[-1]) != expected:
        raise InputError(
            f"layers {','.join(map(str, network.layer_dims))}: {data.source} has {expected[0]} "
            f"values per example and takes {expected[1]} outputs: expected "
            f"{expected[0]},...,{expected[1]}"
        )


def _table(signals: Sequence[LayerSignal], units: Sequence[LayerUnits]) -> Any:
    from portadnn.cli.output import new_table

    columns = {
        "layer": "layer", "units": "n_l", "Var(Z)": "z_variance", "E[Z²]": "z_square",
        "theory E[Z²]": "z_predicted", "ratio": "z_square_over_given", "Var(A)": "a_variance",
        "E[A²]": "a_square", "theory E[A²]": "a_predicted", "zeros": "zero_share", "dead": "dead",
        "cut off": "cut_off", "E[dZ²]": "dz_square", "theory E[dZ²]": "dz_predicted",
        "|dW|": "dW_norm", "inf": "overflowed", "satur.": "saturated",
    }  # fmt: skip
    table = new_table((), list(columns))
    for row in _rows(signals, units):
        row["zero_share"] = f"{row['zero_share']:.0%}"
        table.add_row(*(_short(row[name]) for name in columns.values()))
    return table


def _rows(signals: Sequence[LayerSignal], units: Sequence[LayerUnits]) -> list[dict[str, Any]]:
    """The layers as numbers: arrays over examples or units as their means and counts."""
    from dataclasses import asdict

    rows = []
    for signal, unit in zip(signals, [*units, None], strict=True):
        row = asdict(signal)
        row["z_square_over_given"] = float(row.pop("chi_square").mean()) / signal.n_l
        row["zero_share"] = float(signal.zero_share.mean())
        row["zero_share_lowest"] = float(signal.zero_share.min())
        row["zero_share_highest"] = float(signal.zero_share.max())
        row["dead"] = None if unit is None else int(unit.dead.sum())
        row["cut_off"] = None if unit is None else int(unit.cut_off.sum())
        rows.append(row)
    return rows


def _short(x: Any) -> str:
    if x is None or x != x:  # NaN
        return ""
    return f"{x:.2g}" if isinstance(x, float) else str(x)
