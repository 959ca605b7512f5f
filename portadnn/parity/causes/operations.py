"""Faults of an operation: another sum, mean, sign, order or step than the declared one.

Each hypothesis computes the tensor of a ``Case`` once more as its fault would have made it.
"""

from __future__ import annotations

import numpy as np

from portadnn.network.names import after, named, of, slot_and_parameter
from portadnn.parity.bounds import K_DIV, Bound, exact
from portadnn.parity.bounds.elementwise import KINKED, NEGATIVE_SLOPE
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.causes.case import Case, Found

UNLIKELY = 0.05
SEARCHED_STEPS = 1000  # batches of so many steps are compared with an undeclared input


def scaled(case: Case) -> Found:
    """A sum over the examples that was divided by something else than m."""
    m, factors = case.m, {}
    if m == 1:
        return
    if case.kind in ("dW", "db", "cost"):
        remedy = "Divide by m: this is a mean, not the estimate of a variance"
        factors = {
            m: ("missing 1/m", f"not divided by m = {m}", "Divide by m"),
            m / (m - 1): ("1/(m-1)", f"divided by m - 1 = {m - 1}, not by m = {m}", remedy),
        }
    once = "Divide by m once, in dW and db"
    factors[1 / m] = "extra 1/m", f"divided by m = {m} once too often", once
    for factor, name in ((2.0, "doubled"), (0.5, "halved")):
        remedy = "Compute it once: look at a factor of 2, or a sum that is made twice"
        factors.setdefault(factor, (name, name, remedy))
    for factor, (name, sentence, remedy) in factors.items():
        result, det, stat, magnitude = (part * factor for part in case.expected)
        another = (1 + K_DIV) * case.form.u * np.abs(result)  # the factor rounds, once more
        bound = Bound(result, det + another, stat + another, magnitude)
        yield bound, name, f"{case.tensor} was {sentence}", remedy


def sign_flip(case: Case) -> Found:
    """The opposite of what was to be computed."""
    bound = case.expected._replace(exact=-case.expected.exact)
    sentence = f"{case.tensor} has the opposite sign"
    if case.kind in ("W+", "b+"):
        bound = case.compute({"learning_rate": -case.t["learning_rate"]})
        sentence = f"{case.tensor} went up the gradient: the step was added"
    remedy = "Change the sign: dZ of the head is A - Y, and the update subtracts"
    yield bound, "sign flip", sentence, remedy


def first_column(case: Case) -> Found:
    """Only the first example, or the first column of W, was taken."""
    name = "first column only"
    remedy = "Take every column: an index [:, 0] or a loop that ends early loses the others"
    if case.kind in ("W+", "b+"):
        W = case.t[case.operands[0]]
        if W.shape[1] > 1:
            first = np.arange(W.shape[1]) == 0
            pairs = zip(case.expected, exact(W), strict=True)
            sentence = f"only the first column of {case.tensor} was updated"
            yield Bound(*(np.where(first, *pair) for pair in pairs)), name, sentence, remedy
        return
    first_only = {name: case.t[name][:, :1] for name in case.operands}
    for m, mean in ((case.m, "m"), (1, "1")):
        sentence = f"{case.tensor} was computed from the first example only, divided by {mean}"
        yield case.compute(first_only, divisor=m), name, sentence, remedy


def dropped_sample(case: Case) -> Found:
    """One example is missing from the sum over them."""
    if case.m == 1:
        return
    for divisor in (case.m, case.m - 1):
        missing = case.expected.exact * case.m - case.observed * divisor
        if case.kind == "cost":
            missing = missing - case.t.get("penalty", 0.0) * (case.m - divisor)
            shares = _costs(case)
            unsure = 2 * float(case.expected.stat) * divisor
            if len(shares) * unsure > UNLIKELY * np.ptp(shares):
                return  # so many examples that one of them fits any error
        else:
            dZ = case.t[case.operands[0]]
            A_prev = case.t[case.operands[1]] if case.kind == "dW" else np.ones((1, case.m))
            i, k = np.unravel_index(int(np.argmax(np.abs(missing))), missing.shape)
            shares, missing = dZ[i] * A_prev[k], missing[i, k]
        sample = int(np.argmin(np.abs(shares - missing)))
        sentence = f"{case.tensor} leaves out example {sample} of the step, of {case.m}"
        remedy = "Sum over all examples of the step: look at slices and masks near that one"
        if case.kind == "cost":
            exact_one = (shares.sum() - shares[sample]) / divisor + case.t.get("penalty", 0.0)
            bound = case.expected._replace(exact=np.asarray(exact_one))
        else:
            kept = np.arange(case.m) != sample
            columns = {name: case.t[name][:, kept] for name in case.operands}
            bound = case.compute(columns, divisor=divisor)
        yield bound, "dropped sample", sentence, remedy


