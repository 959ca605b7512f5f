"""Generated kernels on the stand-in for CUDA, which has g++ compile them, or on a GPU."""

import functools
import logging
import subprocess
import sys

import numpy as np
import pytest
from fake_cuda.events import recorded
from fake_cuda.processes import HERE

from portadnn.backends import cupy as cupy_backend
from portadnn.backends import device_program, get_backend, graphs, kernels, schedule
from portadnn.backends.base import Backend
from portadnn.backends.recording import Recording, _take, _without_memory
from portadnn.backends.schedule import Schedule, Unprintable
from portadnn.backends.trees import flatten
from portadnn.data.dataset import Dataset
from portadnn.data.stored import spooled
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.optimizers import OPTIMIZERS
from portadnn.network.spec import Network
from portadnn.parity.certifier import Certifier
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.run import Run, on_backend, watch
from portadnn.training.declaration import Declaration
from portadnn.training.fit import make_loop
from portadnn.training.models import fingerprint
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import make_step
from portadnn.training.streams import Batches
from portadnn.training.train import train

pytestmark = pytest.mark.usefixtures("cupy")
GENERATED_KERNELS = True  # see conftest.py
EVERYTHING = Recipe("adamw", l2=0.05, l1=0.01, clip_norm=0.05, dropout=(0.25, 0.5))


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "_GRAPHS", type(graphs._GRAPHS)())


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--portadnn-recipes")))


def drawn_run(seed, dtype, arithmetic):
    """A run of a few steps with settings that a seed draws."""
    rng = np.random.default_rng(seed)

    def one_of(values):
        return values[rng.integers(len(values))]

    dims = (*rng.integers(1, 20, rng.integers(2, 5)).tolist(), int(rng.integers(1, 5)))
    m = int(rng.integers(1, 40))
    head = one_of([h for h in HEADS if h != "softmax" or dims[-1] > 1])
    network = Network(dims, tuple(one_of([*ACTIVATIONS]) for _ in dims[1:-1]), head)
    X = rng.standard_normal((dims[0], m))
    Y = rng.integers(0, 2, (dims[-1], m)).astype(float)
    if head == "softmax":
        Y = np.eye(dims[-1])[:, rng.integers(0, dims[-1], m)]
    batch = one_of([None, int(rng.integers(1, m + 1))])
    declaration = Declaration(
        optimizer=one_of([*OPTIMIZERS]),
        learning_rate=0.01,
        epochs=16,
        batch_size=batch,
        l2=one_of([0.0, 0.1]),
        l1=one_of([0.0, 0.01]),
        clip_norm=one_of([None, 0.5]),
        dropout=one_of([0.0, 0.25]),
        dtype=dtype,
        arithmetic=arithmetic,
    )
    weights = one_of([None, np.linspace(0.5, 1.5, m)[None]]) if m > 1 else None
    parameters = initialize_parameters_deep(dims, rng=rng)
    return Run(network, parameters, X, Y, declaration, 8, weights, drop_last=True)


def programs():
    return [graph and graph.program for graph in graphs._GRAPHS.values()]


def test_drawn_steps_have_the_bits_of_numpy_in_reproducible_arithmetic(seed, dtype):
    run, made = drawn_run(seed, dtype, "reproducible"), []
    for name in ("cupy", "numpy"):
        backend = get_backend(name, dtype=dtype, arithmetic="reproducible")
        with backend.scope():
            shared, state = on_backend(run, backend)
            step = make_step(run.network, backend.xp, recipe=run.recipe)
            found = backend.repeat(step, state, run.inputs(0, 8, backend), shared)
            made.append([backend.to_numpy(x) for x in flatten(found)[0]])
    assert all(programs())
    for x, y in zip(*made, strict=True):
        np.testing.assert_array_equal(x, y)


