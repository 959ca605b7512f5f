"""The parts of ``scripts/torture`` about runs: killed, on full disks, resumed, two at once.

A part is ``part(count, seed)``: it tries ``count`` times, or as many as the name of the part in
``scripts/torture`` says, and returns rows for a table. The program runs in forks of this process.
"""

from __future__ import annotations

import collections
import ctypes
import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from PIL import Image

import portadnn as dnn
from portadnn.cli.main import main as program
from portadnn.cli.run_directory import NAMES
from portadnn.data.dataset import Dataset
from portadnn.data.directories import claimed
from portadnn.errors import InputError
from portadnn.training import checkpoints, loop
from portadnn.training.checkpoints import Checkpoints, newest, paths_in
from portadnn.training.models import fingerprint, load_model

# a file system in memory: kill -9 does not ask whether the disk was slow
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
REACHED = 128  # above the exit codes of the program
CALLS = ("open", "write", "fsync", "rename")
SOURCE = Path(__file__).with_name("torture_calls.c")


class Row(NamedTuple):
    """A row of the table: what was tried, how often, what became of it, and what is wrong."""

    part: str
    count: int
    found: str
    fault: str = ""


class Tally:
    """Counts outcomes, and keeps the first that is wrong."""

    def __init__(self, part: str) -> None:
        self.part, self.counts, self.faults = part, collections.Counter(), []
        self.tried = 0

    def add(self, outcome: str, fault: str = "") -> None:
        self.tried += 1
        self.counts[outcome] += 1
        if fault:
            self.faults.append(fault)

    def row(self, note: str = "") -> Row:
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items()))
        wrong = f"{len(self.faults)}, the first: {self.faults[0]}" if self.faults else ""
        return Row(self.part, self.tried, told + note, wrong)


