"""Whatever stdout can encode, a command prints and ends well."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import portadnn as dnn
from portadnn.cli.main import main
from portadnn.cli.output import any_encoding
from portadnn.data.hdf5 import write_dataset

CLASSES = ("猫", "café")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of two classes with names in no ASCII, and its data."""
    directory = tmp_path_factory.mktemp("encodings")
    data = dnn.Dataset(np.eye(4, dtype="float32"), np.asarray([0, 1, 0, 1]), CLASSES)
    write_dataset(directory / "data.h5", train=data)
    dnn.save_model(dnn.train(data, layers=[2], epochs=1, learning_rate=0.1), directory / "model.h5")
    return directory / "model.h5", directory / "data.h5"


def printed(encoding, *arguments):
    command = [sys.executable, "-m", "portadnn", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(encoding.partition(":")[0]).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("encoding", "rule", "names"),
    [
        ("ascii", "-----", "?, caf?"),
        ("cp1252:strict", "-----", "?, café"),
        ("ascii:surrogateescape", "-----", "?, caf?"),
        ("utf-8", "─────", "猫, café"),
    ],
)
def test_tables_and_names(files, encoding, rule, names):
    model, data = files
    text = printed(encoding, "summary", model)
    assert rule in text
    assert f"classes: {names}\n" in text
    first, second = names.split(", ")
    header, *rows = printed(encoding, "predict", model, data).splitlines()
    assert header == f"example,label,class,p({first}),p({second})"
    assert {row.split(",")[2] for row in rows} <= {first, second}


@pytest.mark.parametrize("command", ["predict", "summary", "evaluate"])
def test_a_stdout_that_is_closed(files, command, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    model, data = map(str, files)
    assert main([command, model, *([] if command == "summary" else [data])]) == 0


def test_a_stderr_that_is_closed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["predict", str(tmp_path / "absent.h5"), "x.csv"]) == 2
    assert capsys.readouterr().out == ""


def test_an_error_names_a_file_that_stderr_cannot_encode(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["summary", "猫.h5"]) == 2
    stream.flush()
    assert stream.buffer.getvalue().startswith(b"portadnn: error: ?.h5: no such file")
    assert stream.errors == "strict"


def test_lines_corners_and_lone_surrogates(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with any_encoding():
        print("┌─┐│é\udcff", end="", flush=True)
    assert stream.buffer.getvalue() == b"+-+|??"
    with pytest.raises(UnicodeEncodeError):  # the stream is the caller's again
        print("é", flush=True)


def test_streams_that_cannot_be_told(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    with any_encoding():
        print("é")
    assert sys.stdout.getvalue() == "é\n"