def _costs(case: Case) -> np.ndarray:
    """What every example costs, with its weight and without the penalty."""
    t, network = case.t, case.run.network
    terms = HEAD_BOUNDS[network.head].terms(t[named("Z", network.L)], t["Y"], case.form).value
    return np.sum(terms * t.get("S", 1.0), axis=0)


def stale(case: Case) -> Found:
    """An operand, or the whole tensor, is that of the step before."""
    before, tensor, names = case.before, case.tensor, case.operands
    remedy = "Pass on the tensors of this step: look for a cache or a buffer that is used again"
    step = case.previous.step if case.previous else 0
    for name in names:
        if name in before and not np.array_equal(before[name], case.t[name]):
            sentence = f"{tensor} was computed with {name} of step {step}, the step before"
            yield case.compute({name: before[name]}), "stale input", sentence, remedy
    if names and before.keys() >= set(names):
        sentence = f"{tensor} was computed with nothing but tensors of step {step}, the step before"
        changes = {name: before[name] for name in names}
        yield case.compute(changes), "stale input", sentence, remedy
    elif tensor in before and case.kind in ("W", "b"):
        sentence = f"{tensor} is what step {step} started from: its update was lost"
        yield exact(before[tensor]), "stale state", sentence, remedy


def not_updated(case: Case) -> Found:
    """The parameters were returned without an update."""
    given = of(*slot_and_parameter(case.tensor))
    remedy = "Return the updated parameters, not those that came in"
    yield exact(case.t[given]), "no update", f"{case.tensor} is {given}, not updated", remedy


def updated_early(case: Case) -> Found:
    """The gradient was passed back through weights that had been updated already."""
    W = named("W", case.layer + 1)
    if after(W) in case.t:
        bound = case.compute({W: case.t[after(W)]})
        sentence = f"{case.tensor} was computed with {W} after its update"
        yield bound, "updated early", sentence, "Compute all gradients first, then update"


def other_step(case: Case) -> Found:
    """The batch, the mask or the scalar that another step should have had."""
    run, here = case.run, case.record.step
    if run.batch_size is None and case.tensor in ("X", "Y", "S"):
        return
    what = {"D": "mask", "X": "batch", "Y": "batch", "S": "batch"}.get(case.kind, "scalar")
    # One step more than the run has, because a counter that is 1 too high ends there
    near = sorted(range(run.steps + 1), key=lambda step: abs(step - here))
    for step in near[1 : SEARCHED_STEPS + 1]:
        x = run.declared(step, case.record.dtype)[case.tensor].astype(np.float64)
        if np.array_equal(x, case.observed):
            sentence = f"{case.tensor} of step {here} belongs to the {what} of step {step}"
            remedy = (
                f"Take the {what} by the number of the step: look at an offset, a counter or a "
                f"loader that is started again, or another seed"
            )
            yield exact(x), f"different {what}", sentence, remedy
            return


def transposed(case: Case) -> Found:
    """A square matrix was transposed although it should not be, or the other way round."""
    operand = case.kind in ("Z", "dA", "dAD")
    name = case.operands[0] if operand else case.tensor
    if case.t[name].shape[0] != case.t[name].shape[1]:
        return
    if operand:
        sentence = f"{case.tensor} was computed with {name} transposed"
        bound = case.compute({name: case.t[name].T})
    else:
        sentence = f"{case.tensor} is transposed"
        bound = Bound(*(part.T for part in case.expected))
    remedy = "Z = W A_prev + b, dA_prev = W^T dZ and dW = dZ A_prev^T / m: a square matrix hides it"
    yield bound, f"transposed {'dW' if case.kind == 'dW' else 'W'}", sentence, remedy


