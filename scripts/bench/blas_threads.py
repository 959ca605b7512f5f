#!/usr/bin/env python3
"""One thread of BLAS against all, by the size of a product, on a quiet machine and on a busy one.

    scripts/bench/blas_threads.py [--rounds 30] [--busy 1]

A step here is two products, what is computed between them, and the product of a gradient. The
table has the ratio of the medians, one thread over all: above 1 all threads are faster. It is what
``SMALL_PRODUCT`` in portadnn/backends/threads.py was chosen from: the largest number of
multiplications for which a busy machine loses more than a quiet one gains. The last column says
whether one thread and all give the same bits.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from threadpoolctl import ThreadpoolController

STEPS = (  # units, values, examples
    (20, 229, 209), (64, 64, 64), (64, 64, 256), (128, 128, 128), (128, 256, 128),
    (64, 64, 1437), (256, 784, 32), (256, 256, 128), (256, 784, 64), (256, 784, 128),
    (512, 784, 256), (2048, 784, 1024),
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--busy", type=int, default=1, help="busy processes beside the steps")
    arguments = parser.parse_args()
    blas = ThreadpoolController().select(user_api="blas")
    threads = max(pool["num_threads"] for pool in blas.info())
    print(f"{threads} threads; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| units, values, examples | million multiplications | quiet | busy | same bits |")
    print("|---|---|---|---|---|")
    for n, k, m in STEPS:
        step = make_step(n, k, m)
        found = [compared(step, blas, threads, arguments.rounds)]
        with busy(arguments.busy):
            found.append(compared(step, blas, threads, arguments.rounds))
        (quiet, same), (loaded, _) = found
        print(f"| {n}, {k}, {m} | {n * k * m / 1e6:.2f} | {quiet:.2f} | {loaded:.2f} | "
              f"{'yes' if same else 'no'} |", flush=True)  # fmt: skip


def make_step(n, k, m):
    """A function that makes the step and returns what it computed."""
    rng = np.random.default_rng(0)
    W, V, X = (rng.standard_normal(s, dtype=np.float32) for s in ((n, k), (n, n), (k, m)))

    def step():
        Z = np.maximum(W @ X, 0.0)
        dZ = np.square(V @ Z)
        return dZ @ X.T

    return step


def compared(step, blas, threads, rounds):
    """One thread over all, and whether the bits are the same; in turn, round after round."""
    seconds, made = {1: [], threads: []}, {}
    for i in range(rounds):
        for n in sorted(seconds, reverse=i % 2 == 0):
            with blas.limit(limits=n):
                made[n] = step()
                started = time.perf_counter()
                for _ in range(5):
                    step()
                seconds[n].append(time.perf_counter() - started)
    same = np.array_equal(made[1], made[threads])
    return statistics.median(seconds[1]) / statistics.median(seconds[threads]), same


@contextlib.contextmanager
def busy(n):
    """Processes that compute all the time, as another program would."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
