"""The sections of the report, each from the comparison alone. All text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from portadnn.parity.certify import Check
from portadnn.parity.compare import BackendResult, Comparison, Outcome
from portadnn.plots import ratio_map, to_svg

MOST_ROWS = 500  # a longer table says how many are left out

Row = Sequence[object]


def verdict(comparison: Comparison) -> str:
    outcome = comparison.outcome
    certificates = comparison.certificates
    kinks = comparison.kinks
    said = {
        Outcome.PARITY: "Every operation that was checked lies within the rounding error that its "
        "arithmetic allows.",
        Outcome.SUSPECT: "An operation lies beyond its statistical bound, though some order of "
        "summation could explain it: probably lower precision.",
        Outcome.DIVERGED: "An operation lies beyond what its arithmetic allows."
        if comparison.first_divergence
        else "The masks of two backends differ where no rounding error explains it.",
    }[outcome]
    notes = []
    first = comparison.first_mask_disagreement
    if first is None and len(certificates) > 1:
        notes.append("The backends never took different sides of a kink.")
    elif first is not None:
        notes.append(
            f"First mask disagreement at step {first.step}, layer {first.layer}, unit "
            f"{first.unit}, sample {first.sample}: {len(kinks):,} in all"
            + (", each undecidable, so from there the trajectories may part lawfully."
               if all(kink.undecidable for kink in kinks) else ", not all of them explained.")
        )  # fmt: skip
    mismatches = [f"{c.backend}: {c.mode}." for c in certificates if "MISMATCH" in c.mode]
    operations = sum(len(c.checks) for c in certificates)
    full = max((c.full for c in certificates), default=0)
    names = " and ".join(c.backend for c in certificates)
    if len(certificates) > 2:
        names = ", ".join(c.backend for c in certificates)
    return (
        f"<header>\n<p class=kicker>portadnn parity report</p>\n<h1>{escape(names)}</h1>\n"
        f'<p class="verdict {outcome.value.lower()}"><strong>{outcome.value}</strong> '
        f"{escape(said)}</p>\n"
        + "".join(f'<p class="verdict suspect">{escape(text)}</p>\n' for text in mismatches)
        + "".join(f"<p>{escape(note)}</p>\n" for note in notes)
        + f"<p class=quiet>{operations:,} operations checked in full, at {full:,} of "
        f"{comparison.run.steps:,} steps.</p>\n</header>\n"
    )


def divergence(comparison: Comparison) -> str:
    parts = []
    first = comparison.first_divergence
    failed = [c for c in comparison.certificates if c.first_failure]
    for certificate in sorted(failed, key=lambda c: first is None or c.backend != first[0]):
        parts.append(
            f"<p><strong>{escape(certificate.backend)}</strong></p>\n"
            f"<p class=finding>{escape(str(certificate.first_failure))}; every earlier operation "
            "that was checked passed</p>\n"
        )
        cause = certificate.cause
        if cause is None:
            parts.append("<p>No known cause fits its numbers.</p>\n")
        else:
            parts.append(
                f"<p><strong>{escape(cause.name)}:</strong> {escape(cause.sentence)}.</p>\n"
                f"<p><strong>What to do:</strong> {escape(cause.remedy)}.</p>\n"
            )
    unexplained = next((kink for kink in comparison.kinks if not kink.undecidable), None)
    if unexplained:
        parts.append(f"<p class=finding>{escape(str(unexplained))}</p>\n")
    if not parts:
        return "<p>None: every operation that was checked passed.</p>\n"
    return "".join(parts)


def backends(comparison: Comparison) -> str:
    def each(label, value):
        return [label, *(value(certificate) for certificate in comparison.certificates)]

    rows = [
        each("verdict", lambda c: c.outcome.value),
        each("dtype", lambda c: c.dtype),
        each("matrix products", lambda c: c.matmul),
        each("steps checked in full", lambda c: f"{c.full:,}"),
        each("operations checked", lambda c: f"{len(c.checks):,}"),
        each("operations that failed", _failed),
        each("largest error / bound", lambda c: _largest(c.largest)),
        each("effective bits, least", _least_bits),
        each("watched = unwatched", lambda certificate: certificate.mode),
        each("seconds of checking", lambda c: f"{c.seconds:.2f}"),
    ]
    kinds = dict.fromkeys(kind for noise in comparison.noise.values() for kind in noise)
    rows += [
        [
            f"noise floor, {kind}",
            *(
                _number(comparison.noise.get(c.backend, {}).get(kind))
                for c in comparison.certificates
            ),
        ]
        for kind in kinds
    ]
    return _table(["", *(c.backend for c in comparison.certificates)], rows)


def _failed(certificate: BackendResult) -> str:
    return f"{len(certificate.failed_checks):,}"


def _largest(check: Check | None) -> str:
    return "–" if check is None else f"{check.ratio:.3g} ({check.tensor}, step {check.step})"


def _least_bits(certificate: BackendResult) -> str:
    bits = [c for c in certificate.checks if c.bits is not None and math.isfinite(c.bits)]
    worst = min(bits, key=lambda check: check.bits or 0.0, default=None)
    return "–" if worst is None else f"{worst.bits:.1f} ({worst.tensor}, step {worst.step})"


def plots(comparison: Comparison) -> str:
    parts = []
    for i, certificate in enumerate(comparison.certificates):
        exact = dict.fromkeys(check.tensor for check in certificate.checks)
        for check in certificate.checks:
            if check.ratio > 0:
                exact.pop(check.tensor, None)
        shown = [(c.step, c.tensor, c.ratio) for c in certificate.checks if c.tensor not in exact]
        name = escape(certificate.backend)
        drawn = to_svg(ratio_map(shown), f"figure{i}") if shown else ""
        caption = f"<strong>{name}</strong>. Blue: within the bound; red: beyond; blank: exact."
        if not certificate.checks:
            caption = f"<strong>{name}</strong>. No step was checked in full."
        elif exact:
            caption += f" Exact at every step: {escape(', '.join(exact))}."
        parts.append(
            f'<figure>\n<div class=scroll role=img tabindex=0 aria-label="Error over bound of '
            f'every tensor and step, {name}">{drawn}</div>\n<figcaption>{caption}</figcaption>\n'
            "</figure>\n"
        )
    return "".join(parts)


def bits(comparison: Comparison) -> str:
    least: dict[str, dict[int, float]] = {}
    for i, certificate in enumerate(comparison.certificates):
        for check in certificate.checks:
            if check.bits is not None and not math.isnan(check.bits):
                by_backend = least.setdefault(check.tensor, {})
                by_backend[i] = min(check.bits, by_backend.get(i, math.inf))
    if not least:
        return ""
    rows = [
        [tensor, *(_bits_of(found.get(i)) for i in range(len(comparison.certificates)))]
        for tensor, found in least.items()
    ]
    text = (
        "<p class=quiet>The least over the steps. About 23 or more in float32, 12.4 in TF32, 9 in "
        "bfloat16, 52 in float64.</p>\n"
    )
    return text + _table(["", *(c.backend for c in comparison.certificates)], rows, "numbers")


def _bits_of(bits: float | None) -> str:
    if bits is None:
        return "–"
    return "exact" if math.isinf(bits) else f"{bits:.1f}"


def kinks(comparison: Comparison) -> str:
    if len(comparison.certificates) < 2:
        return ""
    if not comparison.kinks:
        return "<p>No mask differed at any step that was looked at.</p>\n"
    rows = [
        [
            kink.step,
            kink.layer,
            kink.unit,
            kink.sample,
            f"{kink.backends[0]} – {kink.backends[1]}",
            f"{kink.first:.3g}",
            f"{kink.second:.3g}",
            f"{kink.propagated:.3g}",
            "undecidable" if kink.undecidable else "UNEXPLAINED",
        ]
        for kink in comparison.kinks[:MOST_ROWS]
    ]
    head = ["step", "layer", "unit", "sample", "backends", "Z", "Z'", "propagated", "kind"]
    text = (
        "<p class=quiet>Units that are on for one backend and off for another. Undecidable: both "
        "values of Z lie within the deviation propagated from both states and their rounding.</p>\n"
    )
    return text + _table(head, rows, "numbers long") + _left_out(len(comparison.kinks))


def environments(comparison: Comparison) -> str:
    certificates = comparison.certificates
    keys = dict.fromkeys(key for c in certificates for key in c.environment)
    rows = [[key, *(c.environment.get(key, "–") for c in certificates)] for key in keys]
    return _table(["", *(c.backend for c in certificates)], rows)


def run(comparison: Comparison) -> str:
    run = comparison.run
    network = run.network
    full = sorted(comparison.checked)
    if len(full) == run.steps:
        checked = "all in full"
    else:
        checked = "in full " + ", ".join(map(str, full[:20])) + (", ..." if len(full) > 20 else "")
    rows = [
        ["layers", ", ".join(map(str, network.layer_dims))],
        ["activations", ", ".join((*network.activations, network.head))],
        ["examples", f"{run.X.shape[1]:,}"],
        [
            "batch",
            "all"
            if run.batch_size is None
            else f"{run.batch_size:,}, seed {run.plan.batches.seed}",
        ],
        ["learning rate", f"{run.plan.learning_rate:g}"],
        ["schedule", str(run.plan.schedule)],
        *([name, str(value)] for name, value in run.recipe.settings().items() if value),
        ["weights of examples", "yes" if run.weights is not None else "no"],
        ["steps", f"{run.steps:,}"],
        ["checked", checked],
    ]
    return _table(None, rows)


def _table(head: Iterable[object] | None, rows: Iterable[Row], kind: str = "words") -> str:
    """A table that scrolls by itself; the first cell of a row is its heading. All is escaped."""
    lines = []
    if head is not None:
        cells = "".join(f"<th scope=col>{escape(str(cell))}</th>" for cell in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>\n")
    lines.append("<tbody>\n")
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        lines.append(f"<tr><th scope=row>{escape(str(first))}</th>{cells}</tr>\n")
    table = f"<table>\n{''.join(lines)}</tbody>\n</table>\n"
    return f'<div class="scroll {kind}" tabindex=0>\n{table}</div>\n'


def _left_out(count: int) -> str:
    if count <= MOST_ROWS:
        return ""
    return f"<p>The first {MOST_ROWS:,} of {count:,}; {count - MOST_ROWS:,} are left out.</p>\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
