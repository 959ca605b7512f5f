"""The mutants: a sample of them in the real step, and a checker that sees nothing fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "mutants"


def mutants(*arguments):
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True,
                          text=True)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_sample_is_killed_in_its_place_or_lawful(tmp_path):
    results = tmp_path / "mutants.jsonl"
    code, out, _ = mutants("--sample", 60, "--seed", 0, "--results", results)
    assert code == 0, out
    found = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert len(found) == 60
    killed = [one for one in found if one["outcomes"]["float32"]["result"] == "killed"]
    assert len(killed) > 40
    assert any("place" in one["outcomes"]["float32"] for one in killed)
    code, again, errors = mutants("--sample", 60, "--seed", 0, "--results", results)
    assert (code, again) == (0, out)  # from the file, nothing was left to do
    assert "mutants" not in errors


def test_every_kind_of_change_is_made_in_every_module():
    code, out, _ = mutants("--list")
    assert code == 0
    *lines, total = out.splitlines()
    assert int(total.split()[0].replace(",", "")) == len(lines) > 1500
    for kind in ("operator", "operand", "axis", "constant", "order", "dtype", "omitted",
                 "off by one", "condition"):  # fmt: skip
        assert any(f" {kind}: " in line for line in lines)
    division = "omitted: xp.divide(over.matmul(dZ, A_prev.T), m) -> over.matmul(dZ, A_prev.T)"
    assert any("network.layers.linear_backward:" in line and division in line for line in lines)
    assert not any("raise" in line or "InputError" in line for line in lines)


def test_a_sample_larger_than_all():
    assert mutants("--sample", 10**6)[0] == 2


def judged(function, change, blind):
    """The results of the first such mutant, by a parity that sees or by one that is blind."""
    code = f"""
import sys
sys.path[:0] = [{str(SCRIPT.parent.parent)!r}, {str(SCRIPT.parent)!r}]
from mutation import bench, make
if {blind}:
    bench.first_failure = lambda checks: None
mutants = [m for module in make.MODULES for m in make.mutants_of(module)
           if m.function == {function!r} and {change!r} in str(m)]
for one in bench.judge(mutants[0], bench.Honest())["outcomes"].values():
    print(one["result"], one["place"], one["effect"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_a_mutant_that_nobody_flags_is_missed_if_it_is_above_the_level():
    for blind, result in ((False, "killed"), (True, "missed")):
        for found in judged("dropout_forward", "omitted: 1.0 / (1.0 - rate) -> 1.0", blind):
            assert found[:4] == [result, "step", "0,", "AD1"]
            assert float(found[4]) == pytest.approx(0.25)


def test_a_mutant_that_changes_nothing_is_lawful():
    for found in judged("softmax", "operator: xp.max(Z, axis=0, keepdims=True) -> xp.m", False):
        assert found[0] == "lawful"
        assert float(found[2]) < 1e-12
