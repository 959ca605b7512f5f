"""The libraries by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portadnn.backends.base import Backend

CLASSES = {
    "numpy": "NumpyBackend",
    "cupy": "CupyBackend",
    "torch": "TorchBackend",
    "jax": "JaxBackend",
    "dask": "DaskBackend",
    "strict": "StrictBackend",
}

# the root module of a library's arrays, if its name is not that of the backend
_ROOT_MODULES = {"array_api_strict": "strict", "jaxlib": "jax"}


def library(name: str) -> type[Backend]:
    """The backend class of a library."""
    return getattr(importlib.import_module(f"portadnn.backends.{name}"), CLASSES[name])


def library_of(x: Any) -> type[Backend] | None:
    """The backend class of the library whose array ``x`` is, or None; imports no other library."""
    root = type(x).__module__.partition(".")[0]
    name = _ROOT_MODULES.get(root, root)
    if name not in CLASSES:
        return None
    found = library(name)
    return found if found.owns(x) else None
