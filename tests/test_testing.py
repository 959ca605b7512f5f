"""``assert_parity`` on honest and faulty functions, and the plugin in pytest runs of its own."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_cuda.events import on_stand_in

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.testing import assert_parity, backend_names

RNG = np.random.default_rng(0)
INPUTS = {"W": RNG.standard_normal((10, 300)), "X": RNG.standard_normal((300, 32))}


def softmax_layer(xp, W, X):
    """With operators, functions, indexing and a mask."""
    Z = xp.matmul(W, X)
    T = xp.exp(Z - xp.max(Z, axis=0, keepdims=True))
    A = T / xp.sum(T, axis=0, keepdims=True)
    hidden = xp.where(Z > 0, Z, 0.01 * Z)
    cost = xp.mean(xp.log1p(xp.abs(hidden)))
    return {"Z": Z, "A": A, "dZ": A[:, :5] - 1.0, "cost": cost, "dW": (hidden @ X.T) / 32.0}


class Faulty:
    """A namespace with some functions replaced: a backend that computes something else."""

    def __init__(self, xp, **functions):
        self._xp = xp
        self.__dict__.update(functions)

    def __getattr__(self, name):
        return getattr(self._xp, name)


def faulty(dtype="float32", **functions):
    backend = get_backend("numpy", dtype=dtype)
    return replace(backend, name="faulty", xp=Faulty(backend.xp, **functions))


def lower(x, bits):
    """x with so many bits of significand."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits).astype(x.dtype)


def test_honest_functions_pass(backend):
    report = assert_parity(softmax_layer, INPUTS, ["numpy", backend], dtype=backend.dtype_name)
    assert report.outputs == ("Z", "A", "dZ", "cost", "dW")
    assert report.operations == 17
    assert 0 < report.largest_ratio <= 1
    assert report.unchecked == ()


def spread_product(xp, W, X):
    """A product and sums whose terms are of very different sizes."""
    Z = xp.matmul(W, X)
    return {"Z": Z, "mean": xp.mean(Z, axis=1), "squares": xp.sum(Z * Z, axis=0)}


def test_a_reproducible_backend_is_held_to_its_own_bounds(backend):
    rng = np.random.default_rng(0)
    shapes = {"W": (20, 300), "X": (300, 50)}
    inputs = {
        name: np.exp(6 * rng.standard_normal(shape)) * rng.choice((-1.0, 1.0), shape)
        for name, shape in shapes.items()
    }
    dtype = backend.dtype_name
    reproducible = get_backend(backend.name, dtype=dtype, arithmetic="reproducible")
    report = assert_parity(spread_product, inputs, [reproducible], dtype=dtype)
    assert 0 < report.largest_ratio <= 1


@pytest.mark.parametrize("function", ["matmul", "sum"])
def test_a_fault_of_a_reproducible_backend_is_found(function):
    backend = get_backend("numpy", dtype="float32", arithmetic="reproducible")
    honest = getattr(backend.xp, function)
    replaced = {function: lambda *x, **how: lower(honest(*x, **how), 12)}
    narrow = replace(backend, name="faulty", xp=Faulty(backend.xp, **replaced))
    with pytest.raises(AssertionError, match=rf"DIVERGED faulty, operation \d+.*, {function}"):
        assert_parity(spread_product, INPUTS, [narrow])


def test_every_function_with_a_bound_is_honest_somewhere(backend):
    def functions(xp, x, y, i):
        columns = xp.take(x, i, axis=1)
        parts = [
            xp.sqrt(xp.abs(x)), xp.expm1(x), xp.log2(xp.square(x) + 0.1), xp.sin(x), xp.cos(y),
            xp.tanh(x), xp.log(xp.exp(y)), xp.log10(xp.abs(y) + 1.0), xp.log1p(0.5 * xp.tanh(x)),
            xp.pow(xp.abs(x), y), xp.divide(x, y), xp.multiply(x, y), xp.maximum(x, y), -x, x**2,
            xp.clip(x, -0.1, 0.1), xp.concat([columns, columns], axis=1), xp.flip(y, axis=0),
        ]  # fmt: skip
        return {
            "stack": xp.stack(parts),
            "vecdot": xp.vecdot(x, y, axis=-1),
            "batched": xp.matmul(xp.stack(parts[:2]), y.T),
            "vector": xp.matmul(x, y[0, :]),
            "mean": xp.mean(xp.stack(parts[:3]), axis=(0, 2)),
            "count": xp.sum(xp.astype(x > y, xp.int32)),
            "shape": xp.reshape(xp.permute_dims(x, (1, 0)), (-1,)),
            "all": xp.all(xp.isfinite(x)),
        }

    x = RNG.standard_normal((6, 8))
    inputs = {"x": x, "y": RNG.standard_normal((6, 8)), "i": np.asarray([0, 3, 5, 7])}
    report = assert_parity(functions, inputs, [backend], dtype=backend.dtype_name)
    assert report.largest_ratio <= 1


