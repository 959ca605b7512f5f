#!/usr/bin/env python3
"""Does gradient descent find the parity networks that can be written down?

    scripts/experiments/learn_parity.py [--bits 2,4,6,8] [--seeds 10] [--iterations 5000]

Full-batch gradient descent in float64 on all 2^n inputs, in the shapes of the three constructions,
and in shapes four times as wide, from He's initial weights. Then from the construction itself with
noise on every weight; and at the largest n from half of the inputs, drawn at random, scored on the
other half. Of the rates tried, each row is shown at its best. Prints Markdown.
"""

import argparse
from typing import NamedTuple

import numpy as np

from portadnn import DivergenceError, L_model_forward, initialize_parameters_deep
from portadnn.backends import get_backend
from portadnn.constructions import all_inputs, xor_shallow, xor_sum, xor_tree
from portadnn.network.spec import infer_network
from portadnn.training.fit import fit
from portadnn.training.recipe import Plan
from portadnn.training.streams import Batches

RATES = (0.03, 0.1, 0.3, 1.0)
RATES_NEAR = (0.01, 0.1)  # from near a construction, whose weights are large
SHAPES = {"tree": xor_tree, "shallow": xor_shallow, "sum": xor_sum}
NOISES = (0.1, 0.3, 1.0)  # standard deviations; the hidden weights of the constructions are ±1


class Outcome(NamedTuple):
    """How the seeds of one row ended."""

    found: int  # seeds with every input right
    accuracy: float  # their mean
    diverged: int

    def __str__(self):
        note = f", {self.diverged} diverged" if self.diverged else ""
        return f"{self.found} found, mean {self.accuracy:.3f}{note}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bits", default="2,4,6,8")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=5000)
    arguments = parser.parse_args()
    bits = [int(n) for n in arguments.bits.split(",")]
    print("## From He's initial weights\n")
    print(f"| n | shape | widths | best of the rates | outcome of {arguments.seeds} seeds |")
    print("|---|---|---|---|---|")
    for n in bits:
        X, Y = truth(n)
        for name, dims in shapes(n):
            rate, ends = best_rate(dims, X, Y, arguments)
            found = score(ends, X, Y)
            print(f"| {n} | {name} | {widths(dims)} | {rate:g} | {found} |", flush=True)
    print("\n## From the construction with noise\n")
    print("| n | shape | noise | before training | best of the rates | after |")
    print("|---|---|---|---|---|---|")
    for n in bits:
        for name, construction in SHAPES.items():
            for noise in NOISES:
                before, rate, after = from_construction(construction, n, noise, arguments)
                print(f"| {n} | {name} | {noise:g} | {before} | {rate:g} | {after} |", flush=True)
    n = bits[-1]
    print(f"\n## From half of the inputs, n = {n}\n")
    print("| shape | on the half that was learnt | on the half that was not |")
    print("|---|---|---|")
    X, Y = truth(n)
    order = np.random.default_rng(0).permutation(2**n)
    seen, unseen = order[: 2**n // 2], order[2**n // 2 :]
    for name, dims in shapes(n):
        _, ends = best_rate(dims, X[:, seen], Y[:, seen], arguments)
        learnt, other = (score(ends, X[:, part], Y[:, part]) for part in (seen, unseen))
        print(f"| {name} | {learnt} | {other} |", flush=True)
    return 0


def truth(n):
    X = all_inputs(n)
    return X, X.sum(axis=0, keepdims=True) % 2


def shapes(n):
    """Names and layer_dims: those of the constructions, and four times as wide."""
    for times in (1, 4):
        for name, construction in SHAPES.items():
            n_x, *hidden, n_y = infer_network(construction(n)).layer_dims
            label = name if times == 1 else f"{name} x {times}"
            yield label, (n_x, *(times * width for width in hidden), n_y)


def widths(dims):
    return ", ".join(map(str, dims[1:-1]))


def best_rate(dims, X, Y, arguments):
    """The rate at which most seeds learn X and Y, or learn most, and how they end there."""
    starts = [initialize_parameters_deep(dims, rng=seed) for seed in range(arguments.seeds)]
    return best_of(RATES, starts, X, Y, arguments)


def best_of(rates, starts, X, Y, arguments):
    tried = [
        (r, [descend(start, r, X, Y, arguments.iterations) for start in starts]) for r in rates
    ]
    return max(tried, key=lambda pair: score(pair[1], X, Y)[:2])


def from_construction(construction, n, noise, arguments):
    """Outcome of the construction with noise before training, the best rate, and outcome after."""
    X, Y = truth(n)
    starts = []
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)
        # a logit of ±3 is far enough for every answer, and leaves a gradient
        parameters = construction(n, logit=3.0)
        starts.append(
            {name: p + noise * rng.standard_normal(p.shape) for name, p in parameters.items()}
        )
    rate, after = best_of(RATES_NEAR, starts, X, Y, arguments)
    return score([(start, False) for start in starts], X, Y), rate, score(after, X, Y)


def descend(parameters, rate, X, Y, iterations):
    """The parameters after gradient descent, and whether it diverged."""
    plan = Plan(rate, iterations, Batches(X.shape[1]))
    network, backend = infer_network(parameters), get_backend("numpy", dtype="float64")
    try:
        return fit(parameters, X, Y, network=network, backend=backend, plan=plan), False
    except DivergenceError as error:
        return error.parameters, True


def score(ends, X, Y):
    right = [np.mean((L_model_forward(X, p)[0] > 0.5) == (Y > 0.5)) for p, _ in ends]
    return Outcome(sum(r == 1 for r in right), np.mean(right), sum(d for _, d in ends))


if __name__ == "__main__":
    raise SystemExit(main())
