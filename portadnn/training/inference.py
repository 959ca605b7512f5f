"""Using a trained model: predictions and their score."""

from __future__ import annotations

import functools
import logging
import math
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.data.dataset import Dataset
from portadnn.data.hdf5 import load_digits
from portadnn.data.heads import meaning_of
from portadnn.data.labels import task_of
from portadnn.data.load import has_test, load_dataset
from portadnn.data.preprocess import in_units, targets_of
from portadnn.errors import InputError
from portadnn.parallel import Ranks, as_ranks
from portadnn.training.models import Model
from portadnn.training.rows import as_dataset
from portadnn.training.validation import block_of, forward, in_order, mean_cost, own_blocks

logger = logging.getLogger("portadnn")

# for the models in use: their parameters on the backend that last computed with them
_KEPT: WeakKeyDictionary[Model, tuple[Backend, list[Any], dict[str, Any]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Prediction:
    """The predictions of a model for m examples.

    Attributes
    ----------
    labels : array, shape (m,), or (m, n_L)
        What the head decides, see ``portadnn.data.heads``: the class of every example, 0 and 1 for
        every label, or the values.
    probabilities : array, shape (m, C), or None
        One row per example, one column per class or label; values have none.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on labelled data.

    Attributes
    ----------
    examples : int
    measures : dict
        By name; each is also an attribute. ``correct`` and ``accuracy`` are the number and the
        share of examples with all labels right; ``label_accuracies`` has the share for each of
        several labels. The identity head has ``mse`` and ``r2``, poisson the mean ``deviance`` and
        ``d2``.
    cost : float
        As in training: if values were learned standardised, of the standardised values.
    """

    examples: int
    measures: dict[str, Any]
    cost: float

    def __getattr__(self, name: str) -> Any:
        """A measure by its name, such as ``accuracy``."""
        measures = vars(self).get("measures", {})
        if name not in measures:
            raise AttributeError(f"this evaluation has no {name!r}, but {', '.join(measures)}")
        return measures[name]


def predict(
    model: Model,
    data: Any,
    parameters: None = None,
    *,
    backend: str | Backend | None = None,
    ranks: str | Ranks | None = None,
) -> Prediction:
    """The prediction for every example, and its probabilities if the head has them.

    Parameters
    ----------
    model : Model
    data : Dataset, or X: array, shape (m, ...), or table of numbers
        Labels are not needed.
    parameters : None
        The course's ``predict(X, y, parameters)`` is told what to write instead.
    backend : str or Backend, optional
        None is NumPy in the model's dtype.
    ranks : Ranks, optional
        Each computes some blocks of examples, and all have the answer; as for ``train``.

    Raises
    ------
    InputError
        If an example has another number of values than the model takes.
    """
    if parameters is not None:
        raise InputError(
            "predict takes a model and data. For the course's predict(X, y, parameters) write: AL, "
            "_ = L_model_forward(X, parameters); p = AL > 0.5; print('Accuracy:', (p == y).mean())"
        )
    chosen, ranks = _backend_for(model, backend), as_ranks(ranks)
    if not _is_ready(model, data):
        data = prepared(model, data)
        check_fits(model, data)
    with chosen.scope():
        made = _forward(model, data, chosen, ranks)
        blocks = in_order([chosen.to_numpy(outputs[0]) for outputs, _ in made], ranks)
    AL = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
    if not AL.flags.writeable:  # JAX's own memory
        AL = AL.copy()
    if np.isnan(AL).any():
        wrong = np.flatnonzero(np.isnan(AL).any(axis=0))
        logger.warning(
            "the outputs of %d of the examples are not numbers, first of example %d: their values "
            "are too large for %s, and what is predicted of them means nothing",
            len(wrong), wrong[0], model.dtype,
        )  # fmt: skip
    AL = in_units(AL, model.preprocess)
    meaning = meaning_of(model.network.head)
    return Prediction(meaning.decide(AL), meaning.probabilities and meaning.probabilities(AL))


def evaluate(
    model: Model,
    data: Any,
    y: Any = None,
    *,
    backend: str | Backend | None = None,
    ranks: str | Ranks | None = None,
) -> Evaluation:
    """The head's measures and the cost of the model on labelled data.

    Parameters
    ----------
    model : Model
    data, y : Dataset alone, or X (m, ...) and its labels, as ``train`` takes them
    backend : str or Backend, optional
        None is NumPy in the model's dtype.
    ranks : Ranks, optional
        As for ``predict``.

    Raises
    ------
    InputError
        If the data has no labels, other classes, labels for another head, or not as many values
        per example.
    """
    data = prepared(model, data, y)
    check_fits(model, data, labelled=True)
    chosen, ranks = _backend_for(model, backend), as_ranks(ranks)
    with chosen.scope():
        meaning, made = meaning_of(model.network.head), []
        for (AL, _, _, cost), rows in _forward(model, data, chosen, ranks, labelled=True):
            AL = chosen.to_numpy(AL)
            found = in_units(AL, model.preprocess)
            compared = meaning.compared(found, data.targets(found.dtype.name, rows))
            made.append((compared, (float(chosen.to_numpy(cost)), AL.shape[1])))
    blocks, costs = zip(*in_order(made, ranks), strict=True)
    measures = meaning.measured(np.concatenate(blocks, axis=-1))
    return Evaluation(len(data), measures, mean_cost(costs))


def data_for(
    model: Model | None,
    path: str | os.PathLike[str] | None,
    part: str | None = None,
    *,
    isolated: bool = False,
    **options: Any,
) -> Dataset:
    """A part of a file or of the embedded digits for a model; default test if there is one.

    All else is as for ``load``; the model knows its classes, its task and the names of its targets.
    """
    if path is None:
        return load_digits()[part != "train"]
    part = part or ("test" if has_test(path, isolated=isolated) else None)
    if model is not None:
        options["classes"] = model.classes
        options["task"] = task_of(model.network.head, model.network.layer_dims[-1])
        if len(model.input_shape) in (2, 3):
            options["size"] = model.input_shape[:2]
        if model.preprocess is not None:
            options.setdefault("target", model.preprocess.targets)
            columns = model.preprocess.columns
            options["texts"] = [c.name for c in columns if c.categories is not None]
            options["columns"] = [c.name for c in columns]
    return load_dataset(path, part, isolated=isolated, **options)


def prepared(model: Model, data: Any, y: Any = None) -> Dataset:
    """The examples as the network takes them: preprocessed, if the model preprocesses."""
    if y is not None or not isinstance(data, Dataset):
        task = task_of(model.network.head, model.network.layer_dims[-1])
        known: dict[str, Any] = {"columns": model.columns, "classes": model.classes, "task": task}
        data, _ = as_dataset(data, y, raw=model.preprocess is not None, **known)
    return data if model.preprocess is None else model.preprocess(data)


def check_fits(model: Model, data: Dataset, *, labelled: bool = False) -> None:
    """Raise InputError unless the model takes these examples, and knows their classes."""
    if labelled and data.labels is not None and data.classes != model.classes:
        raise InputError(
            f"{data.source} has the classes {', '.join(data.classes)}, but the model knows "
            f"{', '.join(model.classes)}: expected the same"
        )
    if labelled and data.labels is not None and data.head != model.network.head:
        raise InputError(
            f"{data.source} has labels for the {data.head} head, but the model has the "
            f"{model.network.head} head: expected the same"
        )
    if data.n_x != model.network.layer_dims[0]:
        raise InputError(
            f"{data.source} has examples of shape {data.input_shape}, {data.n_x} values, but the "
            f"model takes {model.input_shape}, {model.network.layer_dims[0]} values"
        )
    if data.scaled != model.scaled:
        trained, given = (
            "uint8, scaled to [0, 1]" if scaled else "numbers that are taken as they are"
            for scaled in (model.scaled, data.scaled)
        )
        raise InputError(
            f"{data.source} holds {given}, but the model was trained on {trained}: convert it"
        )


def _backend_for(model: Model, backend: str | Backend | None) -> Backend:
    if isinstance(backend, Backend):
        return backend
    if backend is None or isinstance(backend, str):
        return _named("numpy" if backend is None else backend, model.dtype)
    return get_backend(backend, dtype=model.dtype)


@functools.lru_cache(maxsize=16)  # on JAX a new one for every row takes a quarter of the time
def _named(name: str, dtype: str) -> Backend:
    return get_backend(name, dtype=dtype)


def _is_ready(model: Model, data: Any) -> bool:
    """Whether rows can go to the network as they are: a Dataset would slow down a single row."""
    return (
        type(data) is np.ndarray
        and data.ndim > 1
        and 0 < len(data) <= block_of(model.network.layer_dims[0])
        and data.dtype == model.dtype
        and data.size == len(data) * model.network.layer_dims[0]
        and model.preprocess is None
        and not model.scaled
        and math.isfinite(np.vdot(data, data))  # fast; False if squares of large values overflow
    )


def _forward(
    model: Model,
    data: Any,
    backend: Backend,
    ranks: Ranks | None = None,
    *,
    labelled: bool = False,
) -> Iterator[tuple[tuple[Any, ...], slice]]:
    """Run ``forward`` over the data on the backend, a block of rows at a time.

    If there are several ranks, each takes some of the blocks.
    """
    parameters = _parameters_on(model, backend)
    outputs = forward(model.network, backend)
    if isinstance(data, np.ndarray):
        if ranks is not None and not ranks.first:
            return
        X = np.ascontiguousarray(data.reshape(len(data), -1)).T
        yield outputs(backend.as_input(X), parameters), slice(None)
        return
    size = block_of(data.n_x)
    for start in own_blocks(range(0, len(data), size), ranks):
        rows = slice(start, start + size)
        X = backend.asarray(data.columns(backend.dtype_name, rows))
        Y = None
        if labelled:
            targets = targets_of(data, backend.dtype_name, model.preprocess, rows)
            Y = backend.asarray(targets)
        yield outputs(X, parameters, Y), rows


def _parameters_on(model: Model, backend: Backend) -> dict[str, Any]:
    """The parameters on the backend, kept there for the next call if they are read-only."""
    own = model.parameters
    if backend.library == "numpy" and model.dtype == backend.dtype_name:
        return own
    if any(p.flags.writeable for p in own.values()):
        return {name: backend.asarray(p) for name, p in own.items()}
    kept = _KEPT.get(model)
    if kept is None or kept[0] != backend or any(map(operator.is_not, kept[1], own.values())):
        there = {name: backend.asarray(p) for name, p in own.items()}
        kept = _KEPT[model] = backend, list(own.values()), there
    return kept[2]
