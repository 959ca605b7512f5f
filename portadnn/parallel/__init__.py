"""Ranks: processes, on one machine or many, that train one network on their shares of a batch.

Every rank has the network, the order of the examples and the random numbers of the whole run. In a
step it computes with its share of the batch's examples, and sums over the examples are those of
all ranks. So all have the same gradients, and make the same update.
"""

from portadnn.parallel.communicator import MPI, Communicator, as_ranks, together, working
from portadnn.parallel.namespace import shared_namespace
from portadnn.parallel.ranks import EXACT_EXAMPLES, Ranks, RanksError

__all__ = [
    "EXACT_EXAMPLES",
    "MPI",
    "Communicator",
    "Ranks",
    "RanksError",
    "as_ranks",
    "shared_namespace",
    "together",
    "working",
]
