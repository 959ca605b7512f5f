"""How near the bounds a comparison came, and figures as text for its report."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

MOST_MARKS = 300  # failed entries of the ratio map that get a cross of their own


def ratio_map(ratios: Sequence[tuple[int, str, float]]) -> Any:
    """The ratio of error to bound of every tensor and step, as a matplotlib Figure.

    Tensors from top to bottom in the order of computation, steps from left to right; colour is
    log10 of the ratio: blank if the tensor was exact, red with a cross if it is above 1. Ratios up
    to 1 are blue: they are within the bound.

    Parameters
    ----------
    ratios : sequence of (step, tensor, ratio)
        The steps that were checked, which need not be all; at least one.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    steps = sorted({step for step, _, _ in ratios})
    tensors = list(dict.fromkeys(tensor for _, tensor, _ in ratios))
    column = {step: j for j, step in enumerate(steps)}
    row = {tensor: i for i, tensor in enumerate(tensors)}
    grid = np.full((len(tensors), len(steps)), np.nan)
    for step, tensor, ratio in ratios:
        grid[row[tensor], column[step]] = ratio
    failed = np.argwhere(grid > 1)

    figure = Figure(figsize=(7.2, 1.1 + 0.19 * len(tensors)), layout="constrained")
    axes = figure.add_subplot()
    shown = np.ma.masked_invalid(np.where(grid > 0, np.log10(np.where(grid > 0, grid, 1)), np.nan))
    shown = np.ma.where(np.isposinf(grid), 300.0, shown)
    blues = ListedColormap(colormaps["Blues"](np.linspace(0.15, 0.95, 256)))
    colours = blues.with_extremes(over="#d62728", bad="none")
    image = axes.imshow(
        shown, cmap=colours, vmin=-4, vmax=0, aspect="auto", interpolation="nearest"
    )
    if 0 < len(failed) <= MOST_MARKS:
        axes.plot(failed[:, 1], failed[:, 0], "x", color="white", markersize=4, linestyle="none")
    axes.set_yticks(range(len(tensors)), tensors, fontsize=9)
    every = math.ceil(len(steps) / 12)
    axes.set_xticks(range(0, len(steps), every), [str(step) for step in steps[::every]], fontsize=9)
    axes.set_xlabel(
        "step" if steps[-1] == len(steps) - 1 else "step (those checked in full)", fontsize=9
    )
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.015, fraction=0.04)
    bar.set_ticks([-4, -3, -2, -1, 0], labels=["0.0001", "0.001", "0.01", "0.1", "1"], fontsize=9)
    bar.set_label("error / bound, up to 1 is within", fontsize=9)
    for side in (*axes.spines.values(), bar.outline):
        side.set_color("#808080")
    return figure


def to_svg(figure: Any, prefix: str) -> str:
    """A figure as an ``<svg>`` element to stand in a page, the same text for the same figure.

    Its letters stay text, in the page's font and colour; the background is the page's. Every id
    begins with ``prefix``, so that several figures may stand in one page.
    """
    from matplotlib import rc_context

    written = io.StringIO()
    with rc_context({"svg.hashsalt": "portadnn", "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", dpi=144, transparent=True, metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :]  # without the XML declaration and document type
    return re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
