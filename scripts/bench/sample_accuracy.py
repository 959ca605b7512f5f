#!/usr/bin/env python3
"""How far float32 runs are from a float64 run, with the first layer in either form.

    scripts/bench/sample_accuracy.py [--steps 100,300,1000,3000] [--backend numpy] [--starts 5]

For several draws of the initial weights it trains [12288, 20, 7, 5, 1] on the 209 cat images (drawn
ones where they are absent) three times, in float64, in float32 and in float32 in sample space, and
prints the distance of all weights from those of the float64 run, relative to how far that run has
moved them. The initial weights are numbers of float32, so that all three begin alike.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from contest.tasks import cats

from portadnn.backends import get_backend
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.fit import fit
from portadnn.training.recipe import Plan
from portadnn.training.streams import Batches

RATE = 0.0075


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", default="100,300,1000,3000")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    dims, source, rows, labels = cats(False)
    X, Y = rows.T, labels[None, :].astype(np.float64)
    network = Network(tuple(dims), "relu", "sigmoid")
    print(f"{list(dims)}, {len(rows)} examples ({source}), {arguments.backend}, "
          f"{arguments.starts} draws; median (worst)", end="\n\n")  # fmt: skip
    print("| steps | float32 | float32 in sample space | sample space / direct |")
    print("| --- | --- | --- | --- |", flush=True)
    for steps in map(int, arguments.steps.split(",")):
        direct, sample = [], []
        for seed in range(arguments.starts):
            drawn = initialize_parameters_deep(dims, rng=seed)
            start = {name: p.astype(np.float32) for name, p in drawn.items()}

            def trained(dtype, form, start=start, steps=steps):
                backend = get_backend(arguments.backend, dtype=dtype)
                found = fit(start, X, Y, network=network, backend=backend, first_layer=form,
                            plan=Plan(RATE, steps, Batches(len(rows), None, 3)))  # fmt: skip
                return {name: backend.to_numpy(p).astype(np.float64) for name, p in found.items()}

            exact = trained("float64", "sample")
            moved = distance(exact, start)
            direct.append(distance(trained("float32", "feature"), exact) / moved)
            sample.append(distance(trained("float32", "sample"), exact) / moved)
        ratio = statistics.median(s / d for s, d in zip(sample, direct, strict=True))
        print(f"| {steps} | {shown(direct)} | {shown(sample)} | {ratio:.2f} |", flush=True)


def distance(parameters, others):
    """The norm of the difference of all weights and biases."""
    return np.sqrt(sum(np.sum(np.square(p - others[name])) for name, p in parameters.items()))


def shown(values):
    return f"{statistics.median(values):.1e} ({max(values):.1e})"


if __name__ == "__main__":
    main()
