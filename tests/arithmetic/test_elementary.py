import math
import runpy
import warnings
from pathlib import Path

import array_api_compat.numpy as numpy_namespace
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.arithmetic import elementary
from portadnn.arithmetic.guards import guarded
from portadnn.backends import get_backend, tape

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "make_polynomials"
SMALLEST = 2.0**-1022
LARGEST = math.nextafter(math.inf, 0)
ENDS_OF_LOG = [-1022 * math.log(2), math.nan, 1024 * math.log(2), math.nan]
# the module's promises, in units in the last place
BOUNDS = {"exp": 0.85, "expm1": 0.9, "log": 0.95, "log1p": 0.95, "tanh": 0.95}
# the largest errors that searches over 6 million points each found
WORST = {
    "exp": ["-0x1.ba835b38ab158p+8", "0x1.9f33b562f8e39p-2", "0x1.23504b39f8064p+2"],
    "expm1": ["-0x1.2690869730166p-2", "0x1.9992b08b37a0cp-2", "-0x1.2692a64f97bf1p-2"],
    "log": ["0x1.65cdf9f0a1c59p+0", "0x1.6600499246817p-1", "0x1.65cd6994248c7p-1"],
    "log1p": ["-0x1.3463424f700b2p-2", "0x1.97464a6249424p-2", "0x1.9af227f906e65p-2"],
    "tanh": ["0x1.beebd455db75ap-3", "0x1.bb0ce2cdfead0p-3", "0x1.87ddf99e6a7fcp-3"],
}
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, SMALLEST, -SMALLEST, LARGEST, -LARGEST]
ON_SPECIAL = {
    "exp": [1, 1, math.inf, 0, math.nan, 1, 1, math.inf, 0],
    "expm1": [0.0, -0.0, math.inf, -1, math.nan, SMALLEST, -SMALLEST, math.inf, -1],
    "log": [-math.inf, -math.inf, math.inf, math.nan, math.nan, *ENDS_OF_LOG],
    "log1p": [0.0, -0.0, math.inf, math.nan, math.nan, SMALLEST, -SMALLEST, *ENDS_OF_LOG[2:]],
    "tanh": [0.0, -0.0, 1, -1, math.nan, SMALLEST, -SMALLEST, 1, -1],
}


@pytest.fixture
def backend_dtype():
    return "float64"


def both_signs(x):
    return np.concatenate([x, -x])


def points(name, n, seed=0):
    """Arguments over all exponents and where something happens, n in each part."""
    rng = np.random.default_rng(seed)
    uniform = rng.uniform
    every = 2.0 ** uniform(-1022, 1024, n)
    some = both_signs(2.0 ** uniform(-60, 10, n))
    tiny = 2.0 ** uniform(-52, -1, n)
    near_switches = (rng.integers(-1022, 1025, n) + 0.585) * math.log(2)
    parts = {
        "exp": [uniform(-708.4, 709.8, n), some, near_switches, uniform(-0.5, 0.5, n)],
        "expm1": [both_signs(every), some, uniform(-40, 60, n), uniform(-1, 2, n)],
        "log": [every, uniform(0.5, 2, n), uniform(0.6, 0.8, n), 1 + both_signs(tiny)],
        "log1p": [every, -(2.0 ** uniform(-1022, 0, n)), uniform(-0.9, 2, n), tiny - 1],
        "tanh": [both_signs(every), some, both_signs(uniform(0, 2, n)), uniform(17, 20, n)],
    }
    parts["expm1"].append(near_switches)
    parts["tanh"].append(near_switches / 2)
    found = np.concatenate([*parts[name], [float.fromhex(x) for x in WORST[name]]])
    return found[found >= SMALLEST] if name == "log" else found[np.abs(found) >= SMALLEST]


def errors_in_ulp(name, x, y):
    """How far y is from the function of x, where that is a normal number."""
    found = []
    with mpmath.workprec(140):
        for argument, value in zip(x.tolist(), y.tolist(), strict=True):
            true = getattr(mpmath, name)(mpmath.mpf(argument))
            if SMALLEST <= abs(true) <= LARGEST:
                ulp = mpmath.ldexp(1, mpmath.frexp(true)[1] - 53)
                found.append(float(abs(true - value) / ulp))
    return np.asarray(found)


def assert_same_bits(x, expected):
    """Equal as integers, so that zeros have their signs; any NaN is like another."""
    x, expected = np.asarray(x), np.asarray(expected)
    assert x.dtype == expected.dtype == np.float64
    assert x.shape == expected.shape
    same = (x.view(np.int64) == expected.view(np.int64)) | (np.isnan(x) & np.isnan(expected))
    assert same.all(), f"{np.sum(~same)} of {same.size} differ: {x[~same][:3]}"


def on_numpy(name, x):
    with np.errstate(invalid="ignore", over="ignore"):
        return getattr(elementary, name)(np.asarray(x), xp=numpy_namespace)


