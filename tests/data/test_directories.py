"""One process at a time fills a directory, and its files are replaced together or not at all."""

import errno
import os
import subprocess
import sys

import pytest

from portadnn.data import directories
from portadnn.data.directories import LOCK, NEW, READY, claimed, replaced_together
from portadnn.errors import InputError

NAMES = ["history", "figure", "model"]


def fill(directory, **files):
    with claimed(directory, "--out"), replaced_together(directory, NAMES) as new:
        for name, content in files.items():
            (new / name).write_text(content)


def content(directory):
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_files_of_the_names_are_replaced_and_others_stay(tmp_path):
    (tmp_path / "notes").write_text("mine")
    fill(tmp_path, history="1", figure="1", model="1")
    assert content(tmp_path) == {"history": "1", "figure": "1", "model": "1", "notes": "mine"}
    fill(tmp_path, history="2", model="2")
    assert content(tmp_path) == {"history": "2", "model": "2", "notes": "mine"}


def test_a_block_that_fails_changes_nothing(tmp_path):
    fill(tmp_path, history="1", model="1")
    with pytest.raises(TypeError):
        fill(tmp_path, history="2", model=None)
    assert content(tmp_path) == {"history": "1", "model": "1"}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt])
@pytest.mark.parametrize("n", range(5))
def test_a_rename_that_fails_once_leaves_old_or_new(tmp_path, monkeypatch, n, error):
    fill(tmp_path, history="1", figure="1", model="1")
    real, calls = os.replace, []

    def failing(old, new):
        calls.append(new)
        if len(calls) == n + 1:
            raise error
        real(old, new)

    monkeypatch.setattr(os, "replace", failing)
    try:
        fill(tmp_path, history="2", model="2")
        failed = False
    except (InputError, KeyboardInterrupt):
        failed = True
    old, new = {"history": "1", "figure": "1", "model": "1"}, {"history": "2", "model": "2"}
    assert content(tmp_path) == (old if n == 0 else new)  # the first one makes the new ones count
    assert failed == (n == 0 or (error is KeyboardInterrupt and n < len(calls)))


def test_a_rename_that_always_fails_is_told(tmp_path, monkeypatch):
    fill(tmp_path, history="1", model="1")
    real = os.replace

    def failing(old, new):
        if new.name == "model":
            raise OSError(errno.EACCES, "Permission denied")
        real(old, new)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(InputError, match=r"cannot be replaced \(Permission denied\).*the next run"):
        fill(tmp_path, history="2", model="2")
    monkeypatch.undo()
    with claimed(tmp_path, "--out"):
        assert {name: (tmp_path / name).read_text() for name in ("history", "model")} == {
            "history": "2", "model": "2",
        }  # fmt: skip


def test_what_a_killed_process_left_is_cleaned_up(tmp_path):
    (tmp_path / ".portadnn-0123.tmp").write_text("half")
    (tmp_path / NEW).mkdir()
    (tmp_path / NEW / "model").write_text("half")
    (tmp_path / LOCK).write_text("1\n")  # the process of that number does not hold the lock
    (tmp_path / "model").write_text("1")
    with claimed(tmp_path, "--out"):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert content(tmp_path) == {"model": "1"}


def test_files_that_count_already_are_put_in_place(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text("1")
    (tmp_path / READY).mkdir()
    (tmp_path / READY / "figure").touch()
    (tmp_path / READY / "model").write_text("2")
    (tmp_path / "history").write_text("2")  # moved before the process was killed
    with claimed(tmp_path, "--out"):
        pass
    assert content(tmp_path) == {"history": "2", "model": "2"}


HOLD = """
import pathlib, sys, time
from portadnn.data.directories import claimed
with claimed(pathlib.Path(sys.argv[1]), "--out"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_told_until_the_holder_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        message = rf"in use by another run \(process {holder.pid}\): .* choose another --out"
        for _ in range(2):
            with pytest.raises(InputError, match=message), claimed(tmp_path, "--out"):
                pass
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / LOCK).exists()
    with claimed(tmp_path, "--out"):
        pass
    assert content(tmp_path) == {}


def test_a_lock_file_that_was_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
    real, calls = directories._lock, []

    def lock(file):
        real(file)
        if not calls:
            (tmp_path / LOCK).unlink()  # by its last holder, between our open and our lock
        calls.append(file)

    monkeypatch.setattr(directories, "_lock", lock)
    with claimed(tmp_path, "--out"):
        assert len(calls) == 2
        with pytest.raises(InputError, match="in use"), claimed(tmp_path, "--out"):
            pass


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def lock(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(directories, "_lock", lock)
    with claimed(tmp_path, "--out"):
        pass
    assert "has no locks ([Errno 37] No locks available): start no other run there" in caplog.text


@pytest.mark.parametrize("name", ["absent", "file"])
def test_where_nothing_can_be_claimed(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(InputError, match="cannot be written .*: choose another --out"),
        claimed(tmp_path / name, "--out"),
    ):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / LOCK).symlink_to("victim")
    with pytest.raises(InputError, match="cannot be written"), claimed(tmp_path, "--out"):
        pass
    assert (tmp_path / "victim").read_text() == "mine"
