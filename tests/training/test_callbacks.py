"""Histories, the best model, early stopping, and what is written for other programs."""

import csv
import os
import sys
import types
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import portadnn
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training import callbacks
from portadnn.training.callbacks import (
    BestModel,
    CSVLog,
    EarlyStopping,
    History,
    ProgressBar,
    TensorBoard,
)
from portadnn.training.state import EpochRecord, TrainingState, notify
from portadnn.training.train import train


class Script:
    """A run of which the reports are given, and W1 is the number of the epoch."""

    def __init__(self, *reports, monitor="validation_cost"):
        self.records = [
            EpochRecord(epoch, **({"cost": value, "learning_rate": 0.1} | {monitor: value}))
            for epoch, value in enumerate(reports, start=1)
        ]

    def play(self, callback, earlier=None, reports=slice(None)):
        done = self.records[: reports.start or 0]
        state = TrainingState(Network((1, 1)), len(self.records), 1, validates=True, rows=done)
        notify([callback], "on_train_begin", state)
        if hasattr(earlier, "state_dict"):
            callback.load_state_dict(earlier.state_dict())
        for record in self.records[reports]:
            state.record, state.steps_done = record, record.epoch
            state.rows.append(record)
            state.moved_to({"W1": np.asarray([[float(record.epoch)]])})
            notify([callback], "on_epoch_end", state)
            if state.stopped:
                break
        notify([callback], "on_train_end", state)
        return state


SHIPPED = {
    "BestModel": BestModel,
    "CSVLog": lambda: CSVLog("log.csv"),
    "EarlyStopping": lambda: EarlyStopping(patience=3),
    "History": History,
    "ProgressBar": ProgressBar,
    "TensorBoard": lambda: TensorBoard("events"),
}


def test_every_callback_is_public_and_tried_here():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    methods = {"on_train_begin", "on_progress", "on_epoch_end", "on_train_end"}
    there = {name for name, made in vars(callbacks).items() if methods & set(dir(made))}
    public = {n for n, home in portadnn._HOME_OF.items() if home == "training.callbacks"}
    assert there == SHIPPED.keys() == public
    assert all(f"`{name}`" in page for name in SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_that_goes_on_leaves_a_callback_as_one_without_a_break(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "TensorBoard":
        pytest.importorskip("tensorboard")
    whole, first, second = (SHIPPED[name]() for _ in range(3))
    script = Script(5.0, 3.0, 4.0, 3.5, 3.5, 9.0)
    script.play(whole)
    log = Path("log.csv").read_bytes() if name == "CSVLog" else b""
    script.play(first, reports=slice(0, 3))
    script.play(second, first, slice(3, None))
    for field in (field.name for field in fields(whole) if field.name[0] != "_"):
        assert getattr(second, field) == getattr(whole, field), field
    assert name != "CSVLog" or Path("log.csv").read_bytes() == log


def test_early_stopping_waits_and_returns_the_best():
    state = Script(5.0, 3.0, 4.0, 3.5, 2.0, 9.0).play(callback := EarlyStopping(patience=2))
    assert state.steps_done == 4
    assert state.stopped == "early stopping: validation_cost has not been better for 2 reports"
    assert state.kept["W1"] == 2.0
    assert callback.record.epoch == 2
    # a callback that stopped a run starts again in the next one
    state = Script(1.0, 2.0, 0.5).play(callback)
    assert state.stopped is None
    assert state.kept["W1"] == 3.0


@pytest.mark.parametrize(
    ("monitor", "reports", "best"),
    [
        ("validation_cost", [3.0, 1.0, 2.0], 2),
        ("validation_score", [0.5, 0.9, 0.9], 2),  # the first of equal ones
        ("cost", [3.0, 2.0, 1.0], 3),
        ("validation_score", [-5.0, -3.0, -4.0], 2),  # R^2 may be negative
        ("validation_cost", [float("nan"), 2.0, float("inf")], 2),
    ],
)
def test_the_best_model_is_kept(monitor, reports, best):
    callback = BestModel(monitor)
    state = Script(*reports, monitor=monitor).play(callback)
    assert state.kept["W1"] == best
    assert callback.parameters["W1"] == best
    assert callback.record == Script(*reports, monitor=monitor).records[best - 1]
    assert state.stopped is None


def test_a_smaller_improvement_than_min_delta_does_not_count():
    # each is better than the one before by 0.1, but the third is the first to be so by 0.15
    state = Script(1.0, 0.9, 0.8, 0.7).play(callback := EarlyStopping(min_delta=0.15, patience=2))
    assert state.stopped is None
    assert callback.record.epoch == 3


def test_what_is_not_restored_is_still_at_hand():
    state = Script(1.0, 2.0).play(callback := BestModel(restore=False))
    assert state.kept is None
    assert callback.parameters["W1"] == 1.0


def test_parameters_of_a_state_are_copies_that_do_not_follow_the_run():
    state = TrainingState(Network((1, 1)), 1, 1)
    state.moved_to(given := {"W1": np.zeros((1, 1))})
    seen = state.parameters
    given["W1"][...] = 5.0
    state.moved_to({"W1": np.ones((1, 1))})
    assert seen["W1"] == 0.0
    assert state.parameters["W1"] == 1.0
    with pytest.raises(ValueError, match="read-only"):  # a later callback may keep them
        seen["W1"][...] = 7.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BestModel("validation_cots"), "unknown monitor 'validation_cots': did you mean"),
        (lambda: BestModel(min_delta=-1), "min_delta is -1"),
        (lambda: EarlyStopping(min_delta=float("nan")), "min_delta is nan"),
        (lambda: EarlyStopping(patience=0), "patience is 0: expected 1 or more"),
    ],
)
def test_callbacks_that_cannot_be_made(make, message):
    with pytest.raises(InputError, match=message):
        make()