@pytest.mark.parametrize(
    ("replaced", "function", "verdicts", "output"),
    [
        ({"exp": lambda x: np.exp(x).astype(np.float16).astype(x.dtype)}, "exp", ["DIVERGED"], ""),
        ({"matmul": lambda P, R: np.matmul(lower(P, 11), lower(R, 11))}, "matmul",
         ["SUSPECT", "DIVERGED"], " (Z)"),
        ({"sum": lambda x, **k: np.sum(x[1:], **k)}, "sum", ["DIVERGED"], ""),
        ({"log1p": lambda x: np.log1p(x) * (1 + 1e-5)}, "log1p", ["DIVERGED"], ""),
        ({"max": lambda x, **k: np.max(x, **k) + 1e-6}, "max", ["DIVERGED"], ""),
        ({"where": lambda m, x, y: np.where(m, y, x)}, "where", ["DIVERGED"], ""),
        ({"mean": lambda x: np.sum(x) / (x.size - 1)}, "mean", ["DIVERGED"], " (cost)"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_named(replaced, function, verdicts, output):
    with pytest.raises(AssertionError) as caught:
        assert_parity(softmax_layer, INPUTS, ["numpy", faulty(**replaced)])
    message = str(caught.value)
    verdict, rest = message.split(" ", 1)
    assert verdict in verdicts
    assert rest.startswith("faulty, operation ")
    assert f"{output}, {function}" in rest
    for word in ("observed", "exact", "|error|", "bound", "ratio", "entries", "every earlier"):
        assert word in rest
    if function == "matmul":
        bits = float(rest.partition("effective bits ")[2].partition(";")[0])
        assert abs(bits - 12.4) < 0.6
        declared = faulty(**replaced)
        report = assert_parity(softmax_layer, {**INPUTS}, [declared], matmul="tf32",
                               unchecked=("matmul",))  # fmt: skip
        assert report.unchecked == ("matmul",)


def test_tf32_is_lawful_where_it_is_declared():
    backend = faulty(matmul=lambda P, R: np.matmul(lower(P, 11), lower(R, 11)))
    assert_parity(lambda xp, W, X: {"Z": xp.matmul(W, X)}, INPUTS, [backend], matmul="tf32")


@pytest.mark.parametrize(("narrow", "wide"), [("float16", "float32"), ("float32", "float64")])
def test_a_rounding_in_the_user_s_own_step_is_found(narrow, wide):
    def careless(xp, W, X):
        T = xp.exp(xp.matmul(W, X) / 100.0)
        T = xp.astype(xp.astype(T, getattr(np, narrow)), getattr(np, wide))
        return {"A": T / xp.sum(T, axis=0, keepdims=True)}

    with pytest.raises(AssertionError, match=f"operation 4, astype.*result is {narrow}, declared"):
        assert_parity(careless, INPUTS, dtype=wide)


def test_silent_float64_is_a_fault():
    # the values are too good: only the dtype tells
    def careless(xp, W, X):
        return {"W": W * xp.asarray(np.asarray([2.0])), "X": X}

    with pytest.raises(AssertionError, match="DIVERGED numpy, .*float64, declared float32"):
        assert_parity(careless, INPUTS)


@pytest.mark.parametrize("kind", [list, tuple])
def test_arrays_in_a_tuple_are_no_other_operands(kind, backend):
    def joined(xp, W, X):
        parts = kind((xp.exp(W[:, :32]), xp.exp(X[:10, :])))
        return {"joined": xp.concat(parts, axis=0), "stacked": xp.stack(parts)}

    assert_parity(joined, INPUTS, ["numpy", backend], dtype=backend.dtype_name)


def test_a_number_that_was_read_from_an_array_is_no_other_operand(backend):
    def scaled(xp, W, X):
        total = float(xp.sum(xp.exp(W)))
        return {"scaled": X / total, "plain": X * 0.5}

    assert_parity(scaled, INPUTS, ["numpy", backend], dtype=backend.dtype_name)


def test_a_mask_within_rounding_is_a_kink_and_no_fault():
    def step(xp, W, X):
        Z = xp.matmul(W, X)
        return {"A": xp.where(Z > 0, Z, 0.0)}

    def in_order(i, j, k):  # a product of three terms, summed in this order
        def matmul(P, R):
            return (P[:, [i]] @ R[[i]] + P[:, [j]] @ R[[j]]) + P[:, [k]] @ R[[k]]

        return faulty(matmul=matmul)

    inputs = {"W": np.asarray([[1e4, 1e-4, -1e4]]), "X": np.ones((3, 1))}
    report = assert_parity(step, inputs, [in_order(0, 1, 2), in_order(0, 2, 1)])
    (kink,) = report.kinks
    assert kink.undecidable
    assert (kink.operation, kink.function, kink.index) == (2, "greater", (0, 0))
    assert (kink.first, kink.second) == (0, float(np.float32(1e-4)))
    assert str(kink).startswith("UNDECIDABLE KINK operation 2, greater[0, 0]")


def test_a_mask_that_an_unchecked_function_moved_is_unexplained():
    def step(xp, X):
        Z = xp.exp(X) - 1.0
        return {"A": xp.where(Z > 0, Z, 0.0)}

    other = faulty(exp=lambda x: np.exp(x) - np.float32(0.5))
    inputs = {"X": np.asarray([0.25, 2.0])}
    with pytest.raises(AssertionError, match=r"UNEXPLAINED .*greater\[0\]"):
        assert_parity(step, inputs, ["numpy", other], unchecked=("exp",))
    with pytest.raises(AssertionError, match="DIVERGED faulty, operation 1, exp"):
        assert_parity(step, inputs, ["numpy", other])


def test_functions_that_part_and_data_that_differ_are_found():
    draws = iter(range(10))

    def random(xp, X):
        return {"A": X * xp.asarray(float(next(draws)), dtype=X.dtype)}

    with pytest.raises(AssertionError, match="DIFFERENT DATA: operation 1, asarray"):
        assert_parity(random, {"X": INPUTS["X"]}, ["numpy", "strict"])

    def parting(xp, X):
        return {"A": xp.exp(X) if "strict" in xp.__name__ else xp.tanh(X)}

    with pytest.raises(AssertionError, match="number 1 is tanh on numpy and exp on strict"):
        assert_parity(parting, {"X": INPUTS["X"]}, ["numpy", "strict"])


def test_what_is_no_array_of_numbers_is_refused():
    with pytest.raises(InputError, match="X is complex128: expected floats, integers or bools"):
        assert_parity(lambda xp, X: {"Y": X}, {"X": np.ones(2, complex)}, ["numpy"])
    chosen = {"mask": np.asarray([True, False]), "X": np.asarray([1.0, 2.0])}
    assert_parity(lambda xp, mask, X: {"Y": xp.where(mask, X, -X)}, chosen, ["numpy", "strict"])


def test_what_is_not_seen_is_refused():
    with pytest.raises(InputError, match=r"no bound is derived for cumulative_prod.*unchecked="):
        assert_parity(lambda xp, X: {"S": xp.cumulative_prod(X, axis=0)}, {"X": INPUTS["X"]})
    report = assert_parity(
        lambda xp, X: {"S": xp.cumulative_prod(X, axis=0)}, {"X": INPUTS["X"]},
        unchecked=("cumulative_prod",),
    )  # fmt: skip
    assert report.unchecked == ("cumulative_prod",)
    with pytest.raises(AssertionError, match="'A' is ndarray, which no recorded operation made"):
        assert_parity(lambda xp, X: {"A": np.ones(3)}, {"X": INPUTS["X"]})
    for escape in (np.exp, np.asarray):
        with pytest.raises(TypeError):
            assert_parity(lambda xp, X, f=escape: {"A": f(X)}, {"X": INPUTS["X"]})
    with pytest.raises(InputError, match="no output 'Z': the function returned A"):
        assert_parity(lambda xp, X: {"A": X}, {"X": INPUTS["X"]}, outputs=("A", "Z"))
    with pytest.raises(InputError, match="expected a sequence"):
        assert_parity(softmax_layer, INPUTS, "numpy")
    with pytest.raises(InputError, match="the given backend has float64: expected the same"):
        assert_parity(softmax_layer, INPUTS, [get_backend("numpy", dtype="float64")])
    with pytest.raises(InputError, match="returned RecordedArray: expected a dict"):
        assert_parity(lambda xp, X: X, {"X": INPUTS["X"]})


def test_extensions_of_the_namespace_are_recorded_by_name(backend):
    if on_stand_in():
        pytest.skip("the stand-in for CUDA has no solver and no Fourier transform")

    def factors(xp, X):
        Q, R = xp.linalg.qr(X)
        spectrum = xp.fft.rfft(X[0, ...])
        return {"X": xp.linalg.matmul(Q, R), "size": xp.abs(spectrum)}

    inputs = {"X": RNG.standard_normal((6, 6))}
    options = {"backends": [backend], "dtype": backend.dtype_name}
    if backend.name.startswith("dask"):
        factors = lambda xp, X: {"X": xp.linalg.qr(X)[1]}  # noqa: E731
        with pytest.raises(InputError, match="no bound is derived for linalg.qr: write it"):
            assert_parity(factors, inputs, **options)
        return
    for unchecked, missing in (
        ((), "abs of complex numbers, fft.rfft, fft.rfft of complex numbers, linalg.qr"),
        (("linalg.qr", "fft.rfft"), "abs of complex numbers"),
    ):
        with pytest.raises(InputError, match=f"no bound is derived for {missing}: write it"):
            assert_parity(factors, inputs, unchecked=unchecked, **options)
    unchecked = ("linalg.qr", "fft.rfft", "abs")
    assert assert_parity(factors, inputs, unchecked=unchecked, **options).operations == 5


def sums(xp, x, y):
    """Every function that adds up, and floors."""
    return {
        "running": xp.cumulative_sum(x, axis=1),
        "from 0": xp.cumulative_sum(x, axis=-1, include_initial=True),
        "tensordot": xp.tensordot(x, y, axes=2),
        "of one axis": xp.tensordot(x, y, axes=((0,), (2,))),
        "vecdot": xp.vecdot(x, x, axis=-2),
        "linalg": xp.linalg.matmul(x, xp.linalg.matrix_transpose(x)),
        "of linalg": xp.linalg.vecdot(x, x),
        "dot of linalg": xp.linalg.tensordot(x, y),
        "floor": xp.floor_divide(x, 0.37),
        "remainder": xp.remainder(x, xp.abs(x[:1, ...]) + 0.25),
        "operators": (x // 0.5) + x % 0.25,
    }


def spreads(xp, x, y):
    """Those that CuPy computes with a kernel of complex numbers."""
    return {
        "var": xp.var(x, axis=1, correction=1.0),
        "var of all": xp.var(x),
        "std": xp.std(x + 100.0, axis=(0, 2), keepdims=True),
        "norm": xp.linalg.vector_norm(x, axis=(0, 1)),
        "norms": xp.linalg.vector_norm(x, axis=-1, ord=1, keepdims=True),
        "largest": xp.linalg.vector_norm(x, ord=float("inf")),
    }


@pytest.mark.parametrize("function", [sums, spreads])
@pytest.mark.parametrize("seed", range(3))
def test_sums_and_floors_are_within_their_bounds(backend, function, seed):
    if function is spreads and on_stand_in():
        pytest.skip("the stand-in for CUDA does not compile this kernel of CuPy's")
    if backend.name.startswith("dask"):
        pytest.skip("Dask's tensordot, linalg and cumulative sums are not those of the standard")
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.standard_normal((4, 300, 5)), "y": rng.standard_normal((300, 5, 4))}
    report = assert_parity(function, inputs, [backend], dtype=backend.dtype_name)
    assert 0 < report.largest_ratio <= 1


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x, **k: np.var(x) * (1 + 1e-4), "var"),
        (lambda x, **k: np.var(x, ddof=1), "var"),
        (lambda x, **k: np.std(x) + np.float32(1e-3), "std"),
        (lambda x, axis: np.cumsum(x, axis) - x[:, :1], "cumulative_sum"),
        (lambda x, y: np.tensordot(x, y[::-1]), "tensordot"),
        (lambda x, y: np.trunc(x / y), "floor_divide"),
        (lambda x, y: np.fmod(x, y), "remainder"),
    ],
)
def test_faults_of_sums_and_floors_are_found(function, name):
    def step(xp, X, Y):
        called = getattr(xp, name)
        if name == "cumulative_sum":
            return {"A": called(X, axis=1)}
        return {"A": called(X) if name in ("var", "std") else called(X, Y)}

    inputs = {"X": RNG.standard_normal((9, 300)), "Y": RNG.uniform(0.5, 1.0, (9, 300))}
    assert_parity(step, inputs)
    with pytest.raises(AssertionError, match=f"faulty, operation 1 .A., {name}"):
        assert_parity(step, inputs, [faulty(**{name: function})])


