"""The package on a system that has what Windows has; no Windows is at hand, so it is simulated."""

import errno
import json
import os
import subprocess
import sys

import pytest

from portadnn.blas import this_processor
from portadnn.cli.output import is_broken_pipe

# Run before the package is imported: POSIX is taken away, and Windows's refusals are put in place.
WITHOUT_POSIX = """
import os, signal, stat, sys, warnings
# the libraries beneath have their own ways on Windows
import cyclopts, h5py, matplotlib.pyplot, numpy, PIL.Image, rich.console, threadpoolctl

for name in ("sysconf", "uname", "getuid", "geteuid", "sched_getaffinity", "fork", "fchmod",
             "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGBUS", "SIGALRM", "SIGUSR1", "SIGQUIT"):
    if hasattr(signal, name):
        delattr(signal, name)
sys.modules |= dict.fromkeys(("fcntl", "pwd", "grp", "resource", "termios"))
warnings.filterwarnings("error", category=EncodingWarning, module=r"portadnn")

posix_open, posix_fsync, writable = os.open, os.fsync, set()

def windows_open(path, flags, *more, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    fd = posix_open(path, flags, *more, **options)
    (writable.add if flags & (os.O_WRONLY | os.O_RDWR) else writable.discard)(fd)
    return fd

def windows_fsync(fd):
    if fd not in writable:
        raise OSError(9, "Bad file descriptor")
    synchronized.append(fd)
    posix_fsync(fd)

synchronized = []
os.open, os.fsync = windows_open, windows_fsync
"""


def test_it_imports_trains_saves_loads_and_predicts(tmp_path):
    program = (
        WITHOUT_POSIX
        + """
import contextlib, importlib, io, json, pkgutil
import portadnn as dnn
from portadnn.cli.main import main

for module in pkgutil.walk_packages(dnn.__path__, "portadnn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
path = sys.argv[1]
train, test = dnn.load_digits()
log = dnn.CSVLog(f"{path}/log.csv")
model = dnn.train(train, layers=[8], epochs=2, learning_rate=0.1, callbacks=[log])
for _ in range(2):  # the second one replaces a file
    dnn.save_model(model, f"{path}/model.h5")
saved = len(synchronized)
same = dnn.fingerprint(dnn.load_model(f"{path}/model.h5")) == dnn.fingerprint(model)
codes = []
with contextlib.redirect_stdout(io.StringIO()):
    for command in (
        ["train", "--epochs", "2", "--quiet", "--out", f"{path}/run"],
        ["train", "--config", f"{path}/run/config.toml", "--quiet", "--out", f"{path}/again"],
        ["evaluate", f"{path}/run/model.h5"],
        ["predict", f"{path}/run/model.h5"],
        ["parity", "numpy", "strict", "--steps", "1", "--html", f"{path}/report.html"],
    ):
        codes.append(main(command))
print(json.dumps({"saved": saved, "same": same, "codes": codes}))
"""
    )
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", program, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"saved": 2, "same": True, "codes": [0] * 5}, done.stderr
    assert not [*tmp_path.rglob("*.tmp")]


def test_a_pipe_that_nobody_reads_is_an_invalid_argument_there(monkeypatch):
    error = OSError(errno.EINVAL, "Invalid argument")
    assert not is_broken_pipe(error)
    assert is_broken_pipe(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    monkeypatch.setattr(os, "name", "nt")
    assert is_broken_pipe(error)
    assert not is_broken_pipe(OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_processor_is_looked_up_on_linux_only(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delattr(os, "uname", raising=False)
    assert this_processor() == ""