def test_drawn_steps_lie_within_the_bounds_of_parity(seed, dtype):
    """Every tensor of every step, as the generated kernels made it; watching changes nothing."""
    run = drawn_run(seed, dtype, "fast")
    result = compare(run, [get_backend("cupy", dtype=dtype)])
    assert result.outcome is Outcome.PARITY, result.first_divergence
    assert result.certificates[0].mode_mismatch is False
    assert all(programs())
    assert programs()


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 20},
        {"batch_size": 7, "optimizer": "adam", "dropout": 0.2, "clip_norm": 0.5, "epochs": 4},
        {"first_layer": "sample", "l2": 1e-3, "epochs": 20},
        {"optimizer": "lbfgs", "epochs": 9},
    ],
    ids=["plain", "batches", "sample space", "lbfgs"],
)
def test_a_run_of_generated_kernels_is_certified(settings):
    """A watched step is made by kernels too: its own calls add in another order."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 30))
    data = Dataset(X, (X[:, 0] + X[:, 1] > 0.4).astype(int), ("no", "yes"))
    certifier = Certifier(share=0.0, random_steps=3)
    train(data, layers=[5, 4], backend="cupy", certify=certifier, **settings)
    certificate = certifier.certificate
    assert certificate.outcome == "PARITY", certificate.content["failures"]
    assert all(programs())
    assert programs()


def test_a_wrong_kernel_is_outside_the_bounds_of_parity(monkeypatch):
    """So the test above can fail; the program's own check must fail before."""
    monkeypatch.setitem(kernels.FORMS, "subtract", "({0} - {1} * 1.001f)")
    run, backend = drawn_run(0, "float32", "fast"), get_backend("cupy")
    monkeypatch.setattr(device_program.Program, "agrees", lambda *_: True)
    assert compare(run, [backend]).outcome is not Outcome.PARITY


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize("fault", ["wrong", "refused"])
def test_the_graph_of_the_calls_stands_in_for_faulty_kernels(
    arithmetic, fault, monkeypatch, caplog
):
    monkeypatch.setitem(kernels.FORMS, "subtract", "({1} - {0})")
    if fault == "refused":
        monkeypatch.delitem(kernels.FORMS, "subtract")
    run, backend = drawn_run(3, "float32", arithmetic), get_backend("cupy", arithmetic=arithmetic)
    shared, state = on_backend(run, backend)
    step = make_step(run.network, backend.xp, recipe=run.recipe)
    given = step, state, run.inputs(0, 8, backend), shared
    with caplog.at_level(logging.INFO, "portadnn"):
        found = backend.repeat(*given)
    assert "the step runs without generated kernels" in caplog.text
    assert programs() == [None]
    for x, y in zip(flatten(found)[0], flatten(Backend.repeat(backend, *given))[0], strict=True):
        np.testing.assert_array_equal(x.get(), y.get())


def big_step(dims, m, batch, recipe, arithmetic="fast"):
    backend, rng = get_backend("cupy", arithmetic=arithmetic), np.random.default_rng(0)
    network = Network(dims, "relu", "sigmoid" if dims[-1] == 1 else "softmax")
    Y = rng.integers(0, 2, (1, m)) if dims[-1] == 1 else np.eye(10)[:, rng.integers(0, 10, m)]
    loop, start = make_loop(
        initialize_parameters_deep(dims, rng=0),
        rng.standard_normal((dims[0], m), dtype=np.float32),
        Y.astype(float),
        network=network,
        backend=backend,
        plan=Plan(1e-3, 100, Batches(m, batch), recipe),
        first_layer="auto",
    )
    return backend, loop, (start.parameters, start.slots)


@pytest.fixture
def program_of(monkeypatch):
    """The program of a step, neither compiled nor run."""
    from portadnn.backends.trees import unflatten

    monkeypatch.setattr(
        device_program, "compiled", lambda sources: [lambda *_: None] * len(sources)
    )

    def program_of(backend, step, state, inputs, shared):
        leaves, form = flatten(inputs)
        rows = [graphs._Rows(x[0, ...], 8, backend.xp) for x in leaves]
        firsts = unflatten(form, iter([x.first for x in rows]))
        counter = backend.xp.zeros(1, dtype=backend.xp.int64)
        return device_program.Program(
            step, state, firsts, shared, [x.array for x in rows], counter, 8
        )

    return program_of


WIDE = (784, 512, 512, 10)


@pytest.mark.parametrize(
    ("dims", "m", "batch", "recipe", "arithmetic", "most"),
    [
        ((12288, 20, 7, 5, 1), 209, None, Recipe(), "fast", 8),
        (WIDE, 4096, 256, Recipe(), "fast", 30),
        (WIDE, 4096, 256, Recipe("adam"), "fast", 30),
        (WIDE, 4096, 256, EVERYTHING, "fast", 60),
        (WIDE, 4096, 256, Recipe("adam"), "reproducible", 140),
        ((784, 4096, 4096, 10), 2048, 1024, Recipe(), "fast", 30),
        ((784, 4096, 4096, 10), 2048, 1024, EVERYTHING, "fast", 60),
    ],
)
def test_launches_of_a_step(dims, m, batch, recipe, arithmetic, most, program_of):
    backend, loop, state = big_step(dims, m, batch, recipe, arithmetic)
    program = program_of(backend, loop.step(), state, loop.inputs(0, 1), loop.shared)
    launches = len(program.kernels) + len(program.schedule.products) + len(program.after)
    assert launches <= most
    assert program.after == []


