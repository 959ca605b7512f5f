"""Whether code crashes Python here: tried in a process of its own, and the answer remembered.

A broken compiler or driver can end the process with a signal, which no ``except`` catches. Whoever
asked for "auto" would lose the program, although NumPy works.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# Signals of a crash. A process that was ended from outside, by SIGKILL for example, says nothing.
_CRASHES = {
    int(getattr(signal, name))
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
    if hasattr(signal, name)
}


def answers() -> Path:
    """The file of remembered answers; to ask again, delete it."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(cache or Path.home() / ".cache") / "portadnn" / "survival.json"


@functools.cache
def crash_of(code: str, about: str) -> str:
    """How ``code`` ends a fresh Python that imports from the same places, or ''.

    Parameters
    ----------
    code : str
        An exception in it is no crash.
    about : str
        What the answer depends on, such as the versions of library and driver: it is remembered for
        these, in this process and in ``answers()``.

    Returns
    -------
    crash : str
        "SIGSEGV", for example; '' if the process survived.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        return str(json.loads(answers().read_bytes())[about])
    if not sys.executable:  # Python is embedded in another program, so there is no Python to start
        return ""
    start = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); exec(sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", start, json.dumps(sys.path), code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    crash = _crash(done.returncode)
    if not crash or -done.returncode in _CRASHES or os.name == "nt":
        _remember(about, crash)
    return crash


def _crash(returncode: int) -> str:
    if returncode < 0:
        return signal.Signals(-returncode).name
    return "" if returncode in (0, 1) else f"exit code {returncode:#x}"


def _remember(about: str, crash: str) -> None:
    """Add an answer; where the home cannot be written, the next process asks again."""
    with contextlib.suppress(OSError, RuntimeError):
        path = answers()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {}
        with contextlib.suppress(OSError, ValueError):
            known = dict(json.loads(path.read_bytes()))
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(known | {about: crash}, file, indent=1)
        os.replace(file.name, path)
