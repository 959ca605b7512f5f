"""``portadnn backends``."""

import json
import re

from cli_support import run


def test_backends(capsys):
    code, out, _ = run(capsys, "backends")
    assert code == 0
    assert "numpy" in out
    assert "cupy" in out
    _, out, _ = run(capsys, "backends", "--json")
    statuses = {status["name"]: status for status in json.loads(out)["backends"]}
    assert statuses["numpy"]["usable"]
    assert "kernel" in statuses["numpy"]["report"]["details"]


def test_backends_measures_a_step_of_each(capsys, monkeypatch):
    from portadnn.backends import registry

    monkeypatch.setattr(registry, "CLASSES", {"numpy": "NumpyBackend", "strict": "StrictBackend"})
    monkeypatch.setattr("portadnn.backends.select.CLASSES", registry.CLASSES)
    code, out, _ = run(capsys, "backends", "--time", "6,4,2", "--json")
    assert code == 0
    numpy, strict = (found["step_seconds"] for found in json.loads(out)["backends"])
    for seconds in (*numpy.values(), strict["measured"]):
        assert 1e-6 < seconds < 10.0  # microseconds, but on a busy machine
    assert strict["estimated"] is None
    _, out, _ = run(capsys, "backends", "--time", "6,4,2")
    assert re.search(r"numpy +cpu +[\d,]+ us +[\d,]+ us", out)
    for arguments, message in (
        (["6,4,2"], "the network 6,4,2 is for --time: add it"),
        (["--time", "6,x"], "the network 6,x: 'x' is not a width"),
        (["--time", "6"], "the network 6: expected two widths or more"),
        (["--time", "none"], "the network none: expected two widths or more"),
    ):
        code, _, err = run(capsys, "backends", *arguments)
        assert code == 2
        assert message in err
