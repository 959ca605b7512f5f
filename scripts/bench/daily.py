#!/usr/bin/env python3
"""What people do in a day, on portadnn and on what they would pick instead: times and memory.

    scripts/bench/daily.py [--work epoch,process,...] [--rounds 5] [--quick] [--json FILE]
                           [--from FILE ...] [--page docs/performance.md]

The work is listed in ``contest/daily.py``; Fashion-MNIST is Debian's package dataset-fashion-mnist.
Every measurement has a process of its own, and they are made in turn, round after round; a ratio is
the median of the rounds' ratios, and "lost" means that its whole interquartile range lies below 1.
PyTorch, JAX and scikit-learn run with 1 thread and with all, JAX also in both layouts; the faster
one is the peer, and all are shown. ``--from`` prints files of results again, so the work can be
measured in parts, and ``--page`` writes what is asked beside what was measured between the page's
marks.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from contest.crew import VARIABLE, cores, fastest_kernel
from contest.daily import WORK, Absent
from contest.measure import median, turned
from contest.table import asked_rows, into, row
from contest.table import time as spell


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default=",".join(WORK), help=f"of {', '.join(WORK)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, to try it")
    parser.add_argument("--json", help="file for all that was measured")
    parser.add_argument("--from", dest="given", nargs="+", help="print the results of such files")
    parser.add_argument("--page", help="a page to write the tables into")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return one(*arguments.one, arguments.quick)
    if arguments.given:
        files = [json.loads(Path(name).read_text(encoding="utf-8")) for name in arguments.given]
        found = {"work": {k: rows for file in files for k, rows in file["work"].items()}}
    else:
        found = {"load": os.getloadavg()[0], "work": {}}
        for work in arguments.work.split(","):
            found["work"][work] = measured(work, arguments.rounds, arguments.quick)
            print(table(work, found["work"][work]), end="\n\n", flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    asked = asked_rows([r for work, rows in found["work"].items() for r in verdicts(work, rows)])
    text = "\n\n".join([*(table(*item) for item in found["work"].items()), asked])
    print(text if arguments.given else asked)
    if arguments.page:
        into(Path(arguments.page), "daily", asked)
    return 0


def one(work, name, quick):
    """Do the work in this process, and print what was measured."""
    try:
        answer = WORK[work].entrants[name](quick)
    except (Absent, ImportError) as error:
        answer = {"absent": str(error)}
    print("\n" + json.dumps(answer))


def measured(work, rounds, quick):
    """By entrants, with their threads: the values of all rounds, or why there are none."""
    counts = sorted({1, len(cores())})
    names = [
        (name, threads)
        for name in WORK[work].entrants
        for threads in (counts if not name.startswith("portadnn") else counts[-1:])
    ]
    found = {f"{name}, {threads} thread{'s' * (threads > 1)}": [] for name, threads in names}
    for i in range(rounds):
        for name, threads in turned(names, i):
            values = found[f"{name}, {threads} thread{'s' * (threads > 1)}"]
            if not values or "absent" not in values[0]:
                values.append(asked(work, name, threads, quick))
    return found


def asked(work, name, threads, quick):
    environment = os.environ | {
        v: str(threads) for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])
    )
    if kernel := fastest_kernel():
        environment.setdefault(VARIABLE, kernel)
    chosen = cores()[:threads]
    command = [sys.executable, __file__, "--one", work, name, *["--quick"] * quick]
    pin = (lambda: os.sched_setaffinity(0, chosen)) if hasattr(os, "sched_setaffinity") else None
    started = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, preexec_fn=pin, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or ["it failed"])[-1][:200]}
    answer = json.loads(done.stdout.splitlines()[-1])
    if "absent" not in answer and WORK[work].process:
        answer["value"] = seconds
    return answer


def values_of(rows):
    return {name: [a["value"] for a in r] for name, r in rows.items() if r and "value" in r[0]}


def table(work, rows):
    """All entrants of a work, the fastest first."""
    ran, unit = values_of(rows), WORK[work].unit
    lines = [f"**{WORK[work].title}**", "", row(["program", unit, "spread"]), row(["---"] * 3)]
    shown = spell if unit == "time" else "{:.3g}".format
    for name in sorted(ran, key=lambda name: median(ran[name])):
        low, high = min(ran[name]), max(ran[name])
        lines.append(row([name, shown(median(ran[name])), f"{shown(low)} to {shown(high)}"]))
    for name, answers in rows.items():
        if name not in ran and answers:
            lines.append(row([name, f"not measured: {answers[0]['absent']}", ""]))
    return "\n".join(lines)


def verdicts(work, rows):
    """What is asked of this work: (asked, ratios, at least, who)."""
    ran = values_of(rows)

    def best(start):
        names = [n for n in ran if n.startswith(start)] if start != "peers" else [
            n for n in ran if not n.startswith("portadnn")
        ]  # fmt: skip
        return min(names, key=lambda n: median(ran[n]), default=None)

    for ours, theirs, target in WORK[work].asked:
        a, b = best(ours), best(theirs) if isinstance(theirs, str) else theirs
        if a is None or b is None:
            continue
        if isinstance(b, str):
            ratios = [y / x for x, y in zip(ran[a], ran[b], strict=True)]
            yield f"{WORK[work].title}: {theirs} / {ours}", ratios, target, f"{b} / {a}"
        else:  # for memory: how much may be taken
            ratios = [b / x for x in ran[a]]
            yield f"{WORK[work].title}: {b:g} / {ours}", ratios, target, a


if __name__ == "__main__":
    sys.exit(main())
