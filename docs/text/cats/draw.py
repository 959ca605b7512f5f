#!/usr/bin/env python3
"""The figures and numbers of the cat images in docs/text/model.md, from the course's two files.

    OPENBLAS_NUM_THREADS=1 docs/text/cats/draw.py train_catvnoncat.h5 test_catvnoncat.h5

Trains [12288, 20, 7, 5, 1] for 2,500 iterations in float64 from the course's initial weights, and
writes costs.png, weights.png and confusion.png beside itself, or into --out. Prints the table.
"""

import argparse
from pathlib import Path

import numpy as np

from portadnn import L_layer_model, Model, Network, evaluate, load_dataset, predict
from portadnn.plots import confusion_matrix, first_layer_weights

LAYERS = (12288, 20, 7, 5, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    train = load_dataset(arguments.train, split="train")
    test = load_dataset(arguments.test, split="test")
    costs = []
    parameters = L_layer_model(
        train.columns("float64"),
        train.targets("float64"),
        LAYERS,
        learning_rate=0.0075,
        num_iterations=2500,
        init="lecun",
        rng=np.random.RandomState(1),
        history=costs,
    )
    model = Model(Network(LAYERS), parameters, train.classes, train.input_shape, train.scaled)
    print("| iteration | cost |\n|---|---|")
    for iteration, cost in costs[::4]:
        print(f"| {iteration} | {cost:.6f} |")
    for name, data in (("training", train), ("test", test)):
        found = evaluate(model, data)
        print(f"{name}: {found.correct} of {found.examples} right, {found.accuracy:.1%}")
    labels = predict(model, test).labels
    figures = {
        "costs": cost_curve(costs),
        "weights": first_layer_weights(parameters["W1"], train.input_shape),
        "confusion": confusion_matrix(test.labels, labels, test.classes, title="Test images"),
    }
    for name, figure in figures.items():
        # no version of matplotlib in the file: the same figure is the same bytes
        path = arguments.out / f"{name}.png"
        figure.savefig(path, dpi=120, metadata={"Software": None})
    return 0


def cost_curve(costs):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*costs, strict=True), marker="o", markersize=3)
    axes.set_xlabel("iteration")
    axes.set_ylabel("cost")
    axes.set_ylim(bottom=0)
    axes.set_title("209 cat images, learning rate 0.0075")
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
