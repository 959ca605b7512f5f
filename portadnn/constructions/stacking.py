"""Layers written down as rows of numbers, as the ``parameters`` of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portadnn.network.names import named


def stacked(layers: Sequence[tuple[Any, Any]], backend: Any) -> dict[str, Any]:
    """``{"W1", "b1", ..., "WL", "bL"}`` of ``layers``.

    Parameters
    ----------
    layers : sequence of (W, b)
        Arrays or nested lists of shapes (n_l, n_prev) and (n_l,).
    backend : Backend or None
        Where the parameters shall live; None gives NumPy float64 arrays.
    """
    parameters: dict[str, Any] = {}
    for l, (W, b) in enumerate(layers, start=1):
        parameters[named("W", l)] = np.asarray(W, dtype=np.float64)
        parameters[named("b", l)] = np.asarray(b, dtype=np.float64).reshape(-1, 1)
    if backend is None:
        return parameters
    return {name: backend.asarray(p) for name, p in parameters.items()}
