"""Tables of every command in terminals of several widths: no number and no word is cut."""

import pathlib
import re

import pytest
from cli_support import run
from hypothesis import given
from hypothesis import strategies as st

from portadnn.cli import output
from portadnn.cli.parity_output import detection_table
from portadnn.data import stored
from portadnn.data.hdf5 import load_digits
from portadnn.training.models import save_model
from portadnn.training.train import train

WIDTHS = (60, 80, 120)


def assert_whole(table, text, width):
    """Every number, and every word of the other cells and of the headings, stands on one line."""
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    first = table.columns[0]
    for column in table.columns:
        cells = [column.header.split()]
        cells += [[cell] if column.justify == "right" else cell.split() for cell in column.cells]
        for piece in {piece for pieces in cells for piece in pieces if piece}:
            assert re.search(rf"(^| ){re.escape(piece)}( |$)", text, re.MULTILINE), piece
    for word in first.header.split():  # a part without it could not be read
        heads = [i for i, line in enumerate(lines) if "──" in line]
        assert text.count(word) >= len(heads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.h5"
    trained = train(load_digits()[0], layers=[64, 32], epochs=3, learning_rate=0.5, backend="numpy")
    save_model(trained, path)
    return path


COMMANDS = {
    "backends": ["backends"],
    "gradcheck": ["gradcheck", "model.h5", "--examples", "20", "--entries", "5"],
    "inspect": ["inspect", "64,64x11,10", "--init", "normal", "--examples", "20"],
    "parity_output": ["parity", "numpy", "strict", "--steps", "2", "--sample"],
    "summary": ["summary", "model.h5"],
    "train": ["train", "--layers", "1000,20", "--epochs", "1", "--out", "run"],
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_table_is_cut(command, width, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(width))
    shown, table_text = [], output.table_text

    def watched(table):
        shown.append((table, table_text(table)))
        return shown[-1][1]

    monkeypatch.setattr(output, "table_text", watched)
    code, out, err = run(capsys, *[str(model) if a == "model.h5" else a for a in command])
    assert (code, err) == (0, "")
    assert shown
    for table, text in shown:
        assert text in out
        assert_whole(table, text, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_self_test_is_not_cut(width, monkeypatch):
    from portadnn.parity import planted

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(planted, "FAULTS", planted.FAULTS[:1])
    table = detection_table(planted.self_test(["float32"]))
    assert_whole(table, output.table_text(table), width)


def test_every_command_with_a_table_is_tried():
    folder = pathlib.Path(output.__file__).parent
    files = {file.stem for file in folder.glob("*.py") if "table_text(" in file.read_text()}
    assert files == COMMANDS.keys() | {"output"}


WORD = st.text("abcdefgh", min_size=1, max_size=12)
TEXT = st.lists(WORD, min_size=0, max_size=6).map(" ".join)
HEADING = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
NUMBER = st.floats(allow_nan=True).map(lambda x: f"{x:.6g}") | st.just("") | st.just("(64, 12288)")


@given(st.data(), st.integers(60, 150))
def test_no_table_of_words_and_numbers_is_cut(data, width):
    words = data.draw(st.lists(HEADING, min_size=1, max_size=4))
    numbers = data.draw(st.lists(HEADING, max_size=12))
    table = output.new_table(words, numbers)
    for _ in range(data.draw(st.integers(0, 3))):
        cells = [data.draw(TEXT) for _ in words] + [data.draw(NUMBER) for _ in numbers]
        table.add_row(*cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        assert_whole(table, output.table_text(table), width)


def test_the_columns_of_a_stranger_do_not_steer_the_terminal():
    from portadnn.cli.output import preprocess_table, table_text
    from portadnn.data.preprocess import Column, Preprocess

    text = table_text(preprocess_table(Preprocess((Column("a\x1b[2J", categories=("\x1b[2J",)),))))
    assert "\x1b" not in text
    assert text.count("\\x1b[2J") == 2


def test_passes_over_files_have_a_bar_if_somebody_is_looking(monkeypatch):
    with output.passes_shown():
        assert stored.passes == []
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True)
    with output.passes_shown(False):
        assert stored.passes == []
    with output.passes_shown():
        (bar,) = stored.passes
        assert list(bar(iter("abc"), "reading x", 3)) == ["a", "b", "c"]
    assert stored.passes == []
