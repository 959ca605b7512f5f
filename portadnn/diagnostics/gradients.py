"""Check gradients of backpropagation by differences of the cost, in float64, aware of kinks.

For an entry theta of a parameter and ``D(h) = (J(theta + h) - J(theta - h)) / 2h``, the derivative
is ``(4 D(h) - D(2h)) / 3`` up to terms of h^4 (Richardson). Two things keep it from being exact.
Both are estimated for each entry, so nobody chooses the allowed error:

- truncation: ``abs(D(h) - D(2h)) / 3``, about the error of ``D(h)`` alone, which is larger;
- rounding: each Z is a sum of terms that add up to M in magnitude, so it is off by a few u M, and
  the cost by ``dZ`` times that: a few u S in all, ``S = J + sum over layers of mean(sum(|dZ| M))``,
  and so a few u S / h.

If the Z of a ReLU changes its sign between theta - 2h and theta + 2h, the cost has a kink there,
and a smaller h is tried. If no h helps, because a Z is 0, the entry is counted as kinked: a
difference says nothing about its gradient. If the signs at both ends agree, there is no change
between them: Z is linear in theta until a unit switches (after tanh and sigmoid, nearly so).

References
----------
Goodfellow, Bengio and Courville, Deep Learning (2016), section 11.5; Baydin, Pearlmutter, Radul and
Siskind, Automatic differentiation in machine learning (2018), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from portadnn.backends import Backend, backend_of, get_backend, to_host
from portadnn.choice import check_whole
from portadnn.errors import InputError
from portadnn.network.initializers import Rng, as_rng
from portadnn.network.model import L_model_backward, L_model_forward, compute_cost_with_logits
from portadnn.network.names import named, of
from portadnn.network.spec import Network, infer_network

KINKED = ("relu", "leaky_relu")
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # h, times abs(theta) if that is above 1
# the allowed error in units of u S / h; 14,000 entries of random networks had at most 3
ROUNDINGS = 8.0
BLIND = 0.1  # share of the gradient: if rounding may be more, the difference says nothing
UNIT_ROUNDOFF = 2.0**-53


class EntryCheck(NamedTuple):
    """An entry of a parameter: its gradient, the difference of the cost, the allowed error."""

    at: tuple[int, ...]
    gradient: float
    difference: float
    allowed: float

    @property
    def ratio(self) -> float:
        """The error divided by the allowed error; above 1 is a fault."""
        error = abs(self.gradient - self.difference)
        if math.isnan(error):
            return math.inf
        return error / self.allowed if error else 0.0


@dataclass(frozen=True)
class TensorCheck:
    """The result of the check for one parameter.

    Attributes
    ----------
    name : str
    shape : tuple of int
    checked : int
        Entries that were compared.
    kinked : int
        Entries that sit on a kink, and were not compared.
    blind : int
        Compared entries with a gradient so small that a difference would not show a fault.
    faults : int
        Compared entries that are wrong.
    worst : EntryCheck or None
        The entry with the largest ``ratio``; None if nothing was compared.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    kinked: int
    blind: int
    faults: int
    worst: EntryCheck | None


