"""Untrusted data, read in a separate process, where a library may crash or hang safely."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.data import files, foreign
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from portadnn.data.isolated import answer; answer(**json.loads(sys.argv[2]))"
)
_SPARE = 200 * 2**20  # bytes of memory that the process may have beside its arrays
_SECONDS, _SPEED = 20, 2**23  # the shortest limit, and the bytes that add a second to it


def read_isolated(reader: str, path: str | os.PathLike[str], **options: Any) -> Any:
    """Call ``reader``, "module.function", with a path in a limited process; raises its errors."""
    path = os.fsdecode(path)
    found = [file for file in (Path(path), *Path(path).rglob("*")) if file.is_file()]
    seconds = _SECONDS + sum(file.stat().st_size for file in found) // _SPEED
    task = {"reader": reader, "path": path, "options": options, "seconds": seconds}
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), json.dumps(task)]
    with tempfile.TemporaryFile() as file, foreign.reading(path):
        # reserved memory counts: PyArrow and threads would reserve gigabytes
        small = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
        small |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        quiet: Any = {
            "env": os.environ | small,
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "check": False,
        }
        try:
            code = subprocess.run(command, stdout=file, timeout=3 * seconds, **quiet).returncode
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{path} could not be read in {3 * seconds} s") from error
        if code:
            end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise InputError(f"{path} ended the process that read it ({end}): it is damaged")
        file.seek(0)
        told = json.loads(file.readline())
        if "error" in told:
            raise InputError(told["error"])
        if "value" in told:
            return told["value"]
        arrays = [np.load(file, allow_pickle=False) for _ in range(told.pop("arrays"))]
        return Dataset(arrays[0], arrays[1] if arrays[1:] else None, **told)


def answer(reader: str, path: str, options: dict[str, Any], seconds: int) -> None:
    """The main function of the process: read, and write a line of JSON and the arrays to stdout."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write to the answer
    module, _, function = reader.rpartition(".")
    read = getattr(importlib.import_module(module), function)
    _limit(seconds)
    arrays: list[np.ndarray] = []
    try:
        found = read(path, **options)
        told = {"value": found}
        if isinstance(found, Dataset):
            arrays = [x for x in (found.examples, found.labels) if x is not None]
            told = {name: getattr(found, name) for name in ("classes", "source", "head")}
            told["arrays"] = len(arrays)
    except InputError as error:
        told = {"error": str(error)}
    output.write(json.dumps(told).encode() + b"\n")
    for x in arrays:
        np.save(output, x, allow_pickle=False)
    output.close()


def _limit(seconds: int) -> None:
    """Limit the time of this process, and its memory beyond what it allows, if the system can."""
    try:
        import resource
    except ImportError:  # Windows does not have it
        return

    def limit(kind: int, soft: int) -> None:
        hard = resource.getrlimit(kind)[1]
        most = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(kind, (most, hard))

    limit(resource.RLIMIT_CPU, seconds)
    limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):  # only Linux tells how much is in use
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + _SPARE

        def allow(size: int) -> None:
            nonlocal most
            most += 2 * size  # checks of the values need some as well
            limit(resource.RLIMIT_AS, most)

        allow(0)
        files.before_memory.append(allow)
