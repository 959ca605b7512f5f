"""The measurement: all entrants in turn, round after round, so that all see the same weather."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from contest.crew import Failed, Worker
from contest.referee import tolerance


@dataclass
class Result:
    """Of one entrant on one task; the lists have a value for every round."""

    name: str
    error: str = ""
    absent: bool = False  # the error is that its library is not there
    note: str = ""
    kernel: str = ""
    cost: float | None = None  # after the steps at which costs are compared
    final: float | None = None  # after the whole call
    same_rule: bool = True
    peak: int = 0  # bytes of the first whole call, above the idle process
    card: int | None = None  # bytes of the card that some steps need, or None without a GPU
    whole: list[float] = field(default_factory=list)  # seconds
    first: float = 0.0  # seconds of the first step, or epoch, compilation included
    burst: int = 0  # steps in one timed call
    step: list[float] = field(default_factory=list)  # seconds
    rate: list[float] = field(default_factory=list)  # GFLOP/s of a square product


def measure(
    task, names, *, rounds, whole_rounds, seconds, threads, products=True, card=False,
    patience=None, at_once=False,
):  # fmt: skip
    """A result for every name; ``seconds`` is about how long a visit to an entrant takes.

    ``products`` has a matrix product timed beside every measurement, ``card`` the memory of the
    card measured. ``patience`` is how many seconds an entrant may take for an answer. If
    ``at_once``, all get ready and make their whole call at the same time, and only steps are
    timed in turn.
    """
    results = {name: Result(name) for name in names}
    workers = {}

    def ask(name, *order):
        """The answer, or None if there is none any more."""
        if not results[name].error:
            workers[name].tell(*order)
        return hear(name)

    def hear(name):
        if results[name].error:
            return None
        try:
            return workers[name].hear()
        except Failed as error:
            results[name].error, results[name].absent = str(error).splitlines()[0], error.absent
            return None

    def ask_each(names, *order):
        """Who answers, and the answers."""
        if at_once:
            for name in names:
                if not results[name].error:
                    workers[name].tell(*order)
        for name in names:
            say(f"{task.title}: {order[0]}, {name}")
            if answer := hear(name) if at_once else ask(name, *order):
                yield results[name], answer

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        saved = str(task.save(Path(folder) / "task"))
        for name in names:
            say(f"{task.title}: starting {name}")
            workers[name] = stack.enter_context(Worker(name, threads, patience))
            workers[name].tell("connect")  # all import their libraries at the same time
        for name in names:
            if answer := hear(name):
                results[name].kernel = answer["kernel"]
        for result, answer in ask_each(names, "open", saved):
            result.note = answer["note"]
        for i in range(whole_rounds):
            for result, answer in ask_each(turned(names, i), "whole"):
                result.whole.append(answer["seconds"])
                result.peak = result.peak or answer["peak"]
                result.cost = result.final = answer["cost"]
                result.same_rule = answer["same_rule"]
        if whole_rounds and task.compared < task.steps:
            for result, answer in ask_each(names, "early"):
                result.cost = answer["cost"]
        for result, answer in ask_each(names, "card") if card else ():
            result.card = answer["card"]
        for result, answer in ask_each(names, "warm", seconds):
            result.first, result.burst = answer["first"], answer["steps"]
            result.note = answer["note"]
        for i in range(rounds):
            say(f"{task.title}: round {i + 1} of {rounds}")
            for name in turned(names, i):
                if answer := ask(name, "steady", products):
                    results[name].step.append(answer["seconds"])
                    results[name].rate.append(answer["rate"])
    return list(results.values())


def turned(names, i):
    """Every round begins with another."""
    i %= len(names)
    return [*names[i:], *names[:i]]


def ratios(slow, fast):
    """``slow / fast`` of every round, for both were timed in the same weather."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def median(values):
    return statistics.median(values) if values else None


def faults(task, results):
    """Who failed, and whose cost is wrong, a line for each; the first that ran is the measure."""
    ran = [r for r in results if r.cost is not None]
    lines = [f"{task.title}: {r.name}: {r.error}" for r in results if r.error and not r.absent]
    for result in ran[1:]:
        allowed = tolerance(task, result.same_rule and ran[0].same_rule)
        gap = relative_gap(result, ran[0])
        if not gap <= allowed:
            lines.append(
                f"{task.title}: {result.name} has a cost of {result.cost:.17g}, "
                f"{ran[0].name} at {ran[0].cost:.17g}: {gap:.1e} apart, allowed {allowed:.1e}"
            )
    return lines


def relative_gap(result, other):
    return abs(result.cost - other.cost) / abs(other.cost)


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
