"""Whether code crashes Python here: it runs in a separate process, and the answer is stored.

A broken compiler or driver can end the process with a signal, which no ``except`` catches. With
backend "auto" the user's program would end, although NumPy works.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 300.0  # seconds; the first kernel may take minutes on a busy machine
# A process that was ended from outside, by SIGKILL for example, says nothing about the code.
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")


def answer_to(about: str) -> Path:
    """The file that remembers an answer; to ask again, delete it."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    name = f"survival-{hashlib.sha256(about.encode()).hexdigest()[:16]}.txt"
    return Path(cache or Path.home() / ".cache") / "portadnn" / name


@functools.cache
def crash_of(code: str, about: str) -> str:
    """How ``code`` crashes a new Python process with the same ``sys.path``, or ''.

    Parameters
    ----------
    code : str
        An exception is not a crash.
    about : str
        The facts that decide the answer, such as the versions of library and driver. The answer is
        stored for them, in this process and in the file ``answer_to(about)``.

    Returns
    -------
    crash : str
        "SIGSEGV", for example; '' if the process survived.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        crash, known, end = answer_to(about).read_text(encoding="utf-8").split("\n")
        if (known, end) == (about, ""):
            return crash
    if not sys.executable:  # Python is embedded in another program, so there is no Python to start
        return ""
    start = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); exec(sys.argv[2])"
    command = [sys.executable, "-c", start, json.dumps(sys.path), code]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        done = subprocess.run(command, **quiet, check=False, timeout=PATIENCE)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:  # the machine may be busy, so the next process asks again
        return f"no answer in {PATIENCE:g} s"
    returncode = done.returncode
    crash = "" if returncode in (0, 1) else f"exit code {returncode:#x}"
    if returncode < 0:
        crash = signal.Signals(-returncode).name
    if returncode >= 0 or crash in CRASHES:
        with contextlib.suppress(OSError, RuntimeError):  # the next process asks again
            answer_to(about).parent.mkdir(parents=True, exist_ok=True)
            answer_to(about).write_text(f"{crash}\n{about}\n", encoding="utf-8")
    return crash