def test_nothing_is_added_up(backend):
    def nothing(xp, x, y):
        return {
            "sum": xp.sum(x, axis=0), "of all": xp.sum(x), "none left": xp.sum(x, axis=1),
            "product": xp.matmul(xp.matrix_transpose(x), x), "rows": xp.matmul(x, y),
            "stack": xp.matmul(xp.reshape(x, (0, 3, 1)), y[:1, :]),
            "exp": xp.exp(x), "vecdot": xp.vecdot(x, x),
        }  # fmt: skip

    inputs = {"x": np.zeros((0, 3)), "y": np.ones((3, 2))}
    report = assert_parity(nothing, inputs, [backend], dtype=backend.dtype_name)
    assert report.largest_ratio == 0


def test_integers_that_a_backend_does_not_hold_are_refused(backend):
    step = lambda xp, i: {"i": i + 1}  # noqa: E731
    options = {"backends": [backend], "dtype": backend.dtype_name}
    for limit in (2**31 - 2, -(2**31)):
        assert_parity(step, {"i": np.asarray([limit])}, **options)
    large = {"i": np.asarray([2**31, -(2**40)])}
    held = "int64" in backend.xp.__array_namespace_info__().dtypes(kind="signed integer")
    if held:
        assert_parity(step, large, **options)
    else:
        with pytest.raises(InputError, match=r"i has integers from -1,099.* to 2,147,483,648"):
            assert_parity(step, large, **options)
    with pytest.raises(InputError, match=r"i has integers from 0 to 9,223,372,036,854,775,808"):
        assert_parity(step, {"i": np.asarray([0, 2**63], np.uint64)}, **options)


