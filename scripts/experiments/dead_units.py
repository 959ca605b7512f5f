#!/usr/bin/env python3
"""A rate that is too large kills ReLU units for good; leaky ones go on learning.

    scripts/experiments/dead_units.py [--rates 0.5,0.8,1,1.2,1.5,2] [--seeds 5] [--epochs 500]

Full-batch gradient descent on the embedded digits, [64, 64, 32, 10], in float32. Test accuracy and
the dead units at the end, deaths and revivals by layer over the run, means over the seeds; a row
where runs diverged says how many. Prints Markdown.
"""

import argparse

import numpy as np

from portadnn import DivergenceError, evaluate, load_digits, train
from portadnn.diagnostics import UnitLives

LAYERS = (64, 32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", default="0.5,0.8,1,1.2,1.5,2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=500)
    arguments = parser.parse_args()
    print("| rate | units | test accuracy | dead of 64, of 32 | died | revived |")
    print("|---|---|---|---|---|---|")
    for rate in map(float, arguments.rates.split(",")):
        for units in ("relu", "leaky_relu"):
            print(f"| {rate:g} | {units} | {row(rate, units, arguments)} |", flush=True)
    return 0


def row(rate, units, arguments):
    accuracies, lives, diverged = [], [], 0
    for seed in range(arguments.seeds):
        accuracy, followed = run_one(rate, units, seed, arguments.epochs)
        diverged += accuracy is None
        if accuracy is not None:
            accuracies.append(accuracy)
            lives.append(followed)
    if not lives:
        return f"all {diverged} diverged | | | "
    note = f" ({diverged} diverged)" if diverged else ""
    low, high = min(accuracies), max(accuracies)
    return " | ".join(
        [
            f"{np.mean(accuracies):.3f} ({low:.3f} to {high:.3f}){note}",
            pair([followed.census[-1].dead for followed in lives]),
            pair([events(followed, died=True) for followed in lives]),
            pair([events(followed, died=False) for followed in lives]),
        ]
    )


def run_one(rate, units, seed, epochs):
    """Test accuracy, None where the run diverged, and the lives of its units."""
    data, test = load_digits()
    lives = UnitLives(data.columns("float32"))
    try:
        model = train(
            data,
            layers=LAYERS,
            activations=units,
            learning_rate=rate,
            epochs=epochs,
            report_every=1,
            callbacks=[lives],
            rng=seed,
            backend="numpy",
        )
    except DivergenceError:
        return None, lives
    return evaluate(model, test).accuracy, lives


def events(lives, *, died):
    return [sum(e.layer == l and e.died == died for e in lives.events) for l in (1, 2)]


def pair(counts):
    return ", ".join(f"{mean:.1f}" for mean in np.mean(counts, axis=0))


if __name__ == "__main__":
    raise SystemExit(main())
