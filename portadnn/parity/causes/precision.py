"""Faults of precision: another format than the one declared, in a product, a tensor or a rate.

Each hypothesis computes the tensor of a ``Case`` once more as its fault would have made it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from portadnn.network.names import slot_and_parameter
from portadnn.parity.bounds import Bound, Format, exact, within
from portadnn.parity.causes.case import Case, Found
from portadnn.parity.step.operations import factors, final_gradient

FEWEST_ENTRIES = 4  # fewer may look like anything by chance

FULL_PRECISION = (
    "For float32 products set torch.backends.cuda.matmul.allow_tf32 = False, "
    'jax.default_matmul_precision("float32") or CUPY_TF32=0'
)
WHERE_IT_IS_MADE = (
    "Give every array dtype=float32 where it is made: NumPy's default, and a float64 scalar in the "
    "arithmetic, make float64"
)
KEEP_DTYPE = "Give every array its dtype where it is made, and cast nothing in between"


def rounded(x: np.ndarray, bits: int, *, toward_zero: bool = False) -> np.ndarray:
    """``x`` with so many bits of significand, to nearest or toward zero."""
    significand, exponent = np.frexp(x)
    rounding = np.trunc if toward_zero else np.round
    return np.ldexp(rounding(np.ldexp(significand, bits)), exponent - bits)


def _as_dtype(x: np.ndarray, dtype: str) -> np.ndarray:
    return rounded(x, 8) if dtype == "bfloat16" else x.astype(dtype).astype(np.float64)


def narrow_inputs(case: Case) -> Found:
    """Operands of a product were rounded, both or one: TF32 has 11 bits of 24, bfloat16 8."""
    ways: list[tuple[str, int, Callable[[np.ndarray], np.ndarray]]] = [
        (name, bits, functools.partial(rounded, bits=bits, toward_zero=toward_zero))
        for name, bits in (("TF32", 11), ("bfloat16", 8))
        for toward_zero in (False, True)
    ]
    ways.append(("float16", 11, functools.partial(_as_dtype, dtype="float16")))
    if case.record.dtype == "float64":
        ways.append(("float32", 24, functools.partial(_as_dtype, dtype="float32")))
    ways += [
        (f"{bits}-bit inputs", bits, functools.partial(rounded, bits=bits))
        for bits in _likely_bits(case)
    ]
    # tensor cores add up with 2^-23; that bound is too wide to tell anything by itself
    form = case.form._replace(u_in=0.0, u_sum=2.0**-23)
    error = case.rms_error(case.expected.exact)
    both = case.operands[:2]
    for narrow in (both, *((name,) for name in both if len(both) == 2)):
        for way, bits, rounding in ways:
            name, which = way, "operands rounded"
            if len(narrow) < len(both):
                name, which = f"{way} in one operand", f"operands of which {narrow[0]} was rounded"
            sentence = f"{case.tensor} is a product of {which} to {bits} significant bits ({way})"
            declare = f"{FULL_PRECISION}, or declare the mode"
            bound = case.compute({n: rounding(case.t[n]) for n in narrow}, form=form)
            if case.rms_error(bound.exact) <= error / 4:
                known = name.startswith(("TF32", "bfloat16"))
                yield bound, name, sentence, declare if known else KEEP_DTYPE


def _likely_bits(case: Case) -> range:
    """The bits of the inputs, from 2 to 10, that would make about the observed error.

    Inputs of b bits make about b + 1.4 effective bits, half a bit more if one operand has them.
    """
    o = factors(case.run, case.tensor, case.t)
    if o is None:
        return range(0)
    size = np.sqrt(2 * np.mean(np.square(o.P) @ np.square(o.R))) / o.divisor
    error = case.rms_error(case.expected.exact)
    if not (error > 0 and np.isfinite(size) and size > 0):
        return range(0)
    middle = round(float(-np.log2(error / size)) - 1.4)
    return range(max(2, middle - 2), min(10, middle + 2) + 1)


def narrow_result(case: Case) -> Found:
    """Every value fits a narrower format, and has the error of that format's arithmetic."""
    observed = case.observed[np.isfinite(case.observed) & (case.observed != 0)]
    # nearly every value of bfloat16 is one of float16, and one in 8 the other way round
    names = ["bfloat16", "float16"] if observed.size >= FEWEST_ENTRIES else ["float16", "bfloat16"]
    if case.record.dtype == "float64":
        names.append("float32")
    for name in names:
        if not observed.size or np.any(_as_dtype(observed, name) != observed):
            continue
        remedy = KEEP_DTYPE
        if name == "float32":
            remedy = "Give dtype=float64 everywhere; on JAX set jax.enable_x64 first"
        sentence = (
            f"{case.tensor} was computed or kept in {name}: every value fits {name}, but "
            f"{case.record.dtype} was declared"
        )
        for form in _arithmetics_of(name):
            bound = case.compute(form=form) if case.operands else case.expected
            width = bound.det + form.u * np.abs(bound.exact) + form.tiny
            if not np.median(width) <= np.median(np.abs(bound.exact)):
                continue  # so wide that anything would lie within
            # a value that this format cannot hold overflows lawfully
            width = np.where(np.abs(bound.exact) + width > form.largest, math.inf, width)
            yield within(bound.exact, width), f"silent {name}", sentence, remedy


