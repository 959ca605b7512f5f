"""The packages that the stages need in addition to CuPy, and wheels that are carried along."""

import importlib.util
import subprocess
import sys

# modules that the tests on one backend and the report of parity import, and their packages
NEEDED = {
    "numpy": "numpy",
    "array_api_compat": "array-api-compat",
    "array_api_strict": "array-api-strict",
    "h5py": "h5py",
    "hypothesis": "hypothesis",
    "matplotlib.figure": "matplotlib",
    "mpmath": "mpmath",
    "pytest": "pytest",
    "rich": "rich",
    "threadpoolctl": "threadpoolctl",
    "tomli_w": "tomli-w",
}


class Missing(Exception):
    """A package is missing, and what to do about it."""


def install(wheels, site):
    """Install the wheels of a folder into the folder ``site``, without a network.

    Raises
    ------
    Missing
        If there are none, or pip cannot install them.
    """
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise Missing(f"{wheels} holds no wheels")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", site, *files], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Missing(f"the wheels in {wheels} cannot be installed: {done.stderr.strip()[-500:]}")


def check_needed():
    """Raise Missing if this Python does not have all packages of ``NEEDED``, or cannot import one.

    Each is imported in a process of its own, which sees the ``PYTHONPATH`` of the stages.
    """
    found = {name: importlib.util.find_spec(name.partition(".")[0]) for name in NEEDED}
    if missing := [package for name, package in NEEDED.items() if not found[name]]:
        raise Missing(
            f"this Python does not have {', '.join(missing)}: install them, or put their wheels "
            f"and those of what they require in a folder and add --wheels FOLDER"
        )
    broken = []
    for name, package in NEEDED.items():
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            printed = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            broken.append(f"{package} ({printed[-1]})")
    if broken:
        raise Missing(
            f"this Python cannot import {', '.join(broken)}: install what they require, or put "
            f"the wheels of it in the folder of --wheels"
        )
