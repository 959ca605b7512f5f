"""Code that crashes Python is tried in another process, and the answer is remembered."""

import os
import subprocess
import sys

import pytest

from portadnn.backends import survival
from portadnn.backends.survival import answer_to, crash_of

CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
posix = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A cache of its own, and nothing that an earlier test was told."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    crash_of.cache_clear()
    yield
    crash_of.cache_clear()


@posix
def test_a_crash_is_named_and_remembered():
    assert crash_of(CRASH, "library 1") == "SIGSEGV"
    assert answer_to("library 1").read_text() == "SIGSEGV\nlibrary 1\n"
    crash_of.cache_clear()
    assert crash_of("pass", "library 1") == "SIGSEGV"  # as remembered: the code was not run
    assert crash_of("pass", "library 2") == ""
    assert answer_to("library 2").read_text() == "\nlibrary 2\n"


def test_an_exception_is_no_crash():
    assert crash_of("raise SystemError('no driver')", "library 1") == ""
    assert crash_of("import a_module_that_is_not_there", "library 2") == ""


def test_a_python_that_is_part_of_another_program_is_not_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    assert crash_of(CRASH, "library 1") == ""
    assert not answer_to("library 1").exists()


def test_it_imports_from_where_this_process_does(monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("")
    (tmp_path / "made").mkdir()
    code = f"import only_here; open({str(tmp_path / 'made' / 'it')!r}, 'w').close()"
    monkeypatch.syspath_prepend(str(tmp_path))
    assert crash_of(code, "library 1") == ""
    assert (tmp_path / "made" / "it").exists()


@posix
def test_a_process_that_is_ended_from_outside_is_asked_again():
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert crash_of(killed, "library 1") == "SIGKILL"
    assert not answer_to("library 1").exists()


@pytest.mark.parametrize(
    "text", [b"", b"SIGSEGV", b"SIGSEGV\nlib", b"SIGSEGV\nlibrary 2\n", b"\xff"]
)
def test_a_damaged_answer_is_replaced(text):
    answer_to("library 1").parent.mkdir(parents=True)
    answer_to("library 1").write_bytes(text)
    assert crash_of("pass", "library 1") == ""
    assert answer_to("library 1").read_text() == "\nlibrary 1\n"


def test_a_process_that_hangs_is_ended_and_asked_again(monkeypatch):
    monkeypatch.setattr(survival, "PATIENCE", 0.2)
    assert crash_of("import time; time.sleep(60)", "library 1") == "no answer in 0.2 s"
    assert not answer_to("library 1").exists()


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert crash_of("pass", "library 1") == ""


@posix
def test_auto_takes_numpy_where_the_probe_of_cupy_crashes(tmp_path):
    package = tmp_path / "cupy"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, signal\n"
        "__version__ = '99.0'\n"
        "class cuda:\n"
        "    class runtime:\n"
        "        getDeviceCount = staticmethod(lambda: 1)\n"
        "        getDeviceProperties = staticmethod(lambda _: {'name': b'a GPU'})\n"
        "    class Device:\n"
        "        id = 0\n"
        "        def __init__(self, _): pass\n"
        "        def __enter__(self): os.kill(os.getpid(), signal.SIGABRT)\n"
        "        def __exit__(self, *_): pass\n"
    )
    (tmp_path / "program.py").write_text(
        "import sys, types\n"
        "sys.modules['array_api_compat.cupy'] = types.SimpleNamespace(float32='float32')\n"
        "from portadnn.backends import choose_backend\n"
        "backend, reason = choose_backend()\n"
        "print(backend.name, reason)\n"
    )
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("numpy no GPU: CuPy 99.0 crashed Python in its probe (SIGABRT;")
    (answer,) = answer_to("").parent.iterdir()
    assert f"delete {answer} to probe again" in done.stdout
    assert answer.read_text().startswith("SIGABRT\n")
