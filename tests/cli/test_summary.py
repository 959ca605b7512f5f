"""``portadnn summary``."""

import json

import pytest
from cli_support import run
from export_support import make_model

from portadnn.training.models import save_model


def test_summary(trained, capsys):
    code, out, _ = run(capsys, "summary", trained)
    assert code == 0
    assert "(4, 64)" in out
    assert "310" in out
    assert "10 classes: 0, 1, 2" in out
    _, out, _ = run(capsys, "summary", trained, "--json")
    assert json.loads(out)["network"]["parameters"] == 4 * 64 + 4 + 10 * 4 + 10


@pytest.mark.parametrize(
    ("kind", "head", "said"),
    [
        ("mixed", ("softmax", 3), ["4 of 0 and 1: (missing), Bern", "(itself - 40) / 7; 39.5 if"]),
        ("values", ("identity", 2), ["height (predicted)", "(itself - 120) / 0.5"]),
        ("pixels", ("sigmoid", 1), ["uint8 / 255"]),
        ("as they are", ("sigmoid", 1), ["itself"]),
    ],
)
def test_what_is_done_to_each_column(kind, head, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    save_model(make_model(head, kind=kind), tmp_path / "model.h5")
    code, out, _ = run(capsys, "summary", tmp_path / "model.h5")
    assert code == 0
    for text in said:
        assert text in out
