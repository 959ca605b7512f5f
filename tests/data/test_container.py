"""The container is as docs/file-format.md says, and only a whole one is parsed."""

import hashlib
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.test_models import make_model

from portadnn.data import container, files
from portadnn.data.container import Container
from portadnn.errors import InputError
from portadnn.training.models import fingerprint, load_model, save_model

MAGIC = b"\x89DNN\r\n\x1a\n"
THING = Container("portadnn thing", "portadnn make", plain=1, sealed=(2, 3))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.h5"
    save_model(make_model(), path)
    return path


def refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def block(image, magic=MAGIC, version=1):
    """The first 512 bytes as the page describes them."""
    fields = magic + struct.pack("<QQ", version, len(image)) + hashlib.sha256(image).digest()
    return fields + bytes(512 - len(fields))


def test_every_byte_before_the_image(path):
    content = path.read_bytes()
    assert content[:512] == block(content[512:])
    assert content[512:520] == b"\x89HDF\r\n\x1a\n"


def test_any_tool_for_hdf5_reads_it(path):
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        assert sorted(file["parameters"]) == ["W1", "W2", "b1", "b2"]
        np.testing.assert_array_equal(file["parameters/W1"], make_model().parameters["W1"])
        assert dict(file.attrs) == {
            "format": "portadnn model",
            "version": 2,
            "network": '{"layer_dims": [12, 5, 3], "activations": ["tanh"], "head": "softmax"}',
            "classes": '["a", "b", "\\u00e7"]',
            "input_shape": "[2, 2, 3]",
            "scaled": True,
        }


def test_the_same_model_gives_the_same_file(path, tmp_path):
    program = (
        "import sys\n"
        "from training.test_models import make_model\n"
        "from portadnn.training.models import save_model\n"
        "save_model(make_model(), sys.argv[1])\n"
    )
    time.sleep(1.1)  # HDF5 counts time in seconds
    search = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", program, tmp_path / "again.h5"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": search})
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_every_byte_of_the_block_counts(path):
    content = path.read_bytes()
    for position in range(512):
        altered = bytearray(content)
        altered[position] ^= 1 << position % 7
        refused(path, altered, "model.h5 is")


def mutation(content, rng):
    """The content with one thing done to it, as disks, transfers and editors do."""
    n = len(content)
    i, j = sorted(int(k) for k in rng.integers(0, n + 1, 2))
    size = int(rng.choice([1, 8, 64, 512, 4096]))
    kind = rng.integers(0, 8)
    if kind == 0:  # one bit
        altered = bytearray(content)
        altered[i % n] ^= 1 << rng.integers(0, 8)
        return bytes(altered)
    if kind == 1:  # some bytes
        altered = bytearray(content)
        for k in rng.integers(0, n, rng.integers(1, 30)):
            altered[k] = rng.integers(0, 256)
        return bytes(altered)
    if kind == 2:
        return content[:i]
    if kind == 3:
        return content[i:]
    if kind == 4:  # inserted, at the end too
        return content[:i] + rng.bytes(size) + content[i:]
    if kind == 5:  # cut out
        return content[:i] + content[i + size :]
    if kind == 6:  # a block of zeros, as of a disk that lost it
        i -= i % size
        return content[:i] + bytes(len(content[i : i + size])) + content[i + size :]
    i, j = sorted((i - i % size, j - j % size))  # two blocks change places
    if j < i + size or j + size > n:
        return content
    return (
        content[:i] + content[j : j + size] + content[i + size : j] + content[i : i + size]
        + content[j + size :]
    )  # fmt: skip


def test_2000_mutations_are_refused(path):
    content = path.read_bytes()
    rng = np.random.default_rng(2000)
    done = 0
    while done < 2000:
        altered = mutation(content, rng)
        if altered != content:
            refused(path, altered, "model.h5 is")
            done += 1
    path.write_bytes(content)
    assert fingerprint(load_model(path)) == fingerprint(make_model())


