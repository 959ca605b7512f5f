"""The stand-in for CUDA: in processes of its own, so that this process need not be on it."""

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from fake_cuda.events import Event, on_stand_in

HERE = Path(__file__).resolve().parent
RUN = HERE / "run"
ROOT = HERE.parent.parent
CHECKS = re.findall(r"^def check_(\w+)", (HERE / "checks.py").read_text(), re.M)
# two processes on a busy machine with two cores compile fifty kernels within this many seconds
PATIENCE = 300


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


@pytest.fixture(scope="module", autouse=True)
def stand_in(backends_under_test):
    """Skip where it cannot run, unless CuPy is to be tested here on nothing else."""
    reason = problem()
    if reason and "cupy" in backends_under_test and on_stand_in():
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def environment(**variables):
    """This process's, which may itself be on the stand-in, without the stand-in's variables."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("FAKE_CUDA_")}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
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


# ---- CuPy on it ----


@pytest.fixture(scope="module", params=["at once", "late"])
def outcomes(request):
    """Name of a check: why it failed, or None; and what else the process said."""
    late = str(int(request.param == "late"))
    done = run("-W", "error", HERE / "checks.py", FAKE_CUDA_DEVICES="2", FAKE_CUDA_LATE=late)
    return dict(map(json.loads, done.stdout.splitlines())), f"exit {done.returncode}: {done.stderr}"


@pytest.mark.parametrize("name", CHECKS)
def test_check(outcomes, name):
    found, rest = outcomes
    assert name in found, f"the process ended before; {rest}"
    assert found[name] is None, found[name]


def test_a_function_that_is_not_emulated_names_itself():
    code = """import cupy, pytest
with pytest.raises(Exception, match="NotSupported"):
    cupy.cuda.runtime.memPrefetchAsync(0, 0, 0, 0)
cupy.cuda.cublas.dnrm2(cupy.cuda.device.get_cublas_handle(), 0, 0, 1, 0)"""
    done = run("-c", code)
    assert "fake_cuda: cudaMemPrefetchAsync is not emulated\n" in done.stderr
    assert "fake_cuda: cublasDnrm2_v2 is not emulated\n" in done.stderr
    assert "CUBLASError" in done.stderr.splitlines()[-1]
    assert done.returncode == 1


def test_processes_of_the_process_are_on_it_also():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "import cupy; print(cupy.cuda.runtime.getDeviceProperties(0)['name'].decode())"
    assert run("-c", code, inner).stdout == "stand-in CUDA device (CPU)\n"


def test_no_devices():
    done = run("-c", "import cupy; cupy.ones(1)", FAKE_CUDA_DEVICES="0")
    assert "cudaErrorNoDevice" in done.stderr


# ---- the log ----

LINE = re.compile(
    r"launch \w+ \d+x\d+"
    r"|launch thrust_\w+"
    r"|product \w+ float(32|64) \d+x\d+x\d+ x\d+"
    r"|copy (h2d|d2h|d2d) \d+ (sync|async)"
    r"|memset \d+|malloc \d+|pinned \d+|module|host"
    r"|sync (device|stream|event)"
    r"|capture begin|capture end \d+|graph \d+"
)


def test_the_log_of_a_command(tmp_path):
    code = """import os, cupy
os.chdir("/")
x = cupy.ones((2, 3))
(x.sum() + cupy.sort(x)).get(), cupy.matmul(x, x.T)"""
    (tmp_path / "log").write_text("what stands here stays\n")
    assert run("-c", code, cwd=tmp_path, FAKE_CUDA_LOG="log").returncode == 0
    first, *lines = (tmp_path / "log").read_text().splitlines()
    assert first == "what stands here stays"
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert {Event.parse(line).kind for line in lines} >= {"launch", "product", "copy", "sync"}


# ---- errors before the command starts ----


def line_of(done):
    """The only line that was said, by a command that did not start."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("fake_cuda: ")
    return line


@pytest.mark.parametrize("words", [(), ("pytest", "tests"), ("",)])
def test_usage(words):
    assert "usage: run PYTHON ARGUMENTS..." in line_of(run(program=(RUN, *words)))


def test_no_such_python():
    assert "there is no Python at /no/python3" in line_of(run(program=(RUN, "/no/python3")))


NO_CUPY = """import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sys.platform = 'darwin'", "Linux on x86-64 only, not on darwin"),
        ("import platform; platform.machine = lambda: 'arm64'", "on linux on arm64"),
        ("import importlib.metadata as m; m.version = lambda name: '1.2.3'", "not 1.2.3: pip"),
        (NO_CUPY, "has no CuPy: pip install cupy-cuda12x=="),
    ],
)
def test_a_machine_that_it_does_not_fit(change, message):
    build = str(HERE / "python" / "fake_cuda_build.py")
    start = f"""import runpy, sys
