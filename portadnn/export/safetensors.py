"""safetensors: the weights under PyTorch's names, and the rest of the model as JSON beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

import numpy as np

from portadnn.data.files import check_size, open_regular, whole_file
from portadnn.data.foreign import library, reading
from portadnn.errors import InputError
from portadnn.network.names import named
from portadnn.network.spec import Network
from portadnn.training.models import Model, check_values, described, model_from

KEY = "portadnn"
LARGEST_HEADER = 2**24  # bytes of the description of the model and its weights


def save_safetensors(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to a safetensors file, the same bytes for the same model: docs/models.md.

    Raises
    ------
    InputError
        If safetensors (extra ``safetensors``) is missing, or the file cannot be written.
    """
    save = library("safetensors.numpy", "safetensors").save
    about = {name: json.loads(text) for name, text in described(model).items()}
    # one entry: the order of several would change from run to run
    content = save(torch_state(model), {KEY: json.dumps(about)})
    _check_header(path, content)
    with whole_file(path) as file:
        file.write(content)


def load_safetensors(path: str | os.PathLike[str]) -> Model:
    """Read a model that ``save_safetensors`` wrote; nothing in the file is executed.

    Raises
    ------
    InputError
        If safetensors is missing, or the file is not such a model or is damaged.
    """
    opened = library("safetensors", "safetensors").safe_open
    with open_regular(path) as file:
        check_size(f"{path} has", os.fstat(file.fileno()).st_size, "a model")
        _check_header(path, file.read(8))
    with reading(path, "is not a safetensors file of portadnn"), opened(path, "numpy") as found:
        about = (found.metadata() or {}).get(KEY)
        if about is None:
            raise InputError("its metadata do not describe a network. Load the weights in PyTorch, "
                             "and take them from there with portadnn.from_torch")  # fmt: skip
        texts = {name: json.dumps(value) for name, value in json.loads(about).items()}

        def read(network: Network) -> dict[str, np.ndarray]:
            names, keys = torch_names(network), sorted(found.keys())
            if keys != sorted(names):
                raise InputError(
                    f"it holds {', '.join(keys[:9]) or 'nothing'}, ...: expected "
                    f"{', '.join(names[:9])}, ..., two for each of {network.L} layers"
                )
            return parameters_of(map(found.get_tensor, names))

        return model_from(texts, read)


def torch_state(model: Model) -> dict[str, np.ndarray]:
    """The weights by PyTorch's names, (n_l, n_prev) and (n_l,), each in one block of memory."""
    pairs = zip(torch_names(model.network), model.parameters.values(), strict=True)
    return {
        name: np.ascontiguousarray(p[:, 0] if name.endswith("bias") else p) for name, p in pairs
    }


def torch_names(network: Network) -> list[str]:
    """The names of the weights: layers stand at 0, 2, 4, ..., and activations between them."""
    return [f"{2 * l}.{kind}" for l in range(network.L) for kind in ("weight", "bias")]


def parameters_of(state: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Our parameters, copies of weights (n_l, n_prev) and biases (n_l,) in turn, checked."""
    parameters = {}
    for i, x in enumerate(np.array(x, order="C") for x in state):
        parameters[named("Wb"[i % 2], i // 2 + 1)] = x[:, None] if i % 2 else x
    check_values(parameters)
    return parameters


def _check_header(path: str | os.PathLike[str], content: bytes) -> None:
    if (size := int.from_bytes(content[:8], "little")) > LARGEST_HEADER:
        raise InputError(f"{path} needs {size:,} bytes to describe its content: expected at most "
                         f"{LARGEST_HEADER:,}")  # fmt: skip
