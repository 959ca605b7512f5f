"""What is checked of the data before training starts."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.backends.base import to_host
from portadnn.data.dataset import Dataset, all_finite
from portadnn.errors import InputError
from portadnn.network.losses import get_head
from portadnn.network.spec import Network

logger = logging.getLogger("portadnn")


def advise_scale(X: Any, backend: Backend) -> None:
    """Log a warning, with a remedy, if X holds values so large that the cost may not fall."""
    if isinstance(X, Dataset):
        return  # rows that are read for each batch are not looked at as a whole
    xp = backend.xp if backend.owns(X) else np
    X = X if backend.owns(X) else np.asarray(to_host(X))
    low, high = float(xp.min(X)), float(xp.max(X))
    if max(-low, high) <= 100:
        return
    pixels = low >= 0 and (high <= 255 or 4095 < high <= 65535) and bool(xp.all(xp.round(X) == X))
    line = f"X = X / {255 if high <= 255 else 65535}" if pixels else "X = (X - X.mean()) / X.std()"
    logger.warning(
        "the data hold values from %g to %g, and with numbers this large the cost may stay where "
        "it is. Scale them, and later the data of predictions in the same way: %s%s",
        low, high, line, ". (Images of uint8 are scaled for you.)" if pixels else "",
    )  # fmt: skip


def check_data(
    X: Any,
    Y: Any,
    S: Any = None,
    *,
    network: Network,
    backend: Backend,
    what: str = "",
    numbered: bool = False,
) -> None:
    """Raise InputError unless X and Y are finite, of the network's shapes and right for its head.

    Weights ``S`` must be 0 or more and of a shape that the head takes; ``what`` is put before names
    in messages. If Y is ``numbered``, it holds the number of each example's class, (1, m).

    Works on the arrays of the backend: only verdicts and the first wrong index leave the device.
    """
    n_x, n_y = network.layer_dims[0], network.layer_dims[-1]
    shape = (X.n_x, len(X)) if isinstance(X, Dataset) else tuple(X.shape)
    if len(shape) != 2 or shape[0] != n_x or shape[1] == 0:
        raise InputError(
            f"{what}X has shape {shape}, but the network takes {n_x} values per example: "
            f"expected ({n_x}, m) with m >= 1, one column per example"
        )
    expected = (1 if numbered else n_y, shape[1])
    if tuple(Y.shape) != expected:
        raise InputError(f"{what}Y has shape {tuple(Y.shape)}: expected {expected}, as X has shape "
                         f"{shape} and the last layer {n_y} units")  # fmt: skip
    xp = backend.xp
    looked = isinstance(X, Dataset)  # a Dataset was checked when it was made
    if not looked and (backend.library != "numpy" or not all_finite(X.T)):
        _check_all(xp.isfinite(X), X, f"{what}X", "finite numbers", backend)
    _check_all(xp.isfinite(Y), Y, f"{what}Y", "finite numbers", backend)
    head = get_head(network.head)
    if numbered:
        known = (Y >= 0) & (n_y - 1 >= Y)
        _check_all(known, Y, f"{what}Y", f"numbers of classes, 0 to {n_y - 1}", backend)
    elif head.low > -math.inf:
        limits = (
            f"{head.low:g} or more" if head.high == math.inf else f"{head.low:g} to {head.high:g}"
        )
        inside = (Y >= head.low) & (Y <= head.high)  # noqa: SIM300
        _check_all(inside, Y, f"{what}Y", f"{limits} for the {network.head} head", backend)
    if head.exclusive and not numbered:
        total = xp.sum(Y, axis=0, keepdims=True)
        # a one-hot column sums to 1 exactly; soft labels to n roundings of it
        close = xp.abs(total - 1.0) <= n_y * float(xp.finfo(Y.dtype).eps)
        _check_all(
            close,
            total,
            f"sum of the columns of {what}Y",
            f"1 for the {network.head} head",
            backend,
        )
    if S is not None:
        shapes = [(1, shape[1]), *([] if head.exclusive else [expected])]
        if tuple(S.shape) not in shapes:
            raise InputError(
                f"{what}weights have shape {tuple(S.shape)}: "
                f"expected {' or '.join(map(str, shapes))}"
            )
        _check_all(
            xp.isfinite(S) & (S >= 0), S, f"{what}weights", "finite numbers of 0 or more", backend
        )


def _check_all(holds: Any, x: Any, name: str, expected: str, backend: Backend) -> None:
    if bool(backend.xp.all(holds)):
        return
    index = tuple(int(i) for i in np.argwhere(~backend.to_numpy(holds))[0])
    value = float(backend.to_numpy(x)[index])
    raise InputError(f"{name} holds {value:g} at index {index}: expected {expected}")
