"""Functions of one number as ReLU networks with the identity head.

| function            | hidden layers | units | what                                             |
|---------------------|---------------|-------|--------------------------------------------------|
| squashing()         | 1             | 2     | 0 up to 0, x between, 1 from 1                   |
| absolute_value()    | 1             | 2     | abs(x)                                           |
| square_by_two()     | 1             | 2     | abs(x), within 1/4 of x^2 on [-1, 1]             |
| square_by_four()    | 1             | 4     | within 1/4 of x^2 on [-2, 2]                     |
| interpolant(t, y)   | 1             | k     | straight lines through k + 1 points              |
| sawtooth(k)         | k             | 2k    | 2^(k-1) teeth on [0, 1]                          |
| sawtooth_shallow(k) | 1             | 2^k   | the same teeth; no fewer units have them         |

References
----------
Telgarsky, Representation benefits of deep feedforward networks (2015), and Benefits of depth in
neural networks (2016); Yarotsky, Error bounds for approximations with deep ReLU networks (2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from portadnn.choice import check_number, check_whole
from portadnn.constructions.stacking import stacked
from portadnn.errors import InputError
from portadnn.network.spec import Network, infer_network

MOST_TEETH = 20  # log2 of the units of sawtooth_shallow


def function_network(parameters: Mapping[str, Any]) -> Network:
    """The network of a function of this module: ReLU hidden layers, and the identity as its head.

    >>> from portadnn import L_model_forward
    >>> parameters = absolute_value()
    >>> network = function_network(parameters)
    >>> L_model_forward(np.asarray([[-2.0, 3.0]]), parameters, network=network)[0]
    array([[2., 3.]])
    """
    return dataclasses.replace(infer_network(parameters), head="identity")


def squashing(*, backend: Any = None) -> dict[str, Any]:
    """``psi(x) = ReLU(x) - ReLU(x - 1)``: 0 below 0, x from 0 to 1, 1 above 1. 2 units.

    It goes to 0 on the one side and to 1 on the other without falling, so it is a squashing
    function, and the universal approximation theorem for those holds for ReLU units in pairs.

    Parameters
    ----------
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    References
    ----------
    Hornik, Stinchcombe and White, Multilayer feedforward networks are universal approximators
    (1989), definition 2.3.
    """
    return stacked([([[1.0], [1.0]], [0.0, -1.0]), ([[1.0, -1.0]], [0.0])], backend)


def absolute_value(*, backend: Any = None) -> dict[str, Any]:
    """``abs(x) = ReLU(x) + ReLU(-x)``, exactly, everywhere. 2 units."""
    return stacked([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])], backend)


def square_by_two(*, backend: Any = None) -> dict[str, Any]:
    """``h1(x) = ReLU(x) + ReLU(-x)``, for x^2 on [-1, 1]. 2 units.

    It is x^2 at -1, 0 and 1, and at most 1/4 away from it on [-1, 1]. It equals ``abs(x)``.
    """
    return absolute_value(backend=backend)


def square_by_four(*, backend: Any = None) -> dict[str, Any]:
    """``h2(x) = h1(x) + 2 ReLU(x - 1) + 2 ReLU(-x - 1)``, for x^2 on [-2, 2]. 4 units.

    It is x^2 at -2, -1, 0, 1 and 2, and at most 1/4 away from it on [-2, 2].
    """
    hidden = ([[1.0], [-1.0], [1.0], [-1.0]], [0.0, 0.0, -1.0, -1.0])
    return stacked([hidden, ([[1.0, 1.0, 2.0, 2.0]], [0.0])], backend)


def interpolant(knots: Any, values: Any, *, backend: Any = None) -> dict[str, Any]:
    """The straight lines through k + 1 points, by k units.

    ``f(x) = y_0 + s_1 ReLU(x - t_0) + sum_i (s_(i+1) - s_i) ReLU(x - t_i)`` with the slopes s_i of
    the k pieces: each unit bends the line at its knot. Below ``t_0`` it stays y_0, above ``t_k`` it
    goes on with the last slope.

    Parameters
    ----------
    knots : sequence of float, shape (k + 1,)
        In rising order.
    values : sequence of float, shape (k + 1,)
        The values of the function at the knots.
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    Returns
    -------
    parameters : dict
        One hidden layer of ``k`` units.

    Raises
    ------
    InputError
        If there are fewer than two points, their numbers differ, or the knots do not rise.

    Examples
    --------
    >>> interpolant([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])["W2"]
    array([[1., 2.]])
    """
    t, y = (np.asarray(x, dtype=np.float64) for x in (knots, values))
    if t.ndim != 1 or t.shape != y.shape or len(t) < 2:
        raise InputError(
            f"knots have shape {t.shape} and values {y.shape}: expected (k + 1,) for both, "
            f"with k of 1 or more"
        )
    if not (np.isfinite(t).all() and np.isfinite(y).all() and (np.diff(t) > 0).all()):
        raise InputError("knots and values must be finite, and each knot above the one before")
    slopes = np.diff(y) / np.diff(t)  # (k,)
    bends = np.diff(slopes, prepend=0.0)
    return stacked([(np.ones((len(bends), 1)), -t[:-1]), (bends[None, :], y[:1])], backend)


def interpolation_knots(low: float, high: float, k: int) -> np.ndarray:
    """k + 1 knots at equal distances from ``low`` to ``high``, for k pieces."""
    low, high = check_number("low", low, -np.inf), check_number("high", high, low, low_open=True)
    return np.linspace(low, high, check_whole("k", k, 1) + 1)


def interpolation_bound(curvature: float, low: float, high: float, k: int) -> float:
    """The largest possible error of an interpolant with k equal pieces: O(1/k^2).

    ``curvature h^2 / 8`` with the pieces' width ``h = (high - low) / k``. For x^2 it is attained,
    in the middle of every piece.

    Parameters
    ----------
    curvature : float
        The largest ``abs(f'')`` between ``low`` and ``high``.
    low, high : float
    k : int
        Pieces, and units.

    Examples
    --------
    >>> interpolation_bound(2.0, -2.0, 2.0, 4)  # x^2 by square_by_four
    0.25

    References
    ----------
    Davis, Interpolation and Approximation (1963), theorem 3.1.1.
    """
    curvature = check_number("curvature", curvature, 0.0)
    t = interpolation_knots(low, high, k)
    return curvature * float((t[-1] - t[0]) / k) ** 2 / 8.0


def sawtooth(k: int, *, backend: Any = None) -> dict[str, Any]:
    """Telgarsky's sawtooth: the tent map k times, one hidden layer of 2 units each.

    The tent ``g(x) = 2 ReLU(x) - 4 ReLU(x - 1/2)`` takes [0, 1] to [0, 1] up and down again, so
    each further layer doubles the teeth: ``2^(k-1)`` teeth, ``2^k`` straight pieces. Multiples of
    ``2^-k`` are computed without rounding if the dtype has enough bits for them.

    Parameters
    ----------
    k : int
        1 or more.
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    Returns
    -------
    parameters : dict
        ``k`` hidden layers, ``2 k`` units.

    References
    ----------
    Telgarsky, Representation benefits of deep feedforward networks (2015).
    """
    k = check_whole("k", k, 1)
    bias, tent = [0.0, -0.5], np.asarray([[2.0, -4.0]])
    layers: list[tuple[Any, Any]] = [([[1.0], [1.0]], bias)]
    layers += [(np.vstack([tent, tent]), bias)] * (k - 1)
    return stacked([*layers, (tent, [0.0])], backend)


def sawtooth_shallow(k: int, *, backend: Any = None) -> dict[str, Any]:
    """The same sawtooth on [0, 1] by one hidden layer, of ``2**k`` units: no fewer can do it.

    It has 2^k - 1 bends inside [0, 1], one unit for each. Each unit changes the slope by
    ``±2^(k+1)``, so the slope at 0, a sum over the units that face left, is a multiple of that. The
    sawtooth starts with the slope ``2^k``, so one more unit is needed, and is enough.

    Parameters
    ----------
    k : int
        1 to 20.
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    Returns
    -------
    parameters : dict
        One hidden layer of ``2**k`` units.

    Raises
    ------
    InputError
        If k is not a whole number from 1 to 20.
    """
    k = check_whole("k", k, 1)
    if k > MOST_TEETH:
        raise InputError(
            f"k is {k}: one hidden layer would have {2**k:,} units. Expected {MOST_TEETH} at most; "
            f"sawtooth builds it with {2 * k} units"
        )
    knots = interpolation_knots(0.0, 1.0, 2**k)
    return interpolant(knots, np.arange(len(knots)) % 2, backend=backend)
