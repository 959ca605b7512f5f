"""A trained model as a value, and as an HDF5 file that any backend can load."""

from __future__ import annotations

import html
import json
import math
import operator
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from portadnn.data.container import Container
from portadnn.data.digest import digest
from portadnn.data.directories import present
from portadnn.data.foreign import read_array, read_attribute
from portadnn.data.heads import meaning_of
from portadnn.data.preprocess import Preprocess
from portadnn.errors import InputError, safe_text
from portadnn.network.spec import Network
from portadnn.training.state import EpochRecord

_TEXTS = ("network", "input_shape", "classes", "columns", "values", "preprocess",
          "arithmetic")  # fmt: skip
_CONTAINER = Container("portadnn model", "portadnn train", plain=1, sealed=(2, 3, 4))


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """What training returns and what ``predict``, ``evaluate`` and ``save_model`` take.

    Parameters
    ----------
    network : Network
    parameters : dict of NumPy arrays
        ``W1, b1, ..., WL, bL`` on the host, whatever backend trained them.
    classes : tuple of str
        Names of the classes: two for one sigmoid output, otherwise one for each output. They name
        the labels if several may go together, and the values of the heads "identity" and "poisson",
        which may also do without.
    input_shape : tuple of int
        The shape of one example before it became a column.
    scaled : bool
        Whether the examples were uint8, scaled by 1/255; the data of a prediction must be likewise.
    columns : tuple of str
        The names of the columns of X, if it was a table.
    values : tuple
        The labels of the classes as ``y`` held them; empty if they were 0 .. C-1.
    history : tuple of EpochRecord
        The reports of the training. A file does not have them.
    arithmetic : str
        The mark of the reproducible arithmetic that trained it, or ''. Fingerprints of two marks
        cannot be compared.
    preprocess : Preprocess, optional
        What makes numbers of the rows of a table; predictions take such rows.

    Raises
    ------
    InputError
        If parameters, classes or input shape do not fit the network.
    """

    network: Network
    parameters: dict[str, np.ndarray]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    scaled: bool = True
    columns: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    history: tuple[EpochRecord, ...] = ()
    preprocess: Preprocess | None = None
    arithmetic: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(safe_text, self.classes)))
        object.__setattr__(self, "arithmetic", safe_text(self.arithmetic))
        self.network.check(self.parameters)
        n_x, n_y = self.network.layer_dims[0], self.network.layer_dims[-1]
        if min(self.input_shape, default=0) < 1 or math.prod(self.input_shape) != n_x:
            raise InputError(f"input shape {self.input_shape} does not hold {n_x} values")
        columns = () if self.preprocess is None else self.preprocess.columns
        if columns and sum(c.width for c in columns) != n_x:
            raise InputError(f"the preprocessing does not make the network's {n_x} values")
        counts = meaning_of(self.network.head).names(n_y)
        if len(self.classes) not in counts:
            raise InputError(
                f"{len(self.classes)} classes, but the network has {n_y} outputs with the "
                f"{self.network.head} head: expected {' or '.join(map(str, counts))} names"
            )
        scaled = len(self.preprocess.scaling) if self.preprocess else 0
        if scaled not in (0, n_y):
            raise InputError(f"{n_y} outputs, but {scaled} of them are scaled: expected all, or 0")

    @cached_property
    def dtype(self) -> str:
        """ "float32" or "float64"."""
        return self.parameters["W1"].dtype.name

    @property
    def named(self) -> str:
        """What ``classes`` names, and how many: "3 classes" or "2 values"."""
        kind = "classes" if meaning_of(self.network.head).probabilities else "values"
        return f"{len(self.classes)} {kind if len(self.classes) != 1 else 'value'}"

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for every row, (m,) or (m, n_L), in the form that y had in ``train``.

        X is an array (m, ...), a table with the columns of the training, or a Dataset.
        """
        labels = self._predicted(X).labels
        return np.asarray(self.values)[labels] if self.values else labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes for every row of X, (m, C); values have none."""
        found = self._predicted(X).probabilities
        if found is None:
            raise InputError(f"the {self.network.head} head has values, not probabilities")
        return found

    def prepare(self, X: Any) -> np.ndarray:
        """The rows that the network takes, (m, n_x) in the model's dtype: preprocessed and scaled.

        X is as for ``predict``. What ``to_torch`` makes takes these rows.
        """
        from portadnn.training.inference import check_fits, prepared

        data = prepared(self, X)
        check_fits(self, data)
        return data.columns(self.dtype).T

    def _predicted(self, X: Any) -> Any:
        from portadnn.training.inference import predict

        return predict(self, X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as ``save_model`` does."""
        save_model(self, path)

    def _layers(self) -> list[tuple[int, str]]:
        names = (*self.network.activations, self.network.head)
        return list(zip(self.network.layer_dims[1:], names, strict=True))

    def __repr__(self) -> str:
        widths = (f"{self.network.layer_dims[0]} values", *(f"{n} {g}" for n, g in self._layers()))
        size = sum(p.size for p in self.parameters.values())
        names = f"; {self.named}: {', '.join(self.classes)}" if self.classes else ""
        lines = (
            f"Model: {' -> '.join(widths)}; {size:,} parameters in {self.dtype}",
            f"Examples of {self.input_shape}{', uint8 scaled to [0, 1]' * self.scaled}{names}",
        )
        return "\n".join(textwrap.shorten(line, 200, placeholder=" ...") for line in lines)

    def _repr_html_(self) -> str:
        layers = "".join(f"<tr><td>{n}</td><td>{g}</td></tr>" for n, g in self._layers())
        text = html.escape(repr(self)).replace("\n", "<br>")
        return f"<p>{text}</p><table><tr><th>units</th><th>activation</th></tr>{layers}</table>"


def fingerprint(model: Model) -> str:
    """The SHA-256 of a model's weights: equal fingerprints mean equal bits.

    It is the ``digest`` of the parameters by their names.
    """
    return digest(model.parameters)


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to an HDF5 file, whole or not at all; docs/file-format.md describes it.

    Raises
    ------
    InputError
        If the file cannot be written. The old file is as it was, and nothing else is left.
    """
    if not isinstance(model, Model):
        raise TypeError(f"the model is {model!r}: expected save_model(model, path), in this order")
    version = 2
    if model.preprocess is not None:  # older versions of portadnn refuse the model then
        version = 4 if model.preprocess.scaling else 3
    attributes = {**described(model), "scaled": model.scaled, "version": version}
    arrays = {f"parameters/{name}": p for name, p in model.parameters.items()}
    _CONTAINER.write(path, attributes, arrays)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that ``save_model`` wrote.

    Raises
    ------
    InputError
        If the file is not a model, or a part of it is missing, damaged or does not fit.
    """
    with _CONTAINER.open(present(path)) as file:
        texts = {
            name: read_attribute(file, name, str, default=default)
            for name, default in zip(
                _TEXTS, (None, None, "[]", "[]", "[]", "null", '""'), strict=True
            )
        }
        texts["scaled"] = json.dumps(read_attribute(file, "scaled", bool))

        def read(network: Network) -> dict[str, np.ndarray]:
            return {
                name: read_array(file, f"parameters/{name}", kinds="f", fits=shape.__eq__,
                                 expected=f"weights of shape {shape}")
                for name, shape in network.shapes.items()
            }  # fmt: skip

        return model_from(texts, read)


def described(model: Model) -> dict[str, str]:
    """Everything of a model but its weights, as JSON texts by name; empty ones are left out."""
    about = {name: getattr(model, name) for name in ("classes", "input_shape", "scaled")}
    about = {"network": asdict(model.network), **about}
    given = {name: getattr(model, name) for name in ("columns", "values", "arithmetic")}
    about |= {name: found for name, found in given.items() if found}
    about |= {} if model.preprocess is None else {"preprocess": model.preprocess.to_json()}
    return {name: json.dumps(x) for name, x in about.items()}


def model_from(texts: Mapping[str, str], read: Callable[[Network], dict[str, np.ndarray]]) -> Model:
    """The model from the texts of ``described`` and the parameters that ``read(network)`` returns.

    Raises
    ------
    InputError
        If a part does not fit; a text that is not its JSON raises what ``json`` or Python does.
    """
    about = {name: json.loads(text) for name, text in texts.items()}
    network = Network(**about["network"])
    input_shape = tuple(map(operator.index, about["input_shape"]))
    for name, kinds in (("classes", str), ("columns", str), ("values", str | int | float)):
        found = about.setdefault(name, [])
        if not (isinstance(found, list) and all(isinstance(x, kinds) for x in found)):
            raise InputError(f"its {name} are not a list of names")
        about[name] = tuple(found)
    if len(about["values"]) not in (0, len(about["classes"])):
        raise InputError("its values are not a label for each class")
    if not isinstance(about.setdefault("scaled", None), bool):
        raise InputError(f"scaled is {about['scaled']!r}: expected true or false")
    if not isinstance(about.setdefault("arithmetic", ""), str):
        raise InputError(f"arithmetic is {about['arithmetic']!r}: expected a text")
    names = ("classes", "scaled", "columns", "values", "arithmetic")
    known = {name: about[name] for name in names}
    if about.get("preprocess") is not None:
        known["preprocess"] = Preprocess.from_json(about["preprocess"])
    parameters = read(network)
    check_values(parameters)
    for p in parameters.values():
        p.flags.writeable = False  # as those of a model that was trained
    return Model(network, parameters, input_shape=input_shape, **known)


def check_values(parameters: dict[str, np.ndarray]) -> None:
    """Raise InputError unless all are float32 or all float64, and finite."""
    dtypes = {p.dtype.name for p in parameters.values()}
    if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
        raise InputError(f"weights are of {', '.join(sorted(dtypes))}: expected float32 or float64")
    for name, p in parameters.items():
        if not np.isfinite(p).all():
            raise InputError(f"{name} holds values that are not finite")
