"""Rows that stay in a file, against the same rows in memory."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.data import files, stored
from portadnn.data.dataset import Dataset
from portadnn.data.load import load_dataset
from portadnn.data.stored import Mapped, Stored, spooled, streams
from portadnn.errors import InputError
from portadnn.training.digests import digest_of


def in_file(path, x, offset=0):
    path.write_bytes(bytes(offset) + x.tobytes())
    with open(path, "rb") as file:
        return Stored(file, offset, x.shape, x.dtype, path)


DTYPES = [np.uint8, np.int16, ">f4", np.float64]


@settings(max_examples=50)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3)),
    rows=st.lists(st.integers(0, 29), max_size=40),
    bounds=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    spool=st.booleans(),
)
def test_rows_are_those_of_the_array(dtype, shape, rows, bounds, spool, tmp_path_factory):
    x = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    if spool:
        found = spooled(iter([x[:7], x[7:]]), shape, x.dtype, "x")
    else:
        found = in_file(tmp_path_factory.mktemp("x") / "x", x, offset=13)
    rows = np.asarray([row for row in rows if row < len(x)], dtype=np.int64)
    native = x.astype(x.dtype.newbyteorder("="))
    for part in (rows, rows - len(x), slice(*bounds), slice(None)):
        assert found[part].dtype == native.dtype
        np.testing.assert_array_equal(found[part], native[part])
    some = found.only(rows) if len(rows) else found
    wanted = native[rows] if len(rows) else native
    np.testing.assert_array_equal(some[::-1], wanted[::-1])
    for row in (-len(x) - 1, len(x)):
        with pytest.raises(IndexError, match=f"has the rows 0 to {len(x) - 1}"):
            found[np.asarray([0, row])]
    assert (len(found), found.shape, found.ndim, found.size) == (len(x), x.shape, 3, x.size)
    assert (found.min(), found.max()) == (x.min(), x.max())
    as_data = [Dataset(examples, None, ()) for examples in (found, native, some, wanted)]
    digests = [digest_of(data) for data in as_data]
    assert digests[0] == digests[1]
    assert digests[2] == digests[3]


def test_a_table_lies_column_by_column():
    kind = [("a", np.float64), ("b", "U3"), ("c", bool)]
    table = np.asarray([(i / 2, "ab"[i % 2] * (i % 3 + 1), i % 2) for i in range(20)], kind)
    found = spooled([table[:9], table[9:]], table.shape, table.dtype, "x")
    assert isinstance(found, Mapped)
    np.testing.assert_array_equal(found[np.asarray([3, 1, 19])], table[[3, 1, 19]])
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(found[name], table[name])
        np.testing.assert_array_equal(found.only(np.asarray([5, 2]))[name], table[name][[5, 2]])
    assert digest_of(Dataset(found, None, ())) == digest_of(Dataset(table, None, ()))


def test_a_number_that_is_not_finite_is_named_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 64)  # several blocks
    x = np.ones((50, 4), np.float32)
    x[37, 2] = np.inf
    with pytest.raises(InputError, match=r"example 37 holds inf at index \(37, 2\)"):
        Dataset(in_file(tmp_path / "x", x), None, ())


def test_a_file_that_changes_or_ends_is_named(tmp_path):
    path, x = tmp_path / "x", np.ones((100, 4), np.float32)
    found = in_file(path, x)
    os.truncate(path, 800)
    with pytest.raises(InputError, match="x was changed while it was read: start again"):
        found[:2]
    found = in_file(path, x)
    found._state = lambda: found._found  # as if it were cut short between the look and the read
    os.truncate(path, 800)
    np.testing.assert_array_equal(found[:50], x[:50])
    with pytest.raises(InputError, match="x ends in row 51, although it has 100: it was cut short"):
        found[np.asarray([3, 50])]
    with open(path, "rb") as file, pytest.raises(InputError, match="has 800 bytes: expected 1,600"):
        Stored(file, 0, x.shape, x.dtype, path)


def test_files_are_read_without_preadv(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_PREADV", False)
    x = np.arange(40.0).reshape(10, 4)
    found = in_file(tmp_path / "x", x, offset=5)
    np.testing.assert_array_equal(found[np.asarray([7, 1])], x[[7, 1]])
    np.testing.assert_array_equal(found[2:6], x[2:6])


def test_what_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(InputError, match=r"x takes .* GiB when unpacked, but .* set TMPDIR"):
        spooled([], (2**50, 8), np.float64, "x")

    def full():
        yield np.ones((1, 2))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"x cannot be unpacked .*No space left"):
        spooled(full(), (2, 2), np.float64, "x")
    with pytest.raises(InputError, match="x has 1 rows: expected 2"):
        spooled([np.ones((1, 2))], (2, 2), np.float64, "x")
    assert list(tmp_path.iterdir()) == []  # nothing is left


def test_half_of_the_memory_decides(monkeypatch):
    monkeypatch.setattr(stored, "memory", lambda: 8000)
    assert not streams(None, (1000,), np.dtype(np.uint8))  # 4 bytes each as float32
    assert streams(None, (1001,), np.dtype(np.uint8))
    assert streams(True, (1,), np.dtype(np.uint8))
    assert not streams(False, (10**9,), np.dtype(np.uint8))


def test_the_memory_of_a_control_group_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_GROUPS", str(tmp_path))
    whole = files.memory()
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = tmp_path / name
        limit.parent.mkdir(exist_ok=True)
        limit.write_text("max\n")
        assert files.memory() == whole
        limit.write_text("1000000\n")
        assert files.memory() == 1_000_000 < whole
        limit.unlink()


def test_passes_can_be_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 64)
    seen = []

    def count(blocks, what, n):
        seen.append((what, n))
        return blocks

    monkeypatch.setattr(stored, "passes", [count])
    Dataset(in_file(tmp_path / "x", np.ones((50, 4), np.float32)), None, ())
    assert seen == [(f"reading {tmp_path / 'x'}", 13)]


def test_isolation_and_streams_exclude_each_other(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    with pytest.raises(InputError, match="leave isolated or stream out"):
        load_dataset(tmp_path / "x.npy", labelled=False, isolated=True, stream=True)
