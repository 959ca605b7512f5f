"""Devices, and the log of what they are asked to do."""

import ctypes

import cupy as cp
import numpy as np
from fake_cuda.events import on_stand_in, recorded

from .support import is_refused


def check_names():
    assert on_stand_in()
    for i in range(2):
        assert "stand-in" in cp.cuda.runtime.getDeviceProperties(i)["name"].decode()
    from portadnn.backends.cupy import CupyBackend

    devices = CupyBackend.report().devices
    assert len(devices) == 2
    assert all("stand-in" in device for device in devices)


def check_devices():
    assert cp.cuda.runtime.getDeviceCount() == 2
    x = cp.ones((2, 2))
    with cp.cuda.Device(1):
        y = cp.asarray(x) + 1
        assert y.device.id == 1
        assert float(cp.matmul(y, y)[0, 0]) == 8
    assert is_refused(cp.add, x, y)
    for a, b, out in ((x, y, x + 1), (y, x, x + 1), (x, x, y)):
        assert is_refused(lambda a, b, out: cp.matmul(a, b, out=out), a, b, out)
    assert is_refused(cp.cuda.Device(2).use)


def check_events():
    x = cp.ones((2, 3))
    (x + x), cp.matmul(x, x.T)
    cp.cuda.Device().synchronize()
    stream = cp.cuda.Stream(non_blocking=True)
    with recorded() as events:
        (x + x).get()
        x.data.copy_to_host(ctypes.c_void_p(np.empty(6).ctypes.data), 8)
        with recorded() as products:
            cp.matmul(x, x.T)
        cp.cuda.Device().synchronize()
        stream.record().synchronize()
        x.data.memset_async(0, 48)
        stream.launch_host_func(lambda _: None, None)
        cp.cuda.runtime.free(cp.cuda.runtime.malloc(100))
        cp.cuda.runtime.freeHost(cp.cuda.runtime.hostAlloc(200, 0))
    found = [str(event) for event in events if event != ("malloc", "", ("512",))]
    assert found == [
        "launch cupy_add__float64_float64_float64 1x6",
        "copy d2h 48 async",
        "sync stream",
        "copy d2h 8 sync",
        "sync device",
        "sync event",
        "memset 48",
        "host",
        "malloc 100",
        "pinned 200",
    ], found
    counts = events.launches, events.copies, events.memsets, events.products
    assert counts == (1, 2, 1, 0)
    assert (events.operations, events.synchronisations) == (4, 4)
    assert [str(p) for p in products if p.kind != "malloc"] == ["product gemmEx float64 2x2x3 x1"]