def on_backend(name, x, backend):
    with np.errstate(invalid="ignore", over="ignore"):  # for array-api-strict
        y = getattr(elementary, name)(backend.asarray(x), xp=guarded(backend.xp))
        return backend.to_numpy(y)


@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_is_within_the_bound(name):
    x = points(name, 1500)
    errors = errors_in_ulp(name, x, on_numpy(name, x))
    assert len(errors) > 4000
    assert errors.max() < BOUNDS[name]


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [4 / 3, 3 / 2, 1.4, 2.8])
def test_the_error_is_within_the_bound_where_the_reduction_switches(name, value):
    switches = {"log": [value, value / 4], "log1p": [value - 1, value / 4 - 1]}
    switch = np.asarray(switches.get(name, [math.log(value), -math.log(value)]))[:, np.newaxis]
    x = (switch + np.arange(-60, 61) * np.spacing(np.abs(switch))).ravel()
    x = x / 2 if name == "tanh" else x
    assert errors_in_ulp(name, x, on_numpy(name, x)).max() < BOUNDS[name]


@given(st.sampled_from(sorted(BOUNDS)), st.floats(allow_subnormal=False))
def test_the_error_is_within_the_bound_anywhere(name, x):
    y = on_numpy(name, [x])
    if name in ("log", "log1p") and x <= -(name == "log1p"):
        assert not np.isfinite(y[0])
    elif math.isfinite(x):
        assert all(errors_in_ulp(name, np.asarray([x]), y) < BOUNDS[name])


@pytest.mark.parametrize("name", BOUNDS)
def test_special_values(name, backend):
    assert_same_bits(on_backend(name, SPECIAL, backend), np.asarray(ON_SPECIAL[name], float))


