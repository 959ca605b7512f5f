"""A data set of a stranger is read by another process, which may die without harm."""

import time
from pathlib import Path

import numpy as np
import pytest
from data.test_hdf5 import X, Y, course_file

from portadnn.cli.main import main
from portadnn.data import isolated
from portadnn.data import load as load_module
from portadnn.data.load import has_test, load_dataset
from portadnn.errors import InputError


@pytest.mark.parametrize("kind", ["uint8", "int16", "float16", "float32", ">f8"])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_data_are_the_same(tmp_path, kind, labelled):
    labels = Y if labelled else None
    path = course_file(tmp_path / "a.h5", train_set_x=X.astype(kind), train_set_y=labels)
    data = load_dataset(path, labelled=labelled)
    again = load_dataset(path, labelled=labelled, isolated=True)
    assert again.examples.dtype == data.examples.dtype
    np.testing.assert_array_equal(again.examples, data.examples)
    assert again.examples.flags.writeable
    assert (again.labels is None) == (data.labels is None) == (not labelled)
    if labelled:
        np.testing.assert_array_equal(again.labels, data.labels)
    kept = [(d.classes, d.source, d.head) for d in (data, again)]
    assert kept[0] == kept[1]


def test_splits(tmp_path):
    path = course_file(tmp_path / "a.h5", test_set_x=X[:1], test_set_y=Y[:1])
    assert has_test(path, isolated=True) is True
    assert len(load_dataset(path, "test", isolated=True)) == 1
    assert has_test(course_file(tmp_path / "b.h5"), isolated=True) is False


def test_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("width,kind,name\n1.5,b,ä\n2,c,o\n3,b,ä\n")
    data, again = (
        load_dataset(tmp_path / "a.csv", target=["name"], isolated=i) for i in (False, True)
    )
    np.testing.assert_array_equal(again.examples, data.examples)
    assert again.examples.dtype == data.examples.dtype
    assert (again.classes, again.head) == (data.classes, data.head)


def test_faults_are_told_as_ever(tmp_path):
    path = course_file(tmp_path / "a.h5", train_set_y=Y[:3])
    messages = []
    for options in ({}, {"isolated": True}):
        with pytest.raises(InputError) as caught:
            load_dataset(path, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.fixture
def bad_reader(monkeypatch, tmp_path):
    """``bad_reader(code)``: reading runs the code instead, in the other process."""

    def prepare(code):
        start, end = isolated._PROGRAM.split("answer(**")
        start += "\nfrom portadnn.data import load"
        patch = f"def bad(path, **_):\n    {code}\nload.load_dataset = bad\nanswer(**"
        monkeypatch.setattr(isolated, "_PROGRAM", f"{start}\n{patch}{end}")
        return course_file(tmp_path / "a.h5")

    return prepare


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"process .* \(SIGSEGV\)"),
        ("import os; os._exit(3)", r"ended the process that read it \(exit code 3\)"),
        ("raise ZeroDivisionError", r"\(exit code 1\): it is damaged"),
        ("import numpy as np; np.ones(2**30)", r"\(exit code 1\)"),
        ("print('not an answer'); import os; os._exit(0)", "a.h5 is damaged"),
    ],
)
def test_a_process_that_dies(bad_reader, code, message):
    path = bad_reader(code)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path, isolated=True)
    assert str(path) in str(caught.value)


def children():
    """The processes that this one has started and not waited for."""
    found = Path("/proc/self/task").glob("*/children")
    return {number for file in found for number in file.read_text().split()}


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(600)"])
def test_a_process_that_does_not_end(bad_reader, code, monkeypatch):
    monkeypatch.setattr(isolated, "_SECONDS", 2)
    path, begun, before = bad_reader(code), time.monotonic(), children()
    with pytest.raises(InputError, match=r"SIGXCPU|could not be read in 6 s"):
        load_dataset(path, isolated=True)
    assert time.monotonic() - begun < 60
    assert children() <= before  # none is left behind


def test_what_a_library_prints_is_not_the_answer(bad_reader):
    path = bad_reader("import os; os.write(1, b'noise'); return 5")
    assert load_dataset(path, isolated=True) == 5


def test_large_arrays_pass_the_limit_that_they_raise(tmp_path):
    big = np.random.default_rng(0).integers(0, 256, (300, 2**20), dtype=np.uint8)  # 300 MiB
    path = course_file(tmp_path / "a.h5", train_set_x=big, train_set_y=np.arange(300) % 2)
    again = load_dataset(path, isolated=True)
    np.testing.assert_array_equal(again.examples[[0, 150, 299]], big[[0, 150, 299]])


def test_the_program(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(course_file(tmp_path / "a.h5", test_set_x=X[:2], test_set_y=Y[:2]))
    calls = []
    read = isolated.read_isolated

    def watched(reader, path, **options):
        calls.append(reader.rpartition(".")[2])
        return read(reader, path, **options)

    monkeypatch.setattr(load_module, "read_isolated", watched)
    monkeypatch.setattr(load_module, "format_of", lambda path: pytest.fail("it was opened here"))
    quick = ["--layers", "2", "--epochs", "1", "--backend", "numpy"]
    assert main(["train", path, *quick, "--out", "run", "--isolated"]) == 0
    assert calls == ["load_dataset", "has_test", "load_dataset"]
    for command in (
        ["evaluate", "run/model.h5", path], ["predict", "run/model.h5", path],
        ["gradcheck", "run/model.h5", path], ["inspect", "run/model.h5", path],
        ["parity", "numpy", "--data", path, "--layers", "2", "--epochs", "1", "--no-noise"],
        ["parity", "record", "--out", "b.h5", "--data", path, *quick],
    ):  # fmt: skip
        calls.clear()
        assert main([*command, "--isolated"]) in (0, 1), capsys.readouterr().err
        assert "load_dataset" in calls
    assert main(["predict", "run/model.h5", "a.png", "--isolated"]) == 2
    assert "--isolated is for files of data" in capsys.readouterr().err
