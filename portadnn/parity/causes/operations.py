"""Mistakes: another sum, mean, sign, order or step than the one that was to be computed.

Each hypothesis computes the tensor of a ``Case`` once more as its mistake would have made it.
"""

from __future__ import annotations

import numpy as np

from portadnn.network.activations import NEGATIVE_SLOPE
from portadnn.parity.bounds import K_DIV, Bound, elementwise, exact
from portadnn.parity.causes.case import Case, Cause, Found

SEARCHED_STEPS = 1000  # whose batches are compared with an input that is not the declared one


def scaled(case: Case) -> Found:
    """A sum over the examples that was divided by something else than m."""
    m, kind = case.m, case.kind
    factors: dict[float, tuple[str, str, str]] = {}
    if kind in ("dW", "db", "cost"):
        factors[float(m)] = ("missing 1/m", f"not divided by m = {m}", "Divide by m")
        if m > 1:
            factors[m / (m - 1)] = (
                "1/(m-1)",
                f"divided by m - 1 = {m - 1}, not by m = {m}",
                "Divide by m: this is a mean, not the estimate of a variance",
            )
    factors[1 / m] = (
        "extra 1/m",
        f"divided by m = {m} once too often",
        "Divide by m once, in dW and db",
    )
    if m == 1:
        return
    for factor, (name, sentence, remedy) in factors.items():
        result, det, stat, magnitude = (part * factor for part in case.expected)
        another = (1 + K_DIV) * case.form.u * np.abs(result)  # the factor rounds, once more
        bound = Bound(result, det + another, stat + another, magnitude)
        yield bound, Cause(name, f"{case.tensor} was {sentence}", remedy)


def sign_flip(case: Case) -> Found:
    """The opposite of what was to be computed."""
    bound = case.expected._replace(exact=-case.expected.exact)
    name, sentence = "sign flip", f"{case.tensor} has the opposite sign"
    remedy = "Change the sign: dZ of the head is A - Y, and the update subtracts"
    if case.kind in ("W+", "b+"):
        bound = case.compute({"learning_rate": -case.t["learning_rate"]})
        sentence = f"{case.tensor} went up the gradient: the step was added"
    yield bound, Cause(name, sentence, remedy)


def first_column(case: Case) -> Found:
    """Only the first example, or the first column of W, was taken."""
    tensor, names = case.tensor, case.operands
    remedy = "Take every column: an index [:, 0] or a loop that ends early loses the others"
    if case.kind in ("W+", "b+"):
        W, bound = case.t[names[0]], case.expected
        if W.shape[1] > 1:
            first = np.arange(W.shape[1]) == 0
            parts = (np.where(first, *pair) for pair in zip(bound, exact(W), strict=True))
            yield (
                Bound(*parts),
                Cause(
                    "first column only", f"only the first column of {tensor} was updated", remedy
                ),
            )
        return
    first_only = {name: case.t[name][:, :1] for name in names}
    for m, mean in ((case.m, "m"), (1, "1")):
        bound = case.compute(first_only, divisor=m)
        sentence = f"{tensor} was computed from the first example only, divided by {mean}"
        yield bound, Cause("first column only", sentence, remedy)


def dropped_sample(case: Case) -> Found:
    """One example is missing from the sum over them."""
    dZ = case.t[f"dZ{case.layer}"]
    names = case.operands
    A_prev = case.t[names[1]] if case.kind == "dW" else np.ones((1, case.m))
    for divisor in (case.m, case.m - 1)[: case.m]:
        missing = case.expected.exact * case.m - case.observed * divisor
        i, k = np.unravel_index(int(np.argmax(np.abs(missing))), missing.shape)
        sample = int(np.argmin(np.abs(dZ[i] * A_prev[k] - missing[i, k])))
        kept = np.arange(case.m) != sample
        columns = {name: case.t[name][:, kept] for name in names}
        yield (
            case.compute(columns, divisor=divisor),
            Cause(
                "dropped sample",
                f"{case.tensor} leaves out example {sample} of the step, of {case.m}",
                "Sum over all examples of the step: look at slices and masks near that one",
            ),
        )


def stale(case: Case) -> Found:
    """An operand, or the whole tensor, of the step before."""
    before, tensor = case.before, case.tensor
    remedy = "Hand on what this step computed: look for a cache or a buffer that is used again"
    names = case.operands
    step = case.previous.step if case.previous else 0
    for name in names:
        if name in before and not np.array_equal(before[name], case.t[name]):
            sentence = f"{tensor} was computed with {name} of step {step}, the step before"
            yield case.compute({name: before[name]}), Cause("stale input", sentence, remedy)
    if names and before.keys() >= set(names):
        sentence = f"{tensor} was computed with nothing but tensors of step {step}, the step before"
        changes = {name: before[name] for name in names}
        yield case.compute(changes), Cause("stale input", sentence, remedy)
    elif tensor in before and case.kind in ("W", "b"):
        sentence = f"{tensor} is what step {step} started from: its update was lost"
        yield exact(before[tensor]), Cause("stale state", sentence, remedy)