EDGES = {
    "exp": {elementary.EXP_IS_0: 0.0, -745.0: 0.0, 709.79: math.inf, -(2.0**-60): 1.0},
    "expm1": {-37.5: -1.0, -1e3: -1.0, 709.79: math.inf},
    "log": {1.0: 0.0, -1.0: math.nan},
    "log1p": {-1.0: -math.inf, -1.5: math.nan},
    "tanh": {19.0625: 1.0, -20.5: -1.0, 2.0**-30: 2.0**-30},
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_edges(name, backend):
    edges = EDGES[name]
    assert_same_bits(on_backend(name, [*edges], backend), np.asarray([*edges.values()]))


def test_exp_is_normal_or_0(backend):
    x = elementary.EXP_IS_0 + np.ldexp(np.arange(-50.0, 50.0), -43)
    found = on_backend("exp", x, backend)
    assert all(np.where(x <= elementary.EXP_IS_0, found == 0, found >= SMALLEST))


@pytest.mark.parametrize("name", BOUNDS)
def test_no_warning_for_finite_results(name):
    x = {"log": [SMALLEST, 1.0, LARGEST], "log1p": [-0.5, 0.0, LARGEST]}.get(name, [-1e300, 0, 700])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(elementary, name)(np.asarray([*x, math.nan]), xp=numpy_namespace)


@pytest.mark.parametrize("name", BOUNDS)
def test_every_backend_has_the_same_bits(name, backend):
    x = points(name, 20_000, seed=1)
    assert_same_bits(on_backend(name, x, backend), on_numpy(name, x))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_compiled_program_has_the_same_bits(name, require):
    require("jax")
    import jax

    backend = get_backend("jax", dtype="float64")
    x = np.concatenate([points(name, 60_000, seed=2), SPECIAL])
    function = getattr(elementary, name)
    with backend.scope():
        compiled = jax.jit(lambda x: function(x, xp=guarded(backend.xp)))
        assert_same_bits(compiled(backend.asarray(x)), on_numpy(name, x))


def test_a_compiled_program_without_guards_is_caught(require):
    require("jax")
    import jax

    backend = get_backend("jax", dtype="float64")
    x = points("log", 1000)
    with backend.scope():
        y = jax.jit(lambda x: elementary.log(x, xp=backend.xp))(backend.asarray(x))
        with pytest.raises(AssertionError, match="differ"):
            assert_same_bits(y, on_numpy("log", x))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_function_of_the_library_is_caught(name, backend):
    x = points(name, 2000)
    with np.errstate(over="ignore"):
        y = backend.to_numpy(getattr(backend.xp, name)(backend.asarray(x)))
    with pytest.raises(AssertionError, match="differ"):
        assert_same_bits(y, on_numpy(name, x))


class PoorEstimates:
    """NumPy with an ``exp`` and a ``log2`` of one digit, and a ``sqrt`` that is off by an ulp."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def exp(self, x):
        return np.exp(x) * self.rng.uniform(0.9, 1.1, x.shape)

    def log2(self, x):
        return np.log2(x) + self.rng.uniform(-0.4, 0.4, x.shape)

    def sqrt(self, x):
        return np.nextafter(np.sqrt(x), self.rng.choice([0.0, np.inf], x.shape))

    def __getattr__(self, name):
        return getattr(numpy_namespace, name)


@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_of_an_estimate_changes_nothing(name):
    x = points(name, 5000)
    with np.errstate(over="ignore"):
        poor = getattr(elementary, name)(x, xp=PoorEstimates())
    assert_same_bits(poor, on_numpy(name, x))


def test_powers_of_two_are_exact(backend):
    k = np.arange(-1022.0, 971.0)
    found = elementary._power_of_two(backend.asarray(k), guarded(backend.xp))
    assert_same_bits(backend.to_numpy(found), np.ldexp(1.0, k.astype(int)))


def test_the_power_below_is_the_largest(backend):
    k = np.arange(-969, 1024)
    power = np.ldexp(1.0, k)
    above, twice = np.nextafter(power, math.inf), np.minimum(power * (2 - 2.0**-52), LARGEST)
    for x, expected in ((above, power), (twice, power), (power[1:], power[:-1])):
        found = elementary._power_below(backend.asarray(x), guarded(backend.xp))
        assert_same_bits(backend.to_numpy(found), expected)


@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (3, 2, 4)])
@pytest.mark.parametrize("name", BOUNDS)
def test_any_shape(name, shape, backend):
    x = np.linspace(0.1, 3.0, math.prod(shape)).reshape(shape)
    assert_same_bits(on_backend(name, x, backend), on_numpy(name, x.ravel()).reshape(shape))


@pytest.mark.parametrize("name", BOUNDS)
def test_what_went_in_is_left_alone(name):
    x = points(name, 100)
    before = x.copy()
    on_numpy(name, x)
    assert_same_bits(x, before)


@pytest.mark.parametrize("name", BOUNDS)
def test_larger_arguments_have_larger_values(name):
    low, high = {"exp": (-708, 709), "expm1": (-30, 709), "tanh": (-8, 8)}.get(name, (0.01, 1e3))
    x = np.linspace(low, high, 30_000)
    assert all(np.diff(on_numpy(name, x)) > 0)


@given(st.floats(-30, 30, allow_subnormal=False))
def test_tanh_is_odd(x):
    assert_same_bits(on_numpy("tanh", [-x]), -on_numpy("tanh", [x]))


@given(st.floats(-700, 700))
def test_log_undoes_exp(x):
    # exp errs by 2**-52 of itself, which is as much in absolute terms for the logarithm
    (back,) = on_numpy("log", on_numpy("exp", [x]))
    assert abs(back - x) <= 2.0**-52 + math.ulp(x)


def test_numpy_steps_are_recorded():
    def step(state, inputs, _):
        x = inputs["x"]
        named = {name: getattr(elementary, name)(x, xp=numpy_namespace) for name in BOUNDS}
        return state, named

    x = np.random.default_rng(4).uniform(0.01, 5.0, (3, 20, 30))
    _, recorded = tape.repeat(step, {"w": np.zeros((1, 1))}, {"x": x}, ())
    for name in BOUNDS:
        assert_same_bits(recorded[name], on_numpy(name, x))


def test_the_coefficients_are_those_of_the_script(capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = {}
    exec(capsys.readouterr().out, printed)
    assert printed["EXP"] == elementary.EXP
    assert printed["ARTANH"] == elementary.ARTANH


def polynomial(coefficients, x):
    """``coefficients[0] + coefficients[1] x + ...``"""
    return mpmath.fsum(c * x**k for k, c in enumerate(coefficients))


def test_the_approximations_err_as_little_as_they_say():
    with mpmath.workprec(140):
        for i in range(1, 200):
            for r in (mpmath.mpf(41 * i) / 20000, -mpmath.mpf(29 * i) / 20000):
                found = r + r**2 / 2 + r**3 * polynomial(elementary.EXP, r)
                assert abs(found / mpmath.expm1(r) - 1) < 2.0**-58
            s = mpmath.mpf(i) / 1000
            found = 2 * s + s**3 * polynomial(elementary.ARTANH, s**2)
            assert abs(found / (2 * mpmath.atanh(s)) - 1) < 2.0**-58


def test_the_constants_are_those_of_the_logarithm():
    with mpmath.workprec(140):
        ln2 = mpmath.log(2)
        assert float(ln2) == elementary.LN2
        assert float(1 / ln2) == elementary.PER_LN2
        assert float(2 - mpmath.log(3) / ln2) == elementary.SWITCH
        assert int(elementary.LN2_HIGH * 2**32) == elementary.LN2_HIGH * 2**32
        assert abs(elementary.LN2_HIGH + mpmath.mpf(elementary.LN2_LOW) - ln2) < 2.0**-86
        assert mpmath.exp(elementary.EXP_IS_0) < SMALLEST
        assert mpmath.exp(math.nextafter(elementary.EXP_IS_0, 0)) >= SMALLEST
