"""array-api-strict: a checker with the functions of the standard only, and fake devices."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from portadnn.backends.base import (
    Backend,
    LibraryReport,
    check_device,
    importing,
    quiet_numpy,
)

_DEVICES = {"": "CPU_DEVICE", "cpu": "CPU_DEVICE", "device1": "device1", "device2": "device2"}


class StrictBackend(Backend):
    """array-api-strict, on its CPU device or on a fake one that refuses transfers to the host."""

    library = "strict"

    @classmethod
    def connect(cls, name: str, device: str, dtype: str) -> Backend:
        xp = _import(name)
        check_device(name, device, tuple(_DEVICES))
        strict_device = xp.Device(_DEVICES[device])
        return cls(cls.full_name(strict_device), xp, strict_device, getattr(xp, dtype))

    @classmethod
    def report(cls) -> LibraryReport:
        return LibraryReport(_import("strict").__version__, ("cpu", "device1", "device2"))

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return quiet_numpy()

    @staticmethod
    def owns(x: Any) -> bool:
        from array_api_compat import is_array_api_strict_namespace

        namespace = getattr(x, "__array_namespace__", None)
        return namespace is not None and is_array_api_strict_namespace(namespace())

    @staticmethod
    def device_name(device: Any) -> str:
        return next(name for name, full in _DEVICES.items() if f"'{full}'" in str(device))

    @staticmethod
    def _to_host(x: Any) -> np.ndarray:
        xp = x.__array_namespace__()
        return np.asarray(x.to_device(xp.Device("CPU_DEVICE")))


def _import(name: str) -> Any:
    with importing(name, "array-api-strict", "pip install array-api-strict"):
        import array_api_strict
    return array_api_strict
