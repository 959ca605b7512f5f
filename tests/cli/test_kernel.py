"""The program sets the BLAS kernel before NumPy is loaded, and leaves the user's alone."""

import json
import os
import subprocess
import sys

import pytest

from portadnn.backends.numpy import running_kernel
from portadnn.blas import NEEDED_FLAGS, VARIABLE, kernel_for, this_processor
from portadnn.cli.main import main

# prints the kernel that main() finds; the processor is invented
PROGRAM = """
import os, sys
from portadnn import blas
assert "numpy" not in sys.modules
blas.this_processor = lambda: {cpuinfo!r}
from portadnn.cli.main import main
main(["--version"])
print(os.environ.get("OPENBLAS_CORETYPE"))
"""
ABLE = f"vendor_id : AuthenticAMD\nflags : {' '.join(sorted(NEEDED_FLAGS))}\n"


def python(*arguments, kernel=None):
    """Run Python in a child with or without a kernel of the user's own; stdout."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if kernel is not None:
        environment[VARIABLE] = kernel
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("cpuinfo", "own", "expected"),
    [
        (ABLE, None, "SkylakeX"),
        (ABLE, "Haswell", "Haswell"),
        (ABLE, "", ""),
        (ABLE.replace("avx512bw", ""), None, "None"),
        (ABLE.replace("AuthenticAMD", "GenuineIntel"), None, "None"),
        ("", None, "None"),
    ],
)
def test_the_program_sets_the_kernel(cpuinfo, own, expected):
    out = python("-c", PROGRAM.format(cpuinfo=cpuinfo), kernel=own)
    assert out.splitlines()[-1] == expected


def test_a_run_has_the_kernel_on_record(tmp_path):
    if running_kernel() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS here")
    train = ["-m", "portadnn", "train", "--epochs", "1", "--layers", "4", "--backend", "numpy"]
    python(*train, "--quiet", "--out", tmp_path / "run")
    details = json.loads((tmp_path / "run" / "history.json").read_text())["environment"]["details"]
    program = "from portadnn.backends.numpy import running_kernel; print(running_kernel())"
    expected = python("-c", program, kernel=kernel_for(this_processor())).strip()
    assert f"{expected} kernel" in details


@pytest.mark.parametrize(
    ("running", "cpuinfo", "chosen", "text"),
    [
        (
            "Haswell",
            ABLE,
            "SkylakeX",
            (
                "BLAS kernel of NumPy: Haswell; to run your own programs on SkylakeX: "
                "export OPENBLAS_CORETYPE=SkylakeX"
            ),
        ),
        (
            "Haswell",
            "",
            None,
            "BLAS kernel of NumPy: Haswell; this program leaves the choice to OpenBLAS",
        ),
        (
            None,
            ABLE,
            "SkylakeX",
            "BLAS kernel of NumPy: unknown, because its BLAS is not OpenBLAS",
        ),
    ],
)
def test_backends_says_what_runs_and_what_is_chosen(
    running, cpuinfo, chosen, text, monkeypatch, capsys
):
    monkeypatch.setattr("portadnn.backends.list_backends", list)
    monkeypatch.setattr("portadnn.backends.numpy.running_kernel", lambda: running)
    monkeypatch.setattr("portadnn.cli.backends.this_processor", lambda: cpuinfo)
    assert main(["backends"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == text
    assert main(["backends", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["blas_kernel"]
    assert found == {"running": running, "chosen": chosen}
