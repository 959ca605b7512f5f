"""How good values and probabilities are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portadnn.plots.matrix import plain, shortened

MOST_PANELS = 6  # outputs that have a panel each
MOST_POINTS = 5000
BINS = 10
DIAGONAL = {"color": "grey", "linewidth": 0.8, "linestyle": "--"}


def residuals(values: Any, predicted: Any, names: Sequence[str], *, title: str = "") -> Any:
    """Predicted values against true ones, a panel for each output, as a matplotlib Figure.

    Parameters
    ----------
    values, predicted : array, shape (m,) or (m, K)
    names : sequence of str
        The names of the K outputs.
    title : str
        What the examples are.
    """
    import numpy as np
    from matplotlib.figure import Figure

    values, predicted = (np.asarray(x).reshape(len(x), -1) for x in (values, predicted))
    count = min(values.shape[1], MOST_PANELS)
    figure = Figure(figsize=(1.0 + 3.4 * min(count, 3), 0.6 + 3.2 * -(-count // 3)),
                    layout="constrained")  # fmt: skip
    panels = figure.subplots(-(-count // 3), min(count, 3), squeeze=False).reshape(-1)
    shown = slice(None, None, -(-len(values) // MOST_POINTS))
    for k, ax in enumerate(panels):
        if k >= count:
            ax.set_visible(False)
            continue
        y, p = values[shown, k], predicted[shown, k]
        ax.plot(y, p, ".", markersize=3, alpha=0.5)
        ends = [min(y.min(), p.min()), max(y.max(), p.max())]
        ax.plot(ends, ends, **DIAGONAL)
        total = float(np.sum(np.square(values[:, k] - values[:, k].mean())))
        rest = float(np.sum(np.square(values[:, k] - predicted[:, k])))
        score = f"R² {1 - rest / total:.3f}" if total > 0 else ""
        ax.set_title(f"{shortened(names[k])}  {score}", fontsize=10)
        ax.set_xlabel("true")
        ax.set_ylabel("predicted")
        ax.grid(alpha=0.3)
    if title:
        figure.suptitle(plain(title), fontsize=10)
    return figure


def roc_and_calibration(
    labels: Any, probabilities: Any, names: Sequence[str], *, title: str = ""
) -> Any:
    """The ROC curve and the calibration of yes-or-no labels, as a matplotlib Figure.

    Parameters
    ----------
    labels : array, shape (m,) or (m, K)
        0 and 1.
    probabilities : array, shape (m,) or (m, K)
        The probabilities of 1.
    names : sequence of str
        The names of the K labels.
    title : str
        What the examples are.

    References
    ----------
    Fawcett, An introduction to ROC analysis (2006), https://doi.org/10.1016/j.patrec.2005.10.010;
    Niculescu-Mizil and Caruana, Predicting good probabilities with supervised learning (2005).
    """
    import numpy as np
    from matplotlib.figure import Figure

    labels, probabilities = (np.asarray(x).reshape(len(x), -1) for x in (labels, probabilities))
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    roc, calibration = figure.subplots(1, 2)
    for k in range(min(labels.shape[1], MOST_PANELS)):
        y, p = labels[:, k], probabilities[:, k]
        order = np.argsort(-p, kind="stable")
        hits, misses = np.cumsum(y[order]), np.cumsum(1 - y[order])
        if not (hits[-1] and misses[-1]):
            continue  # without both kinds there is no curve
        ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))  # ties are one step
        tpr, fpr = (np.append(0.0, x[ends] / x[-1]) for x in (hits, misses))
        area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
        roc.plot(fpr, tpr, label=f"{shortened(names[k])}, area {area:.3f}")
        bins = np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p)))
        calibration.plot(*zip(*[(p[b].mean(), y[b].mean()) for b in bins], strict=True), "o-")
    for ax, x, y in (
        (roc, "false positives", "true positives"),
        (calibration, "mean probability, ten equal groups", "share that is true"),
    ):
        ax.plot([0, 1], [0, 1], **DIAGONAL)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.grid(alpha=0.3)
    if roc.get_legend_handles_labels()[0]:
        roc.legend(loc="lower right", fontsize=9)
    figure.suptitle(plain(title), fontsize=10)
    return figure
