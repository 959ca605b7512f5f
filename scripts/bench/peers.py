#!/usr/bin/env python3
"""The same training on portadnn and on what people would pick instead: times, costs, memory.

    scripts/bench/peers.py [--workload a,b,c,d] [--entrants numpy,jax,...] [--quick] [--repeats 7]
                           [--whole-repeats 3] [--seconds 0.5] [--threads N] [--json FILE]
                           [--from FILE ...] [--page docs/performance.md]

Workloads: (a) the course's network on the cat images, float64 and float32; (b) [784, 512, 512, 10],
minibatches of 256, SGD and Adam; (c) [64, 64, 32, 10] on digits, minibatches of 32; (d) [784, 2048,
2048, 10], minibatches of 1024; (e) 20 hidden layers of 64, minibatches of 64, Adam; (f) [784, 256,
128, 10] in float64, minibatches of 128, Adam. ``daily.py`` has Fashion-MNIST and predictions. All
entrants have the same data, initial weights, order and dtype.

Every entrant has a process of its own, with the same cores and threads, and they are asked in turn,
round after round; a ratio is the median of the rounds' ratios. "A step" is one of many within one
call, after warming up; "first" is the first call of one step (one epoch for fit), compilation
included; "whole call" goes from host arrays to weights on the host, in (a) as a median, of which
the first has compiled, and else once. The rate of a product is that of 2048^3 in the
entrant's own library, timed beside each measurement; GFLOP/s are those of the direct form, so
sample space goes beyond all of it. The peak is that of the first whole call, data included, above
the idle process with its imports. NumPy programs run on the BLAS kernel that the command line would
choose; a "stock process" has the one that NumPy picks itself, on many processors the same. Peers
with small products also run with one thread. ``--from`` prints files of results again, so that the
workloads can be measured one by one, and ``--page`` writes what is asked beside what was measured
between the page's marks.

The exit code is 1 where final costs disagree or an entrant failed. On a busy machine the ratios
mean little: the load is printed first.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from contest.crew import ALONE, STOCK, cores, fastest_kernel
from contest.entrants import ENTRANTS, ON_NUMPY, REPRODUCIBLE
from contest.measure import faults, measure
from contest.table import asked_rows, into, results_table, verdicts
from contest.tasks import tasks_of

LIBRARIES = ("numpy", "jax", "torch", "scikit-learn", "keras", "cupy")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="a,b,c,d,e,f")
    parser.add_argument("--entrants", help=f"of {', '.join(ENTRANTS)}")
    parser.add_argument("--quick", action="store_true", help="small data, few steps")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--whole-repeats", type=int, help="of the whole calls of (a)")
    parser.add_argument("--seconds", type=float, help="of one measurement, about")
    parser.add_argument("--threads", type=int, default=len(cores()))
    parser.add_argument("--json", help="file for all that was measured")
    parser.add_argument("--from", dest="given", nargs="+", help="print the results of such files")
    parser.add_argument("--page", help="a page to write into what is asked")
    arguments = parser.parse_args()
    if arguments.given:
        given = [json.loads(Path(name).read_text(encoding="utf-8")) for name in arguments.given]
        asked = asked_rows([row for file in given for row in file["asked"]])
        print(*(task["table"] for file in given for task in file["tasks"]), asked, sep="\n\n")
        if arguments.page:
            into(Path(arguments.page), "peers", asked)
        return 0
    for name in arguments.entrants.split(",") if arguments.entrants else ():
        if name.removesuffix(STOCK).removesuffix(ALONE) not in ENTRANTS:
            parser.error(f"unknown entrant {name}: expected some of {', '.join(ENTRANTS)}")
    rounds = arguments.repeats or (2 if arguments.quick else 7)
    whole_rounds = arguments.whole_repeats or (1 if arguments.quick else 3)
    seconds = arguments.seconds or (0.02 if arguments.quick else 0.5)

    machine = environment(arguments.threads)
    print("\n".join(f"{key}: {value}" for key, value in machine.items()), end="\n\n", flush=True)
    report, wrong, found = [], [], []
    for workload in arguments.workload.split(","):
        for task in tasks_of(workload, arguments.quick):
            results = measure(
                task,
                names_for(workload, arguments.entrants),
                rounds=rounds,
                whole_rounds=whole_rounds if workload == "a" else 1,
                seconds=seconds,
                threads=arguments.threads,
            )
            shown = results_table(task, results)
            print(shown, end="\n\n", flush=True)
            wrong += faults(task, results)
            found += verdicts(task, results)
            report.append({"task": task.title, "flops": task.flops, "table": shown,
                           "results": [asdict(r) for r in results]})  # fmt: skip
    if found and not arguments.quick:
        print(asked_rows(found), end="\n\n")
        if arguments.page:
            into(Path(arguments.page), "peers", asked_rows(found))
    if arguments.json:
        whole = {"environment": machine, "tasks": report, "asked": found, "faults": wrong}
        Path(arguments.json).write_text(json.dumps(whole, indent=1), encoding="utf-8")
    print("\n".join(wrong) or "all ran, and all costs agree")
    return 1 if wrong else 0


def names_for(workload, chosen):
    if chosen:
        return chosen.split(",")
    only_a = ("textbook", "numpy-direct")
    names = [name for name in ENTRANTS if name not in only_a or workload == "a"]
    names = [name for name in names if name not in REPRODUCIBLE]  # those are asked for by name
    # the first is what the table's ratios are against
    names.sort(key=lambda name: name not in ("textbook", "torch-eager"))
    if workload in "acef":  # their products are small
        small = [
            n for n in names if n.startswith(("torch-eager", "torch-fused", "jax-scan", "sklearn"))
        ]
        names += [name + ALONE for name in small if not name.endswith("-gpu")]
    if fastest_kernel() is None:
        return names
    return [n for name in names for n in (name, name + STOCK)
            if n == name or (name in ON_NUMPY and name != "numpy-direct")]  # fmt: skip


def environment(threads):
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "threads": threads,
        "Python": platform.python_version(),
        "libraries": ", ".join(versions),
        "OPENBLAS_CORETYPE": fastest_kernel() or "not set",
        "load": f"{os.getloadavg()[0]:.1f} runnable processes on {os.cpu_count()} cores",
    }


def processor():
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