def not_updated(case: Case) -> Found:
    """The parameters that came in."""
    yield (
        exact(case.t[case.tensor[:-1]]),
        Cause(
            "no update",
            f"{case.tensor} is {case.tensor[:-1]}, not updated",
            "Return the updated parameters, not those that came in",
        ),
    )


def updated_early(case: Case) -> Found:
    """The gradient was passed back through weights that had been updated already."""
    W = f"W{case.layer + 1}"
    if f"{W}+" in case.t:
        yield (
            case.compute({W: case.t[f"{W}+"]}),
            Cause(
                "updated early",
                f"{case.tensor} was computed with {W} after its update",
                "Compute all gradients first, then update",
            ),
        )


def other_step(case: Case) -> Found:
    """The batch, the mask or the scalar that another step should have had."""
    run, here = case.run, case.record.step
    if run.batch_size is None and case.tensor in ("X", "Y", "S"):
        return
    what = {"D": "mask", "X": "batch", "Y": "batch", "S": "batch"}.get(case.kind, "scalar")
    # one step more than the run has: what is counted from 1 too many may lie there
    near = sorted(range(run.steps + 1), key=lambda step: abs(step - here))
    for step in near[1 : SEARCHED_STEPS + 1]:
        x = run.declared(step, case.record.dtype)[case.tensor].astype(np.float64)
        if np.array_equal(x, case.observed):
            yield (
                exact(x),
                Cause(
                    f"different {what}",
                    f"{case.tensor} of step {here} is that of the {what} of step {step}",
                    f"Take the {what} by the number of the step: look at an offset, a counter or a "
                    f"loader that is started anew, or another seed",
                ),
            )
            return


def transposed(case: Case) -> Found:
    """A square W that was transposed where it should not be, or was not where it should."""
    names = case.operands or (case.tensor,)
    W = case.t[names[0]]
    if W.shape[0] != W.shape[1]:
        return
    sentence = f"{case.tensor} was computed with {names[0]} transposed"
    bound = case.expected
    if case.kind in ("Z", "dA"):
        bound = case.compute({names[0]: W.T})
    else:
        sentence = f"{case.tensor} is transposed"
        bound = Bound(*(part.T for part in bound))
    remedy = "Z = W A_prev + b and dA_prev = W^T dZ: a square W hides the mistake from shape checks"
    yield bound, Cause("transposed W", sentence, remedy)


def bias_dropped(case: Case) -> Found:
    """``Z = W A`` alone."""
    b = f"b{case.layer}"
    yield (
        case.compute({b: np.zeros_like(case.t[b])}),
        Cause(
            "bias dropped", f"{case.tensor} was computed without {b}", f"Add {b} to every column"
        ),
    )


def permuted(case: Case) -> Found:
    """The rows (units) or the columns in another order."""
    for axis, what in ((0, "units (rows)"), (1, "examples or inputs (columns)")):
        ours, theirs = (x if axis == 0 else x.T for x in (case.expected.exact, case.observed))
        # the order of the rows' sums with random weights says which went where
        weights = np.random.default_rng(0).standard_normal(ours.shape[1])
        order = np.empty(len(ours), int)
        order[np.argsort(theirs @ weights)] = np.argsort(ours @ weights)
        moved = int(np.sum(order != np.arange(len(ours))))
        sentence = f"{case.tensor} has {moved} of its {len(ours)} {what} in another order"
        remedy = "Keep the order: look at a sort, a gather, or parameters loaded by another layout"
        bound = Bound(*(np.take(part, order, axis) for part in case.expected))
        yield bound, Cause("permuted units" if axis == 0 else "permuted columns", sentence, remedy)


def wrong_mask(case: Case) -> Found:
    """The derivative of a kink taken as 1 at Z = 0."""
    l = case.layer
    if l < case.run.network.L and case.run.network.activations[l - 1] in elementwise.KINKED:
        dA, Z = case.t[f"dA{l}"], case.t[f"Z{l}"]
        on, bound = Z >= 0, case.expected
        off = bound.exact if case.run.network.activations[l - 1] == "relu" else NEGATIVE_SLOPE * dA
        yield (
            bound._replace(exact=np.where(on, dA, off)),
            Cause(
                "mask >= for >",
                f"{case.tensor} lets the gradient through where Z{l} is exactly 0",
                "Mask with Z > 0: the derivative at 0 is 0 here",
            ),
        )
