"""Seam 2: the backend, a frozen value that carries what the array API standard leaves out."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from array_api_compat import to_device

from portadnn.arithmetic import Reproducible, reproducible
from portadnn.backends.registry import library_of
from portadnn.backends.trees import flatten, unflatten
from portadnn.errors import Carried, InputError, OutOfMemoryError

DTYPES = ("float32", "float64")
ARITHMETICS = ("fast", "reproducible")
MATMULS = ("plain", "tf32")
Step: TypeAlias = Callable[..., tuple[Any, Any]]


class BackendUnavailableError(Carried, RuntimeError):
    """A backend that was named cannot run here. The message has the cause and the fix."""

    def __init__(self, name: str, cause: str, fix: str) -> None:
        super().__init__(f"backend {name!r} cannot run here: {cause}. {fix}")
        self.name, self.cause, self.fix = name, cause, fix


@dataclass(frozen=True)
class LibraryReport:
    """The facts that ``list_backends`` gives about a library that is usable here."""

    version: str
    devices: tuple[str, ...]
    details: str = ""


@dataclass(frozen=True)
class Wrapped:
    """A library's namespace. A subclass replaces some of its functions."""

    raw: Any

    def __getattr__(self, name: str) -> Any:
        if name == "raw":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.raw, name)


@dataclass(frozen=True)
class Backend:
    """An array library on one device, computing in one dtype.

    ``get_backend`` makes it. Each library has a subclass, and no other file names that library.

    Attributes
    ----------
    name : str
        The name that makes it again with ``get_backend``, for example "torch:cuda:0".
    xp : namespace
        The library's array API namespace, wrapped if the arithmetic is reproducible.
    device
        The library's own device object.
    dtype
        The library's own float32 or float64.
    matmul : str or None
        "tf32" if products of float32 may round their operands to TF32, else None.
    """

    name: str
    xp: Any = field(repr=False)
    device: Any = field(hash=False)  # `name` identifies it, and cupy.cuda.Device is unhashable
    dtype: Any
    matmul: str | None = None

    library: ClassVar[str]
    # words in the library's RuntimeError if an allocation fails
    no_memory: ClassVar[tuple[str, ...]] = ()
    # whether steps are compiled: then results that are not stored may be rounded differently
    fuses: ClassVar[bool] = False

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        """The backend ``name``; ``device`` is the part after the library's name, or ''.

        Raises
        ------
        BackendUnavailableError, InputError
        """
        raise NotImplementedError

    @classmethod
    def report(cls) -> LibraryReport:
        """Version and devices of the library, if it is usable."""
        raise NotImplementedError

    @functools.cached_property
    def dtype_name(self) -> str:
        """ "float32" or "float64"."""
        return next(name for name in DTYPES if getattr(self.xp, name) == self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name: pickle and ``copy.deepcopy`` refuse a module such as the namespace."""
        from portadnn.backends.select import get_backend

        how: dict[str, Any] = {
            "dtype": self.dtype_name, "arithmetic": self.arithmetic, "matmul": self.matmul
        }  # fmt: skip
        return functools.partial(get_backend, **how), (self.name,)

    @property
    def arithmetic(self) -> str:
        """ "fast", the library's own, or "reproducible", with the same bits on every backend."""
        return ARITHMETICS[isinstance(self.xp, Reproducible)]

    def reproducible(self) -> Backend:
        """The same backend in reproducible arithmetic.

        Raises
        ------
        InputError
            If the device does not have float64, which this arithmetic needs.
        BackendUnavailableError
            If an operation does not have the known bits, see ``exactness.py``.
        """
        from portadnn.backends.exactness import check_ground

        made = replace(self, xp=reproducible(self.xp))
        try:
            made.asarray(np.ones((1, 1)), dtype="float64")
        except (TypeError, RuntimeError) as error:
            raise InputError(
                f"reproducible arithmetic is carried out in float64, which the backend "
                f"{self.name!r} does not have ({first_line(error)}): expected another device"
            ) from error
        check_ground(made)
        return made

    def tf32(self) -> Backend:
        """The same backend, whose products of float32 may round their operands to TF32.

        TF32 has 11 significant bits, float32 has 24. Sums are in float32.

        Raises
        ------
        InputError
            If the dtype is float64, or the device does not have TF32.
        """
        if self.dtype_name == "float64":
            raise InputError("products of float64 are never tf32: take float32, or matmul plain")
        xp = self._tf32()
        if xp is None:
            raise InputError(
                f"matmul is tf32, but the backend {self.name!r} computes on {self.device_text}, "
                f"which does not have TF32: expected cupy, torch:cuda or jax:gpu on an NVIDIA GPU "
                f"of compute capability 8.0 or more, or matmul plain"
            )
        return replace(self, xp=xp, matmul="tf32")

    def _tf32(self) -> Any:
        """The namespace whose ``matmul`` takes TF32, or None if the device does not have it."""
        return None

    @property
    def regroups(self) -> bool:
        """Whether ``repeat`` adds in another order than the step's own calls do."""
        return self.fuses

    @property
    def device_text(self) -> str:
        """The device in words, as reports name it."""
        return str(self.device)

    def precision_modes(self) -> dict[str, str]:
        """The library's own settings that change the precision of products, by name."""
        return {}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name={self.name!r}, device={self.device!r}, "
            f"dtype={self.dtype!r}, arithmetic={self.arithmetic!r})"
        )

    def asarray(self, x: Any, *, dtype: str | None = None) -> Any:
        """``x`` as an array of this backend, on its device.

        Parameters
        ----------
        x : array of any supported library, or nested lists of numbers
        dtype : str, optional
            A dtype by its name in the standard; None is the backend's own. Values are rounded on
            the host by NumPy, so every backend gets the same bits.
        """
        dtype = dtype or self.dtype_name
        with self.scope(), quiet_numpy():
            if self.owns(x):
                x = self.xp.astype(x, getattr(self.xp, dtype), copy=False)
                return to_device(x, self.device)
            return self._from_host(np.asarray(to_host(x), dtype=dtype))

    def place(self, x: Any) -> Any:
        """``x`` as an array of this backend that steps read; it may share memory with ``x``."""
        return self.asarray(x)

    def as_input(self, x: Any, *, dtype: str | None = None) -> Any:
        """``x`` for one call of a compiled function, or of ``repeat``; it may be on the host."""
        return self.asarray(x, dtype=dtype)

    def to_numpy(self, x: Any) -> np.ndarray:
        """``x`` on the host; it may share memory with ``x`` and may be read-only."""
        return self._to_host(x)

    def on_host(
        self, function: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: str, *arrays: Any
    ) -> Any:
        """The result of a function of NumPy arrays, as an array of that shape and dtype.

        A step that is recorded or compiled may contain this call. Then the function is called in
        every step, in the order of the program.
        """
        return self._from_host(function(*[np.asarray(self.to_numpy(x)) for x in arrays]))

    def synchronize(self, *arrays: Any) -> None:
        """Wait until ``arrays``, or all work of the device, is done."""

    def all_finite(self, arrays: Iterable[Any]) -> bool:
        """Whether every entry of ``arrays`` is a finite number."""
        xp = self.xp
        flags = [xp.all(xp.isfinite(x)) for x in arrays]
        return bool(xp.all(xp.stack(flags)))  # one read: the host waits for a GPU once

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """A context in which this backend computes; ``train`` and every check run inside it.

        Raises
        ------
        OutOfMemoryError
            If the library cannot allocate the memory that it needs.
        """
        try:
            with self._scope():
                yield
        except Exception as error:
            text = str(error) if isinstance(error, RuntimeError) else ""
            lacks = isinstance(error, MemoryError) or any(words in text for words in self.no_memory)
            if isinstance(error, InputError) or not lacks:
                raise
            found = re.search(r"allocat\w+ (?:([\d,]+) bytes|([\d.]+ ?[KMGTPE]i?B))", str(error))
            wanted = found[2] if found else "more than there is"
            if found and found[1]:
                wanted = f"{int(found[1].replace(',', '')) / 2**20:,.1f} MiB"
            narrow = ", float32" if self.dtype_name == "float64" else ""
            raise OutOfMemoryError(
                f"the backend {self.name!r} ran out of memory: it wanted "
                f"{wanted}. Take a smaller batch size{narrow}, fewer examples or narrower layers"
            ) from error

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        """The library's own part of ``scope``."""
        return contextlib.nullcontext()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A pure function of arrays, compiled if the library compiles. Call this once for it."""
        return function

    def single_thread(self) -> contextlib.AbstractContextManager[Any] | None:
        """A context with one thread of arithmetic, or None if the library has no such switch."""
        return None

    def repeat(
        self, step: Step, state: Any, inputs: Any, shared: Any = (), *, every_output: bool = True
    ) -> tuple[Any, Any]:
        """Run a pure step once per leading index of ``inputs``, as ``lax.scan`` does.

        Parameters
        ----------
        step : callable
            ``step(state, input, shared) -> state, outputs``. It must be pure, and the same
            function object (or an equal one) in every call, because it is compiled once.
        state, inputs, outputs : array, tuple, named tuple or dict of arrays
            Every array of ``inputs`` has the same leading length n, 1 or more.
        shared : the same, or None in place of an array
            Arrays that every step reads and no step changes, such as the data. (If the step closed
            over them, they would be constants of the compiled program.)
        every_output : bool
            False if only the outputs of the first and the last step are wanted. The others may be
            NaN.

        Returns
        -------
        state
            The state after the last step.
        outputs
            The outputs of all steps, stacked along a new leading axis. They may be on the host.
        """
        stacked, structure = flatten(inputs)
        collected = []
        for i in range(leading_length(inputs)):
            given = unflatten(structure, iter([x[i, ...] for x in stacked]))
            state, outputs = self._settle(step(state, given, shared))
            collected.append(flatten(outputs))
        leaves = zip(*(made for made, _ in collected), strict=True)
        return state, unflatten(collected[0][1], iter([self.xp.stack(x) for x in leaves]))

    def _settle(self, result: Any) -> Any:
        """Compute the result of a step. Lazy libraries override this."""
        return result

    @staticmethod
    def owns(x: Any) -> bool:
        """Whether ``x`` is an array of this library."""
        raise NotImplementedError

    @staticmethod
    def device_name(device: Any) -> str:
        """The device in a backend's name, after the library; '' for the library's default."""
        return ""

    @staticmethod
    def device_of(x: Any) -> Any:
        """The device of ``x``, in the library's own terms."""
        return getattr(x, "device", None)

    @classmethod
    def full_name(cls, device: Any) -> str:
        """The one name of the backend on that device; several names may lead to it."""
        device_name = cls.device_name(device)
        return f"{cls.library}:{device_name}" if device_name else cls.library

    def _from_host(self, host: np.ndarray) -> Any:
        return self.xp.asarray(host, device=self.device)

    @staticmethod
    def _to_host(x: Any) -> np.ndarray:
        return np.asarray(x)


