"""What goes wrong in deep networks, measured: dying units, vanishing signals, wrong gradients."""

from portadnn.diagnostics.lives import UnitCensus, UnitEvent, UnitLives
from portadnn.diagnostics.units import LayerUnits, unit_activity

__all__ = ["LayerUnits", "UnitCensus", "UnitEvent", "UnitLives", "unit_activity"]
