"""What the stages need besides CuPy, and wheels that are carried along."""

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
    "matplotlib": "matplotlib",
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
    """Raise Missing if this Python does not have all packages of ``NEEDED``."""
    missing = [package for name, package in NEEDED.items() if not importlib.util.find_spec(name)]
    if missing:
        raise Missing(
            f"this Python does not have {', '.join(missing)}: install them, or put their wheels "
            f"in a folder and add --wheels FOLDER"
        )
