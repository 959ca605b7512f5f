"""Times of a step, measured in turn in one process: sample space, and the GPU against the CPU."""

import math
import time

from gpu.work import row, table

# growing widths of [784, width, width, 10] on batches of 256, gradient descent in float32
WIDTHS, FEW_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048), (8, 16, 32)


def sample(work):
    """The cats' network with the first layer as it is, and in sample space."""
    from contest.entrants import ours
    from contest.measure import median
    from contest.tasks import tasks_of

    heads = ("dtype", "network", "examples", "a step without", "in sample space", "faster by",
             "spread")  # fmt: skip
    work.say(*table(heads, []))
    for task in tasks_of("a", quick=work.small):
        forms = {
            form: ours.connect(f"{work.connect().name},{form}")(task)
            for form in ("feature", "sample")
        }
        times = race(forms, *effort(work))
        faster = against(times["feature"], times["sample"])
        steps = {form: median(values) for form, values in times.items()}
        work.figures[task.dtype] = {
            "dims": task.dims, "examples": task.m, "source": task.source,
            "seconds of a step": steps, "feature / sample": faster,
        }  # fmt: skip
        cells = task.dtype, list(task.dims), task.m, *map(spell, steps.values())
        work.say(row((*cells, *ratio_cells(faster))))


def crossing(work):
    """NumPy and the backend over growing widths."""
    from contest.entrants import ours
    from contest.measure import median
    from contest.tasks import images, make_task

    name = work.connect().name
    examples, labels = images(256 * 4)
    found, late = [], ""
    work.say(*table(("width", "NumPy", name, "faster by", "spread"), []))
    for width in FEW_WIDTHS if work.small else WIDTHS:
        if work.left < 2:
            late = f"; from width {width} on nothing was measured, for there was no time left"
            break
        task = make_task("crossing", [784, width, width, 10], examples, labels, 4,
                         batch=256)  # fmt: skip
        pair = {
            "numpy": ours.connect("numpy,feature")(task),
            "backend": ours.connect(f"{name},feature")(task),
        }
        times = race(pair, *effort(work))
        ratio = against(times["numpy"], times["backend"])
        steps = {key: median(values) for key, values in times.items()}
        found.append((width, ratio["median"]))
        work.figures.setdefault("widths", []).append(
            {"width": width, "seconds of a step": steps, "numpy / backend": ratio}
        )
        work.say(row((width, *map(spell, steps.values()), *ratio_cells(ratio))))
    work.figures["crossing"] = crossed(found)
    work.say("", f"* {sentence(name, found, crossed(found))}{late}")


def crossed(found):
    """The width at which the ratio rises above 1 for good, between two that were measured.

    Parameters
    ----------
    found : list of (width, ratio)
        By growing width.

    Returns
    -------
    width : float or None
        On a line through the logarithms; None if the last ratio is below 1, the first width if
        all are above.
    """
    if not found or found[-1][1] < 1:
        return None
    slow = [i for i, (_, ratio) in enumerate(found) if ratio < 1]
    if not slow:
        return float(found[0][0])
    (x0, y0), (x1, y1) = ([math.log(v) for v in pair] for pair in found[slow[-1] : slow[-1] + 2])
    return round(math.exp(x0 + (x1 - x0) * (0 - y0) / (y1 - y0)), 1)


def sentence(name, found, width):
    """The crossing in words."""
    if not found:
        return "no width was measured"
    if width is None:
        return f"{name} is not ahead of NumPy at width {found[-1][0]}, the largest measured"
    if width == found[0][0]:
        return f"{name} is ahead of NumPy at every width from {found[0][0]} on"
    return f"{name} is ahead of NumPy from width {width:g} on"


def effort(work):
    """Rounds, and about the seconds of one measurement."""
    return (3, 0.01) if work.small else (5, 0.05)


def race(entrants, rounds, seconds):
    """The seconds of a step in every round; all are measured in turn, so that they see the same.

    Parameters
    ----------
    entrants : dict of contest.entrants.Entrant
    rounds : int
    seconds : float
        About the duration of one measurement.

    Returns
    -------
    times : dict of list of float
    """
    from contest.measure import turned

    burst = {name: warm(entrant, seconds) for name, entrant in entrants.items()}
    times = {name: [] for name in entrants}
    for i in range(rounds):
        for name in turned(list(entrants), i):
            times[name].append(timed(entrants[name], burst[name]) / burst[name])
    return times


def warm(entrant, seconds):
    """Compile and settle; the number of steps that take about so many seconds."""
    entrant.begin()
    n = 1
    timed(entrant, n)
    while (taken := timed(entrant, n)) < seconds / 4:
        n *= 4
    n = max(1, round(n * seconds / taken))
    timed(entrant, n)
    return n


def timed(entrant, n):
    started = time.perf_counter()
    entrant.advance(n)
    return time.perf_counter() - started


def against(slow, fast):
    """The median of the rounds' ratios, and their spread."""
    from contest.measure import median, ratios

    found = ratios(slow, fast)
    return {"median": median(found), "least": min(found), "most": max(found)}


def ratio_cells(ratio):
    return f"{ratio['median']:.3g} x", f"{ratio['least']:.3g} to {ratio['most']:.3g}"


def spell(seconds):
    from contest.table import time

    return time(seconds)
