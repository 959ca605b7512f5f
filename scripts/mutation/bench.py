"""The runs that mutants are planted in, and what parity makes of them.

A mutant is put into the functions of the running process, so whatever holds them has it too: every
mutant has a process of its own. What it changes is measured without parity: the run is made in
float64 with the mutant and without, and the first tensor that differs is where the mutant is. Up to
there both runs had the same operands.
"""

import ast
import functools
import gc
import importlib
import sys
import types

import numpy as np

from mutation.make import MODULES, mutated_tree
from portadnn.backends import get_backend
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import get_head
from portadnn.network.names import SCALARS
from portadnn.network.optimizers import Adam, AdamW, Momentum, Nesterov, RMSProp
from portadnn.network.spec import Network
from portadnn.parity.bounds import declared_format
from portadnn.parity.bounds.levels import level
from portadnn.parity.causes.precision import rounded
from portadnn.parity.certify import certify_step, first_failure
from portadnn.parity.run import Run, final_parameters, watch
from portadnn.parity.step.operations import compute, step_order
from portadnn.training.declaration import Declaration
from portadnn.training.recipe import Recipe
from portadnn.training.step import make_step
from portadnn.training.weights import normalized

EXAMPLES, BATCH, STEPS, RATE = 40, 8, 3, 0.0075
NOISE = 1e-12  # float64 computes the same formula in another order to within so much


def make_run(network, recipe=None, *, batch_size=None, weighted=False, sample=False, **settings):
    """A small run with what faults need to show.

    Biases are not 0 (for what drops them) but in the first layer, where a blank example makes Z
    exactly 0 (for a mask of ``>=``); there is a square layer (for a transposed W).
    """
    rng = np.random.default_rng(1)
    parameters = initialize_parameters_deep(network.layer_dims, rng=rng)
    for name, p in parameters.items():
        if name[0] == "b" and name != "b1":
            parameters[name] = 0.1 * rng.standard_normal(p.shape)
    X = rng.standard_normal((network.layer_dims[0], EXAMPLES))
    X[:, 0] = 0
    n_y = network.layer_dims[-1]
    if network.head == "softmax":
        Y = np.eye(n_y)[:, rng.integers(0, n_y, EXAMPLES)]
    else:
        highest = int(min(get_head(network.head).high, 4))
        Y = rng.integers(0, highest + 1, (n_y, EXAMPLES)).astype(float)
    weights = normalized(rng.uniform(0.5, 2.0, EXAMPLES)) if weighted else None
    settings |= (recipe or Recipe()).settings()
    declaration = Declaration(learning_rate=RATE, batch_size=batch_size, **settings)
    run = Run(network, parameters, X, Y, declaration, STEPS, weights)
    return run.in_sample_space("float32") if sample else run


EVERYTHING = Recipe(AdamW(), l2=0.05, l1=0.01, clip_norm=0.05, dropout=(0.25, 0.5, 0.0))


@functools.cache
def make_runs():
    """Every activation, head, optimizer and option, in as few runs as that takes."""
    square = Network((24, 8, 8, 5, 1))
    mixed = ("leaky_relu", "tanh", "sigmoid", "softmax", "identity")
    return {
        "plain": make_run(square),
        "batches": make_run(square, batch_size=BATCH),
        "activations": make_run(Network((24, 8, 8, 6, 5, 6, 4), mixed, "softmax")),
        "softmax": make_run(Network((24, 8, 8, 4), "leaky_relu", "softmax"),
                            Recipe(Momentum(weight_decay=0.1)), batch_size=BATCH, weighted=True),
        "values": make_run(Network((24, 8, 8, 2), "tanh", "identity"), Recipe(Nesterov())),
        "counts": make_run(Network((24, 8, 8, 2), "sigmoid", "poisson"), Recipe(RMSProp()),
                           weighted=True, schedule="cosine", epochs=5),
        "penalties": make_run(square, Recipe(l2=0.05, l1=0.01)),
        "clipping": make_run(square, Recipe(RMSProp(), clip_norm=0.05)),
        "no clipping": make_run(square, Recipe(clip_norm=1e6)),
        "dropout": make_run(square, Recipe(Adam(), dropout=(0.25, 0.5, 0.0))),
        "everything": make_run(square, EVERYTHING, batch_size=BATCH, weighted=True),
        "samples": make_run(square, Recipe(l2=0.05), sample=True),
        "sample batches": make_run(square, Recipe(Momentum()), sample=True, batch_size=BATCH),
    }  # fmt: skip


def records_of(run, backend):
    """The records of the run, made op by op, and what it ends with when nobody watches."""
    records = list(watch(run, backend, range(run.steps), jit=False))
    return records, final_parameters(run, backend)


