"""What decides a backend's arithmetic, to be kept with what it computed."""

from __future__ import annotations

import os
import platform

from portadnn.backends import Backend


def environment(backend: Backend) -> dict[str, str]:
    """Versions, device, threads, BLAS and processor of a backend."""
    from importlib.metadata import version

    report = backend.report()
    return {
        "portadnn": version("portadnn"),
        "library": f"{backend.library} {report.version}",
        "device": str(backend.device),
        "details": report.details,
        "dtype": backend.dtype_name,
        "python": platform.python_version(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor()
