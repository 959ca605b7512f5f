"""PyTorch's settings that round float32 products are off while the package computes."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from portadnn.errors import InputError

_FULL = {"highest", "ieee", "none"}
_lock = threading.Lock()
_inside: Counter[int] = Counter()  # how many scopes each thread has entered
_ambient: tuple = ()


def is_full(torch: Any, device_type: str) -> bool:
    """Whether PyTorch now multiplies float32 in float32 on devices of that type."""
    return not torch.is_autocast_enabled(device_type) and _FULL.issuperset(_modes(torch))


@contextlib.contextmanager
def full_precision(torch: Any, device_type: str) -> Iterator[None]:
    """A scope without autocast, TF32 and bfloat16 products; the settings come back after it.

    The precision of products belongs to the whole process. The first thread that enters sets it,
    and the last one that leaves sets it back.
    """
    global _ambient
    thread = threading.get_ident()
    cast = torch.is_autocast_enabled(device_type)
    with torch.autocast(device_type, enabled=False) if cast else contextlib.nullcontext():
        with _lock:
            _inside[thread] += 1
            if _inside.total() == 1:
                _ambient = () if _FULL.issuperset(_modes(torch)) else _settings(torch)
                if _ambient:
                    torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            with _lock:
                _inside[thread] -= 1
                if not _inside[thread]:
                    del _inside[thread]
                if not _inside and _ambient:
                    _restore(torch)


@contextlib.contextmanager
def reduced_precision(torch: Any, device_type: str) -> Iterator[None]:
    """A scope for one product, which a CUDA device may make in TF32.

    Raises
    ------
    InputError
        If another thread computes with PyTorch, whose products would take TF32 too.
    """
    global _ambient
    # nobody enters or leaves until the product is issued
    with full_precision(torch, device_type), _lock:
        if len(_inside) > 1:
            raise InputError(
                "matmul is tf32, but another thread computes with PyTorch, and the setting belongs "
                "to the whole process: train in one thread, or in processes of their own"
            )
        _ambient = _ambient or _settings(torch)
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")


def _switches(torch):
    """PyTorch's two switches by library, which it has since 2.9."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return ()
    return torch.backends.mkldnn.matmul, torch.backends.cuda.matmul


def _modes(torch):
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # the switches disagree with it
        overall = "mixed"
    return overall, *(switch.fp32_precision for switch in _switches(torch))


def _settings(torch):
    """The modes; "none" for a switch like its library's, so that it follows later changes."""
    overall, *each = _modes(torch)
    libraries = torch.backends.mkldnn, torch.backends.cudnn
    return overall, *(
        "none" if mode == library.fp32_precision else mode
        for mode, library in zip(each, libraries, strict=False)  # PyTorch before 2.9 has no switch
    )


def _restore(torch):
    overall, *each = _ambient
    if overall != "mixed":
        torch.set_float32_matmul_precision(overall)
    for switch, mode in zip(_switches(torch), each, strict=True):
        switch.fp32_precision = mode
