"""portadnn on the GPU beside PyTorch and JAX: time of a step, memory of the card."""

import os
import time
from dataclasses import replace

from gpu.work import Skip, table

# ratios are against the first that runs
ENTRANTS = ("torch-cuda", "cupy", "torch-gpu", "jax-gpu", "torch-graph", "torch-compile-gpu",
            "jax-scan-gpu", "numpy")  # fmt: skip
SLOW_TO_START = ("torch-compile-gpu",)  # takes part in the first task alone
PATIENCE = 60.0  # seconds for one answer of an entrant, its compilation included
STEPS = 200  # steps of the whole call, after which costs are compared


def contest(work):
    """A table for every task for which there is time; costs that disagree are a fault."""
    from contest.entrants import title
    from contest.measure import faults, measure, median, ratios
    from contest.table import time as spell

    if work.connect().name != "cupy":
        raise Skip(f"the entrants run on the first device, and on CuPy: the backend is "
                   f"{work.backend} (CUDA_VISIBLE_DEVICES chooses the first device)")  # fmt: skip
    names, taken = list(ENTRANTS), 0.0
    for task in tasks(work.small):
        if work.left < 1.2 * taken:
            work.say(f"* {task.title} was not measured: there was no time left")
            continue
        started = time.monotonic()
        results = measure(
            task, names, rounds=3 if work.small else 5, whole_rounds=1,
            seconds=0.01 if work.small else 0.1, threads=len(os.sched_getaffinity(0)),
            products=False, card=True, patience=PATIENCE, at_once=True,
        )  # fmt: skip
        taken = time.monotonic() - started
        reference = next((r for r in results if r.step), None)
        rows = []
        figures = work.figures.setdefault(task.title, {})
        figures |= {"dims": task.dims, "examples": task.m, "seconds": taken}
        for r in results:
            if r.error:
                what = "skipped" if r.absent else "failed"
                figures[r.name] = {what: r.error}
                rows.append((title(r.name), f"{what}: {r.error}", "", "", "", "", ""))
                continue
            ratio = ratios(reference.step, r.step)
            figures[r.name] = {
                "seconds of a step": median(r.step), "ratio": median(ratio),
                "spread": [min(ratio), max(ratio)], "bytes of the card": r.card,
                "first": r.first, "cost": r.cost, "note": r.note,
            }  # fmt: skip
            rows.append((
                title(r.name), r.note, spell(median(r.step)), f"{median(ratio):.3g} x",
                f"{min(ratio):.3g} to {max(ratio):.3g}",
                "" if r.card is None else f"{r.card / 2**20:.1f} MiB", spell(r.first),
            ))  # fmt: skip
        against = title(reference.name) if reference else "nobody"
        heads = ("program", "note", "a step", f"faster than {against} by", "spread",
                 "memory of the card", "first call")  # fmt: skip
        batch = f"batches of {task.batch}" if task.batch else "full batch"
        work.say(f"{task.title}: {list(task.dims)}, {task.m} examples ({task.source}), {batch}, "
                 f"{task.optimizer}, {task.dtype}", "", *table(heads, rows), "")  # fmt: skip
        for fault in faults(task, results):
            work.fail(fault)
        names = [r.name for r in results if not r.absent and r.name not in SLOW_TO_START]
    work.say("The memory of the card is the most that the library's allocator had in use at once, "
             "data included; CUDA's own context is not in it. The first call was timed while the "
             "other programs made theirs.")  # fmt: skip


def tasks(small):
    """The most telling first: not all may find the time."""
    from contest.tasks import tasks_of

    double, single = tasks_of("a", small)
    if small:
        chosen = (*tasks_of("c", small), single)
    else:
        sgd, adam = tasks_of("b")
        chosen = (adam, single, double, sgd)
    return [replace(task, steps=whole_epochs(task)) for task in chosen]


def whole_epochs(task):
    """About ``STEPS`` steps, for an epoch is the least that ``fit`` makes."""
    epoch = task.batches.steps_per_epoch
    return min(task.steps, max(1, STEPS // epoch) * epoch)
