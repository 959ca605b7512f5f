"""Why an operation failed: the faults that are known, tried on the tensors themselves."""

from portadnn.parity.causes.case import Cause
from portadnn.parity.causes.diagnosis import HYPOTHESES, name_cause

__all__ = ["HYPOTHESES", "Cause", "name_cause"]
