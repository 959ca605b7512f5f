"""Initial weights, drawn once on the host in float64, so that every backend starts from the same.

| name   | variance of W            | source                                                  |
|--------|--------------------------|---------------------------------------------------------|
| zeros  | 0                        | what not to do: every unit of a layer stays the same    |
| normal | gain**2, gain = 0.01     | the fixed scale of a shallow network                    |
| lecun  | gain / n_in, gain = 1    | LeCun, Bottou, Orr and Müller, Efficient BackProp (1998) |
| xavier | gain / (n_in + n_out), 2 | Glorot and Bengio (2010)                                |
| he     | gain / n_in, gain = 2    | He, Zhang, Ren and Sun (2015)                           |

Biases are zero. "normal" and "uniform" distributions have the same variance.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from portadnn.choice import known_name
from portadnn.errors import InputError
from portadnn.network.names import is_weight, layer_of
from portadnn.network.spec import Network

Rng: TypeAlias = "int | str | np.random.Generator | np.random.RandomState | None"

# the default gain, and the variance of a weight as a function of gain, n_in and n_out
_VARIANCES = {
    "zeros": (0.0, lambda gain, n_in, n_out: 0.0),
    "normal": (0.01, lambda gain, n_in, n_out: gain * gain),
    "lecun": (1.0, lambda gain, n_in, n_out: gain / n_in),
    "xavier": (2.0, lambda gain, n_in, n_out: gain / (n_in + n_out)),
    "he": (2.0, lambda gain, n_in, n_out: gain / n_in),
}
_DISTRIBUTIONS = ("normal", "uniform")


@dataclass(frozen=True)
class Initializer:
    """How the weights of a layer are drawn.

    Parameters
    ----------
    name : {"zeros", "normal", "lecun", "xavier", "he"}
    distribution : {"normal", "uniform"}
    gain : float, optional
        The numerator of the variance in the table above; for "normal" the standard deviation.

    Raises
    ------
    InputError
        If a name is unknown or the gain is not positive and finite.
    """

    name: str = "he"
    distribution: str = "normal"
    gain: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", known_name("initialiser", self.name, _VARIANCES))
        known_name("distribution", self.distribution, _DISTRIBUTIONS)
        gain = _VARIANCES[self.name][0] if self.gain is None else float(self.gain)
        if self.name != "zeros" and not (math.isfinite(gain) and gain > 0):
            raise InputError(f"the gain of {self.name} is {gain}: expected a positive number")
        object.__setattr__(self, "gain", gain)

    def variance(self, n_l: int, n_prev: int) -> float:
        """The variance of each weight of a W of shape (n_l, n_prev)."""
        return _VARIANCES[self.name][1](self.gain, n_prev, n_l)

    def draw(self, n_l: int, n_prev: int, rng: Any) -> np.ndarray:
        """W of shape (n_l, n_prev), float64, drawn row by row."""
        if self.name == "zeros":
            return np.zeros((n_l, n_prev))
        std = math.sqrt(self.variance(n_l, n_prev))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * std  # a uniform variable on (-a, a) has variance a**2 / 3
            return rng.uniform(-limit, limit, (n_l, n_prev))
        return rng.standard_normal((n_l, n_prev)) * std

    def __str__(self) -> str:
        return f"{self.name}_{self.distribution}:{self.gain!r}"


def as_initializer(init: str | Initializer) -> Initializer:
    """``init`` itself, or the initializer that a text names: ``name[_distribution][:gain]``.

    >>> as_initializer("he")
    Initializer(name='he', distribution='normal', gain=2.0)
    >>> as_initializer("xavier_uniform:6")
    Initializer(name='xavier', distribution='uniform', gain=6.0)

    Raises
    ------
    InputError
        If the name is unknown; the message has the nearest one.
    """
    if isinstance(init, Initializer):
        return init
    if not isinstance(init, str):
        raise TypeError(f"init is {init!r}: expected a name such as 'he', or an Initializer")
    full_name, colon, gain_text = init.partition(":")
    name, underscore, distribution = full_name.partition("_")
    name = known_name("initialiser", name, _VARIANCES)
    gain = None
    if colon:
        try:
            gain = float(gain_text)
        except ValueError:
            raise InputError(
                f"the gain of {init!r} is not a number: expected for example {name}:1.5"
            ) from None
    return Initializer(name, distribution if underscore else "normal", gain)


def as_initializers(
    init: str | Initializer | Sequence[str | Initializer], L: int
) -> tuple[Initializer, ...]:
    """An initializer for each of L layers, from one or from as many.

    Raises
    ------
    InputError
        If their number is not L, or a name is unknown.
    """
    if isinstance(init, str | Initializer) or not isinstance(init, Sequence):
        return (as_initializer(init),) * L
    if len(init) != L:
        raise InputError(
            f"{len(init)} initialisers were given for {L} layers: expected one, or one for each"
        )
    return tuple(map(as_initializer, init))


def as_rng(rng: Rng) -> Any:
    """A generator: an integer seeds ``numpy.random.default_rng``, "randomstate:1" a RandomState.

    None is ``RandomState(3)``.
    """
    if rng is None:
        return np.random.RandomState(3)
    if isinstance(rng, str):
        name, _, digits = rng.partition(":")
        whole = digits.isascii() and digits.isdigit() and len(digits) < 12
        if name != "randomstate" or not whole or int(digits) >= 2**32:
            raise InputError(
                f"rng is {rng!r}: expected a whole number, which seeds numpy.random.default_rng, "
                f"or randomstate:SEED with a seed below 2**32"
            )
        return np.random.RandomState(int(digits))
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return rng
    try:
        seed = operator.index(rng)
    except TypeError:
        raise TypeError(
            f"rng is {rng!r}: expected an integer seed, a numpy.random.Generator, a "
            f"numpy.random.RandomState, or its text randomstate:SEED"
        ) from None
    if seed < 0:
        raise InputError(f"the seed is {seed}: expected 0 or more")
    return np.random.default_rng(seed)


def initialize_parameters_deep(
    layer_dims: Sequence[int],
    *,
    init: str | Initializer | Sequence[str | Initializer] = "he",
    rng: Rng = None,
    backend: Any = None,
) -> dict[str, Any]:
    """Initial parameters of a network, layer by layer.

    Parameters
    ----------
    layer_dims : sequence of int
        ``(n_x, n_1, ..., n_L)``.
    init : str, Initializer or a sequence of them
        ``name[_distribution][:gain]`` of the table in this module, for example "he",
        "lecun_uniform" or "normal:0.05"; a sequence has one for every layer.
    rng : int, str, Generator, RandomState or None
        A legacy RandomState draws what ``RandomState.randn`` would; "randomstate:1" is
        ``RandomState(1)`` and None ``RandomState(3)``; an integer seeds
        ``numpy.random.default_rng``.
    backend : Backend, optional
        Where the parameters shall live; None gives NumPy float64 arrays.

    Returns
    -------
    parameters : dict
        ``Wl`` (n_l, n_prev) and ``bl`` (n_l, 1) for l = 1 .. L.

    Raises
    ------
    InputError
        If a width is not a positive integer or a name is unknown.

    Examples
    --------
    >>> parameters = initialize_parameters_deep([4, 3, 1], init="xavier", rng=0)
    >>> {name: p.shape for name, p in parameters.items()}
    {'W1': (3, 4), 'b1': (3, 1), 'W2': (1, 3), 'b2': (1, 1)}
    """
    shapes = Network(layer_dims).shapes
    initializers = as_initializers(init, len(shapes) // 2)
    generator = as_rng(rng)
    parameters = {
        name: initializers[layer_of(name) - 1].draw(*shape, generator)
        if is_weight(name)
        else np.zeros(shape)
        for name, shape in shapes.items()
    }
    if backend is None:
        return parameters
    return {name: backend.asarray(p) for name, p in parameters.items()}
