"""A file is replaced whole or not at all, whatever goes wrong in between."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from portadnn.data import files
from portadnn.data.container import Container
from portadnn.data.dataset import Dataset
from portadnn.data.files import whole_file
from portadnn.data.foreign import open_hdf5
from portadnn.data.hdf5 import write_dataset
from portadnn.errors import InputError


def write(path, content):
    with whole_file(path) as file:
        file.write(content)


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"old", b"", b"new" * 1000):
        write(path, content)
        assert path.read_bytes() == content
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_writes_nothing(tmp_path):
    def half():
        with whole_file(tmp_path / "a.txt") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffixes", "format"),
    [
        ("onnx", "ONNX"),
        ("pt pth PT ckpt", "PyTorch"),
        ("safetensors", "safetensors"),
        ("pkl pickle joblib", "pickle"),
        ("keras", "Keras"),
        ("npz npy", "NumPy"),
        ("json toml csv", "text"),
        ("pb tflite", "TensorFlow"),
        ("mat", "MATLAB"),
    ],
)
@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path])
def test_the_suffix_of_another_format_is_refused(tmp_path, suffixes, format, kind):
    ours = Container("portadnn model", "portadnn train", plain=1, sealed=(2,))
    data = Dataset([[1.0], [2.0]], [0, 1], ("a", "b"))
    for suffix in suffixes.split():
        path = tmp_path / f"v1.{suffix}"
        message = f"v1.{suffix}: .{suffix} is for {format} files.* HDF5: write .*v1.h5"
        with pytest.raises(InputError, match=message):
            ours.write(kind(path), {}, {})
        with pytest.raises(InputError, match=message):
            write_dataset(kind(path), train=data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "model.h5", "model.HDF5", "run.v2", ".onnx", "a.pt.h5"])
def test_any_other_name_is_taken(tmp_path, name):
    Container("portadnn model", "portadnn train", plain=1, sealed=(2,)).write(
        tmp_path / name, {}, {"x": np.zeros(3)}
    )
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/a.txt", r"absent/a.txt cannot be written \(No such file or directory\)"),
        (".", "is a directory or a device"),
        ("folder", "folder is a directory or a device: expected the name of a file"),
        ("link-to-folder", "link-to-folder is a directory or a device"),
        ("pipe", "pipe is a directory or a device"),
        ("file/a.txt", r"file/a.txt cannot be written \(Not a directory\)"),
        ("n" * 256, r"n cannot be written \(File name too long\): choose another place$"),
    ],
)
def test_where_no_file_can_be(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link-to-folder").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as caught:
        write(tmp_path / name, b"new")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert list((tmp_path / "folder").iterdir()) == []
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_device_is_not_replaced(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")  # a failing test must not replace the real one
    with pytest.raises(InputError, match="null is a directory or a device"):
        write(tmp_path / "null", b"new")


@pytest.mark.parametrize("target", ["old", "link", "absent"])
def test_a_link_is_replaced_and_not_followed(tmp_path, target):
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    write(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_bytes() == b"new"
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_bytes(b"old")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "guessed")
    (tmp_path / ".portadnn-guessed.tmp").symlink_to("victim")
    with pytest.raises(InputError, match="cannot be written .File exists."):
        write(tmp_path / "a.txt", b"new")
    assert (tmp_path / "victim").read_bytes() == b"old"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
@pytest.mark.parametrize("late", [False, True])
def test_whatever_fails_the_file_is_old_or_new(tmp_path, monkeypatch, call, error, late):
    path = tmp_path / "a.txt"
    write(path, b"old")
    real = getattr(os, call)

    def failing(*arguments, **options):
        if late:
            real(*arguments, **options)
        raise error

    monkeypatch.setattr(os, call, failing)
    with pytest.raises((KeyboardInterrupt, InputError)) as caught:
        write(path, b"new")
    monkeypatch.undo()
    if caught.type is InputError:
        assert str(caught.value) == (
            f"{path} cannot be written (Input/output error): choose another place"
        )
    assert path.read_bytes() == (b"new" if (call, late) == ("replace", True) else b"old")
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(number):
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    def watched_replace(old, new):
        calls.append(("replace", str(old)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write(tmp_path / "a.txt", b"new")
    temporary = calls[0][1]
    assert temporary.startswith(f"{tmp_path}/.portadnn-")
    assert calls == [("fsync", temporary), ("replace", temporary), ("fsync", str(tmp_path))]


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EINVAL, False), (errno.EIO, True), (errno.ENOSPC, True)]
)
def test_a_directory_that_cannot_be_synced(tmp_path, monkeypatch, caplog, number, told):
    fsync = os.fsync

    def refusing(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, "no names")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    write(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    warning = f"{tmp_path}: a power cut may lose what was just written there (no names)"
    assert caplog.messages == [warning] * told


def test_a_system_with_less_than_posix(tmp_path):
    program = (
        "import os, sys\n"
        "import numpy, h5py\n"
        "for name in 'O_NOFOLLOW O_NONBLOCK O_NOCTTY sysconf'.split():\n"
        "    delattr(os, name)\n"
        "import portadnn as dnn\n"
        "model = dnn.train(dnn.load_digits()[0], layers=[2], epochs=1, rng=3, backend='numpy')\n"
        "dnn.save_model(model, sys.argv[1])\n"
        "print(dnn.fingerprint(dnn.load_model(sys.argv[1])) == dnn.fingerprint(model))\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "model.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("name", ["a\0b", "a\0b/c", "\ud800"])
def test_a_name_that_no_file_can_have(tmp_path, name):
    for path in (tmp_path / name, f"{tmp_path}/{name}"):
        with pytest.raises(InputError, match="cannot be the name of a file") as caught:
            write(path, b"new")
        assert str(caught.value).isprintable()
        with pytest.raises(InputError, match="cannot be the name of a file"), open_hdf5(path):
            pass
    assert list(tmp_path.iterdir()) == []


FULL = """
import json, os, pathlib, resource, signal, subprocess, sys, time

