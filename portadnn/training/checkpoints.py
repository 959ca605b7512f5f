"""The checkpoints of a run, from which it goes on as if it had never stopped.

docs/runs.md says what is promised.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portadnn.arithmetic import MARK
from portadnn.backends import Backend, environment
from portadnn.choice import check_number
from portadnn.data.directories import claimed
from portadnn.errors import InputError
from portadnn.parallel import Ranks
from portadnn.training.checkpoint_file import (
    PARTS,
    Checkpoint,
    packed,
    packed_part,
    part_path,
    parts_in,
    read_checkpoint,
    write_packed,
)
from portadnn.training.declaration import AUTO, SETTINGS, Declaration
from portadnn.training.lbfgs import LBFGS
from portadnn.training.loop import Loop
from portadnn.training.schedules import Tracker
from portadnn.training.state import RunState

logger = logging.getLogger("portadnn")

EVERY = 60.0  # seconds
KEPT = 2
LBFGS_REASON = "lbfgs has no checkpoints, because SciPy does not give out what its minimiser keeps"
MAY_CHANGE = ("epochs", "backend", "test")
_NAME = re.compile(r"checkpoint-([0-9]{1,9})\.h5")


@dataclass(eq=False)
class Checkpoints:
    """The checkpoints that a run writes to a directory, and the one that it goes on from.

    Parameters
    ----------
    directory : path, optional
        Claimed by the caller; None writes nothing.
    every : float
        Seconds between two of them. There is also one before the first step and after the last.
    found : Checkpoint, optional
        The one that the run goes on from.
    anyway : bool
        Go on also on another backend, although no uninterrupted run then has the same bits.

    Attributes
    ----------
    own : list of Path
        The last ones of this run.
    resumed : list of dict
        As in ``Checkpoint``.
    """

    directory: Any
    every: float = EVERY
    found: Checkpoint | None = None
    anyway: bool = False
    own: list[Path] = field(default_factory=list, init=False)
    resumed: list[dict[str, Any]] = field(default_factory=list, init=False)
    _written: float = field(default=-math.inf, init=False)
    _since: int = field(default=1, init=False)
    _pending: tuple[Path, set[str], Future[None]] | None = field(default=None, init=False)
    # the names of the parts that are in files, by the checkpoints that need them
    _parts: dict[Path, set[str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.every = check_number("seconds between checkpoints", self.every, 0.0)
        self.directory = None if self.directory is None else Path(self.directory)

    def begin(self, loop: Loop, start: RunState, run: Declaration) -> RunState:
        """The state to run from. Gives the loop a function that writes the checkpoints.

        Raises
        ------
        InputError
            If the run cannot go on from the checkpoint that was found.
        """
        if isinstance(run.solver, LBFGS):
            raise InputError(f"{LBFGS_REASON}: leave checkpoints out, or take another optimizer")
        found, backend, here = self.found, loop.backend, environment(loop.backend)
        if loop.ranks is not None:
            here["ranks"] = loop.ranks.text
        since = self._next()
        if found is not None:
            check_same_run(found, run)
            if loop.watcher is not None and found.state.watched is None:
                raise InputError(
                    "the run to go on with began without certify, so a certificate would not speak "
                    "of the steps made before: leave it out, or train again"
                )
            start = _raised(found, run, loop)
            changed = {
                name: [found.environment.get(name), here.get(name)]
                for name in sorted(found.environment.keys() | here.keys())
                if found.environment.get(name) != here.get(name)
            }
            self._check_backend(found, backend, changed)
            entry = {"step": start.step, "backend": backend.name, "changed": changed}
            self.resumed = [*found.resumed, entry]
            arrays = start.parameters, start.slots
            own = [{name: backend.asarray(x) for name, x in held.items()} for held in arrays]
            start = replace(start, parameters=own[0], slots=own[1])
            if found.path is not None and found.path.parent == self.directory:
                self.own, since = [found.path], found.since
                self._parts = {found.path: _names(found.state)}
                self._written = time.monotonic()
        form = "feature" if loop.space is None else "sample"
        self._since = since
        this = Checkpoint(run, start, form, backend.name, here, self.resumed, since)
        if self.directory is not None:
            loop.checkpoint = functools.partial(self._write, this)
        return start

    def _check_backend(self, found: Checkpoint, backend: Backend, changed: dict[str, Any]) -> None:
        mark = found.environment.get("bits", found.environment.get("arithmetic"))
        if backend.arithmetic == "reproducible" and mark != MARK and not self.anyway:
            raise InputError(
                f"the run was computed in {mark} arithmetic, and this is {MARK}, whose bits "
                f"differ: go on with the version of portadnn that began it, or accept other bits "
                f"(--resume-anyway, or anyway=True of Checkpoints)"
            )
        if not changed or (backend.arithmetic == "reproducible" and mark == MARK):
            return
        device = found.environment.get("device")
        before, now = changed.get("ranks", (None, None))
        if "ranks" in changed and not self.anyway:
            raise InputError(
                f"the run was computed by {before or 'no'} ranks, and in fast arithmetic "
                f"{now or 'no'} ranks would give other bits: take as many, or accept other bits "
                f"(--resume-anyway, or anyway=True of Checkpoints), which history.json then tells"
            )
        if (found.backend != backend.name or "device" in changed) and not self.anyway:
            raise InputError(
                f"the run was computed by {found.backend} on {device}, and in fast arithmetic "
                f"{backend.name} on {backend.device_text} would give other bits: go on where it "
                f"was, or accept other bits (--resume-anyway, or anyway=True of Checkpoints), "
                f"which history.json then tells"
            )
        logger.warning(
            "the bits may differ from those of an uninterrupted run, because this "
            "has changed: %s", ", ".join(changed),
        )  # fmt: skip

    def _write(self, this: Checkpoint, state: Callable[[], RunState], last: bool) -> None:
        """Write a checkpoint if it is time, or the last one."""
        if not last and time.monotonic() - self._written < self.every:
            return
        first = self._written == -math.inf
        self._written = time.monotonic()
        self.settle()
        path, now = self.directory / f"checkpoint-{self._next()}.h5", state()
        content, names = packed(replace(this, state=now)), _names(now)
        new = names.difference(*self._parts.values())
        parts = {name: packed_part(now.watched["parts"][name]) for name in new}  # type: ignore[index]
        writer = ThreadPoolExecutor(1)  # the steps do not wait for the disk
        self._pending = path, names, writer.submit(write_packed, content, path, parts)
        writer.shutdown(wait=False)
        if first or last:
            self.settle(first)

    def settle(self, first: bool = False) -> None:
        """Wait for what is being written, and remove the checkpoints that it replaces."""
        if self._pending is None:
            return
        (path, names, written), self._pending = self._pending, None
        try:
            written.result()
        except InputError as error:
            if first:  # nothing was computed yet
                raise
            logger.warning("no checkpoint: %s. Training goes on", error)
            return
        self.own = [*self.own, path][-KEPT:]
        old = [path for path in paths_in(self.directory) if _number(path) >= self._since]
        _remove(old, but=self.own)  # also a damaged one; not those of an older run
        before = set().union(*self._parts.values())
        self._parts = {path: self._parts[path] for path in self.own if path in self._parts}
        self._parts[path] = names
        unused = before.difference(*self._parts.values())
        _remove([part_path(path, name) for name in unused])

    def _next(self) -> int:
        """The number of the next checkpoint."""
        paths = [] if self.directory is None else paths_in(self.directory)
        return _number(paths[0]) + 1 if paths else 1

    def tidy(self, directory: Path) -> None:
        """Remove all checkpoints but the last one, after the results of this run are written."""
        self.settle()
        begun = [] if self.found is None or self.found.path is None else [self.found.path]
        kept = self.own[-1:] or begun
        _remove(paths_in(directory), but=kept)
        names = set().union(*(self._parts.get(path, set()) for path in kept))
        needed = [part_path(directory / "checkpoint", name) for name in names]
        _remove(parts_in(directory), but=needed)
        with contextlib.suppress(OSError):  # the folder is not empty, or was never made
            (directory / PARTS).rmdir()


@contextlib.contextmanager
def checkpointed(
    checkpoint: str | os.PathLike[str] | Checkpoints | None, resume: str | os.PathLike[str] | None
) -> Iterator[Checkpoints | None]:
    """What ``train`` is asked for: a claimed directory, and the checkpoint to go on from.

    Raises
    ------
    InputError
        If there is no checkpoint, or the directory holds those of another run.
    """
    if checkpoint is None and resume is None:
        yield None
        return
    for name, given in (("checkpoint", checkpoint), ("resume", resume)):
        if not isinstance(given, str | os.PathLike | Checkpoints | None):
            raise TypeError(f"{name} is {given!r}: expected the path of a directory, or None")
    made = checkpoint if isinstance(checkpoint, Checkpoints) else Checkpoints(checkpoint)
    unused = Checkpoints(made.directory, made.every, anyway=made.anyway)
    vars(made).clear()  # the caller may have used it for another run
    vars(made).update(vars(unused))
    directory = made.directory
    with contextlib.ExitStack() as stack:
        if directory is not None:
            with contextlib.suppress(OSError):  # the claim says why
                directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(claimed(directory, "checkpoint"))
            here = resume is not None and os.path.realpath(resume) == os.path.realpath(directory)
            if paths_in(directory) and not here:
                raise InputError(
                    f"{directory} holds the checkpoints of a run: go on from them with "
                    f"resume={str(directory)!r}, or choose another directory"
                )
        if resume is not None:
            made.found = newest(Path(resume))
        yield made
        if directory is not None:
            made.tidy(directory)


def of_first(checkpoints: Checkpoints | None, ranks: Ranks) -> Checkpoints | None:
    """The first rank's checkpoint to go on from, for all ranks; only the first rank writes."""
    known = checkpoints and (checkpoints.found, checkpoints.anyway)
    known = ranks.told(known)
    if ranks.first or known is None:
        return checkpoints
    return Checkpoints(None, found=known[0], anyway=known[1])


