"""Images of examples, and of weights that look at images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from portadnn.plots.matrix import plain, shortened

CELL, TITLE = 1.4, 0.45  # inches
FEWEST_BLOCKS = 16  # along a side, of the picture of a unit


def is_image(shape: Sequence[int]) -> bool:
    """Whether an example of this shape is an image: (h, w), or (h, w, c) of 1, 3 or 4 channels.

    >>> is_image((64, 64, 3)), is_image((64,))
    (True, False)
    """
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))) and min(shape[:2]) > 1


def mistakes(
    images: Any,
    labels: Any,
    probabilities: Any,
    classes: Sequence[str],
    *,
    most: int = 25,
    title: str = "",
) -> Any:
    """The images that were taken for a wrong class, the surest first, as a matplotlib Figure.

    Parameters
    ----------
    images : array, shape (m, h, w) or (m, h, w, c)
        uint8 0..255; other numbers are shown from the smallest to the largest of all.
    labels : array of int, shape (m,)
        0 .. C-1.
    probabilities : array, shape (m, C)
        One row per example, one column per class. In at least one row the largest value is not at
        the label.
    classes : sequence of str
        The names of the C classes.
    most : int
        How many to show.
    title : str
        What the examples are.
    """
    import numpy as np

    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    images = images if hasattr(images, "max") else np.asarray(images)  # they may stay in a file
    predicted = np.argmax(probabilities, axis=1)
    sureness = probabilities[np.arange(len(labels)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-sureness[wrong], kind="stable")][:most]
    shown = f"{len(wrong)} mistakes" if len(wrong) > 1 else "1 mistake"
    if len(worst) < len(wrong):
        shown += f", the {len(worst)} surest"
    shown = f"{title}: {shown}" if title else shown
    figure, axes = _grid(len(worst), f"{shown}\npredicted class, probability", caption=0.42)
    pixels = _as_pixels(images[worst], images)
    for ax, image, i in zip(axes, pixels, worst, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        said, true = (shortened(classes[c], 9) for c in (predicted[i], labels[i]))
        share = f"{sureness[i]:.1%}" if sureness[i] < 0.9995 else ">99.9%"
        ax.set_title(f"{said} {share}\ntrue: {true}", fontsize=7)
    return figure


def first_layer_weights(W1: Any, input_shape: Sequence[int], *, most: int = 30) -> Any:
    """The strongest units of the first layer as images of their weights, as a matplotlib Figure.

    Each is scaled by its own largest magnitude. Weights of one channel go from blue (below 0) over
    white to red. Those of three are colours, grey for 0; of four the first three are shown. Of
    images of 32 pixels and more the means of blocks are shown, because the initial noise of single
    weights hides what was learned.

    Parameters
    ----------
    W1 : array, shape (n_1, n_x)
    input_shape : (h, w) or (h, w, c), c of 1, 3 or 4
    most : int
        How many units to show, those with the largest norms, in their order.
    """
    import numpy as np
    from matplotlib.cm import ScalarMappable

    W1 = np.asarray(W1, dtype=np.float64)
    units = np.argsort(-np.sum(W1 * W1, axis=1), kind="stable")[:most]
    h, w = input_shape[:2]
    size = max(min(h, w) // FEWEST_BLOCKS, 1)
    rows, columns = h // size, w // size
    images = W1[units].reshape(len(units), h, w, -1)[:, : rows * size, : columns * size, :3]
    images = images.reshape(len(units), rows, size, columns, size, -1).mean(axis=(2, 4))
    largest = np.maximum(np.abs(images).max(axis=(1, 2, 3)), np.finfo(np.float64).tiny)
    what = f"{len(units)} of {len(W1)} units of the first layer, the strongest first"
    what += f", means of {size}x{size} weights" * (size > 1)
    figure, axes = _grid(len(units), f"{what}\nunit: largest magnitude", caption=0.22, foot=0.5)
    colour = images.shape[3] == 3
    for ax, image, unit, peak in zip(axes, images, units, largest, strict=False):
        shown = (image / peak + 1) / 2 if colour else image / peak
        ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        ax.set_title(f"{unit + 1}: ±{peak:.2g}", fontsize=8)
    key, inch = ScalarMappable(cmap="gray" if colour else "RdBu_r"), 1 / figure.get_figheight()
    key.set_clim(-1, 1)
    place = figure.add_axes((0.25, 0.32 * inch, 0.5, 0.1 * inch))
    bar = figure.colorbar(key, cax=place, orientation="horizontal")
    each = " of each colour" if colour else ""
    bar.set_ticks([-1, 0, 1], labels=[f"-largest{each}", "0", f"+largest{each}"], fontsize=8)
    return figure


def _grid(n: int, title: str, *, caption: float, foot: float = 0.05) -> tuple[Any, list[Any]]:
    """A figure with n square cells without ticks, a title over all of them, and room below."""
    from matplotlib.figure import Figure

    columns = min(max(math.ceil(math.sqrt(1.6 * n)), 4), n)
    rows = math.ceil(n / columns)
    width, height = max(columns, 4) * CELL, rows * (CELL + caption) + TITLE + foot
    figure = Figure(figsize=(width, height))
    figure.suptitle(plain(title), fontsize=10, wrap=True, y=1 - 0.08 / height, va="top")
    # by hand, which takes a third of the time of a constrained layout
    figure.subplots_adjust(
        left=0.05 / width,
        right=1 - 0.05 / width,
        bottom=foot / height,
        top=1 - (TITLE + caption) / height,
        wspace=0.08,
        hspace=caption / CELL + 0.08,
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[n:]:
        ax.set_axis_off()
    return figure, axes


def _as_pixels(images: Any, all_images: Any) -> Any:
    """Images as numbers 0..1, without a channel axis of one."""
    import numpy as np

    if images.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = float(all_images.min()), float(all_images.max())
    pixels = (images.astype(np.float64) - low) / ((high - low) or 1.0)
    return pixels[..., 0] if images.ndim == 4 and images.shape[3] == 1 else pixels
