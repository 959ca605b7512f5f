"""A checkpoint as a file: the state of a run, and the declaration of the run.

docs/file-format.md describes every field.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.data.container import Container
from portadnn.data.foreign import read_array
from portadnn.training.declaration import Declaration
from portadnn.training.schedules import Tracker
from portadnn.training.state import EpochRecord, RunState

_CONTAINER = Container("portadnn checkpoint", "portadnn train", plain=0, sealed=(1,))
_ARRAYS = ("parameters", "slots", "kept")
_ARRAY_KINDS = "biuf"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A state of a run, and of which run.

    Attributes
    ----------
    declaration : Declaration
    state : RunState
        With all arrays on the host.
    first_layer : {"sample", "feature"}
        In whose terms the state is.
    backend : str
        The full name of the one that computed last.
    environment : dict of str
        That of the backend.
    resumed : list of dict
        For every time that the run went on: step, backend, and what changed in the environment.
    since : int
        The number of the run's first checkpoint; those before it are of the run that it replaces.
    path : Path, optional
        Of the file that it was read from.
    """

    declaration: Declaration
    state: RunState
    first_layer: str
    backend: str
    environment: dict[str, str]
    resumed: list[dict[str, Any]]
    since: int = 1
    path: Path | None = None


def packed(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """What ``write_packed`` takes: copies, so that the run may go on meanwhile.

    Raises
    ------
    TypeError
        If a callback remembers something else than numbers, texts, arrays, lists and dicts.
    """
    arrays: dict[str, np.ndarray] = {}
    state = vars(checkpoint.state)
    said = {name: _said(state[name], arrays, name) for name in (*_ARRAYS, "callbacks")}
    header = vars(checkpoint) | {
        "declaration": checkpoint.declaration.to_toml(),
        "path": None,
        "state": state | said,
    }
    # a header is larger than an attribute may be
    return {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}


def write_packed(arrays: dict[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint, whole or not at all; InputError if it cannot be written."""
    _CONTAINER.write(path, {}, arrays)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file is not a checkpoint, or is damaged.
    """
    with _CONTAINER.open(path) as file:
        raw = read_array(file, "header", kinds="u", expected="the checkpoint's header")
        header = dict(json.loads(raw.astype(np.uint8).tobytes()))

        def array(name: str) -> np.ndarray:
            return read_array(file, name, kinds=_ARRAY_KINDS, expected="an array of numbers")

        state = dict(header["state"])
        for name in (*_ARRAYS, "callbacks"):
            state[name] = held = _read(state[name], array)
            if held is None and name == "kept":
                continue
            if not isinstance(held, dict):
                raise ValueError(f"its {name} are no dict")
            if name in _ARRAYS and not all(isinstance(x, np.ndarray) for x in held.values()):
                raise ValueError(f"its {name} are not arrays")
        state["step"] = int(state["step"])
        state["tracker"] = Tracker(*state["tracker"])
        state["costs"] = [float(cost) for cost in state["costs"]]
        state["rows"] = [EpochRecord(*row) for row in state["rows"]]
        header["environment"] = dict(header["environment"])
        header["resumed"] = [dict(entry) for entry in header["resumed"]]
        header["since"] = int(header["since"])
        text = header["declaration"]
        header["declaration"] = Declaration.from_toml(text, "its declaration", parts=True)
        return Checkpoint(**header | {"state": RunState(**state), "path": Path(path)})


def _said(value: Any, arrays: dict[str, np.ndarray], what: str) -> Any:
    """A value as JSON, from which ``_read`` makes the same; its arrays are added to ``arrays``."""
    value = to_host(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAY_KINDS:
        name = f"arrays/{len(arrays)}"
        arrays[name] = value.copy()
        return {"array": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {k: _said(item, arrays, f"{what}, {k}") for k, item in value.items()}}
    if type(value) in (list, tuple, EpochRecord):
        items = [_said(item, arrays, what) for item in value]
        return items if type(value) is list else {type(value).__name__: items}
    raise TypeError(
        f"{what}: a checkpoint cannot hold a {type(value).__name__}: expected numbers, texts, "
        f"arrays, lists, and dicts whose keys are texts"
    )


def _read(value: Any, array: Callable[[str], np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_read(item, array) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return array(str(inner))
    if kind == "dict":
        return {str(key): _read(item, array) for key, item in dict(inner).items()}
    items = _read(inner, array)
    if kind == "EpochRecord":
        return EpochRecord(*items)
    if kind != "tuple":
        raise ValueError(f"it holds a {kind}")
    return tuple(items)
