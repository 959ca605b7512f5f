"""``run``: how it refuses, and what it keeps in its cache. ``compile_check`` also."""

import ast
import importlib.machinery
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from fake_cuda.processes import HERE, PATIENCE, ROOT, RUN, environment, run

pytestmark = pytest.mark.usefixtures("stand_in")

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
        requirement.partition(";")[0].partition("==")[2]
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
def cache(stand_in, tmp_path):
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