def paths_in(directory: Path) -> list[Path]:
    """The checkpoints in a directory, the newest first."""
    found = [path for path in directory.glob("checkpoint-*.h5") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number, reverse=True)


def newest(directory: Path) -> Checkpoint:
    """The newest checkpoint in a directory; if it is damaged the one before, which is logged.

    Raises
    ------
    InputError
        If there is none, or both are damaged.
    """
    paths = paths_in(directory)[:KEPT]
    if not paths:
        raise InputError(
            f"{directory} has no checkpoint to go on from: expected a directory that `portadnn "
            f"train` or train(checkpoint=...) wrote ({LBFGS_REASON})"
        )
    try:
        return read_checkpoint(paths[0])
    except InputError as error:
        if len(paths) == 1:
            raise
        logger.warning("%s. Going on from the checkpoint before it", error)
    return read_checkpoint(paths[1])


def _names(state: RunState) -> set[str]:
    """The names of the parts of a state."""
    return set() if state.watched is None else set(state.watched["parts"])


def _remove(paths: Iterable[Path], but: Iterable[Path] = ()) -> None:
    for path in paths:
        if path not in but:
            with contextlib.suppress(OSError):
                path.unlink()


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def check_same_run(found: Checkpoint, run: Declaration) -> None:
    """Raise InputError unless a run is the one of a checkpoint, or has more epochs."""
    before, now = found.declaration.values(), run.values()
    same_data = now["data_sha256"] == before["data_sha256"] != AUTO
    may_change = MAY_CHANGE + (("data", "labels") if same_data else ())
    for name in SETTINGS:
        if before[name] != now[name] and name not in may_change:
            raise InputError(
                f"{name} is {now[name]}, but the run to go on with has {before[name]}: expected "
                f"the same"
            )


def _raised(found: Checkpoint, run: Declaration, loop: Loop) -> RunState:
    """The state to go on from, if the run may have more epochs than before."""
    before, now, state = found.declaration.epochs, run.epochs, found.state
    if now == before:
        return state
    what = f"epochs cannot be changed from {before} to {now}"
    if now < before:
        raise InputError(f"{what}: expected as many, or more")
    schedule = loop.plan.schedule
    if schedule.needs_total:
        raise InputError(
            f"{what} under the schedule {schedule}, whose rates depend on the number of epochs: "
            f"the steps made so far would have had other rates. Train again"
        )
    row = state.rows[-1] if state.rows else None
    if row is None or row.epoch < before or before == 1 or before % run.report_every == 0:
        return state
    # the run with more epochs has no report there
    if state.callbacks or state.tracker != Tracker():
        raise InputError(
            f"{what}: the last report, at epoch {before}, is not a multiple of {run.report_every}, "
            f"and the rates or the stop of the run depend on it. Train again"
        )
    return replace(state, rows=state.rows[:-1])
