"""The part of scripts/torture about formats of data runs, and finds no fault."""

import subprocess
import sys

import pytest
from support import SCRIPTS

from portadnn.data.readers.formats import FORMATS

pytest.importorskip("pyarrow")


def test_a_few_of_each():
    command = [sys.executable, SCRIPTS / "torture_formats.py", "20", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    tried = {row.removeprefix("data, ").split()[0].lower() for row in rows}
    assert tried == FORMATS.keys() - {"hdf5"}  # torture_files.py damages those
    assert all(row.endswith(" ok") for row in rows)
