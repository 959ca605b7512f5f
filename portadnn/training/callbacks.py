"""Callbacks that are ready: histories, early stopping, a progress bar, TensorBoard.

Any object with some of the methods that ``TrainingState`` names is a callback; nothing here is a
base class. They read the run and change none of its numbers.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from portadnn.choice import check_number, check_whole, known_name
from portadnn.errors import InputError
from portadnn.training.state import EpochRecord, TrainingState


@dataclass(eq=False)
class History:
    """Keeps all reports of the last run in ``rows``, also those from before it was resumed."""

    rows: list[EpochRecord] = field(default_factory=list)

    def on_train_begin(self, state: TrainingState) -> None:
        self.rows[:] = state.rows

    def on_epoch_end(self, state: TrainingState) -> None:
        assert state.record is not None
        self.rows.append(state.record)


MONITORS = {
    # whether less is better
    "cost": True,
    "validation_cost": True,
    "validation_score": False,
}


@dataclass(eq=False)
class BestModel:
    """The parameters of the best report, in ``parameters``, and its row in ``record``.

    Parameters
    ----------
    monitor : {"validation_cost", "validation_score", "cost"}
    min_delta : float
        By how much a report must be better to count.
    restore : bool
        Whether the run returns these parameters, not its last.
    """

    monitor: str = "validation_cost"
    min_delta: float = 0.0
    restore: bool = True
    parameters: dict[str, Any] | None = field(default=None, init=False)
    record: EpochRecord | None = field(default=None, init=False)
    _best: float = field(default=math.inf, init=False)
    _past: ClassVar[tuple[str, ...]] = ("parameters", "record", "_best")

    def __post_init__(self) -> None:
        self.monitor = known_name("monitor", self.monitor, MONITORS)
        self.min_delta = check_number("min_delta", self.min_delta, 0.0)

    def on_train_begin(self, state: TrainingState) -> None:
        self.parameters, self.record, self._best = None, None, math.inf
        if self.monitor.startswith("validation") and not state.validates:
            raise InputError(
                f"{self.monitor} is monitored, but there is no validation data: give some, or "
                f"monitor the cost"
            )

    def on_epoch_end(self, state: TrainingState) -> None:
        self._improved(state)

    def on_train_end(self, state: TrainingState) -> None:
        if self.restore and self.parameters is not None:
            state.keep(self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {name.lstrip("_"): getattr(self, name) for name in self._past}

    def load_state_dict(self, past: dict[str, Any]) -> None:
        """Go on from an earlier ``state_dict()``."""
        for name in self._past:
            setattr(self, name, past[name.lstrip("_")])

    def _improved(self, state: TrainingState) -> bool:
        value = getattr(state.record, self.monitor)
        loss = value if MONITORS[self.monitor] else -value
        if not loss < self._best - self.min_delta:
            return False
        self._best, self.record, self.parameters = loss, state.record, state.parameters
        return True


@dataclass(eq=False)
class EarlyStopping(BestModel):
    """Stop after ``patience`` reports without an improvement, and return the best parameters.

    Parameters
    ----------
    monitor, min_delta, restore
        As for ``BestModel``.
    patience : int
        Reports, which are epochs unless ``report_every`` says otherwise.

    References
    ----------
    Prechelt, Early stopping, but when? (1998).
    """

    patience: int = 10
    _waited: int = field(default=0, init=False)
    _past: ClassVar[tuple[str, ...]] = (*BestModel._past, "_waited")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patience = check_whole("patience", self.patience, 1)

    def on_train_begin(self, state: TrainingState) -> None:
        super().on_train_begin(state)
        self._waited = 0

    def on_epoch_end(self, state: TrainingState) -> None:
        self._waited = 0 if self._improved(state) else self._waited + 1
        if self._waited >= self.patience:
            state.stop(
                f"early stopping: {self.monitor} has not been better for {self._waited} reports"
            )


@dataclass(eq=False)
class CSVLog:
    """A row per report in a CSV file, written as the run goes.

    Parameters
    ----------
    path : path of the file
        Replaces an earlier log, but no other file. A resumed run writes its earlier rows again.
    """

    path: str | os.PathLike[str]
    _file: Any = field(default=None, init=False, repr=False)

    def on_train_begin(self, state: TrainingState) -> None:
        path, header = Path(self.path), ",".join(EpochRecord._fields).encode()
        with self._writing():
            if path.is_file():
                with path.open("rb") as file:
                    if file.read(len(header)) not in (b"", header):
                        raise InputError(f"{path} is not a log: choose another file to write")
            self._file = open(path, "w", newline="", encoding="utf-8", opener=_at_once)  # noqa: SIM115
        self._write([EpochRecord._fields, *state.rows])

    def on_epoch_end(self, state: TrainingState) -> None:
        self._write(state.rows[-1:])

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._writing():
            cells = [["" if x is None else x for x in row] for row in rows]
            csv.writer(self._file).writerows(cells)
            self._file.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from error

    def on_train_end(self, state: TrainingState) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # writing has already raised the error
                self._file.close()


def _at_once(path: str, flags: int) -> int:
    """An opener that fails on a pipe without a reader, instead of waiting for ever."""
    file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(file, True)
    return file


@dataclass(eq=False)
class TensorBoard:
    """Scalars of every report for TensorBoard, by its own writer.

    Parameters
    ----------
    directory : path
        The directory of the event files.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """

    directory: str | os.PathLike[str]
    _writer: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._make = _summary_writer()

    def on_train_begin(self, state: TrainingState) -> None:
        if os.path.exists(self.directory) and not os.path.isdir(self.directory):
            raise InputError(f"{self.directory} is a file: expected a directory for TensorBoard")
        self._writer = self._make(str(self.directory))

    def on_epoch_end(self, state: TrainingState) -> None:
        assert state.record is not None
        for name, value in state.record._asdict().items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, state.record.epoch)

    def on_train_end(self, state: TrainingState) -> None:
        if self._writer is not None:
            self._writer.close()


def _summary_writer() -> Any:
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise InputError(
            f"TensorBoard is not installed ({error}): pip install tensorboard"
        ) from error
    return Writer


@dataclass(eq=False)
class ProgressBar:
    """A bar on stderr, or in the output of a notebook's cell: epoch, cost, rate, time left."""

    _bar: Any = field(default=None, init=False, repr=False)
    _start: int = field(default=0, init=False, repr=False)
    _task: Any = field(default=None, init=False, repr=False)
    _cell: Any = field(default=None, init=False, repr=False)

    def on_train_begin(self, state: TrainingState) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("cost {task.fields[cost]:.6f}"),
            TextColumn("{task.fields[rate]:.0f} steps/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        total, self._start = state.epochs * state.steps_per_epoch, state.steps_done
        self._task = self._bar.add_task(
            "", total=total, epoch=0, epochs=state.epochs, cost=float("nan"), rate=0.0
        )
        if self._bar.console.is_jupyter:  # rich alone shows nothing there without ipywidgets
            from IPython.display import display

            self._cell = display(self._bar, display_id=True)
        else:
            self._bar.start()

    def on_progress(self, state: TrainingState) -> None:
        self._bar.update(
            self._task,
            completed=state.steps_done,
            epoch=state.epoch,
            cost=state.cost,
            rate=(state.steps_done - self._start) / max(state.seconds, 1e-9),
        )
        if self._cell is not None:
            self._cell.update(self._bar)

    def on_train_end(self, state: TrainingState) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._bar.stop()
