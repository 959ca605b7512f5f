"""Run stages one after another, each in a process of its own with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

TAIL = 3000  # characters of what a stage printed that the report keeps
GOOD = ("passed", "skipped")
NO_DEVICE = "no device"


@dataclass(frozen=True)
class Stage:
    """One question that the check answers.

    Attributes
    ----------
    name : str
        As ``--only`` takes it.
    title : str
        One line, for ``--list`` and the report.
    function : str
        "module:function". It is called with a ``gpu.work.Work`` in a process of its own.
    limit : float
        Seconds, after which the process and its children are killed.
    environment : dict of str
        Variables that are set for its process.
    """

    name: str
    title: str
    function: str
    limit: float
    environment: dict[str, str] = field(default_factory=dict)


def run_stages(stages, context, report, tell=print):
    """Run the stages in turn; the report is written when each of them ends.

    Parameters
    ----------
    stages : sequence of Stage
    context : dict
        The arguments of ``gpu.work.Work`` except the path of the result.
    report : gpu.report.Report
    tell : callable
        Gets a line when a stage ends.

    Returns
    -------
    code : int
        0 if every stage passed or was skipped with a reason, 1 if one did not or the report cannot
        be written, 2 if there is no GPU, 130 after Ctrl-C and 143 after SIGTERM: what is finished
        is in the report.
    """
    code = 0
    with tempfile.TemporaryDirectory() as folder, _signals() as stopped:
        try:
            for stage in stages:
                tell(f"{stage.name}: {stage.title} (at most {stage.limit:g} s)")
                result = run_stage(stage, context, Path(folder))
                report.add(result)
                if result["outcome"] == NO_DEVICE:
                    report.refuse(f"no GPU was checked: {result['reason']}")
                    return 2
                _announce(result, tell)
                if result["outcome"] == "interrupted":
                    raise KeyboardInterrupt
                if result["outcome"] not in GOOD:
                    code = 1
        except KeyboardInterrupt:
            code = 128 + stopped[0]
    return report.finish(code)


def run_stage(stage, context, folder):
    """The result of a stage, as the report keeps it."""
    path, printed = folder / f"{stage.name}.json", folder / f"{stage.name}.txt"
    given = json.dumps(context | {"name": stage.name, "limit": stage.limit})
    ended, reason = None, ""
    started = time.monotonic()
    with open(printed, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpu.process", stage.function, str(path), given],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | stage.environment,
            start_new_session=True,  # so that its children are in its group
        )  # fmt: skip
        try:
            process.wait(stage.limit)
        except subprocess.TimeoutExpired:
            ended, reason = "timed out", f"it was stopped after its limit of {stage.limit:g} s"
        except KeyboardInterrupt:
            ended, reason = "interrupted", "the check was stopped"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also children that it left behind
            process.wait()
    seconds = time.monotonic() - started
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if ended is None and "outcome" not in found:
        ended, reason = "crashed", f"its process ended with {_ending(process.returncode)}"
    return {
        "name": stage.name,
        "title": stage.title,
        "limit": stage.limit,
        "device": found.get("device"),
        "outcome": ended or found["outcome"],
        "reason": reason or found.get("reason", ""),
        "seconds": round(seconds, 2),
        "figures": found.get("figures", {}),
        "text": found.get("text", []),
        "printed": printed.read_text(encoding="utf-8", errors="replace")[-TAIL:],
    }


def _ending(code):
    return signal.Signals(-code).name if code < 0 else f"exit code {code}, before it had a result"


def _announce(result, tell):
    reason = f": {result['reason']}" if result["reason"] else ""
    tell(f"  {result['outcome']} after {result['seconds']:.1f} s{reason}")
    for line in result["text"]:
        tell(f"  {line}")
    if result["outcome"] not in GOOD and result["printed"]:
        tell("  it printed last:")
        for line in result["printed"].splitlines()[-30:]:
            tell(f"  | {line}")


@contextlib.contextmanager
def _signals():
    """SIGTERM, which ``timeout`` sends, stops the check as Ctrl-C does; gives what has come."""
    stopped = []

    def stop(number, frame):
        stopped.append(number)
        raise KeyboardInterrupt

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
