"""Using a trained model: predictions and their score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.data.dataset import Dataset
from portadnn.data.models import Model
from portadnn.errors import InputError
from portadnn.network.model import L_model_forward, compute_cost_with_logits


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of m examples.

    Attributes
    ----------
    labels : array of int, shape (m,)
    probabilities : array, shape (m, C)
        One row per example, one column per class.
    """

    labels: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on labelled data.

    Attributes
    ----------
    examples : int
    correct : int
    cost : float
    """

    examples: int
    correct: int
    cost: float

    @property
    def accuracy(self) -> float:
        """The share of examples whose label was predicted, 0 to 1."""
        return self.correct / self.examples


def predict(model: Model, data: Dataset, *, backend: str | Backend | None = None) -> Prediction:
    """Labels and probabilities of every example.

    Parameters
    ----------
    model : Model
    data : Dataset
        Labels are not needed.
    backend : str or Backend, optional
        None is NumPy in the model's dtype.

    Raises
    ------
    InputError
        If the examples have not as many values as the model takes.
    """
    chosen = _backend_for(model, backend)
    with chosen.scope():
        AL, _ = _forward(model, data, chosen)
        probabilities = chosen.to_numpy(AL).T  # (m, n_L)
    if model.network.head == "sigmoid":
        # the label follows the unit itself: 1 - p may round to p
        labels = (probabilities[:, 0] > 0.5).astype(np.int64)
        probabilities = np.concatenate([1 - probabilities, probabilities], axis=1)
    else:
        labels = np.argmax(probabilities, axis=1)
    return Prediction(labels, np.ascontiguousarray(probabilities))


def evaluate(model: Model, data: Dataset, *, backend: str | Backend | None = None) -> Evaluation:
    """Accuracy and cost of the model on labelled data.

    Parameters
    ----------
    model : Model
    data : Dataset
    backend : str or Backend, optional
        None is NumPy in the model's dtype.

    Raises
    ------
    InputError
        If the data has no labels, other classes, or not as many values per example.
    """
    check_fits(model, data, labelled=True)
    chosen = _backend_for(model, backend)
    with chosen.scope():
        Y = chosen.asarray(data.targets(chosen.dtype_name))
        AL, ZL = _forward(model, data, chosen)
        cost = compute_cost_with_logits(ZL, Y, network=model.network, xp=chosen.xp)
        AL, cost = chosen.to_numpy(AL), float(chosen.to_numpy(cost))
    labels = AL[0] > 0.5 if model.network.head == "sigmoid" else np.argmax(AL, axis=0)
    return Evaluation(len(data), int(np.sum(labels == data.labels)), cost)


def check_fits(model: Model, data: Dataset, *, labelled: bool = False) -> None:
    """Raise InputError unless the model takes these examples, and knows their classes."""
    if labelled and data.labels is not None and data.classes != model.classes:
        raise InputError(
            f"{data.source} has the classes {', '.join(data.classes)}, but the model knows "
            f"{', '.join(model.classes)}: expected the same"
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
    return get_backend(backend or "numpy", dtype=model.dtype)


def _forward(model: Model, data: Dataset, backend: Backend) -> tuple[Any, Any]:
    """AL and ZL of the data, on the backend."""
    check_fits(model, data)
    X = backend.asarray(data.columns(backend.dtype_name))
    parameters = {name: backend.asarray(p) for name, p in model.parameters.items()}
    AL, caches = L_model_forward(X, parameters, network=model.network, xp=backend.xp)
    return AL, caches[-1][1]
