"""A run as a file: recorded on one host, checked and repeated on one that has only the file."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from portadnn.backends import Backend, environment
from portadnn.data.container import Container
from portadnn.data.digest import digest
from portadnn.data.foreign import Hdf5File, read_array
from portadnn.errors import InputError, safe_text
from portadnn.network.spec import Network
from portadnn.parity.bounds import declared_format
from portadnn.parity.compare import Comparison, judge, sampled_steps
from portadnn.parity.run import Run, StepRecord, dtype_of, watch
from portadnn.parity.step.operations import step_order
from portadnn.training.declaration import Declaration
from portadnn.training.parts import Part
from portadnn.training.recipe import Recipe

SECONDS = 30.0  # for checking steps that a bundle does not keep

_CONTAINER = Container("portadnn parity bundle", "portadnn parity record", 2, (3,), packed=True)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A recorded run: the steps that are kept in full, and the SHA-256 of every step.

    ``matmul`` is the mode that the backend declared for products.
    """

    run: Run
    backend: str
    dtype: str
    matmul: str
    environment: dict[str, str]
    records: list[StepRecord]
    digests: list[str]


def step_digest(record: StepRecord) -> str:
    """SHA-256 of a step's tensors: names, shapes, dtypes and little-endian bytes, in order.

    A changed sign, even of a zero, or a changed order of entries gives another digest.
    """
    return digest(record.tensors)


def record_bundle(
    run: Run,
    backend: Backend,
    path: str | os.PathLike[str],
    *,
    keep: frozenset[int] | None = None,
) -> Bundle:
    """Make the run on a backend and write it to an HDF5 file, whole or not at all.

    Parameters
    ----------
    run : Run
    backend : Backend
    path : path of the file
    keep : set of int, optional
        Steps kept in full; the others leave a digest. Default 0, 1, 2, 5, 10, 100, 1,000 and the
        last.

    Raises
    ------
    InputError
        If a step is not of the run, if the optimizer or the schedule is an object of your own,
        which no file can hold, or if the file cannot be written.
    """
    for name in ("optimizer", "schedule"):
        rule = getattr(run.declaration, name)
        if isinstance(rule, Part):
            raise InputError(
                f"the {name} is a {type(rule.value).__name__} of your own, which a bundle cannot "
                f"hold: compare the backends on one host with portadnn.parity.compare"
            )
    keep = sampled_steps(run.steps) if keep is None else keep
    _check_kept(sorted(keep), run.steps)
    matmul = backend.matmul or backend.dtype_name
    records, digests = [], []
    for record in watch(run, backend, range(run.steps)):
        digests.append(step_digest(record))
        if record.step in keep:
            records.append(record)
    bundle = Bundle(
        run, backend.name, backend.dtype_name, matmul, environment(backend), records, digests
    )
    write_bundle(bundle, path)
    return bundle


