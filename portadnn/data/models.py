"""A trained model as a value, and as an HDF5 file that any backend can load."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass

import numpy as np

from portadnn.data.container import Container
from portadnn.data.digest import digest
from portadnn.data.files import read_array
from portadnn.data.heads import meaning_of
from portadnn.errors import InputError
from portadnn.network.spec import Network

_CONTAINER = Container("portadnn model", "portadnn train", plain=1, sealed=(2,))


@dataclass(frozen=True, eq=False)
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

    def __post_init__(self) -> None:
        self.network.check(self.parameters)
        n_x, n_y = self.network.layer_dims[0], self.network.layer_dims[-1]
        if min(self.input_shape, default=0) < 1 or math.prod(self.input_shape) != n_x:
            raise InputError(f"input shape {self.input_shape} does not hold the network's {n_x}")
        counts = meaning_of(self.network.head).names(n_y)
        if len(self.classes) not in counts:
            raise InputError(
                f"{len(self.classes)} classes, but the network has {n_y} outputs with the "
                f"{self.network.head} head: expected {' or '.join(map(str, counts))} names"
            )

    @property
    def dtype(self) -> str:
        """ "float32" or "float64"."""
        return self.parameters["W1"].dtype.name


def fingerprint(model: Model) -> str:
    """The SHA-256 of a model's weights: of equal fingerprints, every bit is equal.

    See ``digest``, of the parameters by their names.
    """
    return digest(model.parameters)


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to an HDF5 file, whole or not at all; docs/file-format.md describes it.

    Raises
    ------
    InputError
        If the file cannot be written. The old file is as it was, and nothing else is left.
    """
    attributes = {
        "network": json.dumps(asdict(model.network)),
        "classes": json.dumps(model.classes),
        "input_shape": json.dumps(model.input_shape),
        "scaled": model.scaled,
    }
    arrays = {f"parameters/{name}": p for name, p in model.parameters.items()}
    _CONTAINER.write(path, attributes, arrays)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that ``save_model`` wrote.

    Raises
    ------
    InputError
        If the file is not a model, or a part of it is missing, damaged or does not fit.
    """
    with _CONTAINER.open(path) as file:
        network = Network(**json.loads(file.attrs["network"]))
        classes = tuple(map(str, json.loads(file.attrs["classes"])))
        input_shape = tuple(map(int, json.loads(file.attrs["input_shape"])))
        parameters = {
            name: read_array(
                file, f"parameters/{name}", kinds="f", expected=f"weights of shape {shape}"
            )
            for name, shape in network.shapes.items()
        }
        _check_values(parameters)
        return Model(network, parameters, classes, input_shape, bool(file.attrs["scaled"]))


def _check_values(parameters: dict[str, np.ndarray]) -> None:
    dtypes = {p.dtype.name for p in parameters.values()}
    if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
        raise InputError(f"weights are of {', '.join(sorted(dtypes))}: expected float32 or float64")
    for name, p in parameters.items():
        if not np.isfinite(p).all():
            raise InputError(f"{name} holds values that are not finite")
