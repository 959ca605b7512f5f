"""Kernels, compiled by g++: the source of a module in CUDA C++ becomes a library of its kernels."""

import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

DEVICE = Path(__file__).resolve().parent.parent / "device"

# Kernels round as those of NVRTC do, but do not fuse multiply-add: g++ would fuse in other places.
FLAGS = [
    "-O1",
    "-w",
    "-shared",
    "-fPIC",
    "-fpermissive",
    "-std=c++17",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    f"-I{DEVICE}",
]
# the bits that native/kernels.h names
FLAT, BARRIERS, FLUSHES = 1, 2, 4

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s*)?"
KERNEL = re.compile(rf"__global__\s+{BOUNDS}void\s+{BOUNDS}(\w+)\s*\(")
BARRIER = re.compile(r"__sync|__shfl|__ballot|__any|__all")
PLACE = re.compile(r"threadIdx|blockIdx|blockDim|gridDim")
# extern __shared__ TYPE NAME[];
DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:__align__\(\w+\)\s*)?([\w:<> ]+?)\s+(\w+)\s*\[\s*\]\s*;"
)


class CompilationError(Exception):
    """g++ refused a source; the message is its own."""


def prepare(source, options):
    """The text that g++ gets: the source and an entry for each of its kernels."""
    code = COMMENT.sub("", source)
    flags = 0
    if BARRIER.search(code):
        flags |= BARRIERS
    elif "CUPY_FOR" in code and not PLACE.search(code):
        flags |= FLAT
    if "-ftz=true" in options and re.search(r"\bfloat\b", code):
        flags |= FLUSHES
    entries = (f"FAKE_ENTRY({name}, {flags})\n" for name in KERNEL.findall(code))
    return DYNAMIC.sub(r"\1* \2 = (\1*)fake_shared;", source) + "\n" + "".join(entries)


def compile_module(source, options):
    """Compile a source, or find its library in the cache.

    Parameters
    ----------
    source : str
        CUDA C++, as CuPy gives it to NVRTC.
    options : list of str
        Those of NVRTC. Includes and macros go on to g++, but for the CUDA C++ core libraries.

    Returns
    -------
    Path
        The library, which has ``fake_entry_NAME`` for each kernel.

    Raises
    ------
    CompilationError
        If g++ refuses the source.
    """
    built = Path(os.environ["FAKE_CUDA_BUILT"])
    text = prepare(source, options)
    wanted = [o for o in options if o.startswith(("-I", "-D")) and "_cccl" not in o]
    key = hashlib.sha256("\n".join([text, *wanted]).encode()).hexdigest()[:32]
    library = built / "kernels" / f"{key}.so"
    if library.exists():
        return library
    # The library appears under its name when it is complete, and no sooner: other processes look
    # for it, and Ctrl-C may come at any time.
    with tempfile.TemporaryDirectory(dir=built, prefix="compiling-") as folder:
        file, result = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        file.write_text(text)
        # device.h is found compiled in the folder of the libraries, see header_command
        command = ["g++", f"-I{built}", *FLAGS, "-include", "device.h", *wanted]
        done = subprocess.run(
            [*command, file, "-o", result],
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode:
            raise CompilationError(done.stderr or f"g++ ended with {done.returncode}")
        os.replace(result, library)
    return library


def header_command(folder):
    """The command that compiles device.h once for all kernels, which is most of their time."""
    command = ["g++", *FLAGS, "-x", "c++-header", DEVICE / "device.h"]
    return [*command, "-o", folder / "device.h.gch"]
