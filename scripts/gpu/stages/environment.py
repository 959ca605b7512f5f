"""What the check runs on, and whether products of integers are exact there."""

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

from gpu.work import NoDevice, is_gpu, table

# the first of each library that can run is described
LIBRARIES = (("numpy",), ("cupy",), ("torch:cuda", "torch"), ("jax:gpu", "jax"), ("dask",))
SMI = "name,driver_version,memory.total,memory.used,power.limit,clocks.sm,utilization.gpu"


def environment(work):
    """Versions, devices and precision modes; ends the check if there is no GPU."""
    from portadnn.backends import BackendUnavailableError, get_backend
    from portadnn.backends import environment as of_backend
    from portadnn.errors import InputError

    try:
        backend = work.connect()
    except (BackendUnavailableError, InputError) as error:
        raise NoDevice(str(error)) from error
    if not is_gpu(backend.device_text) and not work.any_device:
        raise NoDevice(f"the backend {backend.name} computes on {backend.device_text} "
                       "(--any-device checks it nevertheless)")  # fmt: skip
    figures = work.figures
    figures["card"] = card(backend)
    figures["nvidia-smi"] = nvidia_smi()
    figures["cupy package"] = cupy_package()
    figures["commit"] = commit()
    figures["load"] = f"{os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"
    if figures["card"]:
        work.say(*table(("", ""), figures["card"].items()), "")
    for key in ("nvidia-smi", "cupy package", "commit", "load"):
        work.say(f"* {key}: {figures[key]}")
    figures["backends"], absent = {}, []
    for names in ((work.backend,), *LIBRARIES):
        for name in names:
            try:
                found = get_backend(name, dtype="float32")
            except Exception as error:  # a broken library is worth a line, not the end
                problem = getattr(error, "cause", f"{type(error).__name__}: {error}")
                absent.append(f"* {name} cannot run: {str(problem).splitlines()[0]}")
                continue
            figures["backends"].setdefault(found.name, of_backend(found))
            break
    backends = figures["backends"]
    keys = dict.fromkeys(key for one in backends.values() for key in one)
    rows = [(key, *(one.get(key, "") for one in backends.values())) for key in keys]
    work.say("", *table(("backend", *backends), rows), "", *absent)


def card(backend):
    """What the CUDA runtime says of the card, by CuPy; empty for another library."""
    if backend.library != "cupy":
        return {}
    import cupy

    runtime, number = cupy.cuda.runtime, backend.device.id
    found = runtime.getDeviceProperties(number)
    with backend.scope():
        free, total = runtime.memGetInfo()
    return {
        "card": found["name"].decode(),
        "compute capability": f"{found['major']}.{found['minor']}",
        "multiprocessors": found["multiProcessorCount"],
        "memory": f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free",
        "driver takes CUDA": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
        "devices": runtime.getDeviceCount(),
    }


def nvidia_smi():
    """Its line for each card, or why there is none."""
    if not shutil.which("nvidia-smi"):
        return "not installed"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={SMI}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return f"{SMI}: {'; '.join((done.stdout or done.stderr).split(chr(10))).strip('; ')}"


def cupy_package():
    """CuPy's wheels have names of their own for each CUDA."""
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    names = importlib.metadata.packages_distributions().get("cupy", ["not installed"])
    return ", ".join(names)


def commit():
    """The commit of the checkout, if git knows it."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not shutil.which("git"):
        return "unknown"
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def exactness(work):
    """The known bits of every operation, on every library that computes on this kind of device."""
    from portadnn.backends import BackendUnavailableError
    from portadnn.backends.exactness import KNOWN

    asked = dict.fromkeys((work.connect("float64").name, "torch:cuda", "jax:gpu"))
    for name in asked:
        try:
            backend = work.connect("float64", None if name == work.backend else name)
        except BackendUnavailableError as error:
            work.figures[name] = f"not there: {error.cause}"
            work.say(f"* {name} is not there: {error.cause}")
            continue
        try:
            backend.reproducible()
        except BackendUnavailableError as error:
            work.figures[name] = error.cause
            work.fail(f"{name}: {error.cause}")
            continue
        work.figures[name] = "exact"
        work.say(f"* {name}: all {len(KNOWN)} operations have the known bits")
