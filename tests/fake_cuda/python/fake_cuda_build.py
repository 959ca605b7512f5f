"""Builds the stand-in for CUDA if it is not in the cache, and starts a command on it.

``run`` calls this with the Python that the command names, and its arguments.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fake_cuda_kernels import header_command

TESTED = ("14.2.0",)  # the versions of cupy-cuda12x that it fits

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent / "native"
SOURCES = (NATIVE, HERE.parent / "device", HERE)
C_FLAGS = ["-O2", "-g", "-shared", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra"]
CUDA_SOURCES = (
    "log.c",
    "devices.c",
    "work.c",
    "streams.c",
    "captures.c",
    "memory.c",
    "kernels.c",
    "modules.c",
    "patch.c",
)


def fail(message):
    print(f"fake_cuda: {message}", file=sys.stderr)
    sys.exit(2)


# ---- what is here ----


def check_machine():
    """The version of CuPy; a line and exit code 2 if the stand-in cannot run here."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        fail(f"it runs on Linux on x86-64 only, not on {sys.platform} on {platform.machine()}")
    try:
        version = importlib.metadata.version("cupy-cuda12x")
    except importlib.metadata.PackageNotFoundError:
        fail(f"{sys.executable} has no CuPy: pip install cupy-cuda12x=={TESTED[-1]}")
    if version not in TESTED:
        fail(
            f"it fits cupy-cuda12x {' and '.join(TESTED)}, not {version}: "
            f"pip install cupy-cuda12x=={TESTED[-1]}"
        )
    for tool in ("gcc", "g++", "nm"):
        if not shutil.which(tool):
            fail(f"{tool} is missing: install gcc, g++ and binutils")
    return version


def check_variables():
    """The variables that change, in the form that the libraries take them."""
    devices = os.environ.get("FAKE_CUDA_DEVICES", "1")
    if not re.fullmatch(r"[0-9]|1[0-6]", devices):
        fail(f"FAKE_CUDA_DEVICES is {devices!r}: expected a number from 0 to 16")
    late = os.environ.get("FAKE_CUDA_LATE", "0")
    if late not in ("0", "1"):
        fail(f"FAKE_CUDA_LATE is {late!r}: expected 0 or 1")
    log = os.environ.get("FAKE_CUDA_LOG")
    if not log:
        return {}
    try:
        with open(log, "a"):
            pass
    except OSError as error:
        fail(f"FAKE_CUDA_LOG is {log!r}, which cannot be written: {error.strerror}")
    return {"FAKE_CUDA_LOG": os.path.abspath(log)}  # a process may change its folder


def cupy_modules():
    """CuPy's modules that have the CUDA runtime linked into them, and that name cuBLAS."""
    backends = Path(importlib.util.find_spec("cupy_backends").origin).parent
    return next(backends.glob("cuda/api/runtime*.so")), next(backends.glob("cuda/libs/cublas*.so"))


# ---- the cache ----


def cache_folder():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fake_cuda"


def key(version, runtime):
    """Changes with everything that the built libraries, or compiled kernels, depend on.

    The sources count by what is in them, so two clones share a folder.
    """
    about = runtime.stat()
    digest = hashlib.sha256(f"{version} {runtime} {about.st_size} {about.st_mtime_ns}".encode())
    digest.update(call("g++", "--version").encode())
    for folder in SOURCES:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".c", ".h", ".cuh", ".py"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def build(version):
    """The folder of the libraries for this CuPy and these sources, built if it is not there.

    It is made under another name and gets its own when it is complete. If two processes build at
    the same time, the first one's folder stays.
    """
    runtime, cublas = cupy_modules()
    cache = cache_folder()
    built = cache / key(version, runtime)
    if built.exists():
        return built
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
    except OSError as error:
        fail(f"the cache {cache} cannot be written ({error.strerror}); XDG_CACHE_HOME moves it")
    try:
        for name in ("kernels", "cupy", "include"):
            (folder / name).mkdir()
        (folder / "include" / "cuda_runtime.h").touch()  # by which CuPy knows a CUDA toolkit
        compile_libraries(folder, runtime, cublas)
        folder.chmod(0o755)
        try:
            folder.rename(built)
        except OSError:
            if not built.exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return built


