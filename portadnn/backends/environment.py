"""The facts that decide a backend's arithmetic, to be stored with its results."""

from __future__ import annotations

import os
import platform

from portadnn.arithmetic import MARK
from portadnn.backends.base import Backend, keeps_subnormals

# Variables that change how products are computed, also in libraries that load later.
PRECISION_VARIABLES = (
    "CUBLAS_EMULATE_DOUBLE_PRECISION",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY",
    "CUPY_ACCELERATORS",
    "CUPY_TF32",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "XLA_FLAGS",
)


def environment(backend: Backend) -> dict[str, str]:
    """Versions, device, threads, BLAS, processor and precision modes of a backend.

    If the backend's scope sets a mode, the value inside of the scope is reported.

    Returns
    -------
    environment : dict of str
        ``library``, ``device``, ``details`` and so on; the library's own ``precision_modes``; and
        each of ``PRECISION_VARIABLES`` with its value, "not set" or "empty".
    """
    import portadnn

    report = backend.report()
    with backend.scope():
        kept = keeps_subnormals()
    return {
        "portadnn": portadnn.__version__,
        "library": f"{backend.library} {report.version}",
        "device": backend.device_text,
        "details": report.details,
        "dtype": backend.dtype_name,
        "arithmetic": backend.arithmetic,
        "matmul": backend.matmul or "plain",
        "bits": MARK if backend.arithmetic == "reproducible" else "the library's",
        "python": platform.python_version(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "subnormal numbers": "kept" if kept else "flushed to 0",
        **backend.precision_modes(),
        **{name: os.environ.get(name, "not set") or "empty" for name in PRECISION_VARIABLES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor()