def shifted(case: Case) -> Found:
    """All rows or columns are moved by one place, except the one at the end."""
    for axis, what in ((1, "example or input"), (0, "class or unit")):
        n = case.observed.shape[axis]
        for step in (1, -1) if n > 2 else ():
            moved = np.roll(case.expected.exact, step, axis)
            end = np.arange(n) == (0 if step == 1 else n - 1)
            bound = exact(np.where(end if axis else end[:, None], case.observed, moved))
            sentence = f"{case.tensor} stands one {what} too {'late' if step == 1 else 'early'}"
            remedy = "Keep examples, labels and weights together: look at an index that is off by 1"
            yield bound, "shifted by one", sentence, remedy


def other_slope(case: Case) -> Found:
    """Leaky ReLU, or its derivative, with another slope below 0."""
    l, network = case.layer, case.run.network
    if l >= network.L or network.activations[l - 1] != "leaky_relu":
        return
    Z = case.t[named("Z", l)]
    x = Z if case.kind == "A" else case.t[named("dA", l)]
    below = np.where(Z > 0, 0.0, x)
    size = float(np.sum(below * below))
    if size == 0:
        return
    slope = float(np.sum(below * case.observed) / size)
    unsure = float(np.sum(case.expected.stat * np.abs(below)) / size)
    another = case.form.u * np.abs(slope * below)
    bound = case.expected._replace(
        exact=np.where(Z > 0, x, slope * x),
        stat=case.expected.stat + unsure * np.abs(below) + 2 * another,
    )
    sentence = f"{case.tensor} has the slope {slope:.6g} below 0, not {NEGATIVE_SLOPE:g}"
    yield bound, "another slope", sentence, "Use one slope, forward and backward"


def bias_dropped(case: Case) -> Found:
    """``Z = W A`` alone."""
    b = named("b", case.layer)
    bound = case.compute({b: np.zeros_like(case.t[b])})
    sentence = f"{case.tensor} was computed without {b}"
    yield bound, "bias dropped", sentence, f"Add {b} to every column"


def permuted(case: Case) -> Found:
    """The rows (units) or the columns in another order."""
    remedy = "Keep the order: look at a sort, a gather, or parameters loaded in another layout"
    for axis, name, what in (
        (0, "permuted units", "units (rows)"),
        (1, "permuted columns", "examples or inputs (columns)"),
    ):
        ours, theirs = (np.moveaxis(x, axis, 0) for x in (case.expected.exact, case.observed))
        # the order of the rows' sums with random weights says which went where
        weights = np.random.default_rng(0).standard_normal(ours.shape[1])
        order = np.empty(len(ours), int)
        order[np.argsort(theirs @ weights)] = np.argsort(ours @ weights)
        moved = int(np.sum(order != np.arange(len(ours))))
        sentence = f"{case.tensor} has {moved} of its {len(ours)} {what} in another order"
        bound = Bound(*(np.take(part, order, axis) for part in case.expected))
        yield bound, name, sentence, remedy


def wrong_mask(case: Case) -> Found:
    """The derivative at a kink, Z = 0, was taken as 1."""
    l, network = case.layer, case.run.network
    if l < network.L and network.activations[l - 1] in KINKED:
        dA, Z = case.t[named("dA", l)], case.t[named("Z", l)]
        bound = case.expected
        off = bound.exact if network.activations[l - 1] == "relu" else NEGATIVE_SLOPE * dA
        sentence = f"{case.tensor} lets the gradient through where Z{l} is exactly 0"
        remedy = "Mask with Z > 0: the derivative at 0 is 0 here"
        bound = bound._replace(exact=np.where(Z >= 0, dA, off))
        yield bound, "mask >= for >", sentence, remedy
