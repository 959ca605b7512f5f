#!/usr/bin/env python3
"""The defaults of `portadnn train` for many examples beside those before, on several data sets.

    scripts/bench/defaults.py [--seeds 3] [--fashion FOLDER] [--sets NAME ...]

Fashion-MNIST is read from its IDX files, which Debian has as dataset-fashion-mnist; the other sets
are made. A score is accuracy, or R^2 for friedman, on a fifth of the examples or the test set that
there is: the mean and the standard deviation over the seeds, which set weights and shuffles.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import make_classification, make_friedman1
from sklearn.model_selection import train_test_split
from sklearn_scores import mixed

import portadnn as dnn
from portadnn.training.declaration import Declaration

BEFORE = {"optimizer": "adam", "learning_rate": 0.001, "schedule": "constant", "epochs": 10}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    print("| data | examples | before | now | epochs now |")
    print("|---|---|---|---|---|")
    for name in arguments.sets:
        train, test, preprocess = SETS[name](arguments)
        full = Declaration(data="file").complete(len(train))
        now = {what: getattr(full, what) for what in (*BEFORE, "layers", "batch_size")}
        cells = []
        for setting in (now | BEFORE, now):
            scores = []
            for seed in range(arguments.seeds):
                model = dnn.train(
                    train, rng=seed, preprocess=preprocess, backend="numpy", **setting
                )
                measures = dnn.evaluate(model, test).measures
                scores.append(measures.get("accuracy", measures.get("r2")))
            cells.append(f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}")
        print(f"| {name} | {len(train):,} | {' | '.join(cells)} | {full.epochs} |", flush=True)


def fashion(arguments):
    path = arguments.fashion / "train-images-idx3-ubyte.gz"
    return dnn.load_dataset(path, "train"), dnn.load_dataset(path, "test"), None


def covers(arguments):
    X, y = make_classification(
        30_000, 40, n_informative=20, n_redundant=10, n_classes=7, n_clusters_per_class=4,
        flip_y=0.03, random_state=0,
    )  # fmt: skip
    return _split(X, y, tuple("abcdefg"), None)


def friedman(arguments):
    X, y = make_friedman1(20_000, 10, noise=1.0, random_state=0)
    return _split(X, y, ("y",), "identity")


def customers(arguments):
    table, (target,), _ = mixed()
    X = table.drop(columns=target)
    kinds = [(name, "f8" if X[name].dtype.kind == "f" else "U9") for name in X]
    rows = np.empty(len(X), kinds)
    for name in X:
        rows[name] = X[name].fillna("") if X[name].dtype.kind != "f" else X[name]
    train, test, _ = _split(rows, (table[target] == "yes").to_numpy().astype(int), ("no", "yes"))
    return train, test, "standardise:missing=median"


def _split(X, y, classes, head=None):
    parts = train_test_split(X, y, test_size=0.2, random_state=0)
    made = [dnn.Dataset(*part, classes, head=head) for part in (parts[::2], parts[1::2])]
    return *made, "standardise"


SETS = {
    "Fashion-MNIST": fashion,
    "seven made classes": covers,
    "friedman": friedman,
    "mixed table": customers,
}

if __name__ == "__main__":
    main()
