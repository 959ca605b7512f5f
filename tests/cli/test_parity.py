"""``portadnn parity`` as a user runs it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from cli_support import run
from parity.test_compare import make_run
from support import resealed

from portadnn.backends import get_backend
from portadnn.cli.parity_output import show
from portadnn.parity.causes import Cause
from portadnn.parity.certify import Verdict
from portadnn.parity.compare import compare
from portadnn.parity.step.kinks import Kink

QUICK = ["--steps", 3, "--layers", "5", "--no-noise"]


def test_backends_at_parity(capsys, backends_under_test):
    code, out, err = run(capsys, "parity", *backends_under_test, *QUICK)
    assert code == 0, err
    assert "PARITY over 3 steps" in out
    for name in backends_under_test:
        assert f"  {name} " in out


def test_json_is_one_object_with_every_certificate(capsys):
    arguments = ("numpy", "strict:device1", "--steps", 2, "--layers", 4, "--json")
    code, out, err = run(capsys, "parity", *arguments)
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["outcome"] == "PARITY"
    ours, theirs = result["certificates"]
    assert ours["steps_checked_in_full"] == 2
    assert ours["mode_mismatch"] is False
    assert ours["noise"]["repeat"] == 0
    assert theirs["environment"]["device"] == "array_api_strict.Device('device1')"


def test_options_of_the_run(capsys):
    code, out, _ = run(
        capsys, "parity", "numpy", "--steps", 4, "--layers", "6,5", "--activation", "tanh",
        "--batch-size", 50, "--dtype", "float64", "--init", "lecun", "--seed", 1, "--sample",
        "--learning-rate", 0.1, "--eager", "--no-noise", "--json",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["network"]["activations"] == ["tanh", "tanh"]
    assert result["config"]["batch_size"] == 50
    assert result["certificates"][0]["dtype"] == "float64"


def test_a_mode_of_products_that_no_backend_named_has(capsys):
    code, _, err = run(capsys, "parity", "numpy", *QUICK, "--matmul", "tf32")
    assert code == 2
    assert "'numpy' computes on cpu, which does not have TF32" in err
    code, _, err = run(capsys, "parity", "numpy", *QUICK, "--dtype", "float64", "--matmul", "tf32")
    assert code == 2
    assert "products of float64 are never tf32" in err


def test_a_backend_in_tf32_is_judged_beside_one_that_does_not_have_it(capsys, monkeypatch):
    from portadnn.backends.strict import StrictBackend

    monkeypatch.setattr(StrictBackend, "_tf32", lambda self: self.xp)
    code, out, _ = run(capsys, "parity", "numpy", "strict", *QUICK, "--matmul", "tf32", "--json")
    assert code == 0
    modes = [found["matmul"] for found in json.loads(out)["certificates"]]
    assert modes == ["float32", "tf32"]


def test_record_and_replay(capsys, tmp_path):
    path = tmp_path / "run.h5"
    code, out, _ = run(capsys, "parity", "record", "--out", path, *QUICK[:4], "--keep", "0,2")
    assert code == 0
    assert "steps 0, 2 kept" in out
    code, out, _ = run(capsys, "parity", "replay", path, "--backend", "strict:device1")
    assert code == 0
    assert "numpy (recorded)" in out
    assert "PARITY over 3 steps" in out
    code, _, err = run(capsys, "parity", "record", "--out", path, *QUICK[:4])
    assert code == 2
    assert "add --overwrite" in err
    with resealed(path) as file:
        file["steps/2/W1"][0, 0] += 1e-5
    code, out, err = run(capsys, "parity", "replay", path)
    assert (code, out) == (2, "")
    assert "step 2 is not the one that was recorded" in err


def test_divergence_is_exit_code_1_and_says_where(capsys, tmp_path):
    from portadnn.parity.bundles import read_bundle, step_digest, write_bundle

    path = tmp_path / "run.h5"
    run(capsys, "parity", "record", "--out", path, *QUICK[:4])
    bundle = read_bundle(path)
    records, digests = list(bundle.records), list(bundle.digests)
    tensors = {**records[1].tensors, "dW1": records[1].tensors["dW1"] * np.float32(1.001)}
    records[1] = replace(records[1], tensors=tensors)
    digests[1] = step_digest(records[1])
    write_bundle(replace(bundle, records=records, digests=digests), path)
    code, out, _ = run(capsys, "parity", "replay", path)
    assert code == 1
    assert "numpy (recorded): DIVERGED step 1, layer 1, dW1[" in out
    assert "every earlier operation certified" in out
    assert out.rstrip().endswith("DIVERGED over 3 steps, checked: every operation of all of them")


def test_replay_says_in_words_what_was_checked(capsys, tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    run(capsys, "parity", "record", "--out", path, *QUICK[:4], "--keep", "1")
    _, out, _ = run(capsys, "parity", "replay", path, "--backend", "strict")
    assert "the file holds 1 of 3 steps, and only digests of the others" in out
    assert out.rstrip().endswith(
        "PARITY over 3 steps, checked: every operation of 1, nothing of 2 on numpy (recorded); "
        "every operation of all of them on strict"
    )
    monkeypatch.setattr("portadnn.parity.bundles.SECONDS", 0.0)
    _, out, _ = run(capsys, "parity", "replay", path, "--backend", "strict")
    assert "2 of the others were not checked after 0 seconds" in out
    assert out.rstrip().endswith("PARITY over 3 steps, checked: every operation of 1, nothing of 2")


def test_lawful_kinks_are_one_line_and_others_are_shown(capsys):
    result = compare(make_run(), [get_backend("numpy")])
    lawful = [Kink(7, 1, i, 0, 1e-7, -2e-7, 1e-6, ("numpy", "jax")) for i in range(12)]
    result.kinks = list(lawful)
    assert show(result, None, False) == 0
    out = capsys.readouterr().out
    assert "12 mask entries differ, the first at step 7, where rounding errors alone decide" in out
    assert "KINK" not in out
    assert "unit" not in out
    result.kinks = [*lawful, Kink(8, 1, 3, 5, 1.0, -1.0, 1e-6, ("numpy", "jax"))]
    assert show(result, None, False) == 1
    out = capsys.readouterr().out
    assert out.count("UNEXPLAINED MASK step 8, layer 1, unit 3, sample 5") == 1
    assert "12 mask entries differ" in out


def test_what_is_wrong_is_shown_with_its_cause_and_not_at_any_length(capsys):
    result = compare(make_run(), [get_backend("numpy")])
    (found,) = result.certificates
    nothing = replace(found.checks[0], verdict=Verdict.VACUOUS, ratio=math.nan)
    wrong = replace(found.checks[1], verdict=Verdict.DIVERGED, ratio=9.0)
    found.checks[:2] = [nothing, wrong]
    found.mode_mismatch = True
    found.cause = Cause("sign", "It has the other sign", "Mend it")
    result.kinks = [Kink(8, 1, i, 5, 1.0, -1.0, 1e-6, ("numpy", "jax")) for i in range(12)]
    assert show(result, None, False) == 1
    out = capsys.readouterr().out
    assert f"numpy: {found.mode}" in out
    assert f"numpy: {wrong}; every earlier operation" in out
    assert f"numpy: {found.cause}" in out
    assert "numpy: nothing can be said of 1 operations" in out
    assert out.count("UNEXPLAINED MASK") == 10
    assert "... 12 unexplained masks in all" in out


def test_the_self_test(capsys):
    code, out, _ = run(capsys, "parity", "--self-test")
    assert code == 0
    assert "the checker is sound" in out
    assert out.count("found") == 2 * 13
    assert out.count("not flagged") == 2 * 3


def test_a_self_test_that_fails(capsys, monkeypatch):
    monkeypatch.setattr("portadnn.parity.planted.first_failure", lambda checks: None)
    code, out, _ = run(capsys, "parity", "--self-test", "--json")
    assert code == 1
    assert not json.loads(out)["passed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no backend was named"),
        (["numpyy"], "unknown backend 'numpyy': did you mean 'numpy'"),
        (["numpy", "--steps", "0"], "number of steps is 0"),
        (["numpy", "--batch-size", "0"], "batch size is 0: expected 1 to 1437"),
        (["numpy", "--activation", "relo"], "unknown activation 'relo'"),
        (["numpy", "--data", "absent.h5"], "absent.h5"),
        (["numpy", "--self-test"], "--self-test takes no backends and writes no report"),
        (["numpy", "--backend", "numpy"], "--backend numpy: name the backends without it"),
        (["numpy", "--steps", "1000001"], "--steps 1000001: expected 1,000,000 or fewer"),
        (["numpy", "--html", "."], ". is a directory: expected the name of a file"),
        (["numpy", "--html", "/nonexistent/report.html"], "cannot be written"),
        (["record", "--out", "/nonexistent/run.h5"], "cannot be written"),
        (["record", "--out", "run.pt"], "run.pt: .pt is for PyTorch files"),
        (["record", "--out", "x.h5", "--keep", "1,b"], "expected step numbers"),
        (["record", "--out", "x.h5", "--keep", "99"], "the run has 50 steps"),
        (["replay", "absent.h5"], "absent.h5"),
    ],
)
def test_bad_input(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "parity", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []
