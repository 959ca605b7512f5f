"""CuPy on the stand-in: in processes of its own, so that this one need not be on it."""

import json
import re

import pytest
from fake_cuda.events import Event
from fake_cuda.processes import HERE, run

pytestmark = pytest.mark.usefixtures("stand_in")
CHECKS = [
    name
    for path in sorted((HERE / "checks").glob("*.py"))
    for name in re.findall(r"^def check_(\w+)", path.read_text(), re.M)
]


@pytest.fixture(scope="module", params=["at once", "late"])
def outcomes(stand_in, request):
    """Name of a check: why it failed, or None; and what else the process said."""
    late = str(int(request.param == "late"))
    command = ("-W", "error", "-m", "fake_cuda.checks")
    done = run(*command, FAKE_CUDA_DEVICES="2", FAKE_CUDA_LATE=late)
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
