"""What a step and a chunk of steps cost on a GPU, counted on the stand-in for CUDA.

A launch takes about 5 microseconds whatever it computes, and a wait lets the device run dry. So the
number of operations is the time of a small network's step.
"""

import functools
from collections import Counter

import numpy as np
import pytest
from fake_cuda.events import OPERATIONS, recorded

from portadnn.backends import get_backend
from portadnn.backends.cupy import CupyBackend
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.optimizers import OPTIMIZERS
from portadnn.network.spec import Network
from portadnn.training.fit import fit
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.streams import Batches

EVERYTHING = Recipe("adamw", l2=0.05, l1=0.01, clip_norm=0.05, dropout=(0.25, 0.5))
CASES = {
    "cats in sample space": {"dims": (12288, 20, 7, 5, 1), "m": 209, "first_layer": "sample"},
    "SGD": {"dims": (784, 512, 512, 10), "m": 1024, "batch_size": 256},
    "Adam": {"dims": (784, 512, 512, 10), "m": 1024, "batch_size": 256, "recipe": Recipe("adam")},
    "everything": {
        "dims": (784, 512, 512, 10), "m": 1024, "batch_size": 256, "recipe": EVERYTHING,
        "weights": True,
    },
}  # fmt: skip
# Operations of a step by name: kernels as CuPy calls them, and products by cuBLAS.
BUDGETS = {
    "cats in sample space": {
        "product gemmEx": 10, "launch true_divide": 10, "launch subtract": 10,
        "launch multiply": 9, "launch add": 6, "launch sum": 5, "launch maximum": 4,
        "launch where": 4, "launch greater": 3, "launch copy": 3, "launch absolute": 2,
        "launch negative": 2, "launch exp": 2, "launch greater_equal": 1, "launch log1p": 1,
        "memset": 1,
    },
    "SGD": {
        "product gemmEx": 8, "launch subtract": 10, "launch true_divide": 8, "launch sum": 7,
        "launch multiply": 7, "launch add": 3, "launch take": 2, "launch maximum": 2,
        "launch max": 2, "launch exp": 2, "launch greater": 2, "launch where": 2, "launch log": 1,
        "launch copy": 1,
    },
    "Adam": {
        "product gemmEx": 8, "launch multiply": 49, "launch add": 21, "launch true_divide": 14,
        "launch subtract": 10, "launch sum": 7, "launch sqrt": 6, "launch take": 2,
        "launch maximum": 2, "launch max": 2, "launch exp": 2, "launch greater": 2,
        "launch where": 2, "launch log": 1, "launch copy": 1,
    },
    "everything": {
        "product gemmEx": 8, "launch multiply": 82, "launch add": 38, "launch where": 24,
        "launch true_divide": 20, "launch sum": 19, "launch greater": 11, "launch subtract": 10,
        "launch sqrt": 7, "launch copy": 7, "launch absolute": 6, "launch take": 3,
        "launch less": 3, "launch maximum": 2, "launch max": 2, "launch exp": 2, "launch log": 1,
    },
}  # fmt: skip
# Small networks with every optimizer, head, activation and dtype, and all that a recipe can have.
SMALL = {
    f"{name} {head} {activation} {dtype}": {
        "dims": (16, 8, 6, 3), "m": 64, "batch_size": 16, "weights": True, "head": head,
        "activation": activation, "dtype": dtype,
        "recipe": Recipe(name, 0.05, 0.01, 0.05, (0.25, 0.5), 0.1 if smooth else 0.0),
    }
    for name in OPTIMIZERS
    for head, activation, dtype, smooth in (
        ("sigmoid", "tanh", "float64", True), ("softmax", "leaky_relu", "float32", True),
        ("identity", "sigmoid", "float64", False), ("poisson", "relu", "float32", False),
    )
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("stand_in")
SYNCHRONISATIONS_OF_A_CHUNK = 2  # for its costs, and for whether its parameters are finite


def operations(events):
    """How many there are by name, whatever the dtypes: ``launch add``, ``copy h2d``."""
    kinds = (*OPERATIONS, "sync")
    names = (f"{e.kind} {e.name.partition('__')[0].removeprefix('cupy_')}" for e in events
             if e.kind in kinds)  # fmt: skip
    return Counter(map(str.strip, names))


@functools.cache
def run(case, epochs):
    """The operations of a step, the number of chunks, and all events of a run."""
    given = {"batch_size": None, "recipe": Recipe(), "first_layer": "auto", "weights": False}
    given |= {"activation": "relu", "dtype": "float32", "head": None} | {**CASES, **SMALL}[case]
    dims, m = given["dims"], given["m"]
    head = given["head"] or ("sigmoid" if dims[-1] == 1 else "softmax")
    rng = np.random.default_rng(0)
    chunks, repeat = [], CupyBackend.repeat

    def counted(self, step, state, inputs, shared, **options):
        def few(n):
            rows = {name: self.xp.concat([x[:1, ...]] * n) for name, x in inputs.items()}
            with recorded() as events:
                repeat(self, step, state, rows, shared, **options)
            return events

        if not chunks:
            few(4)  # compiles what it calls
            further = operations(few(4)) - operations(few(2))
            chunks.append({name: n / 2 for name, n in further.items()})
        else:
            chunks.append(None)
        return repeat(self, step, state, inputs, shared, **options)

    with pytest.MonkeyPatch.context() as patch, recorded() as events:
        patch.setattr(CupyBackend, "repeat", counted)
        fit(
            initialize_parameters_deep(dims, rng=0),
            rng.standard_normal((dims[0], m), dtype=np.float32),
            np.eye(max(dims[-1], 2))[: dims[-1], rng.integers(0, 2, m)],
            network=Network(dims, given["activation"], head),
            backend=get_backend("cupy", dtype=given["dtype"]),
            plan=Plan(1e-3, epochs, Batches(m, given["batch_size"]), given["recipe"]),
            weights=np.ones((1, m)) if given["weights"] else None,
            report_every=1000,
            first_layer=given["first_layer"],
        )
    return chunks[0], len(chunks), events


@pytest.mark.parametrize("case", CASES)
def test_a_step_keeps_its_budget(case):
    step, _, _ = run(case, 1)
    over = {
        name: f"{n:g} in a step, {BUDGETS[case].get(name, 0)} in the budget"
        for name, n in step.items()
        if n > BUDGETS[case].get(name, 0)
    }
    assert not over


@pytest.mark.parametrize("case", [*CASES, *SMALL])
def test_a_step_copies_nothing_and_waits_for_nothing(case):
    step, _, _ = run(case, 1)
    assert not {name for name in step if name.startswith(("copy", "sync"))}


@pytest.mark.parametrize("case", CASES)
def test_a_chunk_waits_twice(case):
    _, chunks, events = run(case, 1)
    _, more_chunks, more_events = run(case, 4)
    further = more_chunks - chunks
    assert further > 0
    waits = more_events.synchronisations - events.synchronisations
    assert waits == SYNCHRONISATIONS_OF_A_CHUNK * further, more_events.summary()


def test_the_cats_take_75_operations_or_fewer():
    step, _, _ = run("cats in sample space", 1)
    assert sum(step.values()) <= 75


def test_data_on_the_device_stay_there(cupy):
    """Batches are taken from rows: the columns of X are turned on the device."""
    dims, m = (50, 8, 1), 640
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((50, m), dtype=np.float32), rng.integers(0, 2, (1, m))
    options = {
        "network": Network(dims),
        "backend": get_backend("cupy"),
        "plan": Plan(1e-2, 2, Batches(m, 64)),
        "first_layer": "feature",
    }
    parameters = initialize_parameters_deep(dims, rng=0)
    expected = fit(parameters, X, Y, **options)
    on_device = cupy.asarray(X), cupy.asarray(Y, dtype=cupy.float32)
    with recorded() as events:
        found = fit(parameters, *on_device, **options)
    moved = [int(e.details[0]) for e in events if e.kind == "copy" and e.name in ("h2d", "d2h")]
    assert max(moved) < X.nbytes
    for name, p in expected.items():
        assert isinstance(found[name], cupy.ndarray)
        assert cupy.array_equal(found[name], p), name


def test_whether_all_is_finite_is_read_once(cupy):
    backend = get_backend("cupy")
    arrays = [cupy.ones((3, 4), dtype=cupy.float32) for _ in range(8)]
    assert backend.all_finite(arrays)
    with recorded() as events:
        assert backend.all_finite(arrays)
    assert (events.copies, events.synchronisations) == (1, 1)
    arrays[5][1, 2] = cupy.nan
    assert not backend.all_finite(arrays)