class Case:
    """A folder with an old run and its data, and the fingerprints that runs there end with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data.h5"
        rng = np.random.default_rng(0)
        with h5py.File(self.data, "w") as file:
            file["train_set_x"], file["train_set_y"] = rng.normal(size=(60, 4)), np.arange(60) % 2
            file["list_classes"] = np.asarray([b"no", b"yes"])
        self.old, self.new = folder / "old", folder / "new"
        # the forks then need not import what a run imports
        assert program([*self.first(), "--quiet", "--out", str(folder / "here")]) == 0
        for directory, options in ((self.old, self.first()), (self.new, self.second())):
            code, said = in_fork([*options, "--out", directory])
            assert code == 0, said
        more = folder / "more"
        code, said = in_fork([*self.first(160), "--out", more])
        assert code == 0, said
        self.fingerprints = {state_of(d): d.name for d in (self.old, self.new, more)}
        assert len(self.fingerprints) == 3, self.fingerprints

    def first(self, epochs: int = 80) -> list[str]:
        return self._options(epochs, 1)

    def second(self) -> list[str]:
        return self._options(80, 2)

    def _options(self, epochs: int, seed: int) -> list[str]:
        return [
            "train", str(self.data), "--layers", "4", "--batch-size", "20", "--backend", "numpy",
            "--optimizer", "adam", "--epochs", str(epochs), "--seed", str(seed),
            "--validation", "0.2", "--checkpoint-every", "0.05s",
        ]  # fmt: skip

    def name(self, state: str | None) -> str:
        return "nothing" if state is None else self.fingerprints.get(state, state)


def in_fork(
    arguments: list[Any],
    prepare: Callable[[], Any] = int,
    after: float | None = None,
    reached: Callable[[], int] = int,
) -> tuple[int, str]:
    """The exit code and stderr of the program in a fork, killed ``after`` so many seconds.

    ``REACHED`` is added to the exit code if ``reached`` is true there in the end.
    """
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(ends[1], 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            prepare()
            code = program([str(a) for a in arguments])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code + (REACHED if reached() else 0))
    os.close(ends[1])
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    with open(ends[0], "rb") as said:
        text = said.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def state_of(directory: Path) -> str | None:
    """The fingerprint of the run in a directory, None if there is none, or "mixed: ..."."""
    there = [name for name in NAMES if (directory / name).exists()]
    if not there:
        return None
    if not {"model.h5", "config.toml", "history.json"} <= {*there}:
        return f"mixed: only {there}"
    found = fingerprint(load_model(directory / "model.h5"))
    for name in there[:-1]:
        path = directory / name
        if name.endswith(".png"):
            with Image.open(path) as figure:
                figure.load()
                same = figure.info.get("Fingerprint") == found
        else:
            same = found in path.read_text(encoding="utf-8")
        if not same:
            return f"mixed: {name} is of another run than the model"
    return found


def judge_killed(case: Case, directory: Path, tally: Tally) -> None:
    """Whether a directory holds a whole run after a kill, and after going on from there."""
    raw = case.name(state_of(directory))
    fault = ""
    if "mixed" in raw:
        # the next claim of the directory puts what is ready in place
        with claimed(directory, "--out"):
            pass
        again = case.name(state_of(directory))
        raw = "mixed until the next start"
        fault = f"{raw}, and then {again}" if "mixed" in again else ""
    steps = 0
    if paths_in(directory):
        steps = newest(directory).state.step
        code, said = in_fork(["train", "--resume", directory])
        ended = case.name(state_of(directory))
        if code or ended not in case.fingerprints.values():
            fault = fault or f"resumed: {code}, {ended}, {said}"
        elif (
            json.loads((directory / "history.json").read_text(encoding="utf-8"))["resumed"][-1][
                "step"
            ]
            < steps
        ):
            fault = fault or f"steps of a checkpoint were lost ({steps})"
        left = [p.name for p in directory.glob(".portadnn*")]
        if left:
            fault = fault or f"left {left}"
    elif raw != "nothing":
        fault = fault or f"no checkpoint beside {raw}"
    tally.add(raw, fault)


def ways(case: Case, directory: Path, i: int) -> list[Any]:
    """A directory before one of the three ways to fill it, and the arguments that do."""
    shutil.rmtree(directory, ignore_errors=True)
    if i % 3 == 0:
        directory.mkdir()
        return [*case.second(), "--out", directory]
    shutil.copytree(case.old, directory)
    if i % 3 == 1:
        return [*case.second(), "--out", directory, "--overwrite"]
    every = ["--checkpoint-every", "0.05s"]
    return ["train", "--resume", directory, "--epochs", "160", *every]


def kill(count: int, seed: int) -> list[Row]:
    """kill -9 at random moments of training, checkpointing, saving and overwriting."""
    rng, tally = np.random.default_rng(seed), Tally("kill -9 at a random moment")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        case, directory = Case(Path(folder)), Path(folder, "run")
        longest = [0.0] * 3
        for i in range(3):
            started = time.perf_counter()
            in_fork(ways(case, directory, i))
            longest[i] = time.perf_counter() - started
        for i in range(count):
            arguments = ways(case, directory, i)
            in_fork(arguments, after=rng.uniform(0, longest[i % 3]))
            judge_killed(case, directory, tally)
    return [tally.row()]


def calls(count: int, seed: int) -> list[Row]:
    """open, write, fsync and rename that fail, or kill the process, at the Nth call."""
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        return [Row("calls that fail", 0, "left out: it needs Linux and a C compiler")]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "calls.so")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
        subprocess.run(command, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        command = [sys.executable, __file__, str(library), str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return [Row("calls that fail", 0, "", done.stderr)]
        return [Row(*row) for row in json.loads(done.stdout)]


def under_calls(library: str, stride: int) -> list[Row]:
    """In a process with the library: every ``stride``-th call of each kind fails, or kills."""
    lib, rows = ctypes.CDLL(library), []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        case, directory = Case(Path(folder)), Path(folder, "run")
        under = str(directory).encode()
        for what, kind in enumerate(CALLS):
            number = errno.ENOSPC if kind == "write" else errno.EIO
            for error, title in ((number, "fails"), (0, "is the last before kill -9")):
                tally, n = Tally(f"{kind} {title}"), 1
                while True:
                    arguments = ways(case, directory, 1)

                    def arm(what=what, n=n, error=error):
                        lib.torture_arm(under, what, ctypes.c_long(n), error)

                    code, said = in_fork(arguments, arm, reached=lib.torture_fired)
                    if 0 <= code < REACHED:  # there are fewer calls than n
                        if code:
                            tally.add("an error of its own", said)
                        break
                    if error:
                        # a write may be that of the lock, and a rename is tried twice
                        must = kind in ("open", "fsync")
                        name = f"{kind} {n}"
                        judge_failed(case, directory, code - REACHED, said, tally, name, must)
                    else:
                        judge_killed(case, directory, tally)
                    n += stride
                rows.append(tally.row())
    return rows


def judge_failed(
    case: Case, directory: Path, code: int, said: str, tally: Tally, what: str, told: bool = False
) -> None:
    """Whether a run that could not write all files left whole runs only, and told if it must."""
    state = case.name(state_of(directory))
    lines = said.strip().splitlines()
    expected = {0: "new", 2: "old"}.get(code)
    fault = ""
    if state != expected:
        fault = f"{what}: exit code {code}, but the directory holds {state}: {said}"
    elif code == 2 and not (lines and lines[-1].startswith("portadnn: error: ")):
        fault = f"{what}: no error in one line: {said}"
    elif told and not lines:
        fault = f"{what}: not a word"
    elif "Traceback" in said or [*directory.glob(".portadnn*")]:
        fault = f"{what}: {[p.name for p in directory.glob('.portadnn*')]} {said}"
    heard = "told" if lines else "not noticed"
    tally.add(f"{state} ({'an error' if code else heard})", fault)


def full(count: int, seed: int) -> list[Row]:
    """Full disks and limits of a file's size at every write of a run."""
    rows = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        case, directory = Case(Path(folder)), Path(folder, "run")
        largest = max(p.stat().st_size for p in case.new.iterdir())
        tally = Tally("limit of a file's size")
        for size in np.linspace(0, largest + 4096, count).astype(int).tolist():
            arguments = ways(case, directory, 1)

            def limit(size=size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

            code, said = in_fork(arguments, limit)
            judge_failed(case, directory, code, said, tally, f"{size} bytes")
        rows.append(tally.row())
        tally = Tally("full tmpfs")
        disk = Path(folder, "disk")
        disk.mkdir()
        page = resource.getpagesize()
        pages = {
            d: sum(-(-p.stat().st_size // page) + 1 for p in d.iterdir())
            for d in (case.old, case.new)
        }
        for extra in np.linspace(2, pages[case.new] + 30, count).astype(int).tolist():
            size = (pages[case.old] + extra) * page
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                rows.append(Row("full tmpfs", 0, "left out: it cannot be mounted here"))
                return rows
            try:
                arguments = ways(case, disk / "run", 1)
                code, said = in_fork(arguments)
                judge_failed(case, disk / "run", code, said, tally, f"{extra} pages more")
            finally:
                subprocess.run(["umount", disk], check=True)
        rows.append(tally.row())
    return rows


def two(count: int, seed: int) -> list[Row]:
    """Two processes with the same --out at once: one wins, the other gets a sentence."""
    tally = Tally("two runs with one --out")
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder))
        for i in range(count):
            out = Path(folder, f"run{i}")
            command = [sys.executable, "-m", "portadnn", *case.first(3000), "--out", str(out)]
            both = [
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                for _ in range(2)
            ]
            said = [process.communicate()[1].decode() for process in both]
            codes = [process.returncode for process in both]
            loser = "".join(text for text, code in zip(said, codes, strict=True) if code)
            sentence = "is in use by another run" in loser or "already holds a model" in loser
            good = sorted(codes) == [0, 2] and sentence and loser.count("\n") == 1
            whole = state_of(out)
            fault = "" if good and whole and "mixed" not in whole else f"{codes}, {whole}, {said}"
            tally.add("one won", fault)
    return [tally.row()]


class Interrupt:
    """Sends Ctrl-C to this process after a step, also if it was started to ignore that."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let "&" ignore it

    def on_progress(self, state: Any) -> None:
        if state.steps_done == self.steps:
            signal.raise_signal(signal.SIGINT)


RUNS: dict[str, dict[str, Any]] = {
    "sample space": {"epochs": 60, "first_layer": "sample", "report_every": 7},
    "momentum": {"epochs": 15, "optimizer": "momentum", "batch_size": 10},
    "adam, dropout": {"epochs": 15, "optimizer": "adam", "batch_size": 10, "dropout": 0.3},
    "plateau": {"epochs": 60, "schedule": "plateau:patience=2", "report_every": 1},
    "early stopping": {
        "epochs": 60, "batch_size": 10, "learning_rate": 1.0, "early_stopping": 3,
    },
    "lbfgs": {"epochs": 20, "optimizer": "lbfgs"},
}  # fmt: skip


def trained(options: dict[str, Any], *callbacks: Any, **more: Any) -> tuple[str, list[Any]]:
    rng, history = np.random.default_rng(0), dnn.History()
    data = Dataset(rng.normal(size=(40, 9)), np.arange(40) % 3, ("a", "b", "c"))
    rate = {} if options.get("optimizer") == "lbfgs" else {"learning_rate": 0.1}
    given = {"layers": [6], "rng": 3, "validation": 0.2, **rate, **options, **more}
    model = dnn.train(data, **given, callbacks=[*callbacks, history])
    return fingerprint(model), history.rows


def interrupted(options: dict[str, Any], step: int, **more: Any) -> bool:
    """Train, and say whether Ctrl-C after the step ended that."""
    try:
        trained(options, Interrupt(step), **more)
    except dnn.TrainingInterrupted:
        return True
    return False


def resume(count: int, seed: int) -> list[Row]:
    """Going on from random steps ends as the straight run does."""
    rng, rows = np.random.default_rng(seed), []
    loop.LARGEST_CHUNK = 1
    for backend in ("numpy", "torch", "jax"):
        try:
            dnn.get_backend(backend)
        except dnn.BackendUnavailableError:
            rows.append(Row(f"resume, {backend}", 0, "left out: it is not installed"))
            continue
        for name, options in RUNS.items():
            tally = Tally(f"resume, {backend}, {name}")
            if name == "lbfgs":
                try:
                    trained(options, backend=backend, checkpoint=tempfile.gettempdir())
                    tally.add("accepted", "checkpoints of lbfgs were not refused")
                except InputError as error:
                    tally.add("refused with a reason", "" if "SciPy" in str(error) else str(error))
                rows.append(tally.row())
                continue
            straight = trained(options, backend=backend)
            epochs = straight[1][-1].epoch
            per_epoch = 4 if "batch_size" in options else 1  # there are 33 examples
            for step in rng.integers(1, epochs * per_epoch, count).tolist():
                with tempfile.TemporaryDirectory() as folder:
                    ended = interrupted(options, step, backend=backend, checkpoint=folder)
                    found = trained(options, backend=backend, checkpoint=folder, resume=folder)
                equal = found == straight
                tally.add("equal" if equal else "others", _fault(ended, equal, f"step {step}"))
            rows.append(tally.row())
    return rows


def _fault(ended: bool, equal: bool, where: str) -> str:
    if not ended:
        return f"{where}: no interrupt"
    return "" if equal else f"{where}: another end"


def chain(count: int, seed: int) -> list[Row]:
    """NumPy, JAX, PyTorch and back in reproducible arithmetic: one SHA-256."""
    rng, tally = np.random.default_rng(seed), Tally("numpy, jax, torch, numpy: one SHA-256")
    loop.LARGEST_CHUNK = 1
    options = {**RUNS["adam, dropout"], "arithmetic": "reproducible"}
    try:
        straight = trained(options, backend="numpy")
        for _ in range(count):
            with tempfile.TemporaryDirectory() as folder:
                steps = np.sort(rng.choice(np.arange(1, 58), 3, replace=False)).tolist()
                ended, went_on = True, None
                for step, backend in zip(steps, ("numpy", "jax", "torch"), strict=True):
                    more = {"backend": backend, "checkpoint": folder, "resume": went_on}
                    ended &= interrupted(options, step, **more)
                    went_on = folder
                found = trained(options, backend="numpy", resume=folder)
            equal = found == straight
            tally.add("equal" if equal else "others", _fault(ended, equal, f"steps {steps}"))
    except dnn.BackendUnavailableError as error:
        return [Row(tally.part, 0, f"left out: {error.name} is not installed")]
    return [tally.row()]


def cost(count: int, seed: int) -> list[Row]:
    """What checkpoints every second take in a run of Fashion-MNIST by the program's defaults.

    Each of the 60,000 images of 28 x 28 is drawn, because the time does not depend on the values.
    Processor time is judged, of both threads, so that a machine with other work tells the same.
    So many pairs of runs, with and without checkpoints in turn, show what the parts leave out.
    """
    rng, spent = np.random.default_rng(seed), []
    real = Checkpoints._write, checkpoints.write_packed

    def timed(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            started = time.thread_time()
            function(*arguments)
            spent.append(time.thread_time() - started)

        return call

    images = rng.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
    data = Dataset(images, np.arange(60_000) % 10, tuple("0123456789"))

    def run(folder: str | None) -> float:
        written = None if folder is None else Checkpoints(folder, every=1.0)
        started = time.process_time()
        dnn.train(
            data, layers=[256, 128], optimizer="adam", batch_size=128, epochs=3, backend="numpy",
            checkpoint=written,
        )  # fmt: skip
        return time.process_time() - started

    Checkpoints._write, checkpoints.write_packed = timed(real[0]), timed(real[1])
    made, more = 0, []
    run(None)
    try:
        for i in range(count):
            with tempfile.TemporaryDirectory() as folder:
                times = {where: run(where) for where in (folder, None)[:: (-1) ** i]}
                written = list(Path(folder).glob("checkpoint-*.h5"))
            number = max(int(path.stem.split("-")[1]) for path in written)
            made += number
            more.append(1000 * (times[folder] - times[None]) / number)
    finally:
        Checkpoints._write, checkpoints.write_packed = real
    each = 1000 * sum(spent) / made
    spread = np.std(more, ddof=1) / math.sqrt(count)
    found = (
        f"{each:.1f} ms of processor time each, {each / 10:.1f} % of a second; "
        f"by {count} pairs of runs {np.mean(more):.1f} ± {spread:.1f} ms"
    )
    fault = "" if each < 30 else "more than 3 % of a second"
    return [Row("checkpoints every second", made, found, fault)]


PARTS = {
    "kill": kill, "calls": calls, "full": full, "two": two, "resume": resume, "chain": chain,
    "cost": cost,
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps(under_calls(sys.argv[1], int(sys.argv[2]))))