@dataclass(frozen=True)
class GradientCheck:
    """What ``check_gradients`` found: ``tensors`` in the order W1, b1, W2, ..."""

    tensors: tuple[TensorCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether no entry was wrong."""
        return not any(tensor.faults for tensor in self.tensors)

    @property
    def told(self) -> int:
        """Entries for which a wrong gradient would have been seen."""
        return sum(tensor.checked - tensor.blind for tensor in self.tensors)


def check_gradients(
    X: Any,
    Y: Any,
    parameters: Mapping[str, Any],
    *,
    network: Network | None = None,
    grads: Mapping[str, Any] | None = None,
    entries: int | None = 100,
    rng: Rng = 0,
    backend: str | Backend | None = None,
) -> GradientCheck:
    """Compare gradients with differences of the cost, entry by entry, in float64.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    Y : array, shape (n_L, m)
    parameters : dict
        ``W1 .. WL``, ``b1 .. bL``.
    network : Network, optional
        None means ReLU in every hidden layer and a sigmoid head.
    grads : dict of arrays, optional
        ``dW1``, ``db1``, ...: the gradients to check, computed in float64 from the same numbers;
        None checks those of ``L_model_backward``.
    entries : int, optional
        How many of each parameter to check, drawn at random; None checks all.
    rng : int, Generator or RandomState
        Draws the entries.
    backend : str or Backend, optional
        The backend to compute on; None means that of X. The dtype is float64 in any case.

    Returns
    -------
    GradientCheck

    Raises
    ------
    InputError
        If a shape or a name disagrees, a gradient is missing, or the cost is not finite.

    Examples
    --------
    >>> from portadnn import initialize_parameters_deep
    >>> X, Y = np.asarray([[1.0, -2.0], [0.5, 3.0]]), np.asarray([[0.0, 1.0]])
    >>> found = check_gradients(X, Y, initialize_parameters_deep([2, 3, 1], rng=0))
    >>> found.passed, [tensor.checked for tensor in found.tensors]
    (True, [6, 3, 3, 1])
    """
    network = network or infer_network(parameters)
    network.check(parameters)
    if entries is not None:
        entries = check_whole("entries", entries, 1)
    name = backend.name if isinstance(backend, Backend) else backend or backend_of(X).name
    chosen = get_backend(name, dtype="float64")
    with chosen.scope():
        theta = {
            name: np.array(chosen.to_numpy(chosen.asarray(p))) for name, p in parameters.items()
        }
        costs = _Costs(chosen.asarray(X), chosen.asarray(Y), network, chosen)
        own, scale = costs.at(theta)
        given = own if grads is None else _checked_gradients(grads, network)
        generator = as_rng(rng)
        tensors = []
        for name, shape in network.shapes.items():
            size = math.prod(shape)
            indices = np.arange(size)
            if entries is not None and entries < size:
                indices = np.sort(generator.permutation(size)[:entries])
            found = [
                _check_entry(
                    costs, theta, name, np.unravel_index(i, shape), given[of("d", name)], scale
                )
                for i in indices
            ]
            tensors.append(_summary(name, shape, found))
    return GradientCheck(tuple(tensors))


class _Costs:
    """The cost, and which units of the kinked layers are on, as functions of the parameters."""

    def __init__(self, X: Any, Y: Any, network: Network, backend: Backend) -> None:
        self.X, self.Y, self.network, self.backend = X, Y, network, backend

    def __call__(self, theta: Mapping[str, np.ndarray]) -> tuple[float, bytes]:
        _, caches = self._forward(theta)
        masks = (
            np.packbits(self.backend.to_numpy(caches[l][1]) > 0).tobytes()
            for l, activation in enumerate(self.network.activations)
            if activation in KINKED
        )
        return self._cost(caches), b"".join(masks)

    def at(self, theta: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        """The gradients of backpropagation, and the S of the cost's rounding (see above)."""
        xp = self.backend.xp
        AL, caches = self._forward(theta)
        cost = self._cost(caches)
        if not math.isfinite(cost):
            raise InputError(f"the cost is {cost}: expected finite data and parameters")
        made = L_model_backward(
            AL, self.Y, caches, network=self.network, input_gradient=False, xp=xp
        )
        grads = {name: np.asarray(self.backend.to_numpy(g)) for name, g in made.items()}
        scale, m = cost, self.X.shape[1]
        for l, ((A_prev, W, b), _) in enumerate(caches, start=1):
            magnitude = xp.matmul(xp.abs(W), xp.abs(A_prev)) + xp.abs(b)
            dZ = grads[named("dZ", l)]
            scale += float(np.sum(np.abs(dZ) * self.backend.to_numpy(magnitude))) / m
        return grads, scale

    def _forward(self, theta: Mapping[str, np.ndarray]) -> tuple[Any, list[Any]]:
        parameters = {name: self.backend.asarray(p) for name, p in theta.items()}
        return L_model_forward(self.X, parameters, network=self.network, xp=self.backend.xp)

    def _cost(self, caches: list[Any]) -> float:
        ZL = caches[-1][1]
        cost = compute_cost_with_logits(ZL, self.Y, network=self.network, xp=self.backend.xp)
        return float(self.backend.to_numpy(cost))


def _check_entry(
    costs: _Costs,
    theta: Mapping[str, np.ndarray],
    name: str,
    index: tuple[Any, ...],
    gradient: np.ndarray,
    scale: float,
) -> EntryCheck | None:
    """The check with the step that allows the least error; None if the entry is on a kink."""
    index = tuple(int(i) for i in index)
    value, best = float(theta[name][index]), None

    def moved(offset: float) -> tuple[float, bytes]:
        p = theta[name].copy()
        p[index] = value + offset
        return costs({**theta, name: p})

    for step in STEPS:
        h = 2.0 ** round(math.log2(step * max(1.0, abs(value))))
        ends = [moved(k * h) for k in (-2, -1, 1, 2)]
        if len({masks for _, masks in ends}) > 1:
            continue
        J = [cost for cost, _ in ends]
        D, D2 = (J[2] - J[1]) / (2 * h), (J[3] - J[0]) / (4 * h)
        truncation, rounding = abs(D - D2) / 3, ROUNDINGS * UNIT_ROUNDOFF * scale / h
        entry = EntryCheck(index, float(gradient[index]), (4 * D - D2) / 3, truncation + rounding)
        if best is None or entry.allowed < best.allowed:
            best = entry
        if truncation < rounding:
            break  # a smaller step rounds more
    return best


def _summary(name: str, shape: tuple[int, ...], found: list[EntryCheck | None]) -> TensorCheck:
    compared = [entry for entry in found if entry is not None]
    return TensorCheck(
        name=name,
        shape=shape,
        checked=len(compared),
        kinked=len(found) - len(compared),
        blind=sum(_blind(entry) for entry in compared),
        faults=sum(entry.ratio > 1 for entry in compared),
        worst=max(compared, key=lambda entry: entry.ratio, default=None),
    )


def _blind(entry: EntryCheck) -> bool:
    return entry.allowed > BLIND * max(abs(entry.gradient), abs(entry.difference))


def _checked_gradients(grads: Mapping[str, Any], network: Network) -> dict[str, np.ndarray]:
    host = {}
    for name, shape in network.shapes.items():
        if of("d", name) not in grads:
            raise InputError(
                f"grads are {', '.join(map(str, grads)) or 'empty'}: expected d{name} among them"
            )
        g = np.asarray(to_host(grads[of("d", name)]), dtype=np.float64)
        if g.shape != shape:
            raise InputError(f"d{name} has shape {g.shape}, but {name} has shape {shape}")
        host[of("d", name)] = g
    return host
