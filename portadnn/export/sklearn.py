"""scikit-learn: a model as an MLPClassifier or MLPRegressor, and one of them as a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.data.foreign import library, reading
from portadnn.data.heads import meaning_of
from portadnn.data.labels import read_labels
from portadnn.data.preprocess import Column, Preprocess
from portadnn.errors import InputError
from portadnn.export.safetensors import parameters_of, torch_state
from portadnn.network.spec import Network
from portadnn.training.models import Model

ACTIVATIONS = {"sigmoid": "logistic", "relu": "relu", "tanh": "tanh", "identity": "identity"}
HEADS = {"logistic": "sigmoid", "softmax": "softmax", "identity": "identity", "exp": "poisson"}
NETWORKS = ("MLPClassifier", "MLPRegressor", "PortaDNNClassifier", "PortaDNNRegressor")


def from_sklearn(estimator: Any) -> Model:
    """The model of a fitted network of scikit-learn, which predicts what the network does.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, PortaDNNClassifier, PortaDNNRegressor or Pipeline
        A Pipeline has a StandardScaler and one of these networks.

    Raises
    ------
    InputError
        If scikit-learn (extra ``sklearn``) is missing, or a step is none of these or is not fitted.
    """
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    kinds = [type(step).__name__ for step in steps]
    if kinds[-1] not in NETWORKS or kinds[:-1] not in ([], ["StandardScaler"]):
        raise InputError(
            f"the estimator is {' and '.join(kinds)}: expected {', '.join(NETWORKS)}, or a "
            f"Pipeline of a StandardScaler and one of them"
        )
    with reading("the estimator", "is not fitted"):
        for step in steps:
            library("sklearn.utils.validation", "sklearn").check_is_fitted(step)
    scaler, network = steps[0], steps[-1]
    columns = tuple(map(str, getattr(scaler, "feature_names_in_", ())))
    known: dict[str, Any] = {"classes": (), "columns": columns}
    head, n_L = HEADS[network.out_activation_], network.n_outputs_
    if meaning_of(head).probabilities is not None:
        labels = np.asarray(network.classes_.tolist())
        known["classes"] = read_labels(labels, task="classification").classes
        if head == "softmax" or n_L == 1:
            known["values"] = tuple(labels.tolist())
    n_x = network.n_features_in_
    if scaler is not network:
        mean = scaler.mean_ if scaler.with_mean else np.zeros(n_x)
        scale = scaler.scale_ if scaler.with_std else np.ones(n_x)
        names = columns or [f"x{i}" for i in range(1, n_x + 1)]
        known["preprocess"] = Preprocess(tuple(map(Column, names, mean.tolist(), scale.tolist())))
    pairs = zip(network.coefs_, network.intercepts_, strict=True)
    parameters = parameters_of(to_host(x.T) for pair in pairs for x in pair)
    dims = n_x, *(len(b) for b in network.intercepts_)
    spec = Network(dims, network.activation, head)
    return Model(spec, parameters, input_shape=(n_x,), scaled=False, **known)


def to_sklearn(model: Model) -> Any:
    """A model as a fitted MLPClassifier or MLPRegressor, which ``partial_fit`` trains on.

    It predicts what ``model.predict`` does, from rows (m, n_x). If the model standardises or scales
    them, it is a Pipeline in which a StandardScaler does so.

    Raises
    ------
    InputError
        If scikit-learn is missing, or does not have what the model has: the message names it.
    """
    networks = library("sklearn.neural_network", "sklearn")
    head, dims, C = model.network.head, model.network.layer_dims, len(model.classes)
    names = {*model.network.activations} or {"relu"}
    if len(names) > 1 or not names <= ACTIVATIONS.keys():
        raise InputError(
            f"the hidden layers have {', '.join(sorted(names))}: scikit-learn has one of "
            f"{', '.join(ACTIVATIONS)} for all"
        )
    if model.preprocess is not None and model.preprocess.scaling:
        raise InputError("the network learned standardised values: a Pipeline does not undo that")
    if head == "softmax" and dims[-1] == 2:
        raise InputError("the head is a softmax over two classes: scikit-learn has one logistic "
                         "unit for two")  # fmt: skip
    scaler = _scaler(model)
    options = {"hidden_layer_sizes": dims[1:-1], "activation": ACTIVATIONS[names.pop()]}
    # one step on rows of zeros makes all that a fitted network has; then its weights are replaced
    zeros = np.zeros((max(C, 1), dims[0]), model.dtype)
    if meaning_of(head).probabilities is not None:
        labels = np.asarray(model.values or range(C))
        y = np.eye(C, dtype=int) if head == "sigmoid" and dims[-1] > 1 else labels
        network = networks.MLPClassifier(**options)
        network.partial_fit(zeros, y, classes=labels)
    else:
        options |= {"loss": "poisson"} if head == "poisson" else {}
        y = np.ones((len(zeros), dims[-1]))
        with reading("a poisson head", "needs scikit-learn 1.7"):
            network = networks.MLPRegressor(**options)
        network.partial_fit(zeros, y[:, 0] if dims[-1] == 1 else y)
    state = [x.T.copy() for x in torch_state(model).values()]  # changed in place if trained on
    network.coefs_, network.intercepts_ = state[::2], state[1::2]
    network.t_, network.n_iter_, network.loss_curve_ = 0, 0, []
    del network._optimizer  # the next step begins a new one
    whole = [network] if scaler is None else [scaler, network]
    if model.columns:
        whole[0].feature_names_in_ = np.asarray(model.columns, dtype=object)
    return library("sklearn.pipeline", "sklearn").make_pipeline(*whole) if scaler else network


def _scaler(model: Model) -> Any:
    """A StandardScaler with the preprocessing of the model, or None if there is none."""
    columns = () if model.preprocess is None else model.preprocess.columns
    for c in columns:
        if c.categories is not None or c.fill is not None:
            what = "texts" if c.categories is not None else "gaps that are filled"
            raise InputError(f"column {c.name!r} has {what}: a StandardScaler takes numbers alone")
    if not (columns or model.scaled):
        return None
    n_x = model.network.layer_dims[0]
    scaler = library("sklearn.preprocessing", "sklearn").StandardScaler().fit(np.zeros((1, n_x)))
    scaler.mean_ = np.asarray([c.mean for c in columns] or [0.0] * n_x)
    scaler.scale_ = np.asarray([255.0] * n_x if model.scaled else [c.scale for c in columns])
    scaler.var_ = np.square(scaler.scale_)
    return scaler