class Honest:
    """The runs without a mutant: their records, and the lines of the mathematics that they run."""

    def __init__(self):
        self.backends = {dtype: get_backend("numpy", dtype=dtype)
                         for dtype in ("float32", "float64")}  # fmt: skip
        self.lines, self.records = {}, {}
        files = {importlib.import_module(module).__file__: module for module in MODULES}
        for name, run in make_runs().items():
            seen = set()

            def trace(frame, event, argument, seen=seen):
                module = files.get(frame.f_code.co_filename)
                if module and event == "line":
                    seen.add((module, frame.f_lineno))
                return trace

            sys.settrace(trace)
            try:
                records_of(run, self.backends["float32"])
            finally:
                sys.settrace(None)
            self.lines[name] = seen
            self.records[name] = {d: records_of(run, b)[0] for d, b in self.backends.items()}

    def runs_through(self, mutant):
        """The names of the runs that execute the statement of a mutant."""
        if mutant.function == "the module":
            return list(self.lines)
        return [name for name, lines in self.lines.items() if (mutant.module, mutant.line) in lines]


def judge(mutant, honest):
    """What parity makes of a mutant, in a process that has it for good: a dict for JSON.

    The result for each dtype is "killed", "lawful" (below the level, and not flagged), "missed",
    "misplaced" (the first flag stands at a tensor that the mutant did not move, or after one that
    it moved beyond its level) or "not run".
    """
    names = honest.runs_through(mutant)
    found = {"mutant": str(mutant), "key": mutant.key, "kind": mutant.kind, "module": mutant.module}
    if not names:
        return found | {"outcomes": {d: {"result": "not run"} for d in honest.backends}}
    plant(mutant)
    start = mutant.node % len(names)  # so that every run is the first of some
    outcomes = {dtype: [] for dtype in honest.backends}
    for name in [*names[start:], *names[:start]]:
        for dtype, outcome in judge_run(name, honest).items():
            outcomes[dtype].append(outcome)
        if all(of_dtype[-1]["result"] == "killed" for of_dtype in outcomes.values()):
            break
    return found | {"outcomes": {dtype: max(of_dtype, key=_weight)
                                 for dtype, of_dtype in outcomes.items()}}  # fmt: skip


def _weight(outcome):
    """What decides about a mutant: a run that missed it, one that misplaced it, one that killed."""
    rank = ("lawful", "killed", "misplaced", "missed").index(outcome["result"])
    return rank, outcome["effect"]


def judge_run(name, honest):
    """The outcome of one run with the mutant, for each dtype."""
    run = make_runs()[name]
    try:
        exact = records_of(run, honest.backends["float64"])
    except Exception as error:  # whatever it is, nobody mistakes it for a training
        return dict.fromkeys(honest.backends, _stopped(name, type(error).__name__))
    return {dtype: _judge_in(dtype, name, run, exact, honest) for dtype in honest.backends}


def _stopped(name, flag):
    return {"result": "killed", "run": name, "flag": flag, "effect": 0.0, "customary": []}


def _judge_in(dtype, name, run, exact, honest):
    try:
        backend = honest.backends[dtype]
        records, unwatched = exact if dtype == "float64" else records_of(run, backend)
        flag = _first_flag(run, records)
        last = records[-1].after(run.network)
        place, effect, above = _effect(run, exact[0], honest.records[name]["float64"], dtype)
        if flag is None and not all(np.array_equal(p, last[n], equal_nan=True)
                                    for n, p in unwatched.items()):  # fmt: skip
            return _stopped(name, "MODE MISMATCH")
        theirs = honest.records[name][dtype][-1].after(run.network)
        customary = [c for c, passes in CUSTOMARY.items() if not passes(last, theirs, dtype)]
    except Exception as error:
        return _stopped(name, type(error).__name__)
    found = {
        "run": name,
        "effect": effect,
        "place": place and f"step {place[0]}, {place[1]}",
        "flag": flag and f"{flag.verdict.value} step {flag.step}, {flag.tensor}, {flag.ratio:.3g}",
        "customary": customary,
    }
    if flag is None:
        return found | {"result": "missed" if above else "lawful"}
    order = [tensor for tensor, _ in _in_order(run, exact[0][flag.step])]
    here = flag.step, order.index(flag.tensor)
    late = above is not None and here > (above[0], order.index(above[1]))
    moved = not _equal(flag, records, honest.records[name][dtype])
    return found | {"result": "killed" if moved and not late else "misplaced"}


