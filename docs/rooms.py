"""The picture of architecture.md, drawn from the code: who imports whom, floor by floor."""

import ast
import tomllib
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "portadnn"
EVERYWHERE = ("errors", "choice", "blas")  # imported by nearly all: no lines to them


def floors():
    """The rooms of each floor, the upper floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    return [[room.strip() for room in floor.split("|")] for floor in layers if floor != "__main__"]


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports():
    """How many import statements lead from one room to another, and the lines of each room."""
    count, lines = Counter(), Counter()
    for path in PACKAGE.rglob("*.py"):
        text, room = path.read_text(encoding="utf-8"), room_of(path)
        lines[room] += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for target in {m.split(".")[1] for m in modules if m.startswith("portadnn.")}:
                if target != room:
                    count[room, target] += 1
    return count, lines


def draw():
    """The rooms as boxes, the imports as lines: the wider, the more of them."""
    count, lines = imports()
    floor_list = floors()
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot()
    place = {}
    for height, rooms in enumerate(reversed(floor_list)):
        for i, room in enumerate(rooms):
            place[room] = ((i + 1) / (len(rooms) + 1), height)
    for (room, target), n in count.items():
        if room not in place or target not in place or target in EVERYWHERE:
            continue
        (x0, y0), (x1, y1) = start, end = place[room], place[target]
        bend = 0.35 if x0 == x1 and y0 - y1 > 1 else 0.0  # around the boxes between them
        line = FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-",
                               color="0.75", linewidth=0.4 + n / 12, zorder=1)  # fmt: skip
        axes.add_patch(line)
    for room, (x, y) in place.items():
        box = FancyBboxPatch(
            (x - 0.085, y - 0.26),
            width=0.17,
            height=0.52,
            boxstyle="round,pad=0,rounding_size=0.02",
            facecolor="white",
            edgecolor="0.3",
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y + 0.06, room, ha="center", va="center", fontsize=9, zorder=3)
        axes.text(x, y - 0.14, f"{lines[room]:,} lines", ha="center", va="center", fontsize=6.5,
                  color="0.4", zorder=3)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(-0.5, len(floor_list) - 0.5))
    axes.axis("off")
    return figure
