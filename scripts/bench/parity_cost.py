#!/usr/bin/env python3
"""What a check of one step costs, in steps of the run.

    scripts/bench/parity_cost.py [--data FILE] [--backend numpy] [--dtype float32]

The run is the course's, [12288, 20, 7, 5, 1] on 209 images, full batch, in the direct form; without
a file on random numbers of that shape. Medians of repeated timings.
"""

import argparse
import statistics
import time

import numpy as np

from portadnn.backends import get_backend
from portadnn.data.load import load_dataset
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.certify import certify_step
from portadnn.parity.run import Run, final_parameters, watch
from portadnn.training.declaration import Declaration

DIMS = (12288, 20, 7, 5, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="HDF5 file of the course")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    backend = get_backend(arguments.backend, dtype=arguments.dtype)
    run = make_run(arguments)
    print(f"{DIMS} on {run.X.shape[1]} examples, {backend.name} {backend.dtype_name}")

    final_parameters(run, backend)
    step = statistics.median(seconds(lambda: final_parameters(run, backend)) for _ in range(5)) / 50
    (record,) = watch(run, backend, [0])
    full = statistics.median(seconds(lambda: certify_step(run, record)) for _ in range(7))
    print(f"a training step                {step * 1e3:9.2f} ms")
    print(f"a check of a step              {full * 1e3:9.2f} ms, {full / step:.0f} steps")


def make_run(arguments):
    parameters = initialize_parameters_deep(DIMS)
    if arguments.data:
        data = load_dataset(arguments.data, "train")
        X, Y = data.columns("float64"), data.targets("float64")
    else:
        rng = np.random.default_rng(0)
        X, Y = rng.random((DIMS[0], 209)), rng.integers(0, 2, (1, 209)).astype(float)
    declaration = Declaration(learning_rate=0.0075, epochs=50)
    return Run(Network(DIMS), parameters, X, Y, declaration)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
