"""Units that are on for one backend and off for another, and whether that is lawful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portadnn.parity import elementwise
from portadnn.parity.bounds import declared_format, product
from portadnn.parity.run import Run, StepRecord


@dataclass(frozen=True)
class Kink:
    """A unit that is on for one backend and off for another.

    ``propagated`` is the most by which the difference of the two states that the step started from,
    and the rounding of both backends, may move Z here. Where both values are nearer to 0 than that,
    the kink is undecidable: from here the two trajectories part lawfully.
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
    run: Run, first: StepRecord, second: StepRecord, backends: tuple[str, str]
) -> list[Kink]:
    """The entries of hidden layers whose masks differ between two records of the same step.

    The propagated deviation follows both states, W and W', through the step:
    ``D_Z = |(W - W') A + b - b'| + |W'| D_A`` and the rounding of both products;
    ``D_A = Lip(g) D_Z`` and the rounding of both activations. The batch is the same to the bit, so
    ``D_A`` begins with 0.
    """
    network = run.network
    masks = [
        (l, first.tensors[f"Z{l}"] > 0, second.tensors[f"Z{l}"] > 0)
        for l, activation in enumerate(network.activations, start=1)
        if activation in elementwise.KINKED
    ]
    found = {l: np.argwhere(ours != theirs) for l, ours, theirs in masks}
    last = max((l for l, indices in found.items() if len(indices)), default=0)
    if last == 0:
        return []
    deviation = _propagate(run, first, second, last)
    kinks = []
    for l, indices in found.items():
        for unit, sample in indices.tolist():
            kinks.append(
                Kink(
                    step=first.step,
                    layer=l,
                    unit=unit,
                    sample=sample,
                    first=float(first.tensors[f"Z{l}"][unit, sample]),
                    second=float(second.tensors[f"Z{l}"][unit, sample]),
                    propagated=float(deviation[l][unit, sample]),
                    backends=backends,
                )
            )
    return kinks


def _propagate(run: Run, first: StepRecord, second: StepRecord, last: int) -> dict[int, np.ndarray]:
    """The propagated deviation of Z of layers 1 to ``last``."""
    ours, theirs = (
        {name: x.astype(np.float64) for name, x in record.tensors.items()}
        for record in (first, second)
    )
    deviation = {}
    A = ours["X"]
    D_A = np.abs(ours["X"] - theirs["X"])
    with np.errstate(all="ignore"):
        for l in range(1, last + 1):
            W, b = f"W{l}", f"b{l}"
            D_Z = np.abs((ours[W] - theirs[W]) @ A + ours[b] - theirs[b])
            D_Z = D_Z + np.abs(theirs[W]) @ D_A
            activation = (*run.network.activations, run.network.head)[l - 1]
            local = np.zeros_like(D_Z)
            for t, record in ((ours, first), (theirs, second)):
                form = declared_format(record.dtype)
                inner = t["X"] if l == 1 else t[f"A{l - 1}"]
                D_Z = D_Z + product(t[W], inner, t[b], form=form).stat
                local = local + elementwise.FORWARD[activation](t[f"Z{l}"], form).stat
            deviation[l] = D_Z
            D_A = elementwise.LIPSCHITZ[activation] * D_Z + local
            A = ours[f"A{l}"]
    return deviation
