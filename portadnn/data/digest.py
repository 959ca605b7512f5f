"""One number for many arrays: equal digests are equal bits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays, on any machine: sorted names, dtypes, shapes, values.

    Parameters
    ----------
    arrays : mapping of str to array
        On the host. Values count as little-endian bytes in C order, so neither the byte order nor
        the order of memory matters.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> digest({"b1": np.zeros((1, 1))})[:8]
    'af68110b'
    """
    state = hashlib.sha256()
    for name in sorted(arrays):
        x = np.asarray(arrays[name])
        little = x.astype(x.dtype.newbyteorder("<"), copy=False)
        kind = little.dtype.str if little.dtype.names is None else little.dtype.descr
        state.update(f"{name} {kind} {little.shape}\n".encode())
        state.update(little.tobytes())
    return state.hexdigest()