# ---- compilation ----


def compile_libraries(folder, runtime, cublas):
    native = [NATIVE / name for name in CUDA_SOURCES]
    patches, refusals = folder / "patches.c", folder / "refusals.c"
    patches.write_text(patch_table(runtime, "\n".join(p.read_text() for p in native)))
    refusals.write_text(cublas_refusals(cublas, (NATIVE / "cublas.c").read_text()))
    libraries = {
        "libcuda.so.1": [*native, patches],
        "libnvrtc.so.12": [NATIVE / "nvrtc.c"],
        "libcublas.so.12": [NATIVE / "cublas.c", refusals],
        "libcublasLt.so.12": ["-xc", "/dev/null"],
    }
    for name, sources in libraries.items():
        options = [*C_FLAGS, f"-Wl,-soname,{name}", "-o", folder / name]
        call("gcc", *options, *sources, "-ldl", "-lpthread")
    call(*header_command(folder))


def patch_table(runtime, emulated):
    """C: the offset of each function of the CUDA runtime within CuPy, and what takes its place.

    A function that is not among the emulated ones gets a refusal that names it.
    """
    lines = [
        "int fake_cuda_unsupported(const char* name);",
        "struct patch { unsigned long offset; void* target; };",
    ]
    table, origin, seen = [], None, set()
    known = set(re.findall(r"\bfake_(cuda[A-Z]\w*)\(", emulated))
    for line in call("nm", runtime).splitlines():
        found = re.fullmatch(r"(\w+) [tT] (PyInit_runtime|cuda[A-Z]\w*)", line)
        if not found:
            continue
        offset, name = int(found[1], 16), found[2]
        if name == "PyInit_runtime":
            origin = offset
            continue
        table.append(f"    {{{offset}, (void*)fake_{name}}},")
        if name in seen:
            continue
        seen.add(name)
        if name in known:
            lines.append(f"void fake_{name}(void);")
        else:
            lines.append(f'int fake_{name}(void) {{ return fake_cuda_unsupported("{name}"); }}')
    if origin is None or not table:
        fail(f"{runtime} has no symbols of the CUDA runtime, so this wheel does not fit")
    lines += ["struct patch fake_cuda_patches[] = {", *table, "    {0, 0}};"]
    lines.append(f"long fake_cuda_origin = {origin};")
    return "\n".join(lines) + "\n"


def cublas_refusals(cublas, emulated):
    """C: a refusal for each function of cuBLAS that CuPy names and the stand-in lacks."""
    wanted = set(re.findall(r" U (cublas\w+)", call("nm", "-D", cublas)))
    missing = sorted(name for name in wanted if f"int {name}(" not in emulated)
    lines = ["int fake_cublas_unsupported(const char* name);"]
    lines += [f'int {n}(void) {{ return fake_cublas_unsupported("{n}"); }}' for n in missing]
    return "\n".join(lines) + "\n"


def call(*command):
    """The output of a tool, or the end with what the tool said."""
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        fail(f"{command[0]} failed with {done.returncode}: {' '.join(command)}\n{done.stderr}")
    return done.stdout


def main():
    if len(sys.argv) < 2:
        fail("usage: run PYTHON ARGUMENTS...")
    version = check_machine()
    changed = check_variables()
    built = str(build(version))
    path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ.update(
        changed,
        FAKE_CUDA_BUILT=built,
        PYTHONPATH=os.pathsep.join(path),
        CUDA_PATH=built,  # so that a CUDA toolkit of this machine is not used
        CUDA_HOME=built,
        CUPY_CACHE_DIR=os.path.join(built, "cupy"),
        CUPY_ACCELERATORS="",  # CUB cannot be compiled here
    )
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says that Ctrl-C ended a command
