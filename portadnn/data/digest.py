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
        state.update(heading(name, x.dtype, x.shape))
        state.update(little(x))
    return state.hexdigest()


def heading(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What stands before the bytes of an array."""
    dtype = dtype.newbyteorder("<")
    return f"{name} {dtype.str if dtype.names is None else dtype.descr} {shape}\n".encode()


def little(x: np.ndarray) -> bytes:
    """The bytes of an array, or of some of its rows."""
    return x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes()
