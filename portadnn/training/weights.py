"""Weights of classes and of examples, as one weight for every example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portadnn.choice import check_number
from portadnn.errors import InputError, unknown_name


def example_weights(
    labels: np.ndarray | None,
    classes: Sequence[Any],
    class_weight: str | Mapping[Any, float] | None = None,
    sample_weight: Any = None,
) -> np.ndarray | None:
    """What every example's cost is multiplied by.

    Parameters
    ----------
    labels : array of int, shape (m,)
        0 .. C-1.
    classes : sequence
        The names of the C classes.
    class_weight : {"balanced"} or dict, optional
        A weight for every class by its name, 1 for what is not in it; "balanced" is m / (C m_c)
        for a class of m_c examples.
    sample_weight : array, shape (m,), optional

    Returns
    -------
    weights : array, shape (1, m), float64, of mean 1, or None if all are equal

    Raises
    ------
    InputError
        If a name is unknown, a length is wrong, or a weight negative or not finite.
    """
    if labels is None:
        raise InputError("the examples have no labels: training needs them")
    weights = check_sample_weight(sample_weight, len(labels))
    if class_weight is not None:
        if labels.dtype.kind == "f":
            raise InputError("class_weight is for classes, but the labels are values: leave it out")
        weights = weights * _class_weights(labels, classes, class_weight)[labels]
    return normalized(weights)


def normalized(weights: np.ndarray) -> np.ndarray | None:
    """Weights (m,) or (n_y, m) with the mean 1, as (1, m) or (n_y, m); None if all are equal."""
    largest = float(np.max(weights))
    if not largest > 0:
        raise InputError("the weights of the examples are all 0: expected some above 0")
    if np.all(weights == weights.flat[0]):
        return None
    with np.errstate(under="ignore"):  # a weight may be 0 beside the largest
        weights = weights / largest  # their sum may be more than a float holds
        return np.atleast_2d(weights * (weights.size / float(np.sum(weights))))


def check_sample_weight(sample_weight: Any, m: int) -> np.ndarray:
    """Weights of m examples, float64, or an InputError; ones if there are none."""
    if sample_weight is None:
        return np.ones(m)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (m,):
        raise InputError(
            f"sample_weight has shape {weights.shape} for {m} examples: expected ({m},)"
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f"sample_weight holds {weights[index]:g} at index {index}: expected numbers of 0 or "
            f"more"
        )
    return weights


def _class_weights(
    labels: np.ndarray, classes: Sequence[Any], class_weight: str | Mapping[Any, float]
) -> np.ndarray:
    counts = np.bincount(labels, minlength=len(classes))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise unknown_name("class_weight", class_weight, ["balanced"])
        return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight is {class_weight!r}: expected 'balanced', or a dict of numbers by class"
        )
    weights = np.ones(len(classes))
    index = {name: i for i, name in enumerate(classes)}
    for name, weight in class_weight.items():
        if name not in index:
            raise unknown_name("class in class_weight", name, map(str, classes))
        weights[index[name]] = check_number(f"class_weight of {name!r}", weight, 0.0)
    return weights
