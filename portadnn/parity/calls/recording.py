"""A namespace that records every call. It can take the place of ``xp`` in any function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from portadnn.backends import Backend
from portadnn.backends.base import DTYPES


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """One call as a backend made it, on the host.

    The numbers begin at 1. An operator has the name of its function, indexing is ``getitem``.
    Arrays and dtypes are NumPy's, Python objects as they were given; there is no device. Each
    positional argument has an origin: the call that made it, and its position among the results;
    call 0 for an input, None if it is not an array. ``read`` says whether the function had made a
    Python number of an array before: its numbers may then differ between backends.
    """

    number: int
    function: str
    arguments: tuple
    keywords: dict[str, Any]
    origins: tuple[tuple[int, int] | None, ...]
    results: tuple[np.ndarray, ...]
    read: bool = False


class RecordingNamespace:
    """The namespace of a backend, with every call that takes or returns arrays recorded.

    It returns wrapped arrays, so operators and indexing are seen as well, and an array does not
    leave it unnoticed. Whatever is not a function (dtypes, constants) is the backend's own.

    Parameters
    ----------
    backend : Backend

    Attributes
    ----------
    calls : list of RecordedCall
    read : bool
        Whether a Python number was made of an array.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._xp = backend, backend.xp
        self._dtypes = {
            getattr(self._xp, name): np.dtype(name)
            for name in (*DTYPES, "bool", *(f"{sign}int{bits}" for sign in ("", "u")
                                            for bits in (8, 16, 32, 64)))
            if hasattr(self._xp, name)
        }  # fmt: skip
        self.calls: list[RecordedCall] = []
        self.read = False
        self._inputs = 0

    @property
    def __name__(self) -> str:
        return f"RecordingNamespace({self._xp.__name__})"

    def __getattr__(self, name: str) -> Any:
        return self._recorded(name, getattr(self._xp, name))

    def _recorded(self, name: str, value: Any) -> Any:
        if isinstance(value, ModuleType):  # xp.linalg, xp.fft
            return _Extension(self, f"{name}.", value)
        if name == "examples":  # the same functions, over the axis of the examples
            return _Extension(self, "", value)
        if name.startswith("_") or not callable(value) or isinstance(value, type):
            return value
        if any(value is dtype for dtype in self._dtypes):
            return value

        def recorded(*arguments: Any, **keywords: Any) -> Any:
            return self.call(name, value, *arguments, **keywords)

        recorded.__name__ = name
        return recorded

    def input(self, x: Any) -> RecordedArray:
        """An array of the backend, wrapped so that its use is recorded."""
        self._inputs += 1
        return RecordedArray(x, self, (0, self._inputs))

    def call(
        self, name: str, function: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> Any:
        """Call ``function`` with the arrays themselves and record it as ``name``."""
        result = function(*_bare(arguments), **_bare(keywords))
        many = list(result) if isinstance(result, tuple | list) else [result]
        if not many or not all(self._backend.owns(x) for x in many):
            return result  # a dtype, a bool, the limits of a format
        number = len(self.calls) + 1
        wrapped = [RecordedArray(x, self, (number, i)) for i, x in enumerate(many)]
        self.calls.append(
            RecordedCall(
                number,
                name,
                self._on_host(arguments),
                {key: self._on_host(x) for key, x in keywords.items() if key != "device"},
                tuple(getattr(x, "_origin", None) for x in arguments),
                tuple(x._host for x in wrapped),
                self.read,
            )
        )
        return _like(result, wrapped) if isinstance(result, tuple | list) else wrapped[0]

    def _on_host(self, x: Any) -> Any:
        if isinstance(x, RecordedArray):
            return x._host
        if isinstance(x, tuple | list):
            return _like(x, [self._on_host(y) for y in x])
        if self._backend.owns(x):
            return np.array(self._backend.to_numpy(x))
        try:
            return self._dtypes.get(x, x)
        except TypeError:  # not hashable: an array of the host
            return x


class _Extension:
    """``xp.linalg`` or ``xp.fft``: its calls are recorded as ``linalg.matmul`` and so on."""

    def __init__(self, recording: RecordingNamespace, prefix: str, module: Any) -> None:
        self._recording, self._prefix, self._module = recording, prefix, module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        return self._recording._recorded(f"{self._prefix}{name}", value)


def _like(x: Any, values: list) -> Any:
    """The values in a container like ``x``; a named tuple takes them one by one."""
    return getattr(x, "_make", type(x))(values)


def _bare(x: Any) -> Any:
    """``x``, with the arrays themselves in place of recorded ones."""
    if isinstance(x, RecordedArray):
        return x._array
    if isinstance(x, tuple | list):
        return _like(x, [_bare(y) for y in x])
    if isinstance(x, dict):
        return {key: _bare(y) for key, y in x.items()}
    return x


class RecordedArray:
    """An array whose operators, indexing and transposition are recorded.

    It has no in-place operators: ``Z += b`` makes a new array, with the same values.
    """

    __array_ufunc__ = None  # so that NumPy leaves its operators to this class

    def __init__(
        self, array: Any, recording: RecordingNamespace, origin: tuple[int, int] | None = None
    ) -> None:
        self._array, self._recording, self._origin = array, recording, origin
        self._host = np.array(recording._backend.to_numpy(array))

    def __array_namespace__(self, api_version: str | None = None) -> RecordingNamespace:
        return self._recording

    shape = property(lambda self: tuple(self._array.shape))
    dtype = property(lambda self: self._array.dtype)
    device = property(lambda self: self._array.device)
    ndim = property(lambda self: len(self._array.shape))
    size = property(lambda self: self._host.size)

    @property
    def T(self) -> RecordedArray:
        """The transposed matrix."""
        return self._recording.matrix_transpose(self)

    mT = T

    def __getitem__(self, key: Any) -> RecordedArray:
        return self._recording.call("getitem", operator.getitem, self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("a recorded array does not change: make a new one, with xp.where or concat")

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("a recorded array was given to NumPy: call the functions of xp instead")

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[RecordedArray]:
        # by length: JAX takes any index, so Python's own way would never end
        return (self[i, ...] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._host)

    def __float__(self) -> float:
        self._recording.read = True
        return float(self._host)

    def __int__(self) -> int:
        self._recording.read = True
        return int(self._host)

    def __index__(self) -> int:
        self._recording.read = True
        return operator.index(self._host)

    def __repr__(self) -> str:
        return f"RecordedArray({self._array!r})"

    __hash__ = None  # type: ignore[assignment]


_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "matmul": "matmul",
    "pow": "pow", "floordiv": "floor_divide", "mod": "remainder", "and_": "bitwise_and",
    "or_": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
                "eq": "equal", "ne": "not_equal"}  # fmt: skip
_UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}


def _operator(apply: Callable[..., Any], name: str, reflected: bool = False) -> Callable[..., Any]:
    def method(self: RecordedArray, *other: Any) -> Any:
        operands = (*other, self) if reflected else (self, *other)
        return self._recording.call(name, apply, *operands)

    return method


# the operators of the standard, recorded under the names of their functions
for _symbol, _name in (_BINARY | COMPARISONS | _UNARY).items():
    _apply = getattr(operator, _symbol)
    _symbol = _symbol.rstrip("_")
    setattr(RecordedArray, f"__{_symbol}__", _operator(_apply, _name))
    if _name in _BINARY.values():
        setattr(RecordedArray, f"__r{_symbol}__", _operator(_apply, _name, reflected=True))
