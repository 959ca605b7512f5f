#!/usr/bin/env python3
"""Our estimators beside scikit-learn's MLP: cross-validated scores at the same settings.

    scripts/bench/sklearn_scores.py [--seeds 5] [--epochs 200] [--jobs 1]

Each score, accuracy or R^2, is the mean over 5 folds of a pipeline with StandardScaler; the target
of a regression is standardised too, without which sgd diverges. A seed sets folds, initial weights
and shuffles; both estimators have the same folds and start from the same weights. A row holds where
our mean is at least that of MLP less its standard error over the seeds; the exit code is 1 where
one does not.
"""

import argparse
import math
import sys
import warnings

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from portadnn import PortaDNNClassifier, PortaDNNRegressor

DATA = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
    "diabetes": load_diabetes,
}
SOLVERS = ("adam", "sgd", "lbfgs")
LAYERS = (32, 16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    # epochs are the same for both, so many runs are not at their end
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| data | solver | portadnn | MLP | difference | standard error of MLP | holds |")
    print("|---|---|---|---|---|---|---|")
    held = True
    for name, load in DATA.items():
        X, y = load(return_X_y=True)
        for solver in SOLVERS:
            ours, theirs = (
                np.asarray(
                    [score(kind, X, y, solver, seed, arguments) for seed in range(arguments.seeds)]
                )
                for kind in (
                    (PortaDNNRegressor, MLPRegressor)
                    if name == "diabetes"
                    else (PortaDNNClassifier, MLPClassifier)
                )
            )
            error = theirs.std(ddof=1) / math.sqrt(len(theirs))
            holds = bool(ours.mean() >= theirs.mean() - error)
            held &= holds
            print(
                f"| {name} | {solver} | {shown(ours)} | {shown(theirs)} | "
                f"{ours.mean() - theirs.mean():+.4f} | {error:.4f} | {'yes' if holds else 'NO'} |",
                flush=True,
            )
    return 0 if held else 1


def score(kind, X, y, solver, seed, arguments):
    estimator = kind(
        hidden_layer_sizes=LAYERS, solver=solver, max_iter=arguments.epochs, random_state=seed
    )
    regression = kind in (PortaDNNRegressor, MLPRegressor)
    if regression:
        estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    folds = (KFold if regression else StratifiedKFold)(5, shuffle=True, random_state=seed)
    pipeline = make_pipeline(StandardScaler(), estimator)
    return cross_val_score(pipeline, X, y, cv=folds, n_jobs=arguments.jobs).mean()


def shown(scores):
    return f"{scores.mean():.4f} ± {scores.std(ddof=1):.4f}"


if __name__ == "__main__":
    sys.exit(main())