def _equal(flag, records, honest):
    """Whether the flagged tensor is what it is without the mutant, to the bit."""
    ours, theirs = (r[flag.step].tensors[flag.tensor] for r in (records, honest))
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=True)


def _first_flag(run, records):
    previous = None
    for record in records:
        flag = first_failure(certify_step(run, record, previous))
        if flag is not None:
            return flag
        previous = record.state_after()
    return None


def _in_order(run, record):
    """Every tensor of a step, what it is given first, and whether it must be equal to the bit."""
    made = [tensor for _, tensor in step_order(run)]
    given = [name for name in record.tensors if name not in made]
    exact = ((name, name not in SCALARS) for name in given)  # scalars are formulas, with a level
    return [*exact, *((name, False) for name in made)]


def _effect(run, exact, honest, dtype):
    """Where the mutant is, how far it moves that tensor, and where it first moves one too far.

    A share of the tensor, in the 2-norm. What is computed after the first tensor that differs had
    other operands, so there its own formula says what it should have been.
    """
    place, effect = None, 0.0
    form = declared_format("float64")
    state = {}
    for record, right in zip(exact, honest, strict=True):
        t = {name: x.astype(np.float64) for name, x in record.tensors.items()}
        m = t["X"].shape[1]
        for tensor, given in _in_order(run, record):
            if tensor in state:  # the step before ended with it
                moved = _share(t[tensor], state[tensor].astype(np.float64))
                if moved == 0:
                    continue
                place = place or (record.step, tensor)
            elif place is None or given or tensor in SCALARS:
                moved = _share(t[tensor], right.tensors[tensor].astype(np.float64))
                if moved <= (0 if given else NOISE):
                    effect = max(effect, moved)
                    continue
                place = place or (record.step, tensor)
            else:
                with np.errstate(all="ignore"):
                    moved = _share(t[tensor], compute(run, tensor, t, form).exact)
            effect = max(effect, moved)
            if given or moved > level(run.network, tensor, m, dtype):
                return place, effect, (record.step, tensor)
        state = record.state_after()
    return place, effect, None


def _share(x, right):
    if x.shape != right.shape:
        return np.inf
    if np.array_equal(x, right, equal_nan=True):
        return 0.0
    with np.errstate(all="ignore"):
        moved, size = float(np.linalg.norm(x - right)), float(np.linalg.norm(right))
    return moved / size if size > 0 and np.isfinite(moved) else np.inf


# --- putting a mutant in ------------------------------------------------------------------------


def plant(mutant):
    """Put a mutant into the functions of this process, for good."""
    module = importlib.import_module(mutant.module)
    tree = mutated_tree(mutant)
    make_step.cache_clear()  # NumPy keeps a program for every step that it has made
    vars(module).update({f"mutant_{name}": change for name, change in CHANGES.items()})
    if mutant.function == "the module":
        statement = next(s for s in tree.body if s.lineno == mutant.line)
        exec(compile(ast.Module([statement], []), module.__file__, "exec"), vars(module))
        return
    codes = {}
    todo = [compile(tree, module.__file__, "exec")]
    while todo:
        code = todo.pop()
        codes[code.co_qualname, code.co_firstlineno] = code
        todo += [x for x in code.co_consts if isinstance(x, types.CodeType)]
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType):
            old = function.__code__
            if old.co_filename == module.__file__:
                function.__code__ = codes[old.co_qualname, old.co_firstlineno]


CHANGES = {
    "float16": lambda x: np.asarray(np.asarray(x).astype(np.float16), np.asarray(x).dtype),
    "bfloat16": lambda x: rounded(np.asarray(x), 8).astype(np.asarray(x).dtype),
    "tf32": lambda x: rounded(np.asarray(x), 11).astype(np.asarray(x).dtype),
    "all_but_one": lambda x: x[:, :-1],
    "all_but_one_row": lambda x: x[:-1],
}


# --- what is customary --------------------------------------------------------------------------


def _all_close(tolerances):
    return lambda ours, theirs, dtype: all(
        np.allclose(ours[name], x, *tolerances[dtype]) for name, x in theirs.items()
    )


def _cosine(ours, theirs, dtype):
    a, b = (np.concatenate([p[name].ravel() for name in theirs]).astype(np.float64)
            for p in (ours, theirs))  # fmt: skip
    return bool(a @ b > 0.9999 * np.linalg.norm(a) * np.linalg.norm(b))


# these compare the last parameters with those of the honest run on the same backend
CUSTOMARY = {
    "assert_allclose(rtol=1e-5)": _all_close({"float32": (1e-5, 0), "float64": (1e-5, 0)}),
    "torch's assert_close": _all_close({"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}),
    "cosine > 0.9999": _cosine,
}
