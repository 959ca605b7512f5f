"""PyTorch, on the CPU or on one of its devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import is_torch_array

from portadnn.backends import graphs
from portadnn.backends.base import (
    Backend,
    BackendUnavailableError,
    LibraryReport,
    Step,
    Wrapped,
    importing,
    keeps_subnormals,
)
from portadnn.errors import InputError
from portadnn.network.precision import full_precision, reduced_precision


class TorchBackend(Backend):
    """PyTorch tensors without autograd: the gradients are the package's own."""

    library = "torch"
    no_memory = ("out of memory", "t allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        torch = _import(name)
        import array_api_compat.torch as xp

        try:
            torch_device = torch.device(device or "cpu")
        except RuntimeError as error:
            raise InputError(
                f"unknown device in backend {name!r}: expected for example torch, torch:cuda, "
                f"torch:cuda:1"
            ) from error
        try:
            probe = torch.ones((2, 2), dtype=getattr(torch, dtype), device=torch_device)
            (probe @ probe + 1).cpu()
        except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
            first_line = str(error).splitlines()[0]
            raise BackendUnavailableError(
                name,
                f"PyTorch {torch.__version__} does not compute {dtype} on "
                f"{torch_device}: {first_line}",
                "Take a build of PyTorch for this device (https://pytorch.org/get-started), "
                "or the backend 'torch', which runs on the CPU",
            ) from error
        return cls(cls.full_name(probe.device), xp, probe.device, getattr(torch, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        torch = _import("torch")
        devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            devices.append("mps")
        threads = torch.get_num_threads()
        return LibraryReport(torch.__version__, tuple(devices), f"{threads} CPU threads")

    def precision_modes(self) -> dict[str, str]:
        import torch

        with self.scope():
            return {
                "torch autocast": str(torch.is_autocast_enabled(self.device.type)),
                "torch float32 matmul precision": self.matmul
                or torch.get_float32_matmul_precision(),
                "torch cuda allow_tf32": str(torch.backends.cuda.matmul.allow_tf32),
            }

    def _tf32(self) -> Any:
        import torch

        cuda = self.device.type == "cuda" and torch.version.cuda is not None  # None on AMD
        has = cuda and torch.cuda.get_device_capability(self.device) >= (8, 0)
        return WithTF32(self.xp) if has else None

    def synchronize(self, *arrays: Any) -> None:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        import torch

        flushed = not keeps_subnormals()
        torch.set_flush_denormal(False)
        try:
            inference = torch.is_inference_mode_enabled()
            leave = torch.inference_mode(False) if inference else contextlib.nullcontext()
            # leaving inference mode turns gradients on, so no_grad comes after it
            with leave, torch.no_grad(), full_precision(torch, self.device.type):
                yield
        finally:
            if flushed:
                torch.set_flush_denormal(True)

    def repeat(
        self, step: Step, state: Any, inputs: Any, shared: Any = (), *, every_output: bool = True
    ) -> tuple[Any, Any]:
        found = None
        if self.device.type == "cuda":
            import torch

            with torch.cuda.device(self.device):
                found = graphs.repeat(step, state, inputs, shared, graphs.capture_by_torch)
        return super().repeat(step, state, inputs, shared) if found is None else found

    @contextlib.contextmanager
    def single_thread(self) -> Iterator[None]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def asarray(self, x: Any, *, dtype: str | None = None) -> Any:
        x = super().asarray(x, dtype=dtype)
        return x.detach() if x.requires_grad else x

    @staticmethod
    def owns(x: Any) -> bool:
        return is_torch_array(x)

    @staticmethod
    def device_name(device: Any) -> str:
        return "" if device.type == "cpu" else str(device).removesuffix(":0")

    def _from_host(self, host: np.ndarray) -> Any:
        import torch

        # PyTorch warns of read-only memory; its strides count items, and none is negative
        whole = all(stride >= 0 and stride % host.itemsize == 0 for stride in host.strides)
        shareable = host.flags.writeable and whole
        return torch.from_numpy(host if shareable else host.copy(order="K")).to(self.device)

    @staticmethod
    def _to_host(x: Any) -> np.ndarray:
        return x.detach().cpu().numpy()


class WithTF32(Wrapped):
    """PyTorch's namespace, whose products of float32 may take TF32."""

    def matmul(self, x: Any, y: Any) -> Any:
        import torch

        with reduced_precision(torch, x.device.type):
            return self.raw.matmul(x, y)


def _import(name: str) -> Any:
    with importing(name, "PyTorch", "pip install torch"):
        import array_api_compat.torch  # noqa: F401 (it may be what fails)
        import torch
    return torch