sys.path.insert(0, {os.path.dirname(build)!r})
{change}
sys.argv = ["fake_cuda_build.py", sys.executable]
runpy.run_path({build!r}, run_name="__main__")"""
    assert message in line_of(run(program=(sys.executable, "-c", start)))


@pytest.mark.parametrize("tool", ["gcc", "g++", "nm"])
def test_a_missing_tool(tmp_path, tool):
    needed = {"sh", "dirname", "readlink", "gcc", "g++", "nm"} - {tool}
    for name in needed:
        (tmp_path / name).symlink_to(shutil.which(name))
    assert f"{tool} is missing" in line_of(run("-c", "", PATH=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAKE_CUDA_DEVICES", "two"),
        ("FAKE_CUDA_DEVICES", "17"),
        ("FAKE_CUDA_LATE", "yes"),
        ("FAKE_CUDA_LOG", "/no/log"),
    ],
)
def test_a_variable_with_a_wrong_value(name, value):
    assert f"{name} is {value!r}" in line_of(run("-c", "", **{name: value}))


def test_a_cache_that_cannot_be_written():
    assert "the cache /dev/null/fake_cuda cannot" in line_of(
        run("-c", "", XDG_CACHE_HOME="/dev/null")
    )


# ---- the version of CuPy ----


def test_the_pinned_cupy_is_tested():
    """pyproject.toml names one version, and the stand-in says which ones it fits."""
    tree = ast.parse((HERE / "python" / "fake_cuda_build.py").read_text())
    (tested,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "TESTED"
    )
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pinned = {
        requirement.partition("==")[2]
        for group in groups.values()
        for requirement in group
        if isinstance(requirement, str) and requirement.startswith("cupy-cuda12x")
    }
    assert len(pinned) == 1
    assert pinned <= set(tested)


# ---- the cache ----

SUM = "import cupy; print(int(cupy.arange(10).sum()))"


def built(cache):
    """The only folder in a cache, with nothing left over from builds or compilations."""
    (folder,) = (cache / "fake_cuda").iterdir()
    assert not list(folder.glob("compiling-*"))
    return folder


def kernels(cache):
    return {path.name: path.stat().st_mtime_ns for path in (built(cache) / "kernels").iterdir()}


@pytest.fixture
def cache(tmp_path):
    """A cache with the libraries of the ordinary one, and no kernels."""
    printed = run("-c", "import os; print(os.environ['FAKE_CUDA_BUILT'])").stdout
    folder = Path(printed.rstrip())
    unwanted = shutil.ignore_patterns("kernels", "cupy", "compiling-*")
    copied = shutil.copytree(
        folder, tmp_path / "cache" / "fake_cuda" / folder.name, ignore=unwanted
    )
    (copied / "kernels").mkdir()
    (copied / "cupy").mkdir()
    return tmp_path / "cache"


def test_two_processes_fill_a_cold_cache(tmp_path):
    command = [RUN, sys.executable, "-c", SUM]
    env = environment(XDG_CACHE_HOME=str(tmp_path))
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    assert [p.communicate(timeout=PATIENCE)[0] for p in processes] == [b"45\n"] * 2
    assert kernels(tmp_path)


def test_a_kernel_is_compiled_once(cache):
    assert run("-c", SUM, XDG_CACHE_HOME=str(cache)).stdout == "45\n"
    before = kernels(cache)
    assert run("-c", SUM, XDG_CACHE_HOME=str(cache)).stdout == "45\n"
    assert kernels(cache) == before
    other = SUM.replace("sum()", "prod()")
    assert run("-c", other, XDG_CACHE_HOME=str(cache)).stdout == "0\n"
    assert len(kernels(cache)) > len(before)


def interrupt_compilation(of, cache, folder):
    """Ctrl-C while g++ compiles a file; returns the exit code and what was said on stderr."""
    compiler, marker = folder / "g++", folder / "compiling"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *{of}*) touch "{marker}"; sleep {PATIENCE};; esac\n'
        f'exec {shutil.which("g++")} "$@"\n'
    )
    compiler.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    process = subprocess.Popen(
        [RUN, sys.executable, "-c", SUM],
        env=environment(XDG_CACHE_HOME=str(cache), PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marker.exists()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    return process.returncode, err


def test_ctrl_c_while_a_kernel_is_compiled(cache, tmp_path):
    code, err = interrupt_compilation("kernel.cpp", cache, tmp_path)
    assert code == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in err
    assert kernels(cache) == {}
    assert run("-c", SUM, XDG_CACHE_HOME=str(cache)).stdout == "45\n"


def test_ctrl_c_during_the_build(tmp_path):
    code, _ = interrupt_compilation("device.h.gch", tmp_path / "cache", tmp_path)
    assert code == 130
    assert list((tmp_path / "cache" / "fake_cuda").iterdir()) == []


# ---- compile_check ----


def test_compile_check_counts_operations():
    loader = importlib.machinery.SourceFileLoader("compile_check", str(HERE / "compile_check"))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("compile_check", loader)
    )
    loader.exec_module(module)
    ptx = """
        ld.global.f32   %f1, [%rd1];
        fma.rn.ftz.f32  %f3, %f1, %f2, %f1;
        @%p1 mul.rn.f64 %fd1, %fd2, %fd3;
        mul.lo.s32      %r1, %r2, %r3;
        mul.rn.f64      %fd1, %fd2, %fd3;
    """
    assert module.operations(ptx) == {"fma.rn.ftz.f32": 1, "mul.rn.f64": 2}


def test_compile_check_says_how_it_is_called():
    done = run(program=(sys.executable, HERE / "compile_check"))
    assert done.returncode == 2
    assert "compile_check: usage: " in done.stderr
