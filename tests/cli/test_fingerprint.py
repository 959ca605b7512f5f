"""``portadnn fingerprint``."""

import json

from cli_support import run

from portadnn.arithmetic import MARK
from portadnn.training.models import fingerprint, load_model


def test_fingerprints_say_whether_all_bits_are_equal(tmp_path, capsys):
    found = []
    for i, backend in enumerate(("numpy", "strict:device1")):
        code, out, _ = run(
            capsys, "train", "--epochs", 2, "--optimizer", "adam", "--batch-size", 64, "--json",
            "--backend", backend, "--arithmetic", "reproducible", "--out", tmp_path / str(i),
        )  # fmt: skip
        assert code == 0
        written = json.loads(out)
        assert written["config"]["arithmetic"] == "reproducible"
        model = tmp_path / str(i) / "model.h5"
        code, out, _ = run(capsys, "fingerprint", model)
        assert code == 0
        assert out.split() == [written["fingerprint"], MARK]
        assert written["fingerprint"] == fingerprint(load_model(model))
        found.append(out)
    assert found[0] == found[1]
    code, out, _ = run(capsys, "train", "--config", tmp_path / "0" / "config.toml",
                       "--out", tmp_path / "again")  # fmt: skip
    assert f"fingerprint: {found[0].strip()}" in out
    _, out, _ = run(capsys, "fingerprint", tmp_path / "again" / "model.h5", "--json")
    assert list(json.loads(out).values()) == found[0].split()
