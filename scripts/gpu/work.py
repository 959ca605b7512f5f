"""What a stage is given, what it finds, and small helpers of stages and report."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import traceback
from pathlib import Path

MARGIN = 5.0  # seconds that a stage keeps free at its end to write what it found


class Skip(Exception):
    """A stage that does not apply here, and why."""


class NoDevice(Exception):
    """There is no GPU to check, and why."""


class Work:
    """What a stage is told, and what it finds.

    The result is written whenever something is found, so that a stage that is killed keeps it.

    Attributes
    ----------
    backend : str
        The name of the backend that is checked.
    small : bool
        Small sizes, for a try without a GPU.
    any_device : bool
        Whether a device that is no GPU may be checked.
    keep : Path
        Folder for files that belong to the report.
    figures : dict
        Everything that was measured.
    text : list of str
        Lines of Markdown.
    """

    def __init__(self, path, *, name, backend, small, any_device, keep, limit, raising=()):
        self.path, self.name, self.backend = Path(path), name, backend
        self.small, self.any_device, self.raising = small, any_device, raising
        self.keep, self.ends = Path(keep), time.monotonic() + limit
        self.figures, self.text, self.faults = {}, [], []
        self.device = None

    @property
    def left(self):
        """Seconds that the stage may still take."""
        return self.ends - MARGIN - time.monotonic()

    def connect(self, dtype="float32", name=None):
        """A backend; that under test is noted with its device."""
        from portadnn.backends import get_backend

        found = get_backend(name or self.backend, dtype=dtype)
        if name is None and self.device is None:
            self.device = found.device_text
            self.save()
        return found

    def say(self, *lines):
        """Add lines of Markdown to the report."""
        for line in lines:
            self.text.append(line)
            print(line, flush=True)
        self.save()

    def fail(self, reason):
        """Note a fault: the stage goes on, and fails at its end."""
        self.faults.append(reason)
        print(f"FAULT: {reason}", flush=True)
        self.save()

    def save(self, **ending):
        """Write what was found, whole or not at all."""
        found = {"device": self.device, "figures": self.figures, "text": self.text, **ending}
        replace(self.path, json.dumps(plain(found), allow_nan=False))

    def run(self, function):
        """Call the stage's function and write how it ended."""
        try:
            if self.name in self.raising:
                raise RuntimeError(f"--raise {self.name}: this error was asked for")
            function(self)
        except Skip as reason:
            self.save(outcome="skipped", reason=str(reason))
        except NoDevice as reason:
            self.save(outcome="no device", reason=str(reason))
        except Exception as error:
            traceback.print_exc()
            self.save(outcome="raised", reason=f"{type(error).__name__}: {error}")
        else:
            outcome = "failed" if self.faults else "passed"
            self.save(outcome=outcome, reason="; ".join(self.faults))


def is_gpu(device):
    """Whether a device, in the words of its backend, is a GPU and not a stand-in for one."""
    return "cuda" in device.lower() and not is_stand_in(device)


def is_stand_in(device):
    return "stand-in" in device


def table(heads, rows):
    """Lines of a Markdown table."""
    return [row(heads), row(["---"] * len(heads)), *map(row, rows)]


def row(cells):
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def plain(x):
    """``x`` as JSON can hold it: numbers that are not finite become None."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [plain(value) for value in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x


def replace(path, text):
    """Write a file whole, or leave it as it was."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # after the rename there is none
            temporary.unlink()