def write_bundle(bundle: Bundle, path: str | os.PathLike[str]) -> None:
    """Write a bundle. The root of the file has the SHA-256 of the whole content."""
    run = bundle.run
    header = {
        "network": asdict(run.network),
        "declaration": run.declaration.to_toml(),
        "steps": run.steps,
        "drop_last": run.drop_last,
        "weighted": run.weights is not None,
        "sample": run.sample,
        "gram": run.gram is not None,
        "backend": bundle.backend,
        "dtype": bundle.dtype,
        "matmul": bundle.matmul,
        "environment": bundle.environment,
        "kept": [record.step for record in bundle.records],
        "digests": bundle.digests,
    }
    arrays = {"run/X": run.X, "run/Y": run.Y}
    arrays |= {} if run.weights is None else {"run/S": run.weights}
    arrays |= {} if run.gram is None else {"run/gram": run.gram}
    arrays |= {f"run/parameters/{name}": p for name, p in run.parameters.items()}
    for record in bundle.records:
        declared = run.declared(record.step, record.dtype)
        for name, x in record.tensors.items():
            # the data is in the file once; a step that saw other data brings its own
            if not (name in declared and _same_bits(x, declared[name])):
                arrays[f"steps/{record.step}/{name}"] = x
    # a header of many digests is larger than an attribute may be
    arrays["header"] = _text_array(json.dumps(header, sort_keys=True))
    _CONTAINER.write(path, {"sha256": digest(arrays)}, arrays)


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle, and check it like any file of a stranger.

    Raises
    ------
    InputError
        If the file is not a bundle, is truncated or altered, or its parts do not fit together.
    """
    with _CONTAINER.open(path) as file, np.errstate(all="ignore"):
        return _read(file)  # digests inside show which part of an old file is damaged


def _read(file: Hdf5File) -> Bundle:
    raw = read_array(file, "header", kinds="u", expected="the bundle's header")
    text = raw.astype(np.uint8).tobytes().decode()
    header = json.loads(text)
    network = Network(**header["network"])
    used = {"header": _text_array(text)}

    def take(name: str, dtype: str, fits: Any = lambda shape: True) -> np.ndarray:
        x = read_array(file, name, kinds="fbi", expected=f"an array of {dtype}", fits=fits)
        if x.dtype != dtype:
            raise InputError(f"{name} has dtype {x.dtype}: expected {dtype}")
        used[name] = x
        return x

    run = Run(
        network,
        {n: take(f"run/parameters/{n}", "float64", s.__eq__) for n, s in network.shapes.items()},
        take("run/X", "float64"),
        take("run/Y", "float64"),
        _declaration(header),
        header["steps"],
        take("run/S", "float64") if header["weighted"] else None,
        header.get("drop_last", True),
        header["sample"],
        take("run/gram", "float64") if header["gram"] else None,
    )
    dtype, matmul = header["dtype"], header["matmul"]
    declared_format(dtype, matmul)
    _check_kept(header["kept"], run.steps)
    if not all(isinstance(header[key], dict) for key in ("environment", "network")):
        raise InputError("its header has no environment or no network")
    if len(header["digests"]) != run.steps:
        raise InputError(f"it has {len(header['digests'])} digests for {run.steps} steps")
    records = []
    for step in header["kept"]:
        declared = run.declared(step, dtype)
        tensors = {}
        for name in _tensor_names(run):
            where = f"steps/{step}/{name}"
            own = name not in declared or where in file
            tensors[name] = take(where, dtype_of(name, dtype)) if own else declared[name]
        arithmetic = str(header["environment"].get("arithmetic", "fast"))
        record = StepRecord(step, dtype, tensors, arithmetic=arithmetic)
        if step_digest(record) != header["digests"][record.step]:
            raise InputError(f"step {step} is not the one that was recorded")
        records.append(record)
    if digest(used) != file.attrs.get("sha256"):
        raise InputError("its contents are not those that were recorded")
    texts = {safe_text(str(k)): safe_text(str(v)) for k, v in header["environment"].items()}
    backend = safe_text(str(header["backend"]))
    return Bundle(run, backend, dtype, matmul, texts, records, list(header["digests"]))


def _declaration(header: dict[str, Any]) -> Declaration:
    """The declaration in the header: a text, or its parts before version 3."""
    if "declaration" in header:
        return Declaration.from_toml(header["declaration"], "its declaration", parts=True)
    names = ("learning_rate", "batch_size", "seed", "schedule", "epochs")
    return Declaration(**Recipe(**header["recipe"]).settings(), **{n: header[n] for n in names})


def replay(bundle: Bundle, backend: Backend) -> Comparison:
    """Check the steps of a bundle, make its run again on a backend, and compare the two.

    The first certificate is the bundle's, with the environment that it came from, over the steps
    that the bundle keeps. The second one is the backend's, over these steps and as many of the
    others as ``SECONDS`` allow. The digests of all steps are compared with the recorded ones. They
    may differ lawfully between two environments, and a note says which steps have the same bits.
    """
    run, kept = bundle.run, {record.step: record for record in bundle.records}
    same: list[bool] = []
    checked: set[int] = set()

    def repeated() -> Iterator[StepRecord]:
        spent = 0.0
        for record in watch(run, backend, range(run.steps)):
            same.append(step_digest(record) == bundle.digests[record.step])
            if record.step in kept or spent < SECONDS:
                checked.add(record.step)
                started = time.perf_counter()
                yield record  # to be checked
                spent += (time.perf_counter() - started) * (record.step not in kept)

    here = environment(backend)
    steps, records = itertools.tee(repeated())
    result = judge(
        run,
        [f"{bundle.backend} (recorded)", backend.name],
        [bundle.environment, here],
        [(kept.get(record.step) for record in steps), records],
        modes=[bundle.matmul, backend.matmul],
    )
    if all(same):
        note = f"all {run.steps} steps have the same bits as the recorded ones"
        note += ", so the results of one run hold for the other" * (len(checked) == run.steps)
    else:
        first = same.index(False)
        note = f"step {first} is the first one that has other bits than the recorded one"
        if first == 0:
            note = "step 0 has other bits than the recorded one"
        if here == bundle.environment:
            note += ", though the environment is the same: a step that was not kept may be at fault"
    result.notes.append(note)
    if len(kept) < run.steps:
        note = f"the file holds {len(kept)} of {run.steps} steps, and only digests of the others"
        result.notes.append(note)
    if left := run.steps - len(checked):
        result.notes.append(f"{left} of the others were not checked after {SECONDS:g} seconds")
    return result


def _check_kept(kept: Sequence[int], steps: int) -> None:
    """Raise InputError unless these are steps of the run, in order, one or more."""
    if not kept or not all(isinstance(step, int) for step in kept):
        raise InputError(f"the steps to keep are {kept}: expected one step number or more")
    if list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= steps:
        raise InputError(f"steps {kept} are to be kept, but the run has {steps} steps")


def _tensor_names(run: Run) -> list[str]:
    """The names of a record's tensors."""
    made = (tensor for _, tensor in step_order(run))
    return [*run.declared(0, "float32"), *run.initial_state(), *made]


def _same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def _text_array(text: str) -> Any:
    return np.frombuffer(text.encode(), dtype=np.uint8)