def _arithmetics_of(name: str) -> Iterator[Format]:
    """A format that sums in itself, and one whose products are summed in float32."""
    info = np.finfo("float16" if name == "float16" else "float32")
    u = 2.0**-8 if name == "bfloat16" else float(info.eps) / 2
    form = Format(u, float(info.smallest_normal), float(info.max), 0.0, u)
    yield form
    yield form._replace(u_in=u, u_sum=2.0**-23)


def wide_input(case: Case) -> Found:
    """A given tensor that was not rounded to the declared dtype."""
    if case.given is not None and case.record.tensors[case.tensor].dtype == np.float64:
        yield exact(case.given), *silent_float64(case)


def silent_float64(case: Case) -> tuple[str, str, str]:
    """The cause that names float64 although a narrower dtype was declared."""
    return (
        "silent float64",
        f"{case.tensor} was computed or kept in float64, but {case.record.dtype} was declared",
        WHERE_IT_IS_MADE,
    )


def other_rate(case: Case) -> Found:
    """The learning rate was rounded, left out, or a different one."""
    _, name = slot_and_parameter(case.tensor)

    def updated_at(used: float) -> Bound:
        return case.compute({"learning_rate": np.full((1, 1), used)})

    rate = float(case.t["learning_rate"][0, 0])
    remedy = "Keep the rate in the dtype of the parameters"
    for dtype in ("float16", "bfloat16"):
        used = float(_as_dtype(np.asarray(rate), dtype))
        sentence = f"{case.tensor} was updated with the learning rate rounded to {dtype}, {used!r}"
        yield updated_at(used), f"learning rate in {dtype}", sentence, remedy
    if case.run.recipe.slots or case.run.recipe.optimizer.weight_decay:
        return  # the step is not the rate times a gradient
    g = case.t[final_gradient(case.run, name)]
    if np.count_nonzero(g) >= FEWEST_ENTRIES:
        used = float(np.sum((case.t[name] - case.observed) * g) / np.sum(g * g))
        bound = updated_at(used)
        # rounding within the bound moves the fit by this much at most
        unsure = float(np.sum(bound.stat * np.abs(g)) / np.sum(g * g))
        if abs(used - rate) > 4 * unsure:
            sentence = (
                f"{case.tensor} was updated with the learning rate {used:.6g}, not {rate:.6g}"
            )
            remedy = "Use the declared rate: look at schedules, decay and a division by m"
            bound = within(bound.exact, bound.stat + unsure * np.abs(g))
            yield bound, "another learning rate", sentence, remedy
