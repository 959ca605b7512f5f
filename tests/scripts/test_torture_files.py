"""The parts of scripts/torture about files of others find what they look for."""

import faulthandler
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from support import SCRIPTS, script_module

from portadnn.errors import InputError

files = script_module("torture_files.py")


# these tests fork, and others may have started threads
pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_a_few_of_each():
    command = [sys.executable, SCRIPTS / "torture_files.py", "10", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) == 6 + files.DATA_FILES + 1
    assert all(row.endswith(" ok") for row in rows)


def named(path):
    raise InputError(f"{path} is damaged")


def unnamed(path):
    raise InputError("something is damaged")


def crash(path):
    faulthandler.disable()  # a report of the crash would look like a fault of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


def grow(path):
    assert np.ones(300 * 2**17).sum() > 0  # 300 MiB


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (named, ""),
        (lambda path: None, "3 of them, the first read: "),
        (unnamed, "3 of them, the first raised: an unnamed fault: something is damaged"),
        (lambda path: 1 / 0, "3 of them, the first raised: ZeroDivisionError: division by zero"),
        (crash, "3 of them, the first killed: SIGSEGV"),
        (grow, r"3 of them, the first read: ; 3\d\d MiB above the honest need"),
    ],
)
def test_what_is_wrong_is_told(read, fault):
    written = b"content"

    def only_damaged(path):
        return None if path.read_bytes() == written else read(path)

    row = files.damaged("things", lambda path: path.write_bytes(written), only_damaged, 3, seed=0)
    assert re.fullmatch(f"{fault}.*" if fault else "", row.fault)


def test_a_mutation_is_another_content():
    rng = np.random.default_rng(0)
    contents = {files.mutated(b"some content", rng) for _ in range(100)}
    assert b"some content" not in contents
    assert len(contents) > 50


def test_pictures_with_their_sums():
    for suffix, content in files.pictures():
        if suffix == ".png":
            assert files.with_sums(content) == content
            broken = content[:20] + b"\1" + content[21:]
            assert files.with_sums(broken) not in (content, broken)
