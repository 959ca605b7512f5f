"""The wrapping namespace: any array namespace, with functions that give the same bits everywhere.

>>> import array_api_compat.numpy as numpy_namespace
>>> import numpy as np
>>> xp = reproducible(numpy_namespace)
>>> xp.matmul(np.asarray([[1e20, 1.0, -1e20]]), np.ones((3, 1)))
array([[0.]])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, TypeAlias

from array_api_compat import is_jax_namespace

from portadnn.arithmetic import elementary, products, roots
from portadnn.arithmetic.guards import guarded
from portadnn.arithmetic.shared import ALONE, Terms
from portadnn.arithmetic.splitting import Slices, check, cut, without_zeros
from portadnn.errors import InputError

Axes: TypeAlias = int | tuple[int, ...] | None

# not reproducible across libraries, and unused by the package
REFUSED = frozenset({
    "pow", "remainder", "floor_divide", "reciprocal", "rsqrt", "hypot", "logaddexp", "log2",
    "log10", "exp2", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh",
    "asinh", "acosh", "atanh", "std", "var", "prod", "vecdot", "tensordot", "cumulative_sum",
    "cumulative_prod", "linalg", "fft", "einsum", "dot", "inner", "vdot",
})  # fmt: skip


@dataclass(frozen=True)
class Reproducible:
    """An array namespace with the same floating-point results for every library, bit by bit.

    Products, sums, quotients, roots and elementary functions are replaced. Exact functions such as
    ``max``, ``where`` and ``concat`` pass through. Functions that are not reproducible are missing.
    Two of the same namespace are equal, so a program compiled for one serves the other.

    Attributes
    ----------
    raw : namespace
        The library's own.
    terms : Terms
        Which of the examples are here, if several processes share them.

    Notes
    -----
    Some devices and compilers flush subnormal numbers to 0, in float32 those below 1.2e-38. So in
    float32, products, sums and exp return 0 for such small results, with a margin. An optimizer
    does the same to gradients, slots and parameters if a namespace ``settles``. In float64 the
    limit is 2.2e-308, and every intermediate number must be a normal number or 0.

    An operator between arrays is the library's: ``+`` and ``-`` round as IEEE 754 says, and so does
    ``*`` if it is not compiled. Two literals must not be added to one array: see ``guards.py``.
    """

    raw: Any
    terms: Terms = ALONE
    settles: ClassVar[bool] = True
    guards: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "guards", guarded(self.raw))

    def __getattr__(self, name: str) -> Any:
        if name in ("raw", "terms", "guards"):  # while it is being copied
            raise AttributeError(name)
        if name in REFUSED:
            raise AttributeError(
                f"{name} is not reproducible: each library rounds it in its own way. Write it in "
                f"sums, products, exp and log of this namespace"
            )
        return getattr(self.raw, name)

    def matmul(self, x1: Any, x2: Any, /) -> Any:
        """``x1 @ x2`` of 1 or 2 axes each, see ``products.py`` for the bounds.

        In float32 it is balanced by ``x1``: a column of the result depends on ``x1`` and on that
        column of ``x2`` alone.
        """
        return self._matmul(x1, x2)

    def sum(self, x: Any, /, *, axis: Axes = None, keepdims: bool = False) -> Any:
        """The sum over an axis or over all, exact before it is rounded; integers: the library's.

        Over two axes, it sums over the second one, then over the first. Up to 8 terms of float64
        are added in their order.
        """
        return self._sum(x, axis=axis, keepdims=keepdims)

    @property
    def examples(self) -> Any:
        """``matmul`` and ``sum`` over the examples of all processes: exact, however divided."""
        return SimpleNamespace(
            matmul=functools.partial(self._matmul, terms=self.terms),
            sum=functools.partial(self._sum, terms=self.terms),
            gathered=self.terms.gathered,
            number=self.terms.count,
        )

    def _matmul(self, x1, x2, terms=None):
        self._needs_float64()
        return products.matmul(x1, x2, xp=self.guards, cut=self._cut, terms=terms)

    def _sum(self, x, *, axis=None, keepdims=False, terms: Any = None):
        if self.raw.isdtype(x.dtype, ("bool", "integral")):
            return self.raw.sum(x, axis=axis, keepdims=keepdims)
        self._needs_float64()
        axes = _axes(axis, x)
        S = x if x.ndim == 2 else x[None, :]
        for a in sorted((a + 2 - x.ndim for a in axes), reverse=True):
            if S is not x and x.ndim == 2 and S.shape[a] == 1:
                continue  # the sum of one term is that term
            here = terms if a == 1 or terms is None else ALONE  # examples are columns
            S = products.total(S, a, xp=self.guards, cut=self._cut, terms=here)
        if x.ndim == 1:
            return S[0, :] if keepdims or not axes else S[0, 0]
        if keepdims or not axes:
            return S
        return S[tuple(0 if a in axes else slice(None) for a in (0, 1))]

    def mean(self, x: Any, /, *, axis: Axes = None, keepdims: bool = False) -> Any:
        """The sum times the reciprocal of the number of terms."""
        n = 1
        for a in _axes(axis, x):
            n *= x.shape[a]
        return self.divide(self.sum(x, axis=axis, keepdims=keepdims), n)

    def multiply(self, x1: Any, x2: Any, /) -> Any:
        """``x1 * x2``, rounded once."""
        return self.guards.multiply(x1, x2)

    def divide(self, x1: Any, x2: Any, /) -> Any:
        """``x1 / x2``, rounded once; if x2 is a number, the product with its reciprocal.

        Compilers and some libraries on GPUs divide by a number in this way, and every library can.
        """
        if isinstance(x2, int | float):
            reciprocal = 1.0 / x2 if x2 else math.copysign(math.inf, x2)
            return self.guards.multiply(x1, reciprocal)
        return self.guards.divide(x1, x2)

    def sqrt(self, x: Any, /) -> Any:
        """The root, rounded once, see ``roots.py``."""
        self._needs_float64()
        check(x.dtype, self.raw)
        return roots.sqrt(x, xp=self.guards)

    def square(self, x: Any, /) -> Any:
        """``x * x``, rounded once."""
        return self.guards.multiply(x, x)

    def exp(self, x: Any, /) -> Any:
        """The exponential: see ``elementary.py``. float32 is rounded once, at the end.

        Results below 2^-1022 are 0. In float32 results below 2^-100 are 0, so that a quotient by
        the number of classes is a normal number.
        """
        return self._elementary(elementary.exp, x, vanishes=True)

    def expm1(self, x: Any, /) -> Any:
        """``exp(x) - 1``."""
        return self._elementary(elementary.expm1, x)

    def log(self, x: Any, /) -> Any:
        """The natural logarithm."""
        return self._elementary(elementary.log, x)

    def log1p(self, x: Any, /) -> Any:
        """``log(1 + x)``."""
        return self._elementary(elementary.log1p, x)

    def tanh(self, x: Any, /) -> Any:
        """The hyperbolic tangent."""
        return self._elementary(elementary.tanh, x)

    def slices_of(self, x: Any, /, *, axis: int) -> Slices | tuple[()]:
        """The slices, for ``remembering``, of an operand that will be summed over ``axis``.

        This reads values, to leave out slices that are all zero, so a compiled step cannot call it.

        Parameters
        ----------
        x : array, shape (m, n) for axis 1, a left operand, or (n, p) for axis 0, a right one
        axis : {0, 1}

        Returns
        -------
        tuple of two arrays
            Empty if the product has few terms or float32, and so needs no slices.
        """
        self._needs_float64()
        if x.ndim != 2 or axis not in (0, 1):
            raise InputError(
                f"x has shape {tuple(x.shape)} and axis is {axis!r}: expected 2 axes, and 0 or 1"
            )
        if x.shape[axis] <= products.FEW or x.dtype == self.raw.float32:
            return ()
        return without_zeros(self._cut(x, axis), x.shape[1 - axis], axis, xp=self.guards)

    def remembering(self, known: Iterable[tuple[Any, int, Slices | tuple[()]]] = ()) -> Remembering:
        """This namespace for one step, in which no operand is cut twice.

        The results are the same, if the slices are those of the step's operands.

        Parameters
        ----------
        known : sequence of (x, axis, slices)
            Operands whose slices are known. Each x must be the same object that the step uses.
        """
        remembering = Remembering(self.raw, self.terms)
        for x, axis, slices in known:
            if slices:
                remembering.memory[id(x), axis, True] = x, slices
        return remembering

    def _cut(self, x: Any, axis: int, terms: Terms = ALONE) -> Slices:
        return cut(x, axis, xp=self.guards, terms=terms)

    def _elementary(self, function, x, *, vanishes=False):
        self._needs_float64()
        check(x.dtype, self.raw)
        if x.dtype == self.raw.float64:
            return function(x, xp=self.guards)
        found = function(self.raw.astype(x, self.raw.float64), xp=self.guards)
        if vanishes:
            found = self.raw.where(found < 2.0**-100, 0.0, found)
        return self.raw.astype(found, x.dtype)

    def _needs_float64(self) -> None:
        if not is_jax_namespace(self.raw):
            return
        if "float64" not in self.raw.__array_namespace_info__().dtypes(kind="real floating"):
            raise InputError(
                "reproducible arithmetic is carried out in float64, which JAX currently "
                "has disabled: work inside jax.enable_x64(True), also for float32 data"
            )


@dataclass(frozen=True, eq=False)
class Remembering(Reproducible):
    """A reproducible namespace that keeps the slices of its operands; made for one step.

    Operands are known by their ``id``, so no operand may be changed in place after its first use.
    """

    memory: dict[tuple[int, int, bool], tuple[Any, Slices]] = field(
        default_factory=dict, repr=False
    )

    __eq__ = object.__eq__  # each instance caches the slices of one step
    __hash__ = object.__hash__

    def _cut(self, x, axis, terms=ALONE):
        key = id(x), axis, terms is ALONE
        found = self.memory.get(key)
        if found is None:  # x is kept with its slices, so that no other array gets its id
            found = self.memory[key] = x, super()._cut(x, axis, terms)
        return found[1]


def reproducible(xp: Any) -> Reproducible:
    """``xp`` with the functions of reproducible arithmetic; itself if it has them already."""
    return xp if isinstance(xp, Reproducible) else Reproducible(xp)


def for_one_step(xp: Any, known: Iterable[tuple[Any, int, Slices | tuple[()]]] = ()) -> Any:
    """``xp``, remembering slices if it is reproducible, see ``Reproducible.remembering``."""
    return xp.remembering(known) if isinstance(xp, Reproducible) else xp


def _axes(axis, x):
    """The axes of a sum, as a set of numbers >= 0."""
    if x.ndim not in (1, 2):
        raise InputError(
            f"an array of shape {tuple(x.shape)} was given: reproducible sums take 1 or 2 axes"
        )
    if axis is None:
        return set(range(x.ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(a, int) and -x.ndim <= a < x.ndim for a in axes):
        raise InputError(f"axis is {axis!r}, but the array has shape {tuple(x.shape)}")
    return {a % x.ndim for a in axes}
