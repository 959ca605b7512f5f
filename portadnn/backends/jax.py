"""JAX: the steps between two reports are one compiled loop."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from array_api_compat import is_jax_array

from portadnn.backends.base import (
    Backend,
    BackendUnavailableError,
    LibraryReport,
    Step,
    Wrapped,
    check_device,
    importing,
    leading_length,
    quiet_numpy,
    to_host,
)
from portadnn.network.course import Trained

_CAPACITY = 512  # steps of a compiled loop
_LONG_ROW = 4096
_ALIGNED = 64  # bytes; XLA's own alignment on a CPU
_BLOCK = 256  # columns of a matrix that are copied at once
_REGISTERING = threading.Lock()
_PADDED_BYTES = 2**24  # the inputs are mostly masks or rows; larger ones get a smaller capacity


class LongRows(Wrapped):
    """``jax.numpy``, but a product with a long row is made as its transpose: 25 times faster.

    The gradient of one unit's weights is a row times the transpose of a matrix. XLA reads that
    matrix by columns. In the product of the matrix and a column it reads the matrix by rows.
    """

    def matmul(self, x: Any, y: Any, /) -> Any:
        """The product of matrices."""
        if x.ndim == y.ndim == 2 and x.shape[0] == 1 and x.shape[1] >= _LONG_ROW:
            return self.raw.matmul(y.T, x.T).T
        return self.raw.matmul(x, y)


class JaxBackend(Backend):
    """JAX on its default device, or on the one that is named."""

    library = "jax"
    no_memory = ("RESOURCE_EXHAUSTED",)
    fuses = True

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        jax = _import(name)
        _register()
        kind, _, index = device.partition(":")
        try:
            devices = jax.devices(kind or None)
        except RuntimeError as error:
            raise BackendUnavailableError(
                name,
                f"JAX {jax.__version__} has no device {kind!r} ({str(error).splitlines()[0]})",
                "Take a build of JAX for it, for example pip install 'jax[cuda12]' or "
                "'jax[cuda13]', or the backend 'jax', which runs on JAX's default device",
            ) from error
        allowed = tuple(f"{kind}:{i}" if kind else "" for i in range(len(devices)))
        check_device(name, device, (*allowed, kind))
        chosen = devices[int(index) if index else 0]
        return cls(cls.full_name(chosen), LongRows(jax.numpy), chosen, np.dtype(dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        jax = _import("jax")
        devices = [f"{d.platform}:{d.id}" for d in jax.devices()]
        if "cpu:0" not in devices:
            devices.append("cpu:0")
        return LibraryReport(jax.__version__, tuple(devices))

    def precision_modes(self) -> dict[str, str]:
        import jax

        with self.scope():
            found = self.matmul or jax.config.jax_default_matmul_precision
            return {"jax matmul precision": str(found)}

    def _tf32(self) -> Any:
        major = str(getattr(self.device, "compute_capability", "")).partition(".")[0]  # "9.0"
        return WithTF32(self.xp.raw) if major.isdecimal() and int(major) >= 8 else None

    def synchronize(self, *arrays: Any) -> None:
        import jax

        jax.block_until_ready(arrays)

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        import jax

        stack = contextlib.ExitStack()
        # reproducible arithmetic computes float32 in float64
        wide = self.dtype_name == "float64" or self.arithmetic == "reproducible"
        stack.enter_context(jax.enable_x64(wide))
        # on some GPUs JAX's default is TF32, with 11 significant bits instead of 24
        stack.enter_context(jax.default_matmul_precision("float32"))
        stack.enter_context(jax.default_device(self.device))
        return stack

    def repeat(
        self, step: Step, state: Any, inputs: Any, shared: Any = (), *, every_output: bool = True
    ) -> tuple[Any, Any]:
        import jax

        n = leading_length(inputs)
        # a compiled function takes an array of NumPy 100 times faster than jax.device_put does
        inputs = jax.tree.map(np.asarray, inputs)
        # The loop is compiled for a capacity and runs as often as it is told. So the same program,
        # with the same bits, serves any distance between reports and the replay of a single step.
        size = sum(x.nbytes for x in jax.tree.leaves(inputs)) // n
        capacity = _CAPACITY
        while capacity > 1 and capacity * size > _PADDED_BYTES:
            capacity //= 2
        made = []
        for start in range(0, n, capacity):
            own = slice(start, min(start + capacity, n))
            part = jax.tree.map(functools.partial(_piece, own=own, length=capacity), inputs)
            state, outputs = _compiled(step)(own.stop - start, state, part, shared)
            made.append(outputs)
        return state, jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *made)

    def place(self, x: Any) -> Any:
        import jax

        if self.owns(x):
            return self.asarray(x)
        host = self.as_input(x)
        with self.scope():
            # JAX copies what is not aligned, and shares the rest
            return jax.device_put(host if host.flags.c_contiguous else _in_rows(host), self.device)

    def as_input(self, x: Any, *, dtype: str | None = None) -> Any:
        with quiet_numpy():
            return np.asarray(to_host(x), dtype=dtype or self.dtype_name)

    def on_host(
        self, function: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: str, *arrays: Any
    ) -> Any:
        import jax

        if not any(isinstance(x, jax.core.Tracer) for x in arrays):
            return super().on_host(function, shape, dtype, *arrays)
        return _called_back(function, shape, dtype, arrays)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        return jax.jit(function)

    def _from_host(self, host: np.ndarray) -> Any:
        import jax

        # jnp.asarray would compile two programs for every shape. device_put may share the memory of
        # the argument (even with may_alias=False), so the argument is a copy.
        return jax.device_put(_in_rows(host), self.device)

    def all_finite(self, arrays: Iterable[Any]) -> bool:
        if self.device.platform != "cpu":
            return bool(_finite()(tuple(arrays)))
        # arrays of a CPU share their memory with NumPy, which needs nothing compiled
        return all(bool(np.isfinite(np.asarray(x)).all()) for x in arrays)

    @staticmethod
    def owns(x: Any) -> bool:
        return is_jax_array(x)

    @staticmethod
    def device_of(x: Any) -> Any:
        (device,) = x.devices()
        return device

    @staticmethod
    def device_name(device: Any) -> str:
        import jax

        return "" if device == jax.devices()[0] else f"{device.platform}:{device.id}"


class WithTF32(Wrapped):
    """JAX's namespace. Its products ask for TF32 explicitly, so no setting changes that."""

    def matmul(self, x: Any, y: Any) -> Any:
        import jax

        return self.raw.matmul(x, y, precision=jax.lax.DotAlgorithmPreset.TF32_TF32_F32)