def to_host(x: Any) -> Any:
    """``x`` as a NumPy array if it is an array of a supported library, else ``x``."""
    library = library_of(x)
    return x if library is None else library._to_host(x)


def quiet_numpy() -> contextlib.AbstractContextManager[Any]:
    """A scope without NumPy's warnings: the loop itself finds and reports values not finite."""
    return np.errstate(all="ignore")


def keeps_subnormals() -> bool:
    """Whether this thread keeps numbers below 2.2e-308; a library may have switched that off."""
    return float("5e-324") > 0.0


@contextlib.contextmanager
def importing(name: str, library: str, fix: str) -> Iterator[None]:
    """Turn any error of an import into BackendUnavailableError: a broken build may raise any."""
    try:
        yield
    except ImportError as error:
        raise BackendUnavailableError(name, f"{library} is not installed ({error})", fix) from error
    except Exception as error:
        cause = f"{library} is installed but broken ({first_line(error)})"
        raise BackendUnavailableError(name, cause, f"Install it again: {fix}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def check_device(name: str, device: str, allowed: tuple[str, ...]) -> None:
    """Raise InputError for a device that the library does not have."""
    if device not in allowed:
        library = name.partition(":")[0]
        known = ", ".join(f"{library}:{d}" if d else library for d in allowed)
        raise InputError(f"unknown device in backend {name!r}. Known here: {known}")


def leading_length(tree: Any) -> int:
    """The leading length of the arrays of ``tree``."""
    return flatten(tree)[0][0].shape[0]
