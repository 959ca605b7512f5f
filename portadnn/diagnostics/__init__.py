"""What goes wrong in deep networks, measured: dying units, vanishing signals, wrong gradients."""

from portadnn.diagnostics.gradients import (
    EntryCheck,
    GradientCheck,
    TensorCheck,
    check_gradients,
)
from portadnn.diagnostics.lives import UnitCensus, UnitEvent, UnitLives
from portadnn.diagnostics.signal import LayerSignal, layer_signals
from portadnn.diagnostics.theory import activation_moments
from portadnn.diagnostics.units import LayerUnits, unit_activity

__all__ = [
    "EntryCheck",
    "GradientCheck",
    "LayerSignal",
    "LayerUnits",
    "TensorCheck",
    "UnitCensus",
    "UnitEvent",
    "UnitLives",
    "activation_moments",
    "check_gradients",
    "layer_signals",
    "unit_activity",
]
