#!/usr/bin/env python3
"""How the time of a step grows with the examples, their values, the width and the depth.

    scripts/bench/growth.py [--entrants numpy,jax,...] [--out growth.png] [--quick] [--repeats 5]
                            [--seconds 0.2] [--threads N] [--json FILE]

From 256 examples of 1,536 values and two hidden layers of 64 units, full batch, float32, each is
doubled four times while the others stay. A table gives the median time of a step, and the exponent
of growth over the last two doublings; a figure shows all. peers.py says what is measured.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from contest.crew import cores
from contest.entrants import ENTRANTS, title
from contest.measure import measure, median
from contest.table import row, time
from contest.tasks import make_task

BASE = {"examples": 256, "values": 1536, "width": 64, "depth": 2}
DOUBLINGS = 4
DEFAULT = "textbook,numpy,jax,torch-eager,jax-scan"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entrants", default=DEFAULT, help=f"of {', '.join(ENTRANTS)}")
    parser.add_argument("--out", default="growth.png")
    parser.add_argument("--quick", action="store_true", help="an eighth of the sizes")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds", type=float, help="of one measurement, about")
    parser.add_argument("--threads", type=int, default=len(cores()))
    parser.add_argument("--json", help="file for all that was measured")
    arguments = parser.parse_args()
    names = arguments.entrants.split(",")
    for name in names:
        if name not in ENTRANTS:
            parser.error(f"unknown entrant {name}: expected some of {', '.join(ENTRANTS)}")

    found = {axis: grow(axis, names, arguments) for axis in BASE}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    draw(found, names, arguments.out)
    print(f"\nfigure: {arguments.out}")


def grow(axis, names, arguments):
    """The sizes, and the seconds of a step of every entrant at each."""
    quick = arguments.quick
    base = {k: v // 8 if quick and k != "depth" else v for k, v in BASE.items()}
    sizes = [base[axis] * 2**k for k in range(DOUBLINGS + 1)]
    times = {name: [] for name in names}
    print(f"\n### {axis}, from {base}\n\n{row([axis, *map(title, names)])}")
    print(row(["---"] * (len(names) + 1)))
    for size in sizes:
        results = measure(
            task_of(base | {axis: size}),
            names,
            rounds=arguments.repeats or (2 if quick else 5),
            whole_rounds=0,
            seconds=arguments.seconds or (0.02 if quick else 0.2),
            threads=arguments.threads,
            products=False,
        )
        for result in results:
            times[result.name].append(median(result.step))
        print(row([size, *(time(times[name][-1]) or "failed" for name in names)]), flush=True)
    print(row(["exponent", *(exponent(times[name]) for name in names)]))
    return {"sizes": sizes, "seconds": times}


def task_of(sizes):
    rng = np.random.default_rng(0)
    m, n_x = sizes["examples"], sizes["values"]
    dims = [n_x, *[sizes["width"]] * sizes["depth"], 1]
    rows = rng.random((m, n_x), dtype=np.float32)
    return make_task("growth", dims, rows, rng.integers(0, 2, m), 3000, rate=0.0075)


def exponent(seconds):
    """p where the time grows like size^p, over the last two doublings."""
    if None in seconds:
        return ""
    return f"{math.log2(seconds[-1] / seconds[-3]) / 2:.2f}"


def draw(found, names, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(4 * len(found), 4), sharey=True,
                                layout="constrained")  # fmt: skip
    for ax, (axis, grown) in zip(axes, found.items(), strict=True):
        for name in names:
            values = [math.nan if s is None else s for s in grown["seconds"][name]]
            ax.loglog(grown["sizes"], values, "o-", base=2, label=title(name))
        ax.set_yscale("log", base=10)
        ax.set_xticks(grown["sizes"], map(str, grown["sizes"]))
        ax.minorticks_off()
        ax.set_xlabel(axis)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("seconds a step")
    axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
