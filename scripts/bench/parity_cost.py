#!/usr/bin/env python3
"""What checking costs: a full check of one step, and the affordable coverage over a whole run.

    scripts/bench/parity_cost.py [--data FILE] [--steps 3000] [--backend numpy] [--dtype float32]

The run is the course's, [12288, 20, 7, 5, 1] on 209 images, full batch, in the direct form; without
a file on random numbers of that shape. Medians of repeated timings; the ratios are what counts.
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

from portadnn.backends import get_backend
from portadnn.data.load import load_dataset
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.certify import certify_step
from portadnn.parity.compare import compare
from portadnn.parity.coverage import affordable_coverage
from portadnn.parity.projection import project_step
from portadnn.parity.run import Run, final_parameters, watch
from portadnn.training.declaration import Declaration

DIMS = (12288, 20, 7, 5, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="HDF5 file of the course")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    backend = get_backend(arguments.backend, dtype=arguments.dtype)
    run = make_run(arguments)
    print(f"{DIMS} on {run.X.shape[1]} examples, {backend.name} {backend.dtype_name}")

    few = replace(run, steps=50)
    final_parameters(few, backend)
    step = statistics.median(seconds(lambda: final_parameters(few, backend)) for _ in range(5)) / 50
    (record,) = watch(run, backend, [0])
    full = statistics.median(seconds(lambda: certify_step(run, record)) for _ in range(7))
    projection = statistics.median(seconds(lambda: project_step(run, record)) for _ in range(7))
    print(f"a training step                {step * 1e3:9.2f} ms")
    print(f"a full check of a step         {full * 1e3:9.2f} ms, {full / step:.0f} steps")
    print(
        f"projected, all else in full    {projection * 1e3:9.2f} ms, {projection / step:.1f} steps"
    )

    coverage = affordable_coverage(run, backend)
    plain = seconds(lambda: final_parameters(run, backend))
    checked = seconds(lambda: compare(run, [backend], coverage=coverage, check_mode=False))
    print(f"\n{run.steps} steps                     {plain:9.2f} s")
    print(f"the same, checked              {checked:9.2f} s, {checked / plain:.2f} times")
    print(
        f"looked at {coverage.share(run.steps):.1%} of the steps: {len(coverage.full)} in full, "
        f"every {coverage.every}th by projections"
    )


def make_run(arguments):
    parameters = initialize_parameters_deep(DIMS)
    if arguments.data:
        data = load_dataset(arguments.data, "train")
        X, Y = data.columns("float64"), data.targets("float64")
    else:
        rng = np.random.default_rng(0)
        X, Y = rng.random((DIMS[0], 209)), rng.integers(0, 2, (1, 209)).astype(float)
    declaration = Declaration(learning_rate=0.0075, epochs=arguments.steps)
    return Run(Network(DIMS), parameters, X, Y, declaration)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
