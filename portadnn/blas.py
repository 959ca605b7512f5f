"""Which kernel OpenBLAS should run on this processor; set by the program, never by the library.

OpenBLAS, the BLAS of NumPy's wheels, picks its kernels once, while it is loaded, and obeys
``OPENBLAS_CORETYPE``. On some AMD processors with AVX-512 it picks its slower AVX2 kernels. This
module must run before that, so it imports neither NumPy nor anything else that is heavy.

References
----------
OpenBLAS, ``driver/others/dynamic.c``: ``get_coretype``, ``force_coretype`` and ``support_avx512``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

VARIABLE = "OPENBLAS_CORETYPE"
AVX512_KERNEL = "SkylakeX"

THREADS = "OMP_NUM_THREADS"
# set by Open MPI, MPICH and MVAPICH: how many processes mpiexec started on this machine
LOCAL_RANKS = "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"

# CPU features, in Linux's names, that -march=skylake-avx512 assumes: OpenBLAS builds that kernel
# with it. If one is missing, the kernel ends in SIGILL, so AVX-512 alone is not enough.
NEEDED_FLAGS = frozenset(
    {"sse", "sse2", "pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "movbe", "avx", "f16c", "avx2"}
    | {"bmi1", "bmi2", "fma", "abm", "adx"}
    | {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"}
)
# on Intel's processors OpenBLAS takes its kernels for AVX-512 and AMX by itself
VENDORS = frozenset({"AuthenticAMD", "HygonGenuine"})


def kernel_for(cpuinfo: str) -> str | None:
    """The kernel that OpenBLAS should be told to run on a processor, or None: leave it alone.

    Parameters
    ----------
    cpuinfo : str
        The text of Linux's ``/proc/cpuinfo``. For any other text the answer is None.

    Returns
    -------
    str or None
        "SkylakeX" if every processor is AMD's (or Hygon's) and has all that the kernel needs.

    Examples
    --------
    >>> kernel_for("vendor_id : GenuineIntel\\nflags : fpu avx512f avx512vl") is None
    True
    """
    vendors, flags = [], []
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "vendor_id":
            vendors.append(value.strip())
        elif name.strip() == "flags":
            flags.append(frozenset(value.split()))
    if not vendors or len(vendors) != len(flags):
        return None
    if not VENDORS.issuperset(vendors):
        return None
    return AVX512_KERNEL if all(f >= NEEDED_FLAGS for f in flags) else None


def this_processor(path: str = "/proc/cpuinfo") -> str:
    """The text for ``kernel_for``; empty if this is not a 64-bit program on x86-64 Linux."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or os.uname().machine != "x86_64":
        return ""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def set_kernel(
    environment: MutableMapping[str, str] | None = None,
    *,
    cpuinfo: str | None = None,
    loaded: Mapping[str, object] | None = None,
) -> str | None:
    """Set ``OPENBLAS_CORETYPE`` if that helps; for a program, before it imports NumPy.

    Nothing happens if the user has set the variable, even to an empty text, or if NumPy is loaded,
    because then it is too late. A BLAS that does not read the variable is not affected: MKL,
    Accelerate, an OpenBLAS for one kind of processor.

    Parameters
    ----------
    environment : mapping, optional
        ``os.environ``.
    cpuinfo : str, optional
        This processor's.
    loaded : mapping, optional
        ``sys.modules``.

    Returns
    -------
    str or None
        The new value of the variable, or None.
    """
    environment = os.environ if environment is None else environment
    loaded = sys.modules if loaded is None else loaded
    if VARIABLE in environment or "numpy" in loaded:
        return None
    kernel = kernel_for(this_processor() if cpuinfo is None else cpuinfo)
    if kernel is not None:
        environment[VARIABLE] = kernel
    return kernel


def share_cores(
    environment: MutableMapping[str, str] | None = None, *, cores: int | None = None
) -> int | None:
    """Set ``OMP_NUM_THREADS`` so that the ranks on this machine share its cores; as ``set_kernel``.

    Without it every rank would start a thread for each core. A rank that is bound to some cores
    uses all of these.

    Parameters
    ----------
    environment : mapping, optional
        ``os.environ``.
    cores : int, optional
        How many this process may run on.

    Returns
    -------
    int or None
        The number of threads, or None if nothing was set.
    """
    environment = os.environ if environment is None else environment
    ranks = max((int(environment.get(name, "0") or 0) for name in LOCAL_RANKS), default=0)
    if ranks < 2 or THREADS in environment or "OPENBLAS_NUM_THREADS" in environment:
        return None
    every = os.cpu_count() or 1
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    threads = max(cores // ranks if cores == every else cores, 1)
    environment[THREADS] = str(threads)
    return threads
