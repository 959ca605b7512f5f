"""What the outputs of a head mean: targets from labels, decisions from outputs, and their score.

One sigmoid unit stands for the second of two classes, several stand for labels that may go
together. A softmax unit is a class, an identity unit a number, a poisson unit the mean of a count.
The mathematics is in ``network/losses.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portadnn.choice import known_name
from portadnn.errors import InputError


def head_for(classes: int, what: str = "the data") -> str:
    """The head that tells so many classes apart: one sigmoid unit for two, softmax for more."""
    if classes < 2:
        raise InputError(
            f"{what} has {classes} class{'es' * (classes != 1)}: expected two or more to tell apart"
        )
    return "sigmoid" if classes == 2 else "softmax"


def _each(AL: np.ndarray) -> np.ndarray:
    return AL[0] if len(AL) == 1 else AL.T


def _classified(each: np.ndarray, S: np.ndarray | None = None) -> dict[str, Any]:
    """The measures of classes or labels, from those outputs that are right, (1, m) or (n_L, m)."""
    whole = np.all(each, axis=0)
    # weights of single outputs cannot weigh whole examples
    weights = np.ones(len(whole)) if S is None or len(S) > 1 else S[0].astype(np.float64)
    accuracy = float(np.sum(weights * whole) / np.sum(weights))
    labels = {"label_accuracies": np.mean(each, axis=1).tolist()} if len(each) > 1 else {}
    return {"correct": int(np.sum(whole)), "accuracy": accuracy, **labels}


def _estimated(loss: Callable[..., np.ndarray], mean_name: str, share_name: str) -> Callable:
    """The mean of a loss, and 1 minus its ratio to the loss of predicting the targets' mean.

    Both are averaged over the outputs. For an output that is constant the share is 1 if it is
    predicted exactly and 0 otherwise, as in scikit-learn.
    """

    def measured(both: np.ndarray, S: np.ndarray | None = None) -> dict[str, Any]:
        AL, Y = both
        S = np.ones((1, Y.shape[1])) if S is None else S.astype(np.float64, order="C")
        # in one memory order: libraries choose different ones, and the sums depend on it
        AL, Y = (x.astype(np.float64, order="C") for x in (AL, Y))
        weight = np.sum(S * np.ones_like(Y), axis=1, keepdims=True)
        mean = np.sum(S * Y, axis=1, keepdims=True) / weight
        with np.errstate(divide="ignore", invalid="ignore"):
            residual, total = (np.sum(S * loss(A, Y), axis=1) for A in (AL, mean))
        share = np.where(residual == 0, 1.0, 0.0)
        np.divide(residual, total, out=share, where=total > 0)
        share = np.where(total > 0, 1 - share, share)
        return {mean_name: float(np.mean(residual / weight[:, 0])), share_name: float(share.mean())}

    return measured


def _deviance(AL: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """``2 (Y log(Y / AL) - Y + AL)``, where 0 log 0 is 0."""
    return 2 * (np.where(Y > 0, Y * np.log(np.where(Y > 0, Y, 1.0) / AL), 0.0) - Y + AL)


class Meaning(NamedTuple):
    """A row of the table; AL and Y are (n_L, m), on the host.

    ``names(n_L)`` says how many names so many outputs may have. ``targets(labels, C)`` is Y.
    ``decide(AL)`` is what AL predicts, (m,), or (m, n_L) for several outputs. ``probabilities(AL)``
    are those of the classes or labels, (m, C); values have none. ``compared(AL, Y)`` is what the
    measures need of a block of examples, which are along its last axis, and
    ``measured(compared, S)`` are the measures by name; of the one named ``score`` more is better.
    """

    names: Callable[[int], tuple[int, ...]]
    targets: Callable[[np.ndarray, int], np.ndarray]
    decide: Callable[[np.ndarray], np.ndarray]
    probabilities: Callable[[np.ndarray], np.ndarray] | None
    compared: Callable[[np.ndarray, np.ndarray], np.ndarray]
    measured: Callable[..., dict[str, Any]]
    score: str

    def measures(self, AL: np.ndarray, Y: np.ndarray, S: Any = None) -> dict[str, Any]:
        """How good AL is, by names."""
        return self.measured(self.compared(AL, Y), S)


_VALUES = Meaning(
    names=lambda n: (n, 0),
    targets=lambda labels, C: labels.reshape(len(labels), -1).T,
    decide=_each,
    probabilities=None,
    compared=lambda AL, Y: np.stack([AL, Y]),
    measured=_estimated(lambda AL, Y: np.square(Y - AL), "mse", "r2"),
    score="r2",
)
# a test fails for a head that is missing here
MEANINGS = {
    "sigmoid": Meaning(
        names=lambda n: (max(n, 2),),
        targets=_VALUES.targets,
        # the label follows the unit itself: 1 - p may round to p
        decide=lambda AL: _each((AL > 0.5).astype(np.int64)),
        probabilities=lambda AL: (np.concatenate([1 - AL, AL]) if len(AL) == 1 else AL).T.copy(),
        compared=lambda AL, Y: (AL > 0.5) == (Y > 0.5),
        measured=_classified,
        score="accuracy",
    ),
    "softmax": Meaning(
        names=lambda n: (n,),
        targets=lambda labels, C: labels == np.arange(C)[:, None],
        decide=lambda AL: np.argmax(AL, axis=0),
        probabilities=lambda AL: AL.T.copy(),
        compared=lambda AL, Y: (AL.argmax(axis=0) == Y.argmax(axis=0))[None, :],
        measured=_classified,
        score="accuracy",
    ),
    "identity": _VALUES,
    "poisson": _VALUES._replace(measured=_estimated(_deviance, "deviance", "d2"), score="d2"),
}


def meaning_of(head: str) -> Meaning:
    """The row of a head; an unknown name is an InputError that gives the nearest one."""
    return MEANINGS[known_name("head", head, MEANINGS)]
