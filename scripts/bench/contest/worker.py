"""A process with one entrant, that does what it is told: lines of JSON in, lines of JSON out.

A process of its own gives each entrant its own BLAS kernel, its own memory to measure, and no
neighbour's threads that wait for work.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
import traceback
from pathlib import Path

PRODUCT = 2048  # the side of the square matrices whose product is the machine's rate


def main():
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = getattr(worker, command)(*arguments)
        except Exception as error:
            absent = type(error).__name__ == "Unavailable"
            if not absent:
                traceback.print_exc()
            answer = {"error": str(error) or type(error).__name__, "absent": absent}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    def __init__(self, name):
        self.name = name

    def connect(self):
        """Import the library; what is used then is the idle baseline."""
        from contest.entrants import entrant

        self.kind = entrant(self.name)
        self.baseline = memory("VmRSS")
        return {"kernel": blas_kernel()}

    def open(self, folder):
        from contest.tasks import Task

        self.task = Task.load(folder)
        self.entrant = self.kind(self.task)
        self.multiply = None
        return {"note": self.entrant.note}

    def whole(self):
        """The seconds of the whole call, and the cost of what it learnt."""
        from contest.referee import cost_of

        started = time.perf_counter()
        weights = self.entrant.whole()
        seconds = time.perf_counter() - started
        peak = memory("VmHWM") - self.baseline
        return {"seconds": seconds, "peak": peak, "cost": cost_of(self.task, weights),
                "same_rule": self.entrant.same_rule}  # fmt: skip

    def early(self):
        """The cost after the steps at which costs are compared."""
        from contest.referee import cost_of

        self.entrant.begin()
        self.entrant.advance(self.task.compared)
        return {"cost": cost_of(self.task, self.entrant.weights())}

    def card(self):
        """The most memory of the card that some steps need, data included."""
        from contest.card import peak_of

        def some_steps():
            self.entrant.begin()
            self.entrant.advance(16 * self.entrant.unit)

        return {"card": peak_of(some_steps)}

    def warm(self, seconds):
        """Make ready for ``steady``, whose calls shall take about so many seconds."""
        entrant, n = self.entrant, self.entrant.unit
        if "jax" in sys.modules:  # so that the first step is compiled, whatever ran before
            sys.modules["jax"].clear_caches()
        entrant.begin()
        first, second = self.timed(n), self.timed(n)
        while second < seconds / 3:
            n *= 16
            self.timed(n)  # which may compile for that number
            second = self.timed(n)
        self.n = math.ceil(seconds * n / second / entrant.unit) * entrant.unit
        self.timed(self.n)
        return {"first": first, "steps": self.n, "note": entrant.note}

    def steady(self, products):
        """The seconds of a step, and the rate of a product in GFLOP/s beside it."""
        rate = self.product_rate() if products else None
        return {"seconds": self.timed(self.n) / self.n, "rate": rate}

    def timed(self, n):
        started = time.perf_counter()
        self.entrant.advance(n)
        return time.perf_counter() - started

    def product_rate(self):
        import numpy as np

        if self.multiply is None:
            rng = np.random.default_rng(0)
            A, B = (rng.random((PRODUCT, PRODUCT)).astype(self.task.dtype) for _ in "AB")
            self.multiply = self.entrant.product(A, B)
            self.multiply()
        best = math.inf
        for _ in range(3):
            started = time.perf_counter()
            self.multiply()
            best = min(best, time.perf_counter() - started)
        return 2 * PRODUCT**3 / best / 1e9


def memory(field):
    """VmRSS (now) or VmHWM (the most so far) of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with what the parent had
        line = next(
            x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith(field)
        )
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def blas_kernel():
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if "numpy" in pool["filepath"]]
    return pools[0].get("architecture", "unknown") if pools else "unknown"


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity") and "CONTEST_CORES" in os.environ:
        os.sched_setaffinity(0, map(int, os.environ["CONTEST_CORES"].split(",")))
    main()
