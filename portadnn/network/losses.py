"""The output heads: an output activation and the cost that belongs to it.

| head     | AL         | cost, averaged over the m examples                          |
|----------|------------|-------------------------------------------------------------|
| sigmoid  | sigmoid(Z) | binary cross-entropy, summed over outputs                   |
| softmax  | softmax(Z) | categorical cross-entropy; the columns of Y sum to 1        |
| identity | Z          | half the squared error, summed over outputs                 |
| poisson  | exp(Z)     | half the Poisson deviance, summed over outputs              |

With these pairs ``dZ[L] = AL - Y`` for every head, so no head divides by a probability. Each cost
has two forms. Training computes it from the logits ``Z``: finite for every finite Z (poisson: if
exp(Z) is). The other form sees ``AL`` alone, in which a saturated probability has already lost its
digits.

Weights ``S`` of the examples, (1, m), of mean 1, multiply each one's cost; for every head but
softmax they may be (n_y, m), a weight for every output. ``dZ[L] = S (AL - Y)`` then.

A head's row here is its mathematics. ``data/heads.py`` says what its outputs mean, and
``parity/bounds/heads.py`` says how far a backend may be from it; a test fails if a row is missing.

References
----------
Bishop, Pattern Recognition and Machine Learning (2006), section 5.2 (canonical links);
McCullagh and Nelder, Generalized Linear Models (1989), section 2.3 (deviances).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from portadnn.choice import known_name
from portadnn.network.activations import identity, sigmoid, softmax
from portadnn.network.examples import number_of, over_examples
from portadnn.network.namespace import Array, resolve


def sigmoid_cross_entropy_with_logits(
    Z: Array, Y: Array, S: Array = None, *, xp: Any = None
) -> Array:
    """``mean(max(Z, 0) - Y Z + log(1 + exp(-abs(Z))))``: softplus(Z) - Y Z without overflow."""
    xp = resolve(xp, Z, Y)
    softplus = xp.maximum(Z, 0.0) + xp.log1p(xp.exp(-xp.abs(Z)))
    return xp.divide(_total(softplus - xp.multiply(Y, Z), S, xp), number_of(Z, xp))


def sigmoid_cross_entropy(AL: Array, Y: Array, *, xp: Any = None) -> Array:
    """``-mean(Y log AL + (1 - Y) log(1 - AL))``, where 0 log 0 is 0.

    A label contradicted with certainty costs ``inf``, without a warning.
    """
    xp = resolve(xp, AL, Y)
    return xp.divide(_plogq(Y, AL, xp) + _plogq(1.0 - Y, 1.0 - AL, xp), AL.shape[1])


def softmax_cross_entropy_with_logits(
    Z: Array, Y: Array, S: Array = None, *, xp: Any = None
) -> Array:
    """``mean(log(sum(exp(Z))) - sum(Y Z))``, shifted by the largest logit of each example."""
    xp = resolve(xp, Z, Y)
    Z = Z - xp.max(Z, axis=0, keepdims=True)
    log_sum_exp = xp.log(xp.sum(xp.exp(Z), axis=0, keepdims=True))  # (1, m), >= 0
    terms = log_sum_exp - xp.sum(xp.multiply(Y, Z), axis=0, keepdims=True)
    return xp.divide(_total(terms, S, xp), number_of(Z, xp))


def softmax_cross_entropy(AL: Array, Y: Array, *, xp: Any = None) -> Array:
    """``-mean(sum(Y log AL))``, where 0 log 0 is 0 and a contradicted label costs ``inf``."""
    xp = resolve(xp, AL, Y)
    return xp.divide(_plogq(Y, AL, xp), AL.shape[1])


def squared_error(AL: Array, Y: Array, S: Array = None, *, xp: Any = None) -> Array:
    """``mean(sum((AL - Y)**2)) / 2``; AL and the logits are the same here."""
    xp = resolve(xp, AL, Y)
    E = AL - Y
    return xp.divide(_total(xp.multiply(E, E), S, xp), 2 * number_of(AL, xp))


def exp(Z: Array, *, xp: Any = None) -> Array:
    """``exp(Z)``: the mean of a count, whose logarithm the last layer computes."""
    xp = resolve(xp, Z)
    return xp.exp(Z)


def poisson_deviance_with_logits(Z: Array, Y: Array, S: Array = None, *, xp: Any = None) -> Array:
    """``mean(exp(Z) - Y (Z + 1 - log Y))``, where 0 log 0 is 0."""
    xp = resolve(xp, Z, Y)
    log_Y = xp.log(xp.where(Y > 0, Y, 1.0))
    terms = xp.exp(Z) - xp.multiply(Y, Z + 1.0 - log_Y)
    return xp.divide(_total(terms, S, xp), number_of(Z, xp))


def poisson_deviance(AL: Array, Y: Array, *, xp: Any = None) -> Array:
    """``mean(AL - Y + Y log(Y / AL))``, where 0 log 0 is 0; ``inf`` if AL is 0 and Y is not."""
    xp = resolve(xp, AL, Y)
    return xp.divide(xp.sum(AL - Y) + _plogq(Y, AL, xp) - _plogq(Y, Y, xp), AL.shape[1])


def _total(terms, S, xp):
    return over_examples(xp).sum(terms if S is None else xp.multiply(terms, S))


def _plogq(P, Q, xp):
    """``-sum(P log Q)`` with 0 log 0 = 0, without taking the logarithm of 0."""
    certain = Q <= 0
    terms = -xp.multiply(P, xp.log(xp.where(certain, 1.0, Q)))
    return xp.sum(xp.where(certain & (P > 0), float("inf"), terms))


class Head(NamedTuple):
    """A row of the table above.

    Every target lies between ``low`` and ``high``. If the outputs are ``exclusive``, an example's
    targets add up to 1 and have one weight. ``gradient(AL, Y)`` is dZ[L] without the weights.
    """

    activation: Callable[..., Array]
    cost: Callable[..., Array]
    cost_with_logits: Callable[..., Array]
    low: float = -math.inf
    high: float = math.inf
    exclusive: bool = False
    gradient: Callable[..., Array] = lambda AL, Y: AL - Y


HEADS = {
    "sigmoid": Head(sigmoid, sigmoid_cross_entropy, sigmoid_cross_entropy_with_logits, 0, 1),
    "softmax": Head(softmax, softmax_cross_entropy, softmax_cross_entropy_with_logits, 0, 1, True),
    "identity": Head(identity, squared_error, squared_error),
    "poisson": Head(exp, poisson_deviance, poisson_deviance_with_logits, low=0),
}


def get_head(name: str) -> Head:
    """The head of that name; an unknown name is an InputError that gives the nearest one."""
    return HEADS[known_name("head", name, HEADS)]
