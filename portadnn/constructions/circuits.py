"""Parity of n bits, deep and shallow, as exact ReLU networks.

| network        | hidden layers | hidden units                                         |
|----------------|---------------|------------------------------------------------------|
| xor_tree(n)    | ceil(log2 n)  | 2(n-1), and one for each 0 among the bits of n-1     |
| xor_shallow(n) | 1             | 2**(n-1): one for each odd minterm                   |
| xor_sum(n)     | 1             | n: the bit sum, through a zigzag                     |

The classic argument for depth uses parity: one hidden layer needs 2^(n-1) units. This is true for
AND and OR gates: a disjunction of terms must list every odd input, because two odd inputs differ in
two bits or more, so no term holds for both (``xor_shallow``). It is not true for units that see a
weighted sum, such as ReLU: n of them compute parity from the number of ones (``xor_sum``).
``sawtooth`` in ``functions.py`` shows what depth gains for ReLU.

Every value on the way to the logit is a whole number of at most n, so the logits are exactly
``logit`` (odd) and ``-logit`` (even), in float32 and float64, on every backend.

References
----------
Håstad, Almost optimal lower bounds for small depth circuits (1986); Minsky and Papert,
Perceptrons (1969); Montúfar, Pascanu, Cho and Bengio, On the number of linear regions of deep
neural networks (2014).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portadnn.choice import check_number, check_whole
from portadnn.constructions.stacking import stacked
from portadnn.errors import InputError

LOGIT = 32.0  # means 1: sigmoid(32) is 1 - 1.3e-14, and 1 in float32
MOST_BITS = 20  # for xor_shallow, whose W1 has n 2^(n-1) entries, 84 MB at 20


def xor_tree(n: int, *, logit: float = LOGIT, backend: Any = None) -> dict[str, Any]:
    """Parity of n bits by a tree of two-unit XORs, ``a xor b = ReLU(a - b) + ReLU(b - a)``.

    A value without a partner at a level passes through one unit, ``a = ReLU(a)``.

    Parameters
    ----------
    n : int
        Bits, 1 or more.
    logit : float
        The head's logit of an odd input; that of an even one is ``-logit``.
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    Returns
    -------
    parameters : dict
        Hidden layers: ``ceil(log2 n) = bit_length(n - 1)``. Hidden units: ``2 (n - 1)`` in the
        n - 1 XORs, and ``bit_length(n - 1) - popcount(n - 1)`` that pass a value on: none if n is a
        power of 2.

    Raises
    ------
    InputError
        If n is not a whole number of 1 or more, or the logit not a positive number.

    Examples
    --------
    >>> from portadnn import L_model_forward
    >>> AL, _ = L_model_forward(np.asarray([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]), xor_tree(3))
    >>> AL.round().astype(int)
    array([[0, 1]])
    """
    n, logit = _check(n, logit)
    # each value of a level as the sum of these units of the layer below; at first one bit each
    values = [[i] for i in range(n)]
    layers, n_prev = [], n
    while len(values) > 1:
        rows: list[np.ndarray] = []
        pairs: list[list[int]] = []
        for i in range(0, len(values), 2):
            row = np.zeros(n_prev)
            row[values[i]] = 1.0
            units = [row]
            if i + 1 < len(values):
                row[values[i + 1]] = -1.0
                units.append(-row)
            pairs.append([*range(len(rows), len(rows) + len(units))])
            rows += units
        layers.append((np.stack(rows), np.zeros(len(rows))))
        values, n_prev = pairs, len(rows)
    return stacked([*layers, _head(np.ones(n_prev), logit)], backend)


def xor_shallow(n: int, *, logit: float = LOGIT, backend: Any = None) -> dict[str, Any]:
    """Parity of n bits by one hidden layer with a unit for each odd minterm.

    The unit of the input c is ``ReLU(sum of x_i where c_i = 1 - sum of x_i where c_i = 0 -
    (ones(c) - 1))``: 1 at c, and 0 at every other input.

    Parameters
    ----------
    n : int
        Bits, 1 to 20.
    logit, backend
        As for ``xor_tree``.

    Returns
    -------
    parameters : dict
        One hidden layer of ``2**(n - 1)`` units.

    Raises
    ------
    InputError
        If n is not a whole number from 1 to 20, or the logit not a positive number.
    """
    n, logit = _check(n, logit)
    if n > MOST_BITS:
        raise InputError(
            f"n is {n}: one unit for each odd input is {2 ** (n - 1):,} units. Expected n of "
            f"{MOST_BITS} at most; unit_counts counts without building, xor_tree and xor_sum build"
        )
    inputs = all_inputs(n).T  # (2^n, n)
    odd = inputs[np.sum(inputs, axis=1) % 2 == 1]
    hidden = (2.0 * odd - 1.0, 1.0 - np.sum(odd, axis=1))
    return stacked([hidden, _head(np.ones(len(odd)), logit)], backend)


def xor_sum(n: int, *, logit: float = LOGIT, backend: Any = None) -> dict[str, Any]:
    """Parity of n bits by n units that all see the bit sum s.

    ``ReLU(s) - 2 ReLU(s - 1) + 2 ReLU(s - 2) - ...`` goes up and down between 0 and 1 and is the
    parity at every whole s from 0 to n.

    Parameters
    ----------
    n : int
        Bits, 1 or more.
    logit, backend
        As for ``xor_tree``.

    Returns
    -------
    parameters : dict
        One hidden layer of ``n`` units.

    Raises
    ------
    InputError
        If n is not a whole number of 1 or more, or the logit not a positive number.
    """
    n, logit = _check(n, logit)
    zigzag = np.where(np.arange(n) % 2 == 0, 2.0, -2.0)
    zigzag[0] = 1.0
    return stacked([(np.ones((n, n)), -np.arange(n)), _head(zigzag, logit)], backend)


def all_inputs(n: int) -> np.ndarray:
    """All 2^n inputs of n bits as columns, float64, (n, 2^n): column k holds the bits of k.

    >>> all_inputs(2)
    array([[0., 1., 0., 1.],
           [0., 0., 1., 1.]])
    """
    n = check_whole("n", n, 1)
    return (np.arange(2**n) >> np.arange(n)[:, None] & 1).astype(np.float64)


class UnitCounts(NamedTuple):
    """Hidden units that compute parity of n bits, by construction."""

    n: int
    tree_layers: int
    tree: int
    shallow: int
    sum: int


def unit_counts(largest: int = 30) -> list[UnitCounts]:
    """The counts of n = 1 .. ``largest``, by their closed forms; nothing is built.

    >>> unit_counts(30)[-1]
    UnitCounts(n=30, tree_layers=5, tree=59, shallow=536870912, sum=30)
    """
    return [
        UnitCounts(
            n,
            (n - 1).bit_length(),
            2 * (n - 1) + (n - 1).bit_length() - (n - 1).bit_count(),
            2 ** (n - 1),
            n,
        )
        for n in range(1, check_whole("largest", largest, 1) + 1)
    ]


def _head(weights: np.ndarray, logit: float) -> tuple[np.ndarray, list[float]]:
    """The layer whose logit is ``logit (2 p - 1)`` where ``weights`` of the units add up to p."""
    return 2.0 * logit * weights[None, :], [-logit]


def _check(n: Any, logit: Any) -> tuple[int, float]:
    return check_whole("n", n, 1), check_number("logit", logit, 0.0, low_open=True)
