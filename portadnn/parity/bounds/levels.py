"""The smallest fault that a check finds: what is promised beforehand, and what a run's bounds say.

A fault is measured by how far it moves a tensor, as a share of it: ``|faulty - right| / |right|``
in the 2-norm, from the same operands.
"""

from __future__ import annotations

import numpy as np

from portadnn.network.losses import get_head
from portadnn.network.names import UPDATED, kind_and_layer
from portadnn.network.spec import Network
from portadnn.parity.bounds import U_SHADOW, Bound, declared_format

# by kind of tensor: the multiple of u sqrt(n); every other tensor of a step has OTHER
MULTIPLES = {
    **dict.fromkeys(("Z", "dW", "db", "dA", "dAD", "cost"), 32),
    **dict.fromkeys(UPDATED, 256),
}
OTHER = 64


def level(network: Network, tensor: str, m: int, dtype: str) -> float:
    """``c u sqrt(n)``: above it, a fault in a tensor of a step of ``m`` examples must be found.

    n is the number of terms that are added up for an entry. c is 32 for products, means and the
    cost, 256 for parameters and slots after the step, and 64 for all else. u is one rounding of the
    format and one of the float64 that checks it.

    Notes
    -----
    The multiples follow from the bounds, not from faults that were found. A fault beyond twice the
    statistical bound is found, whatever honest rounding adds to it or takes from it. For a sum
    that bound is at most ``lambda u sqrt(V)`` with lambda below 9 for 10^17 entries and V at most
    ``1.02 n + 7`` times the square of the largest partial sum, and at most ``gamma(n + 6)``: twice
    it is below 32 u sqrt(n) of such a sum. Elementwise formulas make at most 32 roundings, an
    update some 30, and its gradient has up to 11. If terms cancel, so that the result is much
    smaller than the terms, a run's own bound may be wider than the level: see
    ``smallest_fault``.
    """
    kind, l = kind_and_layer(tensor)
    dims = network.layer_dims
    weights = sum(n_l * n_prev for n_l, n_prev in network.shapes.values())
    terms = {
        "Z": lambda: dims[l - 1],
        "A": lambda: dims[l] if _exclusive(network, l) else 1,
        "dZ": lambda: dims[l] if l < network.L and _exclusive(network, l) else 1,
        "cost": lambda: m if get_head(network.head).exclusive else m * dims[-1],
        "dW": lambda: m,
        "db": lambda: m,
        "dA": lambda: dims[l + 1],
        "dAD": lambda: dims[l + 1],
        "penalty": lambda: weights,
        "norm": lambda: weights,
    }.get(kind, lambda: 1)()
    u = declared_format(dtype).u + U_SHADOW
    return float(MULTIPLES.get(kind, OTHER) * u * np.sqrt(terms))


def smallest_fault(bound: Bound) -> float:
    """The smallest fault that the bound surely finds: twice ``stat``, as a share of the tensor.

    A larger fault moves an entry by more than twice its ``stat``. The share is 0 for an operation
    that rounds nothing, and infinite if nothing is known.
    """
    widest, size = (float(np.linalg.norm(x)) for x in (2 * bound.stat, bound.exact))
    return widest / size if size > 0 else np.inf if widest > 0 else 0.0


def _exclusive(network: Network, l: int) -> bool:
    """Whether the activation of a layer is a softmax, whose sum is over the layer's units."""
    if l == network.L:
        return get_head(network.head).exclusive
    return network.activations[l - 1] == "softmax"
