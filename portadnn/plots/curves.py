"""Costs, scores and learning rates against the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portadnn.plots.matrix import plain

MANY_TIMES = 10.0  # a log scale shows more if the largest value is so many times the smallest
FEW_REPORTS = 30  # each gets a mark


def training_curves(rows: Sequence[Any], *, title: str = "") -> Any:
    """Cost, validation score and learning rate of every report, as a matplotlib Figure.

    The cost's axis is logarithmic if its values span a factor of 10 or more. The score has a
    panel if there are validation data, the rate if it changes; the epoch of the lowest
    validation cost is marked.

    Parameters
    ----------
    rows : sequence of EpochRecord, at least one
        Anything with ``epoch``, ``cost``, ``learning_rate``, ``validation_cost`` and
        ``validation_score``.
    title : str
        What was trained; a constant learning rate is added.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in rows]
    rates = [row.learning_rate for row in rows]
    validated = all(row.validation_cost is not None for row in rows)
    panels = ["cost", *(["score"] if validated else []), *(["rate"] if len(set(rates)) > 1 else [])]
    heights = {"cost": 3.0, "score": 1.6, "rate": 1.2}
    figure = Figure(figsize=(6.4, 1.0 + sum(heights[p] for p in panels)), layout="constrained")
    axes = figure.subplots(
        len(panels), sharex=True, squeeze=False, height_ratios=[heights[p] for p in panels]
    )[:, 0]
    mark = {"marker": "o", "markersize": 3.0} if len(rows) <= FEW_REPORTS else {}
    for panel, ax in zip(panels, axes, strict=True):
        ax.grid(alpha=0.3)
        if panel == "cost":
            costs = [row.cost for row in rows]
            ax.plot(epochs, costs, label="training", **mark)
            if validated:
                held_back = [row.validation_cost for row in rows]
                (line,) = ax.plot(epochs, held_back, label="validation", **mark)
                lowest = min(range(len(rows)), key=held_back.__getitem__)
                ax.plot(
                    epochs[lowest],
                    held_back[lowest],
                    "*",
                    color=line.get_color(),
                    markersize=11,
                    label=f"lowest, {held_back[lowest]:.4g} at epoch {epochs[lowest]}",
                )
                costs = costs + held_back
                ax.legend()
            _scale(ax, costs)
            ax.set_ylabel("cost")
        elif panel == "score":
            ax.plot(epochs, [row.validation_score for row in rows], color="C1", **mark)
            ax.set_ylabel("validation score")
        else:
            ax.plot(epochs, rates, color="C2", **mark)
            ax.set_ylim(bottom=0)
            ax.set_ylabel("learning rate")
    constant_rate = [] if "rate" in panels else [f"learning rate {rates[0]:g}"]
    lines = [*([plain(title)] if title else []), *constant_rate]
    axes[0].set_title("\n".join(lines), fontsize=10, wrap=True)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(axes)
    return figure


def show_costs(history: Sequence[tuple[int, float]], learning_rate: float) -> None:
    """Show the costs of ``L_layer_model``'s history in a window or a notebook."""
    from matplotlib import pyplot

    axes = pyplot.figure(layout="constrained").add_subplot()
    axes.plot(*zip(*history, strict=True), marker="o" if len(history) == 1 else None)
    axes.set_xlabel("iteration")
    axes.set_ylabel("cost")
    axes.set_title(f"learning rate {learning_rate:g}")
    _scale(axes, [cost for _, cost in history])
    axes.grid(alpha=0.3)
    pyplot.show()


def _scale(axes: Any, values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) >= MANY_TIMES * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