# CUDA's own, which have operations of their own; a stub is what it is given
LIBRARY = ("exp", "expm1", "log", "log2", "log1p", "tanh")
STUBS = "".join(f"#define {name}{f}(x) (x)\n" for name in LIBRARY for f in ("", "f"))


@pytest.fixture
def nvrtc(tmp_path):
    """The compiler of a GPU host, which needs no GPU: what it counts in each of the sources."""

    def check(sources, *options):
        files = [tmp_path / f"{i}.cu" for i in range(len(sources))]
        for file, source in zip(files, sources, strict=True):
            file.write_text(source)
        # in a process of its own, for the stand-in has functions of the same names
        program = [sys.executable, str(HERE / "compile_check"), *device_program.OPTIONS, *options]
        done = subprocess.run([*program, *map(str, files)], capture_output=True, text=True)
        if "there is no NVRTC here" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.partition(": ")[2] for line in done.stdout.splitlines()]

    return check


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_nvrtc_compiles_every_source_without_a_fused_or_flushing_operation(
    seed, arithmetic, dtype, nvrtc, program_of
):
    run = drawn_run(seed, dtype, arithmetic)
    backend = get_backend("cupy", dtype=dtype, arithmetic=arithmetic)
    shared, state = on_backend(run, backend)
    step = make_step(run.network, backend.xp, recipe=run.recipe)
    program = program_of(backend, step, state, run.inputs(0, 8, backend), shared)
    sources = [kernel.source for kernel in program.kernels]
    for arch in ("sm_80", "sm_90"):
        assert len(nvrtc(sources, f"-arch={arch}")) == len(sources)
    # reproducible arithmetic also calls exp and log2, as estimates whose last bits do not matter
    for found in nvrtc([STUBS + source for source in sources], "-arch=compute_90"):
        assert found.startswith("0 fused, 0 flush subnormals; ")


def test_nvrtc_sees_a_fused_and_a_flushing_operation(nvrtc):
    source = 'extern "C" __global__ void run(float* x) { x[0] = x[1] * x[2] + %s; }'
    plain, fused, flushing = nvrtc([source % x for x in ("x[3]", "fmaf(x[3], x[4], x[5])",
                                                         "expf(x[3])")])  # fmt: skip
    assert plain == "0 fused, 0 flush subnormals; add.rn.f32 1, mul.rn.f32 1"
    assert fused.startswith("1 fused, 0 flush")
    assert "ex2.approx.ftz.f32 1" in flushing


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_arrays_of_more_than_8_million_entries(arithmetic, monkeypatch):
    """Each thread of a part has several entries; sums over all of them add in a fixed order."""
    monkeypatch.setattr(graphs, "FEWEST_STEPS", 2)
    recipe = Recipe(l2=0.05, clip_norm=0.05) if arithmetic == "fast" else Recipe()
    backend, loop, state = big_step((2**12, 2**11 + 1, 1), 3, None, recipe, arithmetic)
    given = loop.step(), state, loop.inputs(0, 2), loop.shared
    found, again = (flatten(backend.repeat(*given))[0] for _ in range(2))
    assert all(programs())
    assert programs()
    expected = flatten(Backend.repeat(backend, *given))[0]
    for x, y, z in zip(found, again, expected, strict=True):
        np.testing.assert_array_equal(x.get(), y.get())
        if arithmetic == "reproducible":
            np.testing.assert_array_equal(x.get(), z.get())
        # a sum over 8 million squares in another order
        np.testing.assert_allclose(x.get(), z.get(), rtol=1e-4, atol=1e-6)


def test_an_array_that_32_bits_cannot_count_is_left_to_cupy():
    recording = Recording(in_rows=True)
    x = recording.stand(_without_memory("float32", (2**16, 2**15), (2**17, 4)))
    y = x + x
    made = Schedule(recording, {})
    assert made.parts
    with pytest.raises(Unprintable, match="65536 x 32768 entries, which 32 bits cannot count"):
        kernels.Kernel(made, made.parts, {y.number}, {})


def test_a_row_of_an_array_that_32_bits_cannot_count_is_found():
    recording = Recording(in_rows=True)
    x = recording.stand(_without_memory("float32", (2**21, 2**12), (2**14, 4)))
    rows = recording.stand(np.zeros(3, np.int32))
    y = recording.call(_take, (x, rows, 0), False)
    made = Schedule(recording, {})
    kernel = kernels.Kernel(made, made.parts, {y.number}, {})
    assert f"k{y.number} * 4096ll" in kernel.source


def has_three_axes(state, rate, _, *, xp):
    return (state[None] * rate)[0], rate


def takes_from_a_vector(state, rate, vector, *, xp):
    return state * xp.take(vector, xp.astype(rate[0] * 0.0, xp.int32), axis=0), rate


