"""The table of the formats that models are written in, and what is checked of a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.export import onnx, safetensors
from portadnn.network.activations import get_activation
from portadnn.network.losses import get_head
from portadnn.network.names import named
from portadnn.parity.bounds import Bound, declared_format, product
from portadnn.parity.bounds.elementwise import ACTIVATION_BOUNDS, SECOND_ORDER
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.step.spread import through
from portadnn.training.inference import prepared
from portadnn.training.models import Model, load_model, save_model


class Format(NamedTuple):
    """A row: ``run(path, model, data)`` gives the outputs (n_L, m) of a file in the ``runtime``."""

    save: Callable[[Model, Any], None]
    load: Callable[[Any], Model] | None = None
    run: Callable[..., np.ndarray] | None = None
    runtime: str = ""


FORMATS = {
    "hdf5": Format(save_model, load_model),
    "onnx": Format(onnx.save_onnx, None, onnx.run, "onnxruntime"),
    "safetensors": Format(safetensors.save_safetensors, safetensors.load_safetensors),
}


def checked(path: Any, model: Model, row: Format) -> dict[str, Any]:
    """The ``runtime``, how many ``rows`` it computed, its largest ``error`` and ``ratio``.

    The ratio is error / bound, at most 1 if the file computes what the model does. The dict is
    empty if the runtime is missing.
    """
    if row.run is None or importlib.util.find_spec(row.runtime) is None:
        return {}
    data = random_rows(model, 100, np.random.default_rng(0))
    bound = reach(model, data)
    error = np.abs(row.run(path, model, data) - bound.exact)
    ratio = np.where(error == 0, 0.0, error / bound.det)
    worst = [float(np.max(np.where(np.isnan(x), np.inf, x))) for x in (error, ratio)]
    return {"runtime": row.runtime, "rows": len(data), "error": worst[0], "ratio": worst[1]}


def reach(model: Model, data: Dataset, moved: Any = 0.0) -> Bound:
    """The outputs (n_L, m) in float64, and how far a program in the model's dtype may be from them.

    Each layer adds its own error, limited by the bounds of parity, and passes on that of its input;
    ``moved`` is the error of the program's X.
    """
    form, network = declared_format(model.dtype), model.network
    A = prepared(model, data).columns(model.dtype).astype(np.float64)
    D = np.broadcast_to(moved, A.shape)
    for l, name in enumerate((*network.activations, network.head), start=1):
        W, b = (model.parameters[named(kind, l)].astype(np.float64) for kind in "Wb")
        Z, last = product(W, A, b, form=form), l == network.L
        function = get_head(name).activation if last else get_activation(name).forward
        bounds = HEAD_BOUNDS[name].output if last else ACTIVATION_BOUNDS[name].forward
        bound, D = bounds(Z.exact, form), SECOND_ORDER * (np.abs(W) @ D + Z.det)
        A, D = bound.exact, SECOND_ORDER * (through(function, Z.exact, bound.exact, D) + bound.det)
    if model.preprocess is not None and model.preprocess.scaling:  # in float64: two roundings
        mean, scale = np.asarray(model.preprocess.scaling).T[..., None]
        A = A * scale + mean
        D = D * np.abs(scale) + 2.0**-51 * (np.abs(A) + np.abs(mean))
    return bound._replace(exact=A, det=D, stat=D)


def random_rows(model: Model, m: int, rng: np.random.Generator) -> Dataset:
    """Random rows for a model, without labels; numbers are like those that it was fitted to."""
    if model.preprocess is None:
        shape = (m, *model.input_shape)
        pixels, numbers = rng.integers(0, 256, shape, np.uint8), rng.normal(size=shape)
        return Dataset(pixels if model.scaled else numbers.astype(model.dtype), None, ())
    made = {}
    for c in model.preprocess.columns:
        gap = np.where(rng.random(m) < 0.1, np.nan, 0.0)
        made[c.name] = c.mean + c.scale * rng.normal(size=m) + (0.0 if c.fill is None else gap)
        if c.categories is not None or model.preprocess.pixels:
            known = np.arange(256.0) if c.categories is None else np.asarray(c.categories)
            made[c.name] = rng.choice(known, m)
    table = np.empty(m, [(name, x.dtype) for name, x in made.items()])
    for name, x in made.items():
        table[name] = x
    return Dataset(table, None, ())
