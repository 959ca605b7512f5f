"""Processes on the stand-in, for its tests."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = HERE / "run"
TESTS, ROOT = HERE.parents[:2]
# seconds; a busy machine with two cores compiles fifty kernels within them
PATIENCE = 300


def environment(**variables):
    """This process's, which may itself be on the stand-in, without the stand-in's variables."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("FAKE_CUDA_")}
    path = [str(ROOT), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), **variables}


def run(*arguments, program=(RUN, sys.executable), cwd=None, **variables):
    return subprocess.run(
        [*program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env=environment(**variables),
    )
