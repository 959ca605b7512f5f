"""Whether the stand-in can run here."""

import importlib.metadata
import platform
import shutil
import sys

import pytest
from fake_cuda.events import on_stand_in


def problem():
    """Why the stand-in cannot run here, or None."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the stand-in runs on Linux on x86-64 only"
    for tool in ("gcc", "g++", "nm"):
        if not shutil.which(tool):
            return f"{tool} is missing: install gcc, g++ and binutils"
    try:
        importlib.metadata.version("cupy-cuda12x")
    except importlib.metadata.PackageNotFoundError:
        return "cupy-cuda12x is not installed"
    return None


@pytest.fixture(scope="session")
def stand_in(backends_under_test):
    """Skip the test if the stand-in cannot run; fail it if CuPy is tested here on nothing else."""
    reason = problem()
    if reason and "cupy" in backends_under_test and on_stand_in():
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
