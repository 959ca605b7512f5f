"""Units that are on for one backend and off for another, and whether that is lawful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portadnn.network.activations import ACTIVATIONS
from portadnn.network.names import named
from portadnn.parity.bounds import elementwise, product
from portadnn.parity.run import Run, StepRecord
from portadnn.parity.step.operations import operands


@dataclass(frozen=True)
class Kink:
    """A unit that is on for one backend and off for another.

    ``propagated`` is how far the difference of the two states that the step started from, and the
    rounding of both backends since then, may move Z here. If both values are nearer to 0 than
    that, the kink is undecidable: from here on the two runs differ lawfully.
    """

    step: int
    layer: int
    unit: int
    sample: int
    first: float
    second: float
    propagated: float
    backends: tuple[str, str]

    @property
    def undecidable(self) -> bool:
        """Whether the two signs of Z are explained."""
        return max(abs(self.first), abs(self.second)) <= self.propagated

    def __str__(self) -> str:
        kind = "UNDECIDABLE KINK" if self.undecidable else "UNEXPLAINED MASK"
        return (
            f"{kind} step {self.step}, layer {self.layer}, unit {self.unit}, sample {self.sample}: "
            f"Z is {self.first:.3g} on {self.backends[0]} and {self.second:.3g} on "
            f"{self.backends[1]}, propagated deviation {self.propagated:.3g}"
        )


def find_kinks(
    run: Run,
    first: StepRecord,
    second: StepRecord,
    backends: tuple[str, str],
    modes: tuple[str | None, str | None] = (None, None),
) -> list[Kink]:
    """The entries of hidden layers whose masks differ between two records of the same step.

    The propagated deviation is how far the two starting states lie apart at Z in exact arithmetic,
    ``|Zs - Zs'|`` with Zs the float64 forward pass from each state, and what rounding may add on
    either side since the step began. If sums round to nearest, these roundings are independent, and
    their squares are added, ``D_Z^2 = (W*W) D_A^2 + r_Z^2``; otherwise they themselves. ``D_A`` is
    Lip(g) D_Z and the activation's own rounding. ``r_Z`` is the statistical bound, or the observed
    error if that is larger and some order of summation can make it.
    """
    network = run.network
    Z_of = {
        l: (first.tensors[named("Z", l)], second.tensors[named("Z", l)])
        for l, activation in enumerate(network.activations, start=1)
        if activation in elementwise.KINKED
    }
    found = {l: np.argwhere((ours > 0) != (theirs > 0)) for l, (ours, theirs) in Z_of.items()}
    last = max((l for l, indices in found.items() if len(indices)), default=0)
    if last == 0:
        return []
    ours, theirs = (
        _propagate(run, record, last, mode)
        for record, mode in zip((first, second), modes, strict=True)
    )
    deviation = {
        l: np.abs(Z - theirs[l][0]) + np.hypot(D, theirs[l][1]) for l, (Z, D) in ours.items()
    }
    return [
        Kink(
            first.step, l, at[0], at[1], float(Z_of[l][0][at]), float(Z_of[l][1][at]),
            float(deviation[l][at]), backends,
        )
        for l, indices in found.items()
        for at in map(tuple, indices.tolist())
    ]  # fmt: skip


def _propagate(
    run: Run, record: StepRecord, last: int, mode: str | None
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Zs and D_Z of layers 1 to ``last``."""
    t = {name: x.astype(np.float64) for name, x in record.tensors.items()}
    form = record.form(mode)
    entries = run.entries(record)
    add = np.hypot if form.rounds_to_nearest else np.add
    A, D = t["X"], np.zeros_like(t["X"])
    found = {}
    with np.errstate(all="ignore"):
        for l, activation in zip(range(1, last + 1), run.network.activations, strict=False):
            W, b = t[named("W", l)], t[named("b", l)]
            inner = t[operands(run, named("Z", l))[1]]
            Z = W @ A + b
            bound = product(W, inner, b, form=form, entries=entries)
            observed = np.minimum(np.abs(t[named("Z", l)] - bound.exact), bound.det)
            carried = np.sqrt(np.square(W) @ np.square(D)) if add is np.hypot else np.abs(W) @ D
            D = add(carried, np.fmax(bound.stat, observed))
            found[l] = Z, D
            A = ACTIVATIONS[activation].forward(Z, xp=np)
            if activation == "softmax":  # each output depends on every unit of its layer
                D = np.broadcast_to(np.sum(D, axis=0, keepdims=True), D.shape)
            bounds = elementwise.ACTIVATION_BOUNDS[activation]
            D = add(bounds.lipschitz * D, bounds.forward(t[named("Z", l)], form).stat)
            if l in run.recipe.dropped_layers():  # the same masks on both sides
                scale = t[named("D", l)] / (1 - run.recipe.dropout[l - 1])
                A, D = A * scale, D * scale
    return found
