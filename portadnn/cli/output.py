"""What several commands print."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from portadnn.network.spec import Network
    from portadnn.training.inference import Evaluation


def print_json(value: Any) -> None:
    """One JSON object and a line's end on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_table(table: Table) -> None:
    """A table on stdout."""
    from rich.console import Console

    Console(file=sys.stdout, markup=False, highlight=False).print(table)


def network_table(network: Network) -> Table:
    """A row per layer: shapes, activation and the number of its parameters."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, caption_justify="left")
    for heading in ("layer", "W", "b", "activation"):
        table.add_column(heading)
    table.add_column("parameters", justify="right")
    total = 0
    for l, activation in enumerate((*network.activations, network.head), start=1):
        W, b = network.shapes[f"W{l}"], network.shapes[f"b{l}"]
        count = math.prod(W) + math.prod(b)
        total += count
        table.add_row(str(l), str(W), str(b), activation, f"{count:,}")
    table.add_section()
    table.add_row("total", "", "", "", f"{total:,}")
    return table


def network_json(network: Network) -> dict[str, Any]:
    """The network as JSON values."""
    return {
        "layer_dims": list(network.layer_dims),
        "activations": list(network.activations),
        "head": network.head,
        "parameters": sum(math.prod(shape) for shape in network.shapes.values()),
    }


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON values; a cost that is not finite is null."""
    cost = evaluation.cost if math.isfinite(evaluation.cost) else None
    return {
        "examples": evaluation.examples,
        "correct": evaluation.correct,
        "accuracy": evaluation.accuracy,
        "cost": cost,
    }


def evaluation_text(name: str, evaluation: Evaluation) -> str:
    """An evaluation as a line."""
    return (
        f"{name} accuracy {evaluation.accuracy:.2%} "
        f"({evaluation.correct} of {evaluation.examples}), cost {evaluation.cost:.6f}"
    )
