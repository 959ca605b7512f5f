"""The size of signals and gradients through the layers, and the lives of units over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEW_LAYERS = 12  # each gets a mark


def layer_signals(signals: Mapping[str, Sequence[Any]], *, title: str = "") -> Any:
    """Signals, gradients and sparsity by layer, measured and predicted, as a matplotlib Figure.

    Solid lines are measured, dashed ones predicted. What is 0 or not finite has no place on a
    logarithmic scale and is left out.

    Parameters
    ----------
    signals : dict of sequences of LayerSignal
        By the name for the legend, an initialiser for example. Either all have gradients, or none.
    title : str
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from portadnn.plots.matrix import plain

    has_gradients = all(row.dz_square is not None for rows in signals.values() for row in rows)
    panels = [("z_square", "z_predicted", "E[Z²]"), ("a_square", "a_predicted", "E[A²]")]
    if has_gradients:
        panels.append(("dz_square", "dz_predicted", "E[dZ²]"))
    figure = Figure(figsize=(6.4, 2.0 * (len(panels) + 1) + 0.6), layout="constrained")
    *logs, shares = figure.subplots(len(panels) + 1, sharex=True)
    for i, (name, rows) in enumerate(signals.items()):
        layers = [row.layer for row in rows]
        mark = {"marker": "o", "markersize": 3} if len(rows) <= FEW_LAYERS else {}
        for axes, (measured, predicted, _) in zip(logs, panels, strict=True):
            # the head's output is not a signal that goes on
            n = len(rows) - (measured == "a_square")
            y, theory = _positive(rows, measured)[:n], _positive(rows, predicted)[:n]
            axes.plot(layers[:n], y, color=f"C{i}", label=name, **mark)
            axes.plot(layers[:n], theory, color=f"C{i}", linestyle="--", alpha=0.6)
        mean = [float(row.zero_share.mean()) for row in rows[:-1]]
        shares.plot(layers[:-1], mean, color=f"C{i}", **mark)
    for axes, (_, _, label) in zip(logs, panels, strict=True):
        drawn = [y for line in axes.lines for y in line.get_ydata()]
        if any(y > 0 for y in drawn):  # not so if all weights are 0
            axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    shares.set_ylim(-0.03, 1.03)
    shares.set_ylabel("share of zeros")
    shares.grid(alpha=0.3)
    shares.set_xlabel("layer")
    shares.xaxis.set_major_locator(MaxNLocator(integer=True))
    for style, label in (("-", "measured"), ("--", "theory")):
        logs[0].plot([], [], style, color="#606060", label=label)
    logs[0].legend(fontsize=8)
    logs[0].set_title(plain(title), fontsize=10, wrap=True)
    figure.align_ylabels()
    return figure


def unit_lives(census: Sequence[Any], layer_dims: Sequence[int]) -> Any:
    """The share of dead units of every hidden layer over a run, as a matplotlib Figure.

    Parameters
    ----------
    census : sequence of UnitCensus
        As ``UnitLives`` collected it.
    layer_dims : sequence of int
        The widths of the network.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    iterations = [row.iteration for row in census]
    for l, n_l in enumerate(layer_dims[1:-1], start=1):
        share = [row.dead[l - 1] / n_l for row in census]
        axes.step(iterations, share, where="post", label=f"layer {l}, {n_l} units")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("iteration")
    axes.set_ylabel("share of dead units")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _positive(rows: Sequence[Any], name: str) -> list[float]:
    """The values, with NaN for those that a logarithmic scale cannot show."""
    values = [getattr(row, name) for row in rows]
    return [x if 0 < x < float("inf") else float("nan") for x in values]
