"""How variances change from layer to layer, in theory.

If the weights are drawn independently, with mean 0 and variance v, then for given inputs a unit's
``z = sum_i w_i a_i`` has mean 0 and variance ``n_prev v E[a^2]``. If z is symmetric about 0, ReLU
halves its second moment: ``E[a^2] = Var(z) / 2``. So a layer multiplies the signal by
``n_prev v / 2``: He's v = 2 / n_prev keeps it, LeCun's 1 / n_prev halves it. Backward,
``E[da_prev^2] = n_l v E[dz^2]``, and ReLU halves again.

References
----------
LeCun, Bottou, Orr and Müller, Efficient BackProp (1998); Glorot and Bengio (2010); He, Zhang, Ren
and Sun, Delving deep into rectifiers (2015), section 2.2.
"""

from __future__ import annotations

import math

import numpy as np

from portadnn.network.activations import ACTIVATIONS, get_activation
from portadnn.network.losses import HEADS

_REACH, _NODES = 9.0, 4000  # standard deviations; an even number, so none lies on a kink at 0


def activation_moments(activation: str, variance: float) -> tuple[float, float]:
    """``E[g(z)^2]`` and ``E[g'(z)^2]`` for z normal with mean 0.

    By the trapezoidal rule. For smooth activations its error falls faster than any power of the
    distance of nodes (0.0045 standard deviations), until the step of a saturated unit is as narrow
    as that, at a standard deviation of about 100. For ReLU both factors are 1/2 by symmetry.

    Parameters
    ----------
    activation : str
        A function of one unit. Softmax, and functions that only heads have, give NaN.
    variance : float
        The variance of z.

    Examples
    --------
    >>> activation_moments("relu", 3.0)
    (1.5, 0.5)
    """
    without = {"softmax"} | (HEADS.keys() - ACTIVATIONS.keys())
    if activation in without or not math.isfinite(variance):
        return math.nan, math.nan
    t = np.linspace(-_REACH, _REACH, _NODES)
    t = (t - t[::-1]) / 2  # symmetric to the last bit
    weight = np.exp(-t * t / 2)
    weight /= weight @ (t * t)  # so that the variance of t is 1, to rounding
    g = get_activation(activation)
    if activation in ("relu", "leaky_relu", "identity"):  # g(s t) = s g(t)
        value, slope = g.forward(t, xp=np), g.backward(np.ones_like(t), t, xp=np)
        square = variance * float(weight @ (value * value))
    else:
        z = math.sqrt(variance) * t
        value, slope = g.forward(z, xp=np), g.backward(np.ones_like(z), z, xp=np)
        square = float(weight @ (value * value))
    return round_off(square), round_off(float(weight @ (slope * slope)))


def round_off(x: float) -> float:
    """``x`` to 12 digits, the accuracy of the rule."""
    return float(f"{x:.12g}")
