"""``portadnn summary``."""

import json

from cli_support import run


def test_summary(trained, capsys):
    code, out, _ = run(capsys, "summary", trained)
    assert code == 0
    assert "(4, 64)" in out
    assert "310" in out
    assert "10 classes: 0, 1, 2" in out
    _, out, _ = run(capsys, "summary", trained, "--json")
    assert json.loads(out)["network"]["parameters"] == 4 * 64 + 4 + 10 * 4 + 10