PLUGIN_TEST = """
    def test_it(xp, device, backend):
        assert float(xp.sum(xp.ones(3, device=device))) == 3
        assert backend.dtype_name == "float32"
"""


def test_the_plugin_runs_a_test_on_every_backend(pytester):
    pytester.makepyfile(PLUGIN_TEST)
    result = pytester.runpytest("-p", "portadnn.testing", "-v")
    result.assert_outcomes(passed=1)
    result = pytester.runpytest(
        "-p", "portadnn.testing", "-v", "--portadnn-backends", "numpy,strict:device1"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it?numpy?*", "*test_it?strict:device1?*"])


def test_a_backend_that_was_asked_for_and_cannot_run_is_no_skip(pytester):
    pytester.makepyfile(PLUGIN_TEST)
    result = pytester.runpytest("-p", "portadnn.testing", "--portadnn-backends", "numpy,cupy:99")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_the_ini_file_names_the_default(pytester):
    pytester.makepyfile(PLUGIN_TEST)
    pytester.makeini("[pytest]\nportadnn_backends = strict, torch:cuda:99?")
    result = pytester.runpytest("-p", "portadnn.testing", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_it?strict?*"])


def test_the_plugin_leaves_other_tests_and_start_up_alone(pytester):
    pytester.makepyfile("""
        import sys

        import pytest

        @pytest.mark.parametrize("backend_name", ["mine"])
        def test_my_own(backend_name):
            assert "numpy" not in sys.modules
    """)
    result = pytester.runpytest_subprocess("-p", "portadnn.testing")
    result.assert_outcomes(passed=1)


def test_importing_the_plugin_is_cheap():
    code = "import portadnn.testing, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_this_project_names_its_backends(pytestconfig):
    assert "numpy" in backend_names(pytestconfig) or pytestconfig.getoption("--portadnn-backends")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda xp, X, W: {"A": W - 0.5 * X}, lambda xp, X, W: {"A": W - 0.1 * X}),
        (lambda xp, X, W: {"A": xp.sum(X, axis=0)}, lambda xp, X, W: {"A": xp.sum(X, axis=1)}),
        (lambda xp, X, W: {"A": xp.matmul(W, X)}, lambda xp, X, W: {"A": xp.matmul(X, X)}),
        (lambda xp, X, W: {"A": X[:, :2] + 1.0}, lambda xp, X, W: {"A": X[:, 1:3] + 1.0}),
    ],
)
def test_backends_that_compute_different_things_each_correctly(ours, theirs):
    inputs = {"X": np.eye(4) + 0.5, "W": np.full((4, 4), 0.25)}

    def step(xp, X, W):
        branch = theirs if "strict" in xp.__name__ else ours
        return branch(xp, X, W)

    assert_parity(ours, inputs, ("numpy", "strict"))
    with pytest.raises(AssertionError, match="DIFFERENT (OPERANDS|DATA)"):
        assert_parity(step, inputs, ("numpy", "strict"))
