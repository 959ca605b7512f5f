"""The mpiexec of the MPI that this Python has."""

import shutil
import sys
from pathlib import Path


def mpiexec(given=None):
    """``given``, or the one beside this Python, or that of the path; the program ends without."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = given or (str(beside) if beside.exists() else shutil.which("mpiexec"))
    if found is None:
        print("there is no mpiexec: pip install mpi4py mpich, or give --mpiexec", file=sys.stderr)
        sys.exit(2)
    return found