import numpy as np

from portadnn.training.models import Model, save_model
from portadnn.errors import InputError
from portadnn.network.spec import Network

def model(width):
    network, rng = Network((12, width, 3), "tanh", "softmax"), np.random.default_rng(width)
    parameters = {name: rng.normal(size=shape) for name, shape in network.shapes.items()}
    return Model(network, parameters, ("a", "b", "c"), (12,))

kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
large = model(2000)
path, whole = folder / "model.h5", folder.parent / "whole.h5"
save_model(model(5), whole)
old = whole.read_bytes()
start = time.perf_counter()
save_model(large, whole)
seconds = time.perf_counter() - start
new = whole.read_bytes()
page = os.sysconf("SC_PAGE_SIZE")
pages = len(new) // page
if kind == "tmpfs":  # in pages, beside the old file
    sizes = [-(-len(old) // page) + max(0, pages - 50) + i for i in range(100)]
elif kind == "limit":
    near = [len(new) + i for i in range(-20, 20)]
    sizes = [0, 1, 511, 512, 513, *near, *(len(new) * i // 28 for i in range(1, 56))]
elif kind == "memory":  # beside what is in use
    used = page * int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    sizes = [used + 2**21 + 2**18 * i for i in range(100)]
else:
    sizes = range(60 if kind == "interrupt" else 1)
outcomes = []
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
for size in sizes:
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * page}", "tmpfs", folder],
                       check=True)
    path.write_bytes(old)
    if kind == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    if kind == "denied":
        os.chmod(folder, 0o555)
    child = os.fork()
    if child == 0:
        if kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if kind == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
        if kind == "denied" and os.getuid() == 0:
            os.chdir(folder)
            path = pathlib.Path("model.h5")
            os.setuid(65534)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            save_model(large, path)
            os._exit(0)
        except InputError as error:
            print(str(error).replace(str(folder), "FOLDER"), file=sys.stderr, flush=True)
            os._exit(3)
        except KeyboardInterrupt:
            os._exit(4)
    if kind == "interrupt":
        time.sleep(seconds * size / 40)
        os.kill(child, signal.SIGINT)
    status = os.waitpid(child, 0)[1]
    left = sorted(os.listdir(folder))
    content = path.read_bytes()
    if kind == "denied":
        os.chmod(folder, 0o755)
    if kind == "tmpfs":
        subprocess.run(["umount", folder], check=True)
    state = "old" if content == old else "new" if content == new else "lost"
    outcomes.append([os.waitstatus_to_exitcode(status), state, left])
print(json.dumps(outcomes))
"""


def outcomes_of(kind, folder):
    """What became of every save (exit code, content, files), and the distinct messages."""
    command = [sys.executable, "-c", FULL, kind, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), set(done.stderr.splitlines())


@pytest.fixture
def disk(tmp_path):
    """A folder where a file system of memory is mounted, and mounted again as a test likes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if done.returncode != 0:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    while os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


def assert_each_is_old_or_new(outcomes):
    for outcome in outcomes:
        assert outcome in ([0, "new", ["model.h5"]], [3, "old", ["model.h5"]])


def test_100_sizes_of_a_full_disk(disk):
    outcomes, messages = outcomes_of("tmpfs", disk)
    assert_each_is_old_or_new(outcomes)
    failed = [code for code, *_ in outcomes].count(3)
    assert len(outcomes) == 100
    assert 20 < failed < 80
    assert messages == {
        "FOLDER/model.h5 cannot be written (No space left on device): choose another place"
    }


def test_100_limits_of_a_files_size(tmp_path):
    (tmp_path / "folder").mkdir()
    outcomes, messages = outcomes_of("limit", tmp_path / "folder")
    assert_each_is_old_or_new(outcomes)
    assert [code for code, *_ in outcomes[:45]] == [3] * 25 + [0] * 20  # to the byte
    assert len(outcomes) == 100
    assert messages == {"FOLDER/model.h5 cannot be written (File too large): choose another place"}


def test_60_interrupts(tmp_path):
    (tmp_path / "folder").mkdir()
    outcomes, _ = outcomes_of("interrupt", tmp_path / "folder")
    for code, state, left in outcomes:
        assert code in (0, 4)
        assert state == "new" or (code, state) == (4, "old")
        assert left == ["model.h5"]
    assert len(outcomes) == 60
    assert 4 in [code for code, *_ in outcomes]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is Linux's")
def test_100_limits_of_the_memory(tmp_path):
    (tmp_path / "folder").mkdir()
    outcomes, messages = outcomes_of("memory", tmp_path / "folder")
    assert_each_is_old_or_new(outcomes)
    assert len(outcomes) == 100
    assert 10 < [code for code, *_ in outcomes].count(3) < 90
    assert messages == {"FOLDER/model.h5 cannot be written: there is not enough memory"}


def test_a_read_only_file_system(disk):
    outcomes, messages = outcomes_of("read-only", disk)
    assert outcomes == [[3, "old", ["model.h5"]]]
    (message,) = messages
    assert "model.h5 cannot be written (Read-only file system)" in message


def test_a_directory_that_is_another_users(tmp_path):
    (tmp_path / "folder").mkdir()
    outcomes, messages = outcomes_of("denied", tmp_path / "folder")
    assert outcomes == [[3, "old", ["model.h5"]]]
    (message,) = messages
    assert "model.h5 cannot be written (Permission denied)" in message
