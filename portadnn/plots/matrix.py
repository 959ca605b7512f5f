"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_NUMBERED = 20  # classes whose cells are large enough for a number
LONGEST_NAME = 16


def confusion_matrix(
    labels: Any, predicted: Any, classes: Sequence[str], *, title: str = ""
) -> Any:
    """Counts of examples by true and predicted class, as a matplotlib Figure.

    Colour is the share of the row, so that classes of any size compare; numbers are counts.

    Parameters
    ----------
    labels, predicted : array of int, shape (m,)
        0 .. C-1.
    classes : sequence of str
        The names of the C classes.
    title : str
        What the examples are; the accuracy is added.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    C = len(classes)
    counts = np.zeros((C, C), dtype=np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(3.4 + 0.34 * C, 9.0)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(size + 0.8, size), layout=layout)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if C <= MOST_NUMBERED:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", color=colour, fontsize=9)
    every = max(1, -(-C // 25))
    names = [shortened(name) for name in classes[::every]]
    # a letter takes about 0.1 inches, the cells four fifths of the figure
    crowded = max(map(len, names)) * 0.1 > 0.8 * size / len(names)
    axes.set_xticks(range(0, C, every), names)
    if crowded:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_yticks(range(0, C, every), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right = int(np.trace(counts))
    accuracy = f"{right} of {counts.sum()} right, {right / max(counts.sum(), 1):.2%}"
    axes.set_title(f"{plain(title)}\n{accuracy}" if title else accuracy, fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    return figure


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits beside a cell."""
    return plain(name if len(name) <= longest else name[: longest - 1] + "…")


def plain(text: str) -> str:
    """A text with escaped dollar signs, so that matplotlib does not read it as mathematics."""
    return text.replace("$", r"\$")
