"""Update rules: parameters and their gradients in, new parameters and a new state out.

| name             | state | step that is subtracted from W                                     |
|------------------|-------|--------------------------------------------------------------------|
| gradient_descent |       | rate g                                                             |
| momentum         | v     | rate v+,  v+ = mu v + g                                            |
| nesterov         | v     | rate (g + mu v+),  v+ = mu v + g                                   |
| rmsprop          | s     | rate g / (sqrt(s+) + eps),  s+ = rho s + (1 - rho) g^2             |
| adam, adamw      | v, s  | rate c1 v+ / (sqrt(s+) c2 + eps),  v+ = b1 v + (1 - b1) g,         |
|                  |       | s+ = b2 s + (1 - b2) g^2,  c1 = 1 / (1 - b1^t),                    |
|                  |       | c2 = 1 / sqrt(1 - b2^t)                                            |

The state is a flat dict, ``vW1``, ``vb1``, ``sW1``, ... of the parameters' shapes. What changes
with the number of the step t = 1, 2, ... (the rate, the bias corrections c1 and c2) is computed on
the host, in float64, and rounded once. Decoupled weight decay multiplies every W, and no b, by
``1 - rate weight_decay`` before the step.

References
----------
Polyak, Some methods of speeding up the convergence of iteration methods (1964); Sutskever,
Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning (2013);
Hinton, Neural networks for machine learning, lecture 6e (2012); Kingma and Ba, Adam (2015);
Loshchilov and Hutter, Decoupled weight decay regularization (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from portadnn.choice import as_text, check_number, choose
from portadnn.errors import InputError
from portadnn.network.names import is_weight, of
from portadnn.network.namespace import Array, Arrays, resolve
from portadnn.network.powers import power

ADAPTIVE_RATE = 0.001  # usual if the step does not grow with the gradient
# In reproducible float32 smaller numbers are set to 0, so that none is subnormal: some devices
# flush those to 0. Squares of gradients, times 1 - beta2 >= 2^-20, are no smaller than the least
# square, and the least mean, times a rate, is normal for every rate from 2^-46 on.
LEAST_GRADIENT, LEAST, LEAST_SQUARE = 2.0**-50, 2.0**-80, 2.0**-120


def update_parameters(
    parameters: Arrays, grads: Arrays, learning_rate: float | Array, *, xp: Any = None
) -> dict[str, Array]:
    """One step of gradient descent, ``W - learning_rate * dW`` and ``b - learning_rate * db``.

    Parameters
    ----------
    parameters : dict
        ``W1, b1, ..., WL, bL``. It is left as it is (the text's code changes it).
    grads : dict
        Has ``dW1, db1, ..., dWL, dbL`` of the same shapes; other entries are not looked at.
    learning_rate : float, or array of shape (1, 1) in the parameters' dtype

    Returns
    -------
    parameters : dict
        A new one.

    Raises
    ------
    InputError
        If a gradient is missing or has another shape than its parameter.

    Examples
    --------
    >>> import numpy as np
    >>> update_parameters({"b1": np.asarray([[1.0]])}, {"db1": np.asarray([[2.0]])}, 0.25)
    {'b1': array([[0.5]])}

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), section 4.3.
    """
    _check_gradients(parameters, grads)
    xp = resolve(xp, *parameters.values())
    learning_rate = _scalar(learning_rate)
    return {
        name: p - xp.multiply(grads[of("d", name)], learning_rate) for name, p in parameters.items()
    }


@dataclass(frozen=True)
class Optimizer:
    """An update rule: ``init(parameters) -> state``, ``update(...) -> parameters, state``.

    Attributes
    ----------
    weight_decay : float
        Decoupled: every W is multiplied by ``1 - rate weight_decay``; biases are not.
    slots : tuple of str
        What the state keeps of every parameter: "v" the mean of the gradient, "s" of its square.
    linear : bool
        Whether parameters and state are linear in the gradients.

    Examples
    --------
    >>> import numpy as np
    >>> parameters, grads = {"b1": np.asarray([[1.0]])}, {"db1": np.asarray([[2.0]])}
    >>> optimizer = Momentum(mu=0.5)
    >>> state = optimizer.init(parameters)
    >>> for t in (1, 2):
    ...     scalars = optimizer.scalars(0.25, t)
    ...     parameters, state = optimizer.update(parameters, grads, state, scalars)
    >>> parameters, state
    ({'b1': array([[-0.25]])}, {'vb1': array([[3.]])})
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = True

    weight_decay: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check("weight_decay", 0.0)

    @classmethod
    def usual_rate(cls, plain: float) -> float:
        """The rate to try first if ``plain`` is that of gradient descent."""
        return plain if cls.linear else ADAPTIVE_RATE

    def init(self, parameters: Arrays, *, xp: Any = None) -> dict[str, Array]:
        """The state before the first step: zeros."""
        xp = resolve(xp, *parameters.values())
        return {
            f"{slot}{n}": xp.zeros_like(p) for n, p in parameters.items() for slot in self.slots
        }

    def scalars(self, learning_rate: float, t: int) -> dict[str, float]:
        """What ``update`` needs of the step t = 1, 2, ..., as Python floats.

        ``update`` takes them so, or as arrays of shape (1, 1) in the parameters' dtype.
        """
        scalars = {"learning_rate": learning_rate}
        if self.weight_decay:
            scalars["shrinkage"] = 1.0 - learning_rate * self.weight_decay
        return scalars

    def update(
        self, parameters: Arrays, grads: Arrays, state: Arrays, scalars: Arrays, *, xp: Any = None
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """One step.

        Parameters
        ----------
        parameters : dict
            ``W1, b1, ...``; left as it is.
        grads : dict
            ``dW1, db1, ...`` of the same shapes.
        state : dict
            The state from ``init``, or from the step before; left as it is.
        scalars : dict
            As ``scalars`` returned them.

        Returns
        -------
        parameters, state : dict
            New ones.

        Raises
        ------
        InputError
            If a gradient is missing or has another shape than its parameter.
        """
        _check_gradients(parameters, grads)
        xp = resolve(xp, *parameters.values())
        first = next(iter(parameters.values()))
        scalars = {
            # a product of two Python floats is float32 on PyTorch, and refused by the standard
            name: x if getattr(x, "ndim", 0) == 2 else xp.full_like(first[:1, :1], float(x))
            for name, x in scalars.items()
        }
        updated: dict[str, Any] = {}
        new_state: dict[str, Any] = {}
        for name, p in parameters.items():
            slots = [state[of(slot, name)] for slot in self.slots]
            g = grads[of("d", name)]
            g = g if self.linear else _settled(g, LEAST_GRADIENT, xp)
            step, slots = self._step(g, slots, scalars, xp)
            if self.weight_decay and is_weight(name):
                p = xp.multiply(p, scalars["shrinkage"])
            updated[name] = _settled(p - step, LEAST, xp)
            new_state |= {of(slot, name): x for slot, x in zip(self.slots, slots, strict=True)}
        return updated, new_state

    def _step(self, g: Any, slots: list[Any], scalars: Any, xp: Any) -> tuple[Any, list[Any]]:
        """What is subtracted from a parameter, and its new slots."""
        raise NotImplementedError

    def _check(self, field: str, low: float, high: float = math.inf, **limits: bool) -> None:
        kind = f"{field} of {self.name}"
        object.__setattr__(
            self, field, check_number(kind, getattr(self, field), low, high, **limits)
        )

    def __str__(self) -> str:
        return as_text(self.name, self)


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """``W - rate g``."""

    name: ClassVar[str] = "gradient_descent"

    def _step(self, g, slots, scalars, xp):
        return xp.multiply(g, scalars["learning_rate"]), []


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with a velocity, ``v+ = mu v + g`` and ``W - rate v+``."""

    mu: float = 0.9
    name: ClassVar[str] = "momentum"
    slots: ClassVar[tuple[str, ...]] = ("v",)

    @classmethod
    def usual_rate(cls, plain: float) -> float:
        return plain / 10  # a velocity adds up ten gradients, at 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("mu", 0.0, 1.0, high_open=True)

    def _step(self, g, slots, scalars, xp):
        v = _settled(xp.multiply(slots[0], self.mu) + g, LEAST, xp)
        return xp.multiply(v, scalars["learning_rate"]), [v]


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum that looks ahead: ``W - rate (g + mu v+)``."""

    name: ClassVar[str] = "nesterov"

    def _step(self, g, slots, scalars, xp):
        v = _settled(xp.multiply(slots[0], self.mu) + g, LEAST, xp)
        return xp.multiply(g + xp.multiply(v, self.mu), scalars["learning_rate"]), [v]


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """The gradient over the root of its mean square."""

    rho: float = 0.99
    epsilon: float = 1e-8
    name: ClassVar[str] = "rmsprop"
    slots: ClassVar[tuple[str, ...]] = ("s",)
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("rho", 0.0, 1.0, high_open=True)
        self._check("epsilon", 0.0, low_open=True)

    def _step(self, g, slots, scalars, xp):
        s = xp.multiply(slots[0], self.rho) + xp.multiply(xp.multiply(g, g), 1.0 - self.rho)
        s = _settled(s, LEAST_SQUARE, xp)
        step = xp.divide(xp.multiply(g, scalars["learning_rate"]), xp.sqrt(s) + self.epsilon)
        return step, [s]


@dataclass(frozen=True)
class Adam(Optimizer):
    """The mean gradient over the root of the mean square, both corrected for starting at 0."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    name: ClassVar[str] = "adam"
    slots: ClassVar[tuple[str, ...]] = ("v", "s")
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0.0, 1.0, high_open=True)
        self._check("beta2", 0.0, 1.0, high_open=True)
        self._check("epsilon", 0.0, low_open=True)

    def scalars(self, learning_rate: float, t: int) -> dict[str, float]:
        if t < 1:
            raise InputError(f"the step number t is {t}: expected 1 for the first step")
        return super().scalars(learning_rate, t) | {
            "correction1": 1.0 / _rest(self.beta1, t),
            "correction2": 1.0 / math.sqrt(_rest(self.beta2, t)),
        }

    def _step(self, g, slots, scalars, xp):
        v, s = slots
        v = xp.multiply(v, self.beta1) + xp.multiply(g, 1.0 - self.beta1)
        v = _settled(v, LEAST, xp)
        s = xp.multiply(s, self.beta2) + xp.multiply(xp.multiply(g, g), 1.0 - self.beta2)
        s = _settled(s, LEAST_SQUARE, xp)
        rate = xp.multiply(scalars["learning_rate"], scalars["correction1"])
        root = xp.multiply(xp.sqrt(s), scalars["correction2"]) + self.epsilon
        return xp.divide(xp.multiply(v, rate), root), [v, s]


def _rest(beta: float, t: int) -> float:
    """``1 - beta^t``, which is 1 if the power, at most ``exp(-(1 - beta) t)``, is below 2^-60."""
    return 1.0 if (1.0 - beta) * t > 42 else 1.0 - power(beta, t)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    weight_decay: float = field(default=0.01, kw_only=True)
    name: ClassVar[str] = "adamw"


OPTIMIZERS: dict[str, type[Optimizer]] = {
    rule.name: rule for rule in (GradientDescent, Momentum, Nesterov, RMSProp, Adam, AdamW)
}


def as_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """``optimizer`` itself, or the one that a text names: ``name[:value | :field=value,...]``.

    >>> as_optimizer("momentum:0.95")
    Momentum(weight_decay=0.0, mu=0.95)
    >>> as_optimizer("adam:beta1=0.8,epsilon=1e-7")
    Adam(weight_decay=0.0, beta1=0.8, beta2=0.999, epsilon=1e-07)

    Raises
    ------
    InputError
        If the text names no optimizer, or a value cannot be used.
    """
    return choose("optimizer", optimizer, OPTIMIZERS, Optimizer)


def _check_gradients(parameters, grads):
    for name, p in parameters.items():
        gradient = grads.get(of("d", name))
        if gradient is None or tuple(gradient.shape) != tuple(p.shape):
            found = "is missing" if gradient is None else f"has shape {tuple(gradient.shape)}"
            raise InputError(f"d{name} {found}, but {name} has shape {tuple(p.shape)}")


def _settled(x, least, xp):
    """x with 0 for magnitudes below ``least``, if the namespace asks for it; NaN stays."""
    if not getattr(xp, "settles", False) or x.dtype != xp.float32:
        return x
    # NumPy's tape is fast with a selection between an array and 0.0
    return xp.where(xp.logical_not(xp.abs(x) < least), x, 0.0)


def _scalar(x):
    """A (1, 1) array as it is, anything else as a Python float: a NumPy scalar would widen."""
    return x if getattr(x, "ndim", 0) == 2 else float(x)
