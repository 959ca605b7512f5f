"""A checkpoint as a file: the state of a run, and the declaration of the run.

docs/file-format.md describes every field.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.data.container import Container
from portadnn.data.foreign import Hdf5File, read_array
from portadnn.errors import InputError
from portadnn.training.declaration import Declaration
from portadnn.training.schedules import Tracker
from portadnn.training.state import EpochRecord, RunState

_CONTAINER = Container("portadnn checkpoint", "portadnn train", plain=0, sealed=(1,))
_PART = Container("portadnn part", "portadnn train --certify", plain=0, sealed=(1,))
PARTS = "watched"  # the folder beside the checkpoints with what is written once
_PART_NAME = re.compile(r"[a-z0-9]{1,20}-[0-9a-f]{16}")
_ARRAYS = ("parameters", "slots", "kept")
_ARRAY_KINDS = "biuf"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run, and the declaration of that run.

    Attributes
    ----------
    declaration : Declaration
    state : RunState
        The state, with all arrays on the host.
    first_layer : {"sample", "feature"}
        The form of the first layer that the state has.
    backend : str
        The full name of the backend that computed last.
    environment : dict of str
        The environment of that backend.
    resumed : list of dict
        For each time that the run was resumed: step, backend, and changes in the environment.
    since : int
        The number of the run's first checkpoint; lower numbers belong to the run that it replaces.
    path : Path, optional
        The file that it was read from.
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
        If a callback remembers anything but numbers, texts, arrays, lists and dicts.
    """
    arrays: dict[str, np.ndarray] = {}
    state = vars(checkpoint.state)
    said = {name: _said(state[name], arrays, name) for name in (*_ARRAYS, "callbacks")}
    if (watched := state["watched"]) is not None:
        about = _said(watched["said"], arrays, "watched")
        said["watched"] = {"said": about, "parts": list(watched["parts"])}
    header = vars(checkpoint) | {
        "declaration": checkpoint.declaration.to_toml(),
        "path": None,
        "state": state | said,
    }
    return _headed(header, arrays)


def packed_part(value: dict[str, Any]) -> dict[str, np.ndarray]:
    """What ``write_packed`` and ``write_part`` take of one of ``watched``'s parts."""
    arrays: dict[str, np.ndarray] = {}
    return _headed(_said(value, arrays, "a part"), arrays)


def _headed(header: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    # a header is larger than an attribute may be
    return {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}


def write_packed(
    arrays: dict[str, np.ndarray],
    path: str | os.PathLike[str],
    parts: Mapping[str, dict[str, np.ndarray]] = MappingProxyType({}),
) -> None:
    """Write a checkpoint, whole or not at all, after the parts that it names.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    for name, part in parts.items():
        write_part(part, part_path(path, name))
    _CONTAINER.write(path, {}, arrays)


def part_path(checkpoint: str | os.PathLike[str], name: str) -> Path:
    """The file of a part that a checkpoint names."""
    if not _PART_NAME.fullmatch(name):
        raise InputError(f"{name!r} is not the name of a part")
    return Path(checkpoint).parent / PARTS / f"{name}.h5"


def parts_in(directory: Path) -> list[Path]:
    """The parts beside the checkpoints in a directory, and what a killed process left of them."""
    found = [*(directory / PARTS).glob("*.h5"), *(directory / PARTS).glob(".portadnn-*.tmp")]
    return [path for path in found if path.suffix == ".tmp" or _PART_NAME.fullmatch(path.stem)]


def write_part(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write a part, whole or not at all; InputError if it cannot be written."""
    with contextlib.suppress(OSError):  # the write below raises the error
        path.parent.mkdir(exist_ok=True)
    _PART.write(path, {}, arrays)


def read_part(path: Path) -> dict[str, Any]:
    """Read a part; InputError if the file is not one, or is damaged."""
    with _PART.open(path) as file:
        header, array = _opened(file)
        return dict(_read(header, array))


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file is not a checkpoint, or is damaged.
    """
    with _CONTAINER.open(path) as file:
        found, array = _opened(file)
        header = dict(found)
        state = dict(header["state"])
        if (watched := state.get("watched")) is not None:
            parts = {name: read_part(part_path(path, name)) for name in watched["parts"]}
            said = dict(_read(watched["said"], array))
            state["watched"] = {"said": said, "parts": parts}
        for name in (*_ARRAYS, "callbacks"):
            state[name] = held = _read(state[name], array)
            if held is None and name == "kept":
                continue
            if not isinstance(held, dict):
                raise ValueError(f"its {name} are not a dict")
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


def _opened(file: Hdf5File) -> tuple[Any, Callable[[str], np.ndarray]]:
    """The header of a file, and what reads the arrays that it names."""
    raw = read_array(file, "header", kinds="u", expected="the header")

    def array(name: str) -> np.ndarray:
        return read_array(file, name, kinds=_ARRAY_KINDS, expected="an array of numbers")

    return json.loads(raw.astype(np.uint8).tobytes()), array


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
