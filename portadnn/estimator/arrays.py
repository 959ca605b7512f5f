"""Between scikit-learn's arrays, one row per sample, and the package's, one column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils.validation import _check_sample_weight

from portadnn.backends import backend_of, to_host
from portadnn.backends.registry import library_of
from portadnn.data.files import check_size
from portadnn.network.names import named


def columns(rows: Any) -> Any:
    """The one place that turns rows, (m, n), into columns, (n, m)."""
    return rows.T


def dense(x: Any, name: str) -> Any:
    """A sparse matrix with its zeros written out, as a NumPy array; anything else as it is.

    Raises
    ------
    InputError
        If the array would be larger than the machine's memory.
    """
    if not issparse(x):
        return x
    check_size(
        f"{name} is sparse, and as a dense array of shape {x.shape} it has",
        math.prod(x.shape) * x.dtype.itemsize,
        "fewer columns, for example by OneHotEncoder(min_frequency=...) or by TruncatedSVD",
    )
    return x.toarray()


def as_parameters(coefs: Sequence[Any], intercepts: Sequence[Any]) -> dict[str, Any]:
    """``coefs_`` and ``intercepts_`` by our names and shapes."""
    parameters = {}
    for l, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True), start=1):
        parameters[named("W", l)] = coef.T  # (n_l, n_prev)
        parameters[named("b", l)] = intercept[:, None]  # (n_l, 1)
    return parameters


def take(x: Any, indices: np.ndarray) -> Any:
    """The columns of those indices, where ``x`` lives."""
    home = backend_of(x)
    with home.scope():
        return home.xp.take(x, home.asarray(indices, dtype="int32"), axis=1)


def checked_weights(sample_weight: Any, m: int) -> np.ndarray:
    """Weights of m samples, (m,) float64 on the host, not all of them zero."""
    return _check_sample_weight(
        to_host(sample_weight), np.empty((m, 1)), dtype=np.float64, ensure_non_negative=True
    )


def float_dtypes(X: Any) -> list[Any]:
    """float64 and float32 of the namespace in which scikit-learn will handle X."""
    dispatched = get_config()["array_api_dispatch"] and library_of(X) is not None
    xp = array_namespace(X) if dispatched else np
    return [xp.float64, xp.float32]