def _called_back(
    function: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: str, arrays: Any
) -> Any:
    """Call a function of NumPy arrays in a compiled program. All bits travel as int32.

    JAX calls the function outside of ``enable_x64``, and would convert float64 to float32 there.
    """
    import jax
    from jax.experimental import io_callback

    dtypes = [np.dtype(x.dtype) for x in arrays]
    wide = (2,) if np.dtype(dtype).itemsize == 8 else ()

    def call(*bits: Any) -> np.ndarray:
        given = [
            np.ascontiguousarray(x).view(own).reshape(x.shape[: x.ndim - own.itemsize // 8])
            for x, own in zip(map(np.asarray, bits), dtypes, strict=True)
        ]
        made = np.ascontiguousarray(function(*given), dtype)
        return made.reshape(-1).view(np.int32).reshape((*shape, *wide))

    bits = [jax.lax.bitcast_convert_type(x, np.int32) for x in arrays]
    like = jax.ShapeDtypeStruct((*shape, *wide), np.int32)
    return jax.lax.bitcast_convert_type(io_callback(call, like, *bits, ordered=True), dtype)


def _piece(x: np.ndarray, own: slice, length: int) -> np.ndarray:
    """Those rows of ``x``, and rows of zeros up to that length."""
    padding = length - (own.stop - own.start)
    if not padding:
        return x[own]
    return np.concatenate([x[own], np.zeros((padding, *x.shape[1:]), x.dtype)])


def _in_rows(host: np.ndarray) -> np.ndarray:
    """A C-contiguous copy, aligned so that JAX uses its memory and does not copy it again.

    A matrix is copied in blocks, which transposes X 4 times faster.
    """
    room = np.empty(host.nbytes + _ALIGNED, np.uint8)
    start = -room.ctypes.data % _ALIGNED
    made = room[start : start + host.nbytes].view(host.dtype).reshape(host.shape)
    if host.ndim != 2 or host.flags.c_contiguous:
        made[...] = host
        return made
    for start in range(0, host.shape[1], _BLOCK):
        made[:, start : start + _BLOCK] = host[:, start : start + _BLOCK]
    return made


@functools.lru_cache(maxsize=32)
def _compiled(step: Step) -> Step:
    """``step`` in a loop whose trip count is an argument, as one jitted function."""
    import jax
    import jax.numpy as jnp

    def loop(n: Any, state: Any, inputs: Any, shared: Any) -> tuple[Any, Any]:
        def at(i: Any) -> Any:
            return jax.tree.map(
                lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), inputs
            )

        def body(i: Any, carry: Any) -> Any:
            state, outputs = carry
            state, output = step(state, at(i), shared)
            outputs = jax.tree.map(lambda all_, one: all_.at[i].set(one), outputs, output)
            return state, outputs

        capacity = leading_length(inputs)
        _, output = jax.eval_shape(step, state, at(0), shared)
        outputs = jax.tree.map(lambda one: jnp.zeros((capacity, *one.shape), one.dtype), output)
        return jax.lax.fori_loop(0, n, body, (state, outputs))

    return jax.jit(loop)


@functools.lru_cache(maxsize=1)
def _finite() -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda arrays: jnp.stack([jnp.isfinite(x).all() for x in arrays]).all())


def _register() -> None:
    with _REGISTERING:  # functools.cache lets two threads call the function at once
        _registered()


@functools.cache
def _registered() -> None:
    """Let JAX treat the result of ``L_layer_model`` as a dict."""
    import jax

    jax.tree_util.register_pytree_node(
        Trained,
        lambda trained: (tuple(trained.values()), tuple(trained.keys())),
        lambda names, values: dict(zip(names, values, strict=True)),
    )


def _import(name: str) -> Any:
    with importing(name, "JAX", "pip install jax"):
        import jax
        import jax.numpy
    return jax