def writes_into_a_part(state, rate, _, *, xp):
    made = state * rate
    first = made[:, :1]
    first += 1.0
    return made, rate


def reshapes(state, rate, _, *, xp):
    return xp.reshape(state, state.shape) * rate, rate


def sums_to_a_vector(state, rate, vector, *, xp):
    return state * rate + xp.sum(state, axis=0) * vector, xp.sum(state, axis=1)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (has_three_axes, "an array of shape (1, 3, 4)"),
        (takes_from_a_vector, "a take that is not of rows or columns"),
        (writes_into_a_part, "a call that writes into a part of an array"),
        (reshapes, "the step cannot be recorded"),
        (sums_to_a_vector, ""),
    ],
)
def test_steps_of_other_calls(step, reason, caplog):
    """The graph of CuPy's own calls makes a step that is not printed; the log has the reason."""
    rng = np.random.default_rng(0)
    given = rng.random((3, 4)), rng.random((16, 1, 1)), rng.random(4)
    found = []
    with caplog.at_level(logging.INFO, "portadnn"):
        for name in ("cupy", "numpy"):
            backend = get_backend(name, dtype="float64")
            with backend.scope():
                made = functools.partial(step, xp=backend.xp)
                made = backend.repeat(made, *(backend.asarray(x) for x in given))
                found.append([backend.to_numpy(x) for x in flatten(made)[0]])
    assert reason in caplog.text
    assert [program is not None for program in programs()] == [not reason]
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-14)  # sums of 4 terms may have another order


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("recipe", [Recipe(), EVERYTHING])
def test_products_of_the_library_and_steps_that_run_side_by_side(recipe, monkeypatch):
    monkeypatch.setattr(schedule, "SMALL", 0)
    backend, loop, state = big_step((256, 9, 8, 10), 320, 16, recipe)
    given = loop.step(), state, loop.inputs(0, 20), loop.shared
    with recorded() as events:
        found = backend.repeat(*given)
    (program,) = programs()
    assert len(program.schedule.products) == 8
    likes = program.recording.likes
    assert {likes[call.out].shape for _, call in program.schedule.products} >= {(4 * 9, 16)}
    assert any(isinstance(work, device_program._SideBySide) for work in program.work)
    (captured,) = [e for e in events if e.kind == "capture" and e.name == "end"]
    assert int(captured.details[0]) == len(program.kernels) + 8
    for x, y in zip(flatten(found)[0], flatten(Backend.repeat(backend, *given))[0], strict=True):
        np.testing.assert_allclose(x.get(), y.get(), rtol=2e-3, atol=1e-5)


def test_kernels_are_compiled_once_and_kept_on_disk(tmp_path, monkeypatch):
    from cupy.cuda import compiler

    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "new"))
    source = 'extern "C" __global__ void run(float* x) { x[0] = x[1] * x[1] - x[2]; }'
    device_program._binary.cache_clear()
    device_program.compiled([source])
    monkeypatch.setattr(compiler, "compile_using_nvrtc", None)
    device_program._binary.cache_clear()
    import cupy

    x = cupy.asarray([0, 1 + 2.0**-12, 1 + 2.0**-11], dtype=cupy.float32)
    device_program.compiled([source])[0]((1,), (1,), (x,))
    assert float(x[0]) == 0  # a fused multiply and add would keep 2**-24
    device_program._binary.cache_clear()


def test_watching_a_run_uses_the_same_kernels(monkeypatch):
    monkeypatch.setattr(graphs, "FEWEST_STEPS", 1)
    run, backend = (
        drawn_run(1, "float64", "reproducible"),
        get_backend("cupy", dtype="float64", arithmetic="reproducible"),
    )
    watched = list(watch(run, backend, range(3)))
    plain = list(
        watch(run, get_backend("numpy", dtype="float64", arithmetic="reproducible"), range(3))
    )
    for x, y in zip(watched, plain, strict=True):
        assert x.tensors.keys() == y.tensors.keys()
        for name in x.tensors:
            np.testing.assert_array_equal(x.tensors[name], y.tensors[name], err_msg=name)
    assert cupy_backend.Program is device_program.Program


def test_streamed_rows_give_the_bits_of_those_in_memory():
    rng = np.random.default_rng(0)
    x, labels = rng.random((40, 42), np.float32), rng.integers(0, 3, 40)
    found = []
    for examples in (x, spooled([x], x.shape, x.dtype, "x")):
        data = Dataset(examples, labels, ("a", "b", "c"))
        model = train(data, layers=[6], batch_size=8, epochs=3, optimizer="adam", backend="cupy")
        found.append(fingerprint(model))
    assert found[0] == found[1]
