#!/usr/bin/env python3
"""Scores beside scikit-learn's MLP: our estimators, and the command line.

    scripts/bench/sklearn_scores.py [--seeds 5] [--epochs 200] [--jobs 1] [--part command]

Estimators: cross-validated, at the same settings. Each score, accuracy or R^2, is the mean over 5
folds of a pipeline with StandardScaler; the target of a regression is standardised too, without
which sgd diverges. A seed sets folds, initial weights and shuffles; both estimators have the same
folds and start from the same weights.

Command: `portadnn train` from CSV files, with --target, and with missing=median if values are
missing, against a pipeline of StandardScaler, OneHotEncoder, SimpleImputer and MLP, all at their
defaults. A seed splits off a fifth of the rows to test on, and sets weights and shuffles.

A row holds if our mean is at least that of MLP less its standard error over the seeds; the exit
code is 1 if one does not.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_multilabel_classification,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

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
    parser.add_argument("--part", choices=["estimators", "command"])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    # epochs are the same for both, so many runs are not at their end
    warnings.simplefilter("ignore", ConvergenceWarning)
    held = True
    if arguments.part != "command":
        held &= estimators(arguments)
    if arguments.part != "estimators":
        held &= command(arguments)
    return 0 if held else 1


def header(what):
    print(f"| data | {what} | portadnn | MLP | difference | standard error of MLP | holds |")
    print("|---|---|---|---|---|---|---|")


def row(name, what, ours, theirs):
    """Print a row of two arrays of scores; whether it holds."""
    error = theirs.std(ddof=1) / math.sqrt(len(theirs))
    holds = bool(ours.mean() >= theirs.mean() - error)
    print(
        f"| {name} | {what} | {shown(ours)} | {shown(theirs)} | "
        f"{ours.mean() - theirs.mean():+.4f} | {error:.4f} | {'yes' if holds else 'NO'} |",
        flush=True,
    )
    return holds


def estimators(arguments):
    header("solver")
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
            held &= row(name, solver, ours, theirs)
    return held


def command(arguments):
    header("score")
    held = True
    for name in arguments.tables:
        table, targets, numbers = TABLES[name]()
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(arguments.seeds):
                parts = train_test_split(table, test_size=0.2, random_state=seed)
                ours = by_command(Path(folder), parts, targets, numbers, seed)
                for what, theirs in by_pipeline(parts, targets, numbers, seed).items():
                    found.setdefault(what, []).append((ours[what.split(",")[0]], theirs))
        for what, scores in found.items():
            held &= row(name, what, *np.asarray(scores).T)
    return held


def by_command(folder, parts, targets, numbers, seed):
    """The scores of a newcomer's line; the seed is that of the repetition, as for MLP."""
    for file, rows in zip(("train.csv", "test.csv"), parts, strict=True):
        rows.to_csv(folder / file, index=False)
    missing = ["--preprocess", "standardise:missing=median"] * bool(parts[0].isna().any(axis=None))
    data = [folder / "train.csv", "--target", ",".join(targets), "--test", folder / "test.csv"]
    run = program(
        "train", *data, *missing, "--seed", seed, "--out", folder / "run", "--overwrite", "--json"
    )
    test = json.loads(run)["test"]
    if numbers:
        return {"R^2": test["r2"]}
    if len(targets) > 1 or parts[1][targets[0]].nunique() > 2:
        return {"accuracy": test["accuracy"]}
    guesses = csv.DictReader(program("predict", *[folder / "run/model.h5", data[-1]]).splitlines())
    last = sorted(parts[0][targets[0]].unique())[-1]
    chances = [float(guess[f"p({last})"]) for guess in guesses]
    area = roc_auc_score(parts[1][targets[0]] == last, chances)
    return {"accuracy": test["accuracy"], "area under ROC": area}


def program(*words):
    words = [sys.executable, "-m", "portadnn", *map(str, words)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def by_pipeline(parts, targets, numbers, seed):
    """The scores of scikit-learn's pipeline; of values also with its target standardised."""
    (X, y), (X_test, y_test) = (
        (rows.drop(columns=targets), rows[targets if len(targets) > 1 else targets[0]])
        for rows in parts
    )
    texts = list(X.select_dtypes(exclude="number"))
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    marked = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = ColumnTransformer([("texts", marked, texts)], remainder=scaled)
    if numbers:
        plain = MLPRegressor(random_state=seed)
        both = {
            "R^2": plain,
            "R^2, MLP's target standardised": TransformedTargetRegressor(
                plain, transformer=StandardScaler()
            ),
        }
        return {
            what: make_pipeline(columns, one).fit(X, y).score(X_test, y_test)
            for what, one in both.items()
        }
    fitted = make_pipeline(columns, MLPClassifier(random_state=seed)).fit(X, y)
    found = {"accuracy": fitted.score(X_test, y_test)}
    if len(targets) == 1 and len(fitted.classes_) == 2:
        chances = fitted.predict_proba(X_test)[:, 1]
        found["area under ROC"] = roc_auc_score(y_test == fitted.classes_[1], chances)
    return found


def diabetes():
    data = load_diabetes(as_frame=True, scaled=False)
    return data.frame, ["target"], True


def breast_cancer():
    data = load_breast_cancer(as_frame=True)
    named = data.frame["target"].map(dict(enumerate(data.target_names)))
    return data.frame.assign(target=named), ["target"], False


def multilabel():
    X, Y = make_multilabel_classification(
        3000, n_features=30, n_classes=5, n_labels=2, length=40, random_state=1
    )
    targets = [f"label{i}" for i in range(1, 6)]
    return pd.DataFrame(X).add_prefix("word").join(pd.DataFrame(Y, columns=targets)), targets, False


def mixed(m=100_000):
    """Customers, of whom about one in twenty leaves: numbers, texts and gaps of both."""
    rng = np.random.default_rng(17)
    age, years = rng.normal(45, 15, m).clip(18, 95), rng.exponential(5, m)
    income, calls = rng.lognormal(10, 0.7, m), rng.poisson(2, m)
    share = 1 / np.arange(1, 41) ** 1.1
    town = rng.choice([f"town {i}" for i in range(1, 41)], m, p=share / share.sum())
    job = rng.choice(["clerk", "farmer", "nurse", "teacher", "none", "other"], m)
    plan = rng.choice(["basic", "family", "premium"], m, p=[0.6, 0.3, 0.1])
    leaning = dict(zip(sorted(set(town)), rng.normal(0, 0.5, 40), strict=True))
    odds = (
        -4.2
        + 0.5 * calls * (plan == "basic")
        + 1.2 * (years < 1)
        + 0.8 * np.sin(age / 8)
        - 0.6 * (np.log(income) - 10) * (plan == "premium")
        + 0.9 * ((job == "none") & (age < 30))
        + np.asarray([leaning[name] for name in town])
    )
    table = pd.DataFrame(
        {"age": age, "years": years, "income": income, "calls": calls.astype(float)}
        | {f"noise{i}": rng.normal(size=m) for i in range(1, 5)}
        | {"town": town, "job": job, "plan": plan}
    )
    for name, gaps in {"age": 0.05, "income": 0.1, "town": 0.03, "job": 0.05}.items():
        table[name] = table[name].mask(rng.random(m) < gaps)
    left = np.where(rng.random(m) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return table.assign(left=left), ["left"], False


TABLES = {
    "diabetes": diabetes,
    "breast cancer": breast_cancer,
    "multi-label": multilabel,
    "mixed": mixed,
}


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
