"""Every figure. matplotlib is imported when a figure is drawn, and not before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any


def cost_curve(history: Sequence[tuple[int, float]], learning_rate: float) -> Any:
    """The cost against the iteration, as a matplotlib Figure that belongs to no window.

    Parameters
    ----------
    history : sequence of (iteration, cost)
    learning_rate : float
        For the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    _draw_costs(figure.add_subplot(), history, learning_rate)
    return figure


def save_cost_curve(
    history: Sequence[tuple[int, float]], learning_rate: float, path: str | os.PathLike[str]
) -> None:
    """Write ``cost_curve`` to a PNG file."""
    cost_curve(history, learning_rate).savefig(path, format="png", dpi=120)


def show_costs(history: Sequence[tuple[int, float]], learning_rate: float) -> None:
    """Show the cost curve in a window or a notebook."""
    from matplotlib import pyplot

    _draw_costs(pyplot.figure(layout="constrained").add_subplot(), history, learning_rate)
    pyplot.show()


def _draw_costs(axes: Any, history: Sequence[tuple[int, float]], learning_rate: float) -> None:
    iterations = [iteration for iteration, _ in history]
    costs = [cost for _, cost in history]
    axes.plot(iterations, costs, marker="o" if len(history) == 1 else None)
    axes.set_xlabel("iteration")
    axes.set_ylabel("cost")
    axes.set_title(f"learning rate {learning_rate:g}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
