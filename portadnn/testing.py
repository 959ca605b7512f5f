"""Parity for other people's array API code: ``assert_parity``, and a plugin for pytest.

Write the step as a function of a namespace and named arrays, and every operation in it is checked
on every backend against a bound that is derived, not chosen:

>>> import numpy as np
>>> from portadnn.testing import assert_parity
>>> def softmax_layer(xp, W, X):
...     Z = xp.matmul(W, X)
...     T = xp.exp(Z - xp.max(Z, axis=0, keepdims=True))
...     return {"Z": Z, "A": T / xp.sum(T, axis=0, keepdims=True)}
>>> rng = np.random.default_rng(0)
>>> inputs = {"W": rng.standard_normal((10, 64)), "X": rng.standard_normal((64, 32))}
>>> report = assert_parity(softmax_layer, inputs, backends=("numpy", "strict"))
>>> report.operations, report.outputs, report.kinks
(6, ('Z', 'A'), ())

With ``pytest --portadnn-backends numpy,torch,cupy`` a test that takes the fixture ``backend`` runs
on each of them, inside its scope; ``xp`` and ``device`` are the backend's. A named backend that
cannot run fails its tests. The ini option ``portadnn_backends`` is the default; in it ``cupy?``
means a backend that is used only if it can run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # the plugin is loaded when pytest starts: NumPy can wait
    from portadnn.backends import Backend
    from portadnn.parity.calls.certified import CertifiedCall, MaskDifference

__all__ = ["ParityReport", "assert_parity"]


@dataclass(frozen=True)
class ParityReport:
    """What ``assert_parity`` returns if it finds no fault.

    Attributes
    ----------
    operations : int
        Calls that were recorded on the first backend.
    outputs : tuple of str
    largest_ratio : float
        The largest error over its bound, of all backends.
    kinks : tuple of MaskDifference
        Comparisons that came out differently, which is lawful: every operation before them is
        certified. From there on the backends may go different ways.
    unchecked : tuple of str
        Functions that were called but not checked.
    """

    operations: int
    outputs: tuple[str, ...]
    largest_ratio: float
    kinks: tuple[MaskDifference, ...]
    unchecked: tuple[str, ...]


def assert_parity(
    function: Callable[..., Mapping[str, Any]],
    inputs: Mapping[str, Any],
    backends: Sequence[str | Backend] = ("numpy",),
    *,
    dtype: str = "float32",
    outputs: Collection[str] | None = None,
    unchecked: Collection[str] = (),
    matmul: str | None = None,
) -> ParityReport:
    """Run a function on every backend and check each of its operations on its own inputs.

    The namespace and the arrays record every call, so that operators and indexing are checked like
    the functions of ``xp``. If the function calls an array library directly, the arrays refuse it,
    or the output is found to come from no recorded operation.

    Parameters
    ----------
    function : callable
        ``function(xp, **arrays) -> dict of arrays``.
    inputs : dict of arrays
        On the host; floating ones are rounded there to ``dtype``, so that every backend gets the
        same bits, and integers are int32 if they fit.
    backends : sequence of str or Backend
        As ``get_backend`` takes them; a Backend keeps the dtype that it has, which must be
        ``dtype``.
    dtype : {"float32", "float64"}
        What everything is computed in: a floating result of another dtype is a fault.
    outputs : collection of str, optional
        The names that the function must return; default any.
    unchecked : collection of str
        Functions of the standard that are not checked; those without a bound must be here.
    matmul : {"float32", "tf32", "bfloat16"}, optional
        The declared mode of products of float32.

    Returns
    -------
    ParityReport

    Raises
    ------
    AssertionError
        At the first operation of each backend that failed: backend, number and name of the
        operation, entry, both values, bound. Also if the backends ran different operations without
        a kink before, or started from different data.
    InputError
        If a function has no bound, or the inputs, names or dtype cannot be used.
    BackendUnavailableError
        If a backend cannot run here.
    """
    from portadnn.backends import get_backend
    from portadnn.errors import InputError
    from portadnn.parity.calls.certified import (
        certify_calls,
        mask_differences,
        structural_difference,
    )

    if not backends or isinstance(backends, str):
        raise InputError(f"backends is {backends!r}: expected a sequence of one name or more")
    chosen = [get_backend(backend, dtype=dtype) for backend in backends]
    recordings = []
    failures: list[str] = []
    for backend in chosen:
        calls, made = _record(function, inputs, backend, outputs)
        certified = certify_calls(
            calls, dtype, matmul=matmul, arithmetic=backend.arithmetic, unchecked=unchecked
        )
        recordings.append(certified)
        failure = _first_failure(certified, backend.name, made, dtype)
        if failure:
            failures.append(failure)
    kinks: list[MaskDifference] = []
    skipped = sorted({c.call.function for c in recordings[0] if c.call.function in unchecked})
    for backend, certified in zip(chosen[1:], recordings[1:], strict=True):
        pair = chosen[0].name, backend.name
        differing = mask_differences(recordings[0], certified, pair)
        kinks += differing
        if skipped:  # then not every operation before a mask is certified
            failures += [f"UNEXPLAINED {k}" for k in differing if not k.undecidable]
        difference = structural_difference(recordings[0], certified, pair, bool(differing))
        if difference and not failures:
            failures.append(difference)
    if failures:
        raise AssertionError("\n".join(failures))
    ratios = [check.ratio for r in recordings for c in r for check in c.checks]
    return ParityReport(
        len(recordings[0]), tuple(made), max(ratios, default=0.0), tuple(kinks), tuple(skipped)
    )


def _record(function, inputs, backend, names):
    """The calls of the function on a backend, and which of them made which output."""
    import numpy as np

    from portadnn.errors import InputError
    from portadnn.parity.calls.recording import RecordedArray, RecordingNamespace

    with backend.scope():
        recording = RecordingNamespace(backend)
        arrays = {}
        for name, x in inputs.items():
            host = np.asarray(x)
            if host.dtype.kind not in "fiub":
                raise InputError(f"{name} is {host.dtype}: expected floats, integers or bools")
            kind = host.dtype.name
            if host.dtype.kind == "f":
                kind = backend.dtype_name
            elif host.dtype.kind in "iu":
                kind = _integers(name, host, backend)
            arrays[name] = recording.input(backend.asarray(host, dtype=kind))
        result = function(recording, **arrays)
    if not isinstance(result, Mapping):
        raise InputError(f"the function returned {type(result).__name__}: expected a dict")
    missing = sorted(set(names or ()) - result.keys())
    if missing:
        raise InputError(f"no output {missing[0]!r}: the function returned {', '.join(result)}")
    made = {}
    for name, x in result.items():
        if not isinstance(x, RecordedArray):
            raise AssertionError(
                f"{backend.name}, output {name!r} is {type(x).__name__}, which no recorded "
                f"operation made: compute it with the functions of xp"
            )
        made[name] = x._origin
    return recording.calls, made


def _integers(name: str, host: Any, backend: Backend) -> str:
    """The dtype of an input of integers: int32 if they fit, else int64 if the backend has it."""
    from portadnn.errors import InputError

    low, high = (int(host.min()), int(host.max())) if host.size else (0, 0)
    if low >= -(2**31) and high < 2**31:
        return "int32"
    held = backend.xp.__array_namespace_info__().dtypes(kind="signed integer")
    if high >= 2**63 or "int64" not in held:
        raise InputError(
            f"{name} has integers from {low:,} to {high:,}, which {backend.name} in "
            f"{backend.dtype_name} does not hold: expected integers below "
            f"{'2**63' if 'int64' in held else '2**31 (JAX holds larger ones with dtype=float64)'}"
        )
    return "int64"


def _first_failure(
    certified: Sequence[CertifiedCall], backend: str, made: Mapping[str, Any], dtype: str
) -> str | None:
    """The first operation that did not compute what it should, in words."""
    names = {origin[0]: name for name, origin in made.items() if origin}
    for one in certified:
        for check in one.checks:
            if check.verdict.passed:
                continue
            number = one.call.number
            named = f" ({names[number]})" if number in names else ""
            bits = "" if check.bits is None else f"; effective bits {check.bits:.1f}"
            found = {str(x.dtype) for x in one.call.results if x.dtype.kind == "f"} - {dtype}
            other = f"; the result is {found.pop()}, declared {dtype}" if found else ""
            return (
                f"{check.verdict.value} {backend}, operation {number}{named}, "
                f"{check.tensor}{check.findings}{bits}{other}; every earlier operation certified"
            )
    return None


# --- the plugin ---------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--portadnn-backends`` and its default in the ini file."""
    names = "comma-separated backends to test on, for example numpy,torch,cupy"
    parser.addoption("--portadnn-backends", default=None, help=names)
    parser.addini("portadnn_backends", f"{names} (the option wins)", default="numpy")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of ``backend``, ``xp`` or ``device`` one for every backend."""
    if "portadnn_backend_name" in metafunc.fixturenames:
        metafunc.parametrize("portadnn_backend_name", backend_names(metafunc.config))


_NAMES = pytest.StashKey[list[str]]()


def backend_names(config: pytest.Config) -> list[str]:
    """The backends under test: those of the option, else those of the ini file.

    A backend whose name ends in ``?`` is used only if it can run.
    """
    if _NAMES not in config.stash:
        text = config.getoption("--portadnn-backends") or config.getini("portadnn_backends")
        names = [name.strip() for name in text.split(",") if name.strip()]
        config.stash[_NAMES] = [
            name.removesuffix("?") for name in names if not name.endswith("?") or _runs(name[:-1])
        ]
    return config.stash[_NAMES]


def _runs(name: str) -> bool:
    from portadnn.backends import BackendUnavailableError, get_backend

    try:
        get_backend(name)
    except BackendUnavailableError:
        return False
    return True


@pytest.fixture
def backend_dtype() -> str:
    """The dtype of the fixture ``backend``: override it, or parametrise it, to have another."""
    return "float32"


@pytest.fixture
def backend(portadnn_backend_name: str, backend_dtype: str) -> Any:
    """A backend under test, inside its scope; one that cannot run here fails the test."""
    from portadnn.backends import get_backend

    chosen = get_backend(portadnn_backend_name, dtype=backend_dtype)
    with chosen.scope():
        yield chosen


@pytest.fixture
def xp(backend: Backend) -> Any:
    """The array namespace of the backend."""
    return backend.xp


@pytest.fixture
def device(backend: Backend) -> Any:
    """The device of the backend, for creation functions."""
    return backend.device
