"""The cost of reproducible arithmetic: a step beside a fast one, in turn, in one process.

    scripts/run scripts/bench/reproducible.py [--backends numpy,jax] [--seconds 6] [--nets big,...]

It prints the least processor time of a step (of one thread, if the environment says so) in fast and
in reproducible arithmetic, and the ratio; then what its exact products of float64 take alone on
NumPy, below which no ratio can come. Runs of all are made in turn, so that what else the machine
does falls on all.
"""

import argparse
import functools
import time

import numpy as np

import portadnn as dnn
from portadnn.network.spec import Network
from portadnn.training.recipe import Recipe
from portadnn.training.step import Shared, train_step

NETS = {  # layers, batch, steps at a time
    "big": ([784, 512, 512, 10], 256, 4),
    "fashion": ([784, 256, 128, 10], 128, 20),
    "digits": ([64, 64, 32, 10], 32, 200),
}


def runner(backend, dims, size, steps, optimizer):
    """A call that makes so many steps from the same state."""
    rng, dtype = np.random.default_rng(0), backend.dtype_name
    recipe, network = Recipe(optimizer), Network(tuple(dims), head="softmax")
    with backend.scope():
        parameters = {}
        for l, (n, before) in enumerate(zip(dims[1:], dims, strict=False), start=1):
            W = rng.standard_normal((n, before)) * np.sqrt(2 / before)
            parameters[f"W{l}"] = backend.asarray(W)
            parameters[f"b{l}"] = backend.asarray(np.zeros((n, 1)))
        X = backend.asarray(np.maximum(rng.standard_normal((4 * size, dims[0])), 0))
        Y = backend.asarray(np.eye(dims[-1])[rng.integers(0, dims[-1], 4 * size)])
        scalars = recipe.optimizer.scalars(0.01, 1)
        inputs = {
            name: backend.asarray(np.full((steps, 1, 1), x, dtype)) for name, x in scalars.items()
        }
        indices = rng.integers(0, 4 * size, (steps, size))
        inputs["batch"] = backend.asarray(indices, dtype="int64")
        state = parameters, recipe.optimizer.init(parameters, xp=backend.xp)
    step = functools.partial(train_step, network=network, recipe=recipe, xp=backend.xp)

    def run():
        with backend.scope():
            _, costs = backend.repeat(step, state, inputs, Shared(X, Y))
            backend.to_numpy(costs)

    return run


def products(dims, size, dtype):
    """A call that makes a step's exact products by NumPy, and no units, slices or sums."""
    rng, parts = np.random.default_rng(0), 1 if dtype == "float32" else 3  # slices side by side
    shapes = []
    for l, (n, before) in enumerate(zip(dims[1:], dims, strict=False), start=1):
        shapes += [(n, before, size)] + [(before, n, size)] * (l > 1)  # Z and dA
        shapes += [(n, size, before)] * (2 if parts == 1 else 1)  # dW
    operands = [
        (rng.standard_normal((parts * m, n)), rng.standard_normal((n, parts * p)),
         np.empty((parts * m, parts * p)))
        for m, n, p in shapes
    ]  # fmt: skip

    def run():
        for x, y, out in operands:
            np.matmul(x, y, out=out)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default="numpy,jax")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--optimizer", default="gradient_descent")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each pair")
    arguments = parser.parse_args()
    for name in arguments.backends.split(","):
        for net in arguments.nets.split(","):
            for dtype in arguments.dtypes.split(","):
                dims, size, steps = NETS[net]
                runs = [
                    runner(dnn.get_backend(name, dtype=dtype, arithmetic=kind), dims, size, steps,
                           arguments.optimizer)
                    for kind in ("fast", "reproducible")
                ]  # fmt: skip
                runs.append(products(dims, size, dtype))
                lengths = steps, steps, 1
                times = [[], [], []]
                for run in runs:
                    run()
                end = time.perf_counter() + arguments.seconds
                while time.perf_counter() < end or len(times[0]) < 3:
                    for run, spent, length in zip(runs, times, lengths, strict=True):
                        begun = time.process_time()
                        run()
                        spent.append((time.process_time() - begun) / length)
                fast, ours, floor = map(min, times)
                print(
                    f"{name} {net} {dtype}: fast {1e3 * fast:.3f} ms, reproducible "
                    f"{1e3 * ours:.3f} ms a step of processor time, {ours / fast:.2f} times, "
                    f"its products alone {floor / fast:.2f} times, {len(times[0])} runs",
                    flush=True,
                )


if __name__ == "__main__":
    main()