@given(
    st.sampled_from([b"", MAGIC, block(b""), block(b"")[:24], b"\x89HDF\r\n\x1a\n"]), st.binary()
)
def test_arbitrary_bytes_are_refused(tmp_path_factory, beginning, rest):
    refused(tmp_path_factory.getbasetemp() / "arbitrary.h5", beginning + rest, "is")


def test_the_messages(path):
    content = path.read_bytes()
    refused(path, b"", "is not an HDF5 file of portadnn, or its beginning is damaged")
    refused(path, content[:100], "is damaged: it ends within its first 512 bytes")
    refused(path, content[:-1], r"it holds \d+ bytes of HDF5 but was written with \d+")
    refused(path, content + b"\0", r"it holds \d+ bytes of HDF5 but was written with \d+")
    refused(path, content[:-1] + b"x", "its SHA-256 is not the one that it was written with")
    newer = block(content[512:], version=2) + content[512:]
    refused(path, newer, "is a container of version 2: this portadnn reads 1")
    # HDF5 itself reads what comes after the block, which must not pass for an old file
    refused(path, content[512:], "model of format version 2 without a SHA-256: .* reads 1$")
    refused(path, block(b"no") + b"no", "is a damaged HDF5 file")
    other = block(b"", magic=b"MATLAB 7") + content[512:]
    refused(path, other, "is not an HDF5 file of portadnn")


def test_versions_and_kinds(path, tmp_path):
    with pytest.raises(InputError, match=r"is not a portadnn thing: .* of `portadnn make`"):
        THING.open(path).__enter__()
    thing = tmp_path / "thing.h5"
    for version, sealed, message in [
        (1, False, None), (2, True, None), (3, True, None),
        (1, True, "format version 1 with a SHA-256: this portadnn reads 2, 3"),
        (2, False, "format version 2 without a SHA-256: this portadnn reads 1"),
        (4, True, "format version 4 with a SHA-256: this portadnn reads 2, 3"),
        ([2, 2], True, r"attribute version has shape \(2,\) .*: expected one int"),
    ]:  # fmt: skip
        with h5py.File(thing, "w", userblock_size=512 * sealed) as file:
            file.attrs["format"] = "portadnn thing"
            file.attrs["version"] = version
        if sealed:
            image = thing.read_bytes()[512:]
            thing.write_bytes(block(image) + image)
        if message is None:
            with THING.open(thing) as file:
                assert file.attrs["version"] == version
        else:
            with pytest.raises(InputError, match=message):
                THING.open(thing).__enter__()


@pytest.mark.parametrize("error", [KeyError("W1"), ValueError("odd"), OverflowError("large")])
def test_what_goes_wrong_in_the_block_is_damage(tmp_path, error):
    thing = tmp_path / "thing.h5"
    THING.write(thing, {}, {"x": np.zeros(3)})
    with pytest.raises(InputError, match=r"thing.h5 is a damaged thing: "), THING.open(thing):
        raise error


def test_hdf5_sees_no_byte_of_a_damaged_file(path, monkeypatch):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(InputError, match="SHA-256"):
        load_model(path)


def test_what_was_checked_is_what_is_read(path, monkeypatch):
    real = h5py.File

    def late(*arguments, **options):
        path.write_bytes(b"another file by now")
        return real(*arguments, **options)

    monkeypatch.setattr(h5py, "File", late)
    assert fingerprint(load_model(path)) == fingerprint(make_model())


def test_a_file_larger_than_the_memory(path, monkeypatch):
    monkeypatch.setattr(files.os, "sysconf", lambda name: 90)  # 90 pages of 90 bytes
    with pytest.raises(InputError, match=r"model.h5 has .* GiB, more than this machine's .* GiB"):
        load_model(path)


def test_a_declared_length_is_not_believed(path):
    content = path.read_bytes()
    huge = MAGIC + struct.pack("<QQ", 1, 2**63) + content[24:]
    refused(path, huge, "was written with 9223372036854775808")


@pytest.mark.parametrize("kind", ["pipe", "folder", "absent"])
def test_only_regular_files(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{kind}(:| is a pipe)"):
        load_model(tmp_path / kind)


def test_the_block_is_made_in_one_place():
    assert container._block(memoryview(b"image")) == block(b"image")
