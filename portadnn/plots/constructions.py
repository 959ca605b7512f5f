"""Networks built by hand: what they cost in units, and the functions that they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def parity_units(rows: Sequence[Any]) -> Any:
    """Hidden units that compute parity against the number of bits, as a matplotlib Figure.

    Parameters
    ----------
    rows : sequence of UnitCounts
        Anything with ``n``, ``tree``, ``shallow`` and ``sum``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    n = [row.n for row in rows]
    for name, label in (
        ("shallow", "xor_shallow: one for each odd minterm"),
        ("tree", "xor_tree: a tree of two-unit XORs"),
        ("sum", "xor_sum: a zigzag of the bit sum"),
    ):
        axes.plot(n, [getattr(row, name) for row in rows], marker="o", markersize=3, label=label)
    axes.set_yscale("symlog", linthresh=1)  # the tree of one bit has no unit
    axes.set_ylim(bottom=0)
    axes.set_xlabel("bits n")
    axes.set_ylabel("hidden units")
    axes.set_title("Parity of n bits by ReLU units")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def function_and_error(
    x: Any, exact: Any, approximations: Mapping[str, Any], *, name: str = "", bound: Any = None
) -> Any:
    """A function, networks that compute or approximate it, and their errors below.

    Parameters
    ----------
    x : array, shape (m,)
        Rising.
    exact : array, shape (m,)
        The function there.
    approximations : dict of arrays, shape (m,)
        By the name that the legend shall show.
    name : str
        Of the function.
    bound : float, optional
        Drawn beside the errors, at both signs.
    """
    import numpy as np
    from matplotlib.figure import Figure

    x, exact = np.asarray(x), np.asarray(exact)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3.0, 1.6])
    above.plot(x, exact, color="0.6", linewidth=4, label=name or "exact")
    for label, y in approximations.items():
        (line,) = above.plot(x, np.asarray(y), linewidth=1.4, label=label)
        below.plot(x, np.asarray(y) - exact, color=line.get_color(), linewidth=1.2)
    if bound is not None:
        for sign in (-1, 1):
            below.axhline(sign * bound, color="black", linestyle="--", linewidth=0.8)
    above.set_ylabel("value")
    above.legend()
    below.set_ylabel("error")
    below.set_xlabel("x")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.align_ylabels([above, below])
    return figure


def error_against_units(units: Sequence[int], errors: Any, bounds: Any) -> Any:
    """The largest error of an approximation against its units, beside the bound, on log scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.loglog(units, bounds, color="black", linestyle="--", label="bound, max|f''| h²/8")
    axes.loglog(units, errors, "o", markersize=4, label="largest error")
    axes.set_xlabel("hidden units k")
    axes.set_ylabel("error")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure
