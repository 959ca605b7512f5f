"""The table of formats: each file holds the model, and the program and the docs tell of each."""

import inspect
from pathlib import Path

import pytest
from export_support import make_model

import portadnn as dnn
from portadnn.cli.export import export
from portadnn.data.files import format_of
from portadnn.export.formats import FORMATS, checked


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_is_read_back_or_run(name, tmp_path):
    row, model, path = FORMATS[name], make_model(kind="numbers"), tmp_path / "model"
    assert row.load is not None or row.run is not None
    if name != "hdf5":
        pytest.importorskip(row.runtime or name)
    row.save(model, path)
    if row.load is not None:
        assert dnn.fingerprint(row.load(path)) == dnn.fingerprint(model)
    if row.run is not None:
        assert checked(path, model, row)["ratio"] <= 1


def test_the_program_and_the_docs_tell_of_every_format():
    page = Path(__file__).parents[2] / "docs" / "models.md"
    options = inspect.signature(export).parameters["format"].annotation
    for name in FORMATS:
        assert repr(name) in options
        assert name in page.read_text(encoding="utf-8").lower()
    names = {f"model{word.rstrip(',.')}" for word in export.__doc__.split() if word[0] == "."}
    assert {str(format_of(path)).lower() for path in names} == FORMATS.keys()
