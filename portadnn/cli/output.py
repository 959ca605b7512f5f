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

from portadnn.errors import safe_text
from portadnn.network.names import named

if TYPE_CHECKING:
    from rich.table import Column, Table

    from portadnn.data.preprocess import Preprocess
    from portadnn.network.spec import Network
    from portadnn.training.inference import Evaluation


def print_line(text: str) -> None:
    """Print a text on stdout; if nobody reads it any more, the work goes on."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not is_broken_pipe(error) and error.errno != errno.EIO:  # no terminal: EIO
            raise
        discard_stdout()


def complain(text: str) -> None:
    """Print a text on stderr, if anybody reads it: the terminal may be gone."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def is_broken_pipe(error: OSError) -> bool:
    """Whether nobody reads stdout any more; Windows says "invalid argument" then."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def discard_stdout() -> None:
    """Discard all output from here on, so that Python's last flush succeeds."""
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
        # if the caller had closed one; print would write errors to stdout
        for stream, redirected in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            if stream is None:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirected(nowhere))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
                stack.callback(_reconfigure, stream, stream.errors)
                stream.reconfigure(errors="portadnn")
        yield


def _reconfigure(stream: io.TextIOWrapper, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        stream.reconfigure(errors=errors)


@contextlib.contextmanager
def passes_shown(wanted: bool = True) -> Iterator[None]:
    """A bar on stderr for each pass over data that stay in a file, if somebody is looking."""
    from portadnn.data import stored

    def bar(blocks: Iterator[Any], what: str, count: int) -> Iterator[Any]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        return iter(track(blocks, safe_text(what), count, console=console, transient=True))

    if not (wanted and sys.stderr.isatty()):
        yield
        return
    stored.passes.append(bar)
    try:
        yield
    finally:
        stored.passes.remove(bar)


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


def new_table(words: Sequence[str] = (), numbers: Sequence[str] = ()) -> Table:
    """A table without rows: columns of words, then columns of numbers, which end at the right."""
    from rich.table import Table

    table = Table(*words)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def table_text(table: Table) -> str:
    """A table as text, no wider than the terminal, in which no number and no word is cut.

    If it is too wide it comes in parts, each of which begins with the first column.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    width = _width()
    console = Console(file=io.StringIO(), markup=False, highlight=False, width=width)
    least, full = map(list, zip(*map(_widths, table.columns), strict=True))
    gap = 3 if sum(least) + 3 * len(least) < width else 2
    least[1:] = [min(n, width - 1 - least[0] - 2 * gap) for n in least[1:]]
    parts = _parts(least, gap, width)
    for narrower in range(width - 1, 0, -1):  # so that the last part is not a single column
        even = _parts(least, gap, narrower)
        if len(even) > len(parts):
            break
        parts = even
    for part in parts:
        shown = Table(box=box.SIMPLE, padding=(0, 1, 0, gap - 2))
        spare = width - 1 - sum(least[i] + gap for i in part)
        widths = {}
        for i in sorted(part, key=lambda i: full[i] - least[i]):
            widths[i] = min(full[i], least[i] + spare)
            spare -= widths[i] - least[i]
        for i in part:
            column, look = table.columns[i], {"overflow": "fold", "width": widths[i]}
            shown.add_column(column.header, justify=column.justify, **look)
        cells = zip(*(table.columns[i].cells for i in part), strict=True)
        for row, texts in zip(table.rows, cells, strict=True):
            shown.add_row(*texts, end_section=row.end_section)
        console.print(shown)
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]


def _parts(least: Sequence[int], gap: int, width: int) -> list[list[int]]:
    """The columns of each part: the first one, and as many others as fit."""
    parts = [[0]]
    for i in range(1, len(least)):
        if len(parts[-1]) > 1 and sum(least[j] + gap for j in (*parts[-1], i)) >= width:
            parts.append([0])
        parts[-1].append(i)
    return parts


def _widths(column: Column) -> tuple[int, int]:
    """The least width of a column that cuts nothing, and the least that breaks no line."""
    from rich.cells import cell_len

    cells = list(map(str, column.cells))
    pieces = cells if column.justify == "right" else " ".join(cells).split()
    heading = str(column.header)
    least = max(map(cell_len, [*heading.split(), *pieces]), default=0)
    return least, max(map(cell_len, [heading, *cells]))


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


def preprocess_table(preprocess: Preprocess, names: Sequence[str] = ()) -> Table:
    """A row per column of the data, and per value to predict: what is done to it."""
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
        table.add_row(safe_text(c.name), safe_text(what + fill))
    for name, (mean, scale) in zip(names, preprocess.scaling, strict=False):
        table.add_row(f"{safe_text(name)} (predicted)", f"(itself - {mean:g}) / {scale:g}")
    return table
