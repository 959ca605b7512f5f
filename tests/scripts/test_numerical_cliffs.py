"""Where formulas fail and what ours give there, against 50 digits of mpmath."""

import importlib.util
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest

from portadnn.backends import get_backend

ROOT = Path(__file__).parent.parent.parent
_spec = importlib.util.spec_from_file_location(
    "numerical_cliffs", ROOT / "scripts" / "experiments" / "numerical_cliffs.py"
)
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)
numerical_cliffs = script.numerical_cliffs

EXACT = {
    "sigmoid(-z)": lambda z: 1 / (1 + mpmath.exp(z)),
    "sigmoid(z)": lambda z: 1 / (1 + mpmath.exp(-z)),
    "probability of 0": lambda z: 1 / (1 + mpmath.exp(z)),
    "cost of z, y = 0": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "cost of z, y = 1": lambda z: mpmath.log(1 + mpmath.exp(-z)),
    "cost of -z, y = 1": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "softmax of (z, 0)": lambda z: 1 / (1 + mpmath.exp(-z)),
    "its cost, second class": lambda z: mpmath.log(1 + mpmath.exp(z)),
}
# the logarithm of the largest number, and of half a unit in the last place of 1, less a rounding
OVERFLOW = {"float64": 709.7827128933841, "float32": 88.72283935546875}
ABSORBED = {"float64": 36.7368005696771, "float32": 16.635532333438686}


def test_the_table_says_where_what_fails(backend):
    cliffs = {cliff.quantity: cliff for cliff in numerical_cliffs(backend)}
    assert cliffs.keys() == EXACT.keys()
    eps = float(backend.xp.finfo(backend.dtype).eps)
    overflow, absorbed = OVERFLOW[backend.dtype_name], ABSORBED[backend.dtype_name]
    for quantity in ("sigmoid(z)", "softmax of (z, 0)", "its cost, second class"):
        # libraries round exp near its end by a few units in the last place: of z a few too
        assert cliffs[quantity].at == pytest.approx(overflow, rel=4 * eps)
    for quantity in ("sigmoid(-z)", "cost of -z, y = 1"):
        # earlier where 1 / (1 + exp(z)) is flushed to 0 below the normal numbers, at 4 / largest
        assert overflow - math.log(4) - 4 * eps * overflow <= cliffs[quantity].at
        assert cliffs[quantity].at <= overflow * (1 + 4 * eps)
    for quantity in ("probability of 0", "cost of z, y = 0", "cost of z, y = 1"):
        # 1 + exp(-z) is 1 from half a unit in its last place, where it is rounded to even
        assert cliffs[quantity].at == pytest.approx(absorbed, abs=16 * eps * absorbed)
    naive = {quantity: cliff.naive for quantity, cliff in cliffs.items()}
    assert naive["sigmoid(-z)"] == naive["probability of 0"] == 0
    assert naive["cost of z, y = 0"] == naive["cost of -z, y = 1"] == math.inf
    assert math.isnan(naive["cost of z, y = 1"])
    assert math.isnan(naive["softmax of (z, 0)"])


def test_ours_are_right_there(backend):
    info = np.finfo(backend.dtype_name)
    eps, tiny = float(info.eps), float(info.tiny)
    for quantity, _, at, _, ours in numerical_cliffs(backend):
        exact = float(EXACT[quantity](mpmath.mpf(at)))
        # a cost is a difference of numbers as large as z, of which each may be rounded; for the
        # rest exp is within a few units in the last place, and numbers below the normal may be 0
        atol = 2 * eps * at if quantity.startswith("cost") else tiny
        assert ours == pytest.approx(exact, rel=16 * eps, abs=atol)


def test_those_of_the_text():
    """exp(710), and 1 - sigmoid(37)."""
    cliffs = {cliff.quantity: cliff for cliff in numerical_cliffs()}
    assert 709 < cliffs["sigmoid(-z)"].at < 710
    assert 36 < cliffs["probability of 0"].at < 37
    # below the normal numbers, which NumPy keeps
    first = cliffs["sigmoid(-z)"]
    assert first.ours == pytest.approx(math.exp(-first.at), rel=1e-12, abs=0)  # 50 bits are left
    # found by halving: the number before is right
    at = cliffs["sigmoid(z)"].at
    assert np.isfinite(np.exp(np.nextafter(at, 0)))
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(at))
    assert cliffs["cost of z, y = 0"].ours == pytest.approx(36.7368, abs=1e-4)


def test_float32_on_request():
    single = numerical_cliffs("numpy", dtype="float32")
    given = numerical_cliffs(get_backend("numpy", dtype="float32"))
    assert [cliff.at for cliff in single] == [cliff.at for cliff in given]
    assert single[0].at < 89 < numerical_cliffs("numpy")[0].at


def test_the_table_in_the_docs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["numerical_cliffs"])
    assert script.main() == 0
    assert capsys.readouterr().out in (ROOT / "docs" / "diagnostics.md").read_text()
