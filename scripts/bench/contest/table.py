"""Results as Markdown."""

from __future__ import annotations

import statistics

from contest.crew import STOCK
from contest.entrants import ON_NUMPY, OURS, title
from contest.measure import median, ratios, relative_gap
from contest.referee import tolerance

COLUMNS = (
    "program", "BLAS kernel", "whole call", "first", "a step", "against {reference}", "spread",
    "GFLOP/s", "of its own product", "of the best product", "peak", "final cost", "apart",
)  # fmt: skip


def results_table(task, results):
    """A row for every entrant; the first that ran is what the ratios are against."""
    ran = [r for r in results if r.step]
    batch = f"batch {task.batch}" if task.batch else "full batch"
    examples = f"{list(task.dims)}, {task.m} examples ({task.source}), {batch}"
    lines = [f"### {task.title}: {examples}, {task.optimizer}, {task.steps} steps", ""]
    if ran:
        best = max(median(r.rate) for r in ran)
        work = f"{task.flops / 1e6:.4g} million operations of matrix products in a direct step"
        products = f"the best product {best:.0f} GFLOP/s"
        apart = f"after {task.compared} steps costs may lie {tolerance(task):.1e} apart"
        lines += [f"{work}; {products}; {apart}.", ""]
    reference = ran[0] if ran else None
    heads = [c.format(reference=reference and shown(reference.name)) for c in COLUMNS]
    lines += [row(heads), row(["---"] * len(heads))]
    for result in results:
        if result.error or reference is None:
            lines.append(row([shown(result.name), f"not measured: {result.error}"]))
            continue
        step = median(result.step)
        paired = ratios(reference.step, result.step)
        direct = [task.flops / s / 1e9 for s in result.step]
        name = shown(result.name) + (f", {result.note}" if result.note else "")
        kernel = result.kernel if result.name.partition("@")[0] in ON_NUMPY else ""
        lines.append(row([
            name, kernel, time(median(result.whole)), time(result.first),
            time(step), f"{median(paired):.3g} x", f"{min(paired):.3g} to {max(paired):.3g}",
            f"{median(direct):.3g}", f"{median(ratios(direct, result.rate)):.0%}",
            f"{median(direct) / best:.0%}", f"{result.peak / 2**20:.0f} MiB",
            f"{result.final:.10g}", f"{relative_gap(result, reference):.0e}",
        ]))  # fmt: skip
    return "\n".join(lines)


def asked_rows(found):
    """What is asked, beside what was measured: (asked, ratios, at least, who) for every row."""
    heads = ["asked", "measured", "quartiles", "at least", "holds"]
    lines = [row(heads), row(["---"] * len(heads))]
    for asked, values, target, who in found:
        middle, (low, high) = median(values), quartiles(values)
        holds = high >= 1 if target is None else middle >= target
        verdict = "yes" if holds else "NO" if high >= 1 else "NO, lost"
        text = f"{middle:.3g} ({who})"
        asked_for = "not lost" if target is None else f"{target:g}"
        lines.append(row([asked, text, f"{low:.3g} to {high:.3g}", asked_for, verdict]))
    return "\n".join(lines)


def quartiles(values):
    """The ends of the interquartile range."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def into(page, name, text):
    """Write a text between the marks of that name on a page."""
    start, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no marks {start} and {end}: add them where the tables go")
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def verdicts(task, results):
    """(what, measured, target, who) for the lines of the issue that speak of this task."""
    by_name = {r.name: r for r in results if r.step and r.whole}
    peers = [n for n in by_name if n.partition("@")[0] not in OURS]
    kinds = {"ours": OURS, "peers": peers} | {
        start: [n for n in peers if n.startswith(start) and STOCK not in n]
        for start in ("jax-scan", "torch", "sklearn")
    }

    def pick(names, what):
        """Of several, the fastest."""
        there = [by_name[n] for n in kinds.get(names, [names]) if n in by_name]
        return min(there, key=lambda r: median(getattr(r, what)), default=None)

    found = []
    for start, what, fast, slow, target in ASKED:
        a, b = pick(fast, what), pick(slow, what)
        if task.title != start or a is None or b is None:
            continue
        kind = "whole call" if what == "whole" else "a step"
        values = ratios(getattr(b, what), getattr(a, what))
        found.append((f"{start}: {kind}, {slow} / {fast}", values, target, f"{b.name} / {a.name}"))
    for start, target in SHARES:
        if task.title == start and (ours := by_name.get("numpy")):
            share = ratios([task.flops / s / 1e9 for s in ours.step], ours.rate)
            found.append((f"{start}: share of NumPy's product", share, target, "numpy"))
    if task.title in LEAN and "torch-eager" in by_name:
        for name in kinds["ours"]:
            if name in by_name:
                ratio = by_name["torch-eager"].peak / by_name[name].peak
                asked = f"{task.title}: peak memory, torch-eager / {name}"
                found.append((asked, [ratio], 1.0, name))
    return found


# task, what is timed, ours, against whom, how many times faster at least
ASKED = (
    ("a, float64", "whole", "numpy", "textbook", 60),
    ("a, float64", "whole", "numpy", "textbook@stock", 80),
    ("a, float64", "step", "jax", "textbook", 150),
    ("a, float64", "step", "ours", "torch", 100),
    ("a, float64", "step", "ours", "jax-scan", 60),
    ("a, float32", "step", "ours", "jax-scan", 25),
    ("c, sgd", "step", "ours", "sklearn", 2),
    ("c, sgd", "step", "ours", "torch", 3),
    # None: not lost
    *((title, "step", "ours", "peers", None)
      for title in ("b, sgd", "b, adam", "c, sgd", "d, sgd", "e, adam", "f, adam")),
)  # fmt: skip
SHARES = (("b, sgd", 0.65), ("b, adam", 0.45), ("d, sgd", 0.75))
LEAN = ("a, float64", "a, float32", "d, sgd")


def shown(name):
    entrant, _, how = name.partition("@")
    return title(entrant) + {"": "", "stock": ", stock process", "1": ", 1 thread"}[how]


def row(cells):
    return f"| {' | '.join(map(str, cells))} |"


def time(seconds):
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