def noise(m=24):
    """Labels that have nothing to do with the data, to be overfitted."""
    rng = np.random.default_rng(0)
    return Dataset(rng.standard_normal((m, 4)), rng.integers(0, 2, m), ("a", "b"))


RUN = {"layers": [8], "learning_rate": 1.0, "report_every": 1, "rng": 0, "epochs": 30}


def test_early_stopping_in_a_run_returns_the_model_of_its_best_epoch(backend_name):
    history = History()
    stopped = train(
        noise(), **RUN, validation=0.5, early_stopping=3, callbacks=[history], backend=backend_name
    )
    costs = [row.validation_cost for row in history.rows]
    best = 1 + int(np.argmin(costs))
    assert len(costs) == best + 3 < 30
    at_best = train(noise(), **(RUN | {"epochs": best}), validation=0.5, backend=backend_name)
    for name, p in at_best.parameters.items():
        np.testing.assert_array_equal(stopped.parameters[name], p)


def test_early_stopping_of_ones_own_comes_before_other_callbacks():
    journal = []

    class Last:
        def on_epoch_end(self, state):
            journal.append(state.stopped)

    mine = EarlyStopping(monitor="cost", min_delta=10.0, patience=1)
    train(noise(), **RUN, early_stopping=mine, callbacks=[Last()], backend="numpy")
    assert journal == [None, "early stopping: cost has not been better for 1 reports"]


def test_csv_log_is_the_history_to_the_bit(tmp_path):
    path, history, lines = tmp_path / "log.csv", History(), []

    class Reader:
        def on_epoch_end(self, state):
            lines.append(len(path.read_text().splitlines()))

    callbacks = [CSVLog(path), history, Reader()]
    options = {**RUN, "epochs": 3, "backend": "numpy"}
    train(noise(), **options, validation=0.5, callbacks=callbacks)
    assert lines == [2, 3, 4]  # the file can be watched while the run goes on
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == EpochRecord._fields
    assert [EpochRecord(int(row[0]), *map(float, row[1:])) for row in rows] == history.rows
    train(noise(), **options, callbacks=[CSVLog(path)])
    assert path.read_text().splitlines()[1].endswith(",,")  # no validation, no numbers
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"epoch,cost\n1,2\n", b"\0" * 99])
def test_csv_log_replaces_no_other_file(tmp_path, content):
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(InputError, match="mine is not a log: choose another file to write"):
        train(noise(), **RUN, callbacks=[CSVLog(tmp_path / "mine")], backend="numpy")
    assert (tmp_path / "mine").read_bytes() == content


def test_tensorboard_takes_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("portadnn.training.callbacks._summary_writer", lambda: None)
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(InputError, match="mine is a file: expected a directory"):
        train(noise(), **RUN, callbacks=[TensorBoard(tmp_path / "mine")], backend="numpy")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_csv_log_on_a_full_disk():
    with pytest.raises(InputError, match="/dev/full cannot be written: No space left on device"):
        train(noise(), **RUN, callbacks=[CSVLog("/dev/full")], backend="numpy")


def test_csv_log_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"log\.csv cannot be written: No such file"):
        train(noise(), **RUN, callbacks=[CSVLog(tmp_path / "no" / "log.csv")], backend="numpy")


def test_the_progress_bar_counts_steps(capsys, backend_name):
    bar, seen = ProgressBar(), []

    class Reader:
        def on_progress(self, state):
            (task,) = bar._bar.tasks
            seen.append((task.completed, task.fields["epoch"], task.fields["cost"]))
            assert task.total == 6

    options = RUN | {"epochs": 2, "backend": backend_name}
    train(noise(), **options, batch_size=10, callbacks=[bar, Reader()])
    assert seen[-1][:2] == (6, 2)
    assert all(np.isfinite(cost) for *_, cost in seen)
    assert capsys.readouterr().out == ""
    assert not bar._bar.live.is_started


def test_the_progress_bar_in_a_notebook(monkeypatch, capsys):
    shown = []

    class Cell:
        def update(self, bar):
            shown.append(bar._repr_mimebundle_((), ())["text/plain"])

    display = types.SimpleNamespace(display=lambda bar, display_id: Cell())
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    train(noise(), **(RUN | {"epochs": 7}), backend="numpy", callbacks=[ProgressBar()])
    assert "epoch 7/7" in shown[-1]
    assert "cost 0." in shown[-1]
    assert capsys.readouterr() == ("", "")


def test_tensorboard_events_are_the_history(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    history = History()
    train(
        noise(), **(RUN | {"epochs": 3}), validation=0.5, backend="numpy",
        callbacks=[TensorBoard(tmp_path), history],
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    names = set(EpochRecord._fields) - {"epoch"}
    assert set(events.Tags()["tensors"]) == names
    for name in names:
        found = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(name)]
        # TensorBoard's scalars are float32
        expected = [(row.epoch, float(np.float32(getattr(row, name)))) for row in history.rows]
        assert found == expected


def test_without_tensorboard_one_is_told_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    with pytest.raises(InputError, match="TensorBoard is not installed .*pip install tensorboard"):
        TensorBoard("logs")


def test_csv_log_waits_for_no_reader_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be written: No such device"):
        train(noise(), **RUN, callbacks=[CSVLog(tmp_path / "pipe")], backend="numpy")


def test_the_end_reaches_every_callback():
    ended = []

    class End:
        def __init__(self, error=None):
            self.error = error

        def on_train_end(self, state):
            ended.append(self)
            if self.error is not None:
                raise self.error

    made = [End(), End(ValueError("first")), End(OSError("second")), End()]
    with pytest.raises(ValueError, match="first"):
        notify(made, "on_train_end", None)
    assert ended == made
