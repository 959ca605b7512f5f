"""Every figure, as a matplotlib Figure that belongs to no window.

matplotlib is imported when a figure is drawn, and not before.
"""

from portadnn.plots.curves import show_costs, training_curves
from portadnn.plots.images import first_layer_weights, is_image, mistakes
from portadnn.plots.matrix import confusion_matrix
from portadnn.plots.parity import ratio_map, to_svg
from portadnn.plots.signals import layer_signals, unit_lives
from portadnn.plots.values import residuals, roc_and_calibration

__all__ = [
    "confusion_matrix",
    "first_layer_weights",
    "is_image",
    "layer_signals",
    "mistakes",
    "ratio_map",
    "residuals",
    "roc_and_calibration",
    "show_costs",
    "to_svg",
    "training_curves",
    "unit_lives",
]
