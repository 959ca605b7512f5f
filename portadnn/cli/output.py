"""What several commands print."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from portadnn.network.names import named

if TYPE_CHECKING:
    from rich.table import Table

    from portadnn.data.preprocess import Preprocess
    from portadnn.network.spec import Network
    from portadnn.training.inference import Evaluation


def print_line(text: str) -> None:
    """A text on stdout; work that goes on is not lost because nobody reads any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not is_broken_pipe(error):
            raise
        discard_stdout()


def is_broken_pipe(error: OSError) -> bool:
    """Whether nobody reads stdout any more; Windows says "invalid argument" then."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def discard_stdout() -> None:
    """Let all that is printed from here on vanish, and Python's last flush succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What is printed for characters that a stream cannot encode: ASCII lines of tables, or "?"."""
    assert isinstance(error, UnicodeEncodeError)
    lines = {"─": "-", "━": "-", "═": "-", "│": "|", "┃": "|", "║": "|"}
    text = error.object[error.start : error.end]
    return "".join(lines.get(c, "+" if "─" < c <= "╿" else "?") for c in text), error.end


codecs.register_error("portadnn", _in_ascii)


@contextlib.contextmanager
def any_encoding() -> Iterator[None]:
    """A scope in which every text can be printed, whatever stdout and stderr can encode."""
    with contextlib.ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
                stack.callback(_reconfigure, stream, stream.errors)
                stream.reconfigure(errors="portadnn")
        yield


def _reconfigure(stream: io.TextIOWrapper, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        stream.reconfigure(errors=errors)


def print_json(value: Any) -> None:
    """One JSON object and a line's end on stdout; numbers that are not finite are null."""
    print_line(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """A JSON value with null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def new_table(words: Sequence[str] = (), numbers: Sequence[str] = (), **options: Any) -> Table:
    """A table without rows: columns of words, then columns of numbers, which end at the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, **options)
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, overflow="fold", justify="right")
    return table


def table_text(table: Table) -> str:
    """A table as text, as wide as the terminal."""
    from rich.console import Console

    console = Console(file=io.StringIO(), markup=False, highlight=False, width=_width())
    console.print(table)
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]


def _width() -> int:
    return shutil.get_terminal_size((150, 24)).columns  # without a terminal, lines may be long


def network_table(network: Network) -> Table:
    """A row per layer: shapes, activation and the number of its parameters."""
    table = new_table(("layer", "W", "b", "activation"), ("parameters",))
    total = 0
    for l, activation in enumerate((*network.activations, network.head), start=1):
        W, b = network.shapes[named("W", l)], network.shapes[named("b", l)]
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
    """An evaluation as JSON values."""
    return {
        "examples": evaluation.examples,
        **evaluation.measures,
        "cost": evaluation.cost,
    }


def evaluation_text(name: str, evaluation: Evaluation) -> str:
    """An evaluation as a line."""
    measures, cost = evaluation.measures, f"cost {evaluation.cost:.6f}"
    if "accuracy" in measures:
        right = f"{evaluation.correct} of {evaluation.examples}"
        return f"{name} accuracy {evaluation.accuracy:.2%} ({right}), {cost}"
    values = ", ".join(f"{what} {value:.6g}" for what, value in measures.items())
    return f"{name} {values} ({evaluation.examples} examples), {cost}"


def preprocess_table(preprocess: Preprocess) -> Table:
    """A row per column of the data: what is done to it."""
    table = new_table(("column", "becomes"))
    for c in preprocess.columns:
        if c.categories is not None:
            what = f"{c.width} of 0 and 1: {', '.join(n or '(missing)' for n in c.categories[:10])}"
            what += ", ..." if c.width > 10 else ""
        elif preprocess.pixels:
            what = "uint8 / 255"
        elif (c.mean, c.scale) == (0.0, 1.0):
            what = "itself"
        else:
            what = f"(itself - {c.mean:g}) / {c.scale:g}"
        fill = "" if c.fill is None else f"; {c.fill:g} if missing"
        table.add_row(c.name, what + fill)
    return table
