"""Units that never fire, and units whose weights no gradient reaches.

A ReLU unit is **dead** on data if ``Z <= 0`` for every example. Then its output and the gradients
of its weights and its bias are exactly 0. Whether it can come back depends on its layer:

- in the first layer, not under full-batch gradient descent on the same data: Z1 depends on nothing
  but X and the unit's own weights, which stay as they are. (Its velocity from earlier steps, weight
  decay or other data can move it.)
- in a later layer it can: the layers before it go on learning through other units, so its inputs
  change although its weights do not.

A unit that fires also gets no gradient if every path from it to the output is dead: then it is
**cut off**. Leaky ReLU has slope 0.01 below 0, so its units are neither.

References
----------
Glorot, Bordes and Bengio, Deep sparse rectifier neural networks (2011); Maas, Hannun and Ng,
Rectifier nonlinearities improve neural network acoustic models (2013); Lu, Shin, Su and
Karniadakis, Dying ReLU and initialization (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends import to_host
from portadnn.network.model import L_model_forward
from portadnn.network.names import named
from portadnn.network.namespace import resolve
from portadnn.network.spec import Network, infer_network


@dataclass(frozen=True, eq=False)
class LayerUnits:
    """What the units of a hidden layer do on some data.

    Attributes
    ----------
    layer : int
        1 .. L-1.
    activation : str
    active : array, shape (n_l,)
        The share of examples for which each unit's Z is above 0.
    dead : array of bool, shape (n_l,)
        Never above 0 (ReLU only), so that its weights have gradient 0.
    cut_off : array of bool, shape (n_l,)
        Not dead, but with gradient 0: no example has a path from it to the output.
    """

    layer: int
    activation: str
    active: np.ndarray
    dead: np.ndarray
    cut_off: np.ndarray

    @property
    def for_good(self) -> bool:
        """Whether a dead unit stays so under full-batch descent on these data: in layer 1."""
        return self.layer == 1


def unit_activity(
    X: Any, parameters: Mapping[str, Any], *, network: Network | None = None, xp: Any = None
) -> list[LayerUnits]:
    """Dead and cut-off units of every hidden layer.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    parameters : dict
        ``W1 .. WL``, ``b1 .. bL``.
    network : Network, optional
        None means ReLU in every hidden layer and a sigmoid head.

    Returns
    -------
    list of LayerUnits
        One for each hidden layer, on the host.

    Raises
    ------
    InputError
        If a shape or a name disagrees.

    Examples
    --------
    >>> parameters = {"W1": np.asarray([[1.0], [1.0]]), "b1": np.asarray([[0.0], [-9.0]]),
    ...               "W2": np.asarray([[1.0, 1.0]]), "b2": np.asarray([[0.0]])}
    >>> [layer] = unit_activity(np.asarray([[-1.0, 1.0, 2.0, 3.0]]), parameters)
    >>> layer.dead, layer.active
    (array([False,  True]), array([0.75, 0.  ]))
    """
    xp = resolve(xp, X, *parameters.values())
    network = network or infer_network(parameters)
    _, caches = L_model_forward(X, parameters, network=network, xp=xp)
    layers = []
    reached = None  # (n_l, m): whether a gradient gets to Z of the layer; None is everywhere
    for l in range(network.L - 1, 0, -1):
        activation, Z = network.activations[l - 1], caches[l - 1][1]
        W_next = parameters[named("W", l + 1)]
        ways = xp.astype(W_next != 0, X.dtype)  # (n_(l+1), n_l)
        if reached is None:
            reached = xp.ones_like(caches[l][1])
        # sums of 0 and 1: above 0 if there is a path
        reached = xp.matmul(ways.T, reached) > 0
        # NaN is not 0, so a unit that overflows is not taken for dead
        passes = ~(Z <= 0) if activation == "relu" else xp.ones_like(Z, dtype=xp.bool)
        reached = xp.astype(reached & passes, X.dtype)
        fires, learns = xp.any(passes, axis=1), xp.any(reached > 0, axis=1)
        active = xp.mean(xp.astype(Z > 0, X.dtype), axis=1)
        fires, learns, active = (np.array(to_host(x)) for x in (fires, learns, active))
        layers.append(LayerUnits(l, activation, active, ~fires, fires & ~learns))
    return layers[::-1]
