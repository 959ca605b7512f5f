"""Networks built by hand: what depth and ReLU can do, as parameters that can be checked.

Every function returns ordinary ``parameters`` with ReLU hidden layers. Circuits have the sigmoid
head that the package takes if nothing is said; functions of a number have the identity head,
``L_model_forward(x, parameters, network=function_network(parameters))``.
"""

from portadnn.constructions.circuits import (
    UnitCounts,
    all_inputs,
    unit_counts,
    xor_shallow,
    xor_sum,
    xor_tree,
)
from portadnn.constructions.functions import (
    absolute_value,
    function_network,
    interpolant,
    interpolation_bound,
    interpolation_knots,
    sawtooth,
    sawtooth_shallow,
    square_by_four,
    square_by_two,
    squashing,
)

__all__ = [
    "UnitCounts",
    "absolute_value",
    "all_inputs",
    "function_network",
    "interpolant",
    "interpolation_bound",
    "interpolation_knots",
    "sawtooth",
    "sawtooth_shallow",
    "square_by_four",
    "square_by_two",
    "squashing",
    "unit_counts",
    "xor_shallow",
    "xor_sum",
    "xor_tree",
]
