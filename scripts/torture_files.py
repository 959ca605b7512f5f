"""The parts of ``scripts/torture`` about files of others: damaged models, bundles, data, pictures.

A part is ``part(count, seed)``: it damages files ``count`` times and returns rows for a table. A
process of its own reads each file, so that a signal, a hang and its memory are seen. Alone:

    python scripts/torture_files.py [COUNT [SEED]]
"""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import logging
import os
import resource
import signal
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from PIL import Image

import portadnn as dnn
from portadnn.data.foreign import MEBI, reading
from portadnn.errors import InputError, safe_text
from portadnn.export.formats import random_rows
from portadnn.parity.bundles import read_bundle, record_bundle
from portadnn.parity.run import Run
from portadnn.training.checkpoint_file import Checkpoint, packed, read_checkpoint, write_packed
from portadnn.training.declaration import Declaration
from portadnn.training.problem import make_problem
from portadnn.training.state import RunState

SECONDS = 20  # for one read: of CPU; a clock has three times as long
SPARE = 200  # MiB above what the undamaged file needs


class Row(NamedTuple):
    """A row of the table: what was damaged, how often, what became of it, and what is wrong."""

    part: str
    count: int
    found: str
    fault: str


class Outcome(NamedTuple):
    """What a process made of a file: "read", "refused", "raised" or "killed"."""

    kind: str
    text: str
    mebi: float


def damaged_models(count: int, seed: int) -> list[Row]:
    """No damaged model, bundle, checkpoint or certificate loads."""
    train, certifier = dnn.load_digits()[0], dnn.Certifier()
    model = dnn.train(train, layers=[5], epochs=1, rng=3, backend="numpy", certify=certifier)
    certificate = certifier.certificate
    bare = dataclasses.replace(certificate, states=())
    run = Run.of(make_problem(Declaration(layers=(5,), epochs=4, backend="numpy"), test=False))

    state = RunState(model.parameters, {f"v{name}": p for name, p in model.parameters.items()})
    checkpoint = Checkpoint(run.declaration, state, "feature", "numpy", {}, [])
    numpy = dnn.get_backend("numpy")
    cases = {
        "models": (lambda path: dnn.save_model(model, path), dnn.load_model),
        "bundles": (lambda path: record_bundle(run, numpy, path), read_bundle),
        "checkpoints": (lambda path: write_packed(packed(checkpoint), path), read_checkpoint),
        "certificates": (bare.save, dnn.Certificate.read),
        "states of certificates": (
            lambda path: certificate.save(path.with_suffix(".json")),
            lambda path: certificate.read_states(path, state.parameters),
        ),
    }
    return [damaged(name, *case, count // len(cases), seed) for name, case in cases.items()]


def damaged(
    name: str, write: Callable[[Path], Any], read: Callable[[Path], Any], count: int, seed: int
) -> Row:
    """One kind of our own files: each damaged one is refused, for each has its SHA-256."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.h5")
        write(path)
        content, honest = path.read_bytes(), outcome(read, path)
        assert honest.kind == "read", honest
        outcomes = []
        for _ in range(count):
            path.write_bytes(mutated(content, rng))
            outcomes.append(outcome(read, path))
    return _row(name, outcomes, honest.mebi, {"refused"})


def damaged_data(count: int, seed: int) -> list[Row]:
    """A damaged data set is read or refused; where HDF5 itself fails, when it is isolated."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, content in data_files():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "data.h5")
            path.write_bytes(content)
            honest = [outcome(read, path) for read in (dnn.load_dataset, _isolated)]
            assert [o.kind for o in honest] == ["read", "read"], honest
            outcomes, failed, others = [], [], count // DATA_FILES
            for i in range(others):
                path.write_bytes(mutated(content, rng))
                found = outcome(dnn.load_dataset, path)
                if found.kind == "killed" or found.mebi > honest[0].mebi + SPARE:
                    failed.append(found.text)
                    found = outcome(_isolated, path)
                elif i % 20 == 0:  # and some others, which end alike
                    found = outcome(_isolated, path)
                outcomes.append(found)
        row = _row(f"data, {name}", outcomes, honest[1].mebi, {"read", "refused"})
        rows.append(row._replace(found=row.found + f"; {len(failed)} isolated {set(failed) or ''}"))
    return rows


def damaged_pictures(count: int, seed: int) -> list[Row]:
    """A damaged picture is read or refused."""
    rng = np.random.default_rng(seed)
    files, outcomes = pictures(), []

    def read(path: Path) -> Any:
        return dnn.load_images([path], (16, 16, 3))

    with tempfile.TemporaryDirectory() as folder:
        honest = 0.0
        for i in range(count):
            suffix, content = files[i % len(files)]
            path = Path(folder, f"a{suffix}")
            if i < len(files):
                path.write_bytes(content)
                undamaged = outcome(read, path)
                assert undamaged.kind == "read", undamaged
                honest = max(honest, undamaged.mebi)
            broken = mutated(content, rng)
            path.write_bytes(with_sums(broken) if suffix == ".png" and i % 2 else broken)
            outcomes.append(outcome(read, path))
    return [_row("pictures", outcomes, honest, {"read", "refused"})]


def _isolated(path: Path) -> Any:
    return dnn.load_dataset(path, isolated=True)


def outcome(read: Callable[[Path], Any], path: Path) -> Outcome:
    """What becomes of reading a file in a fork of this process."""
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(4 * SECONDS)
        try:
            read(path)
            said = "read"
        except InputError as error:
            text = str(error)
            named = str(path) in text and text == safe_text(text)
            said = f"refused {text}" if named else f"raised an unnamed fault: {text}"
        except BaseException as error:
            said = f"raised {type(error).__name__}: {error}"
        os.write(ends[1], said.encode()[:4000])
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        os.write(ends[1], f"\0{children}".encode())
        os._exit(0)
    os.close(ends[1])
    with open(ends[0], "rb") as answer:
        said, _, children = answer.read().decode(errors="replace").partition("\0")
    _, status, usage = os.wait4(child, 0)
    kind, _, text = said.partition(" ")
    if os.WIFSIGNALED(status):
        kind, text = "killed", signal.Signals(os.WTERMSIG(status)).name
    return Outcome(kind, text, max(usage.ru_maxrss, int(children or 0)) / 1024)


def _row(part: str, outcomes: list[Outcome], honest: float, allowed: set[str]) -> Row:
    counts = collections.Counter(found.kind for found in outcomes)
    most = max((found.mebi for found in outcomes), default=honest) - honest
    bad = [f"{found.kind}: {found.text}" for found in outcomes if found.kind not in allowed]
    faults = [f"{len(bad)} of them, the first {bad[0]}"] if bad else []
    faults += [f"{most:.0f} MiB above the honest need"] if most > SPARE else []
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    return Row(part, len(outcomes), f"{told}; {most:+.0f} MiB", "; ".join(faults))


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content, changed as disks, transfers and editors do; never the same."""
    while True:
        n = len(content)
        i, j = sorted(int(k) for k in rng.integers(0, n + 1, 2))
        size = int(rng.choice([1, 2, 8, 64, 512]))
        kind = rng.integers(0, 9)
        broken = bytearray(content)
        if kind < 3:  # one bit, most often
            broken[i % n] ^= 1 << rng.integers(0, 8)
        elif kind == 3:
            for k in rng.integers(0, n, rng.integers(1, 30)):
                broken[k] = rng.integers(0, 256)
        elif kind == 4:
            broken = broken[:i]
        elif kind == 5:
            broken[i:i] = rng.bytes(size)
        elif kind == 6:
            del broken[i : i + size]
        elif kind == 7:
            broken[i : i + size] = bytes([rng.choice([0, 255])]) * len(broken[i : i + size])
        else:
            broken[i : i + size] = content[j : j + size]
        if broken != content:
            return bytes(broken)


def damaged_safetensors(count: int, seed: int) -> list[Row]:
    """A safetensors file of a stranger is a model or is refused; none is run."""
    import safetensors.numpy  # here, and not once in each fork

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        rows = [(i + 0.5, ("Bern", "Zürich")[i % 2]) for i in range(9)]
        table = np.asarray(rows, [("age", "f8"), ("town", "U6")])
        data = dnn.Dataset(table, np.arange(9) % 3, ("a", "b", "c"))
        model = dnn.train(data, layers=[4], epochs=1, rng=3, backend="numpy")
        dnn.save_safetensors(model, path)
        content, honest = path.read_bytes(), outcome(_predicted, path)
        assert honest.kind == "read", honest
        arrays = safetensors.numpy.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["portadnn"])
        made = [
            safetensors.numpy.save(arrays, {"portadnn": x})
            for x in _descriptions(about, rng, count)
        ]
        made += [_header(x, content) for x in _headers(header)]
        outcomes = []
        for broken in [*made, *(mutated(content, rng) for _ in range(count - len(made)))]:
            path.write_bytes(broken)
            outcomes.append(outcome(_predicted, path))
    return [_row("safetensors", outcomes, honest.mebi, {"read", "refused"})]


def _predicted(path: Path) -> Any:
    model = dnn.load_safetensors(path)
    with reading(path), np.errstate(all="ignore"):
        return model.predict(random_rows(model, 3, np.random.default_rng(0)))


def _descriptions(about: dict[str, Any], rng: np.random.Generator, count: int) -> Iterator[str]:
    """Descriptions of a network that are not what they should be, a third of all files."""
    odd: list[Any] = [
        None, True, -1, 0, 10**400, 1e308, float("nan"), "", "x" * MEBI, "os.system", "\x1b[2J",
        [], [[]], {}, {"__reduce__": ["os.system", "true"]}, [2**62] * 3, [1] * 10**5,
        ["a"] * 10**5,
    ]  # fmt: skip
    yield from ("", "{", "[" * 10**5, '{"a":' * 10**5, "9" * 10**6, "null", "[]", '"\\ud800"')
    places = list(_places(about, ()))
    for _ in range(count // 3):
        changed = json.loads(json.dumps(about))
        *way, last = places[int(rng.integers(len(places)))]
        inner = changed
        for key in way:
            inner = inner[key]
        inner[last] = odd[int(rng.integers(len(odd)))]
        yield json.dumps(changed)


def _places(value: Any, way: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, x in inner:
        yield (*way, key)
        if isinstance(x, dict | list):
            yield from _places(x, (*way, key))


def _headers(header: dict[str, Any]) -> Iterator[Any]:
    """Headers that lie about the weights."""
    name = "0.weight"
    for change in (
        {"shape": [2**31, 2**31]}, {"shape": [-1, 3]}, {"shape": [4, 3, 1]}, {"shape": []},
        {"shape": "x"}, {"dtype": "F64"}, {"dtype": "BF16"}, {"dtype": "F8_E4M3"}, {"dtype": "O"},
        {"data_offsets": [0, 0]}, {"data_offsets": [2**63, 2**63]}, {"data_offsets": [8, 0]},
        {"data_offsets": [-4, 44]}, {"data_offsets": [0, 10**12]},
    ):  # fmt: skip
        yield header | {name: header[name] | change}
    yield header | {"__metadata__": {"portadnn": 3}}
    yield header | {"__metadata__": {}}
    yield {key: x for key, x in header.items() if key != name}
    yield header | {f"{i}.weight": header[name] for i in range(10**4)}
    yield {}
    yield []


def _header(header: Any, content: bytes) -> bytes:
    text = json.dumps(header).encode()
    at = 8 + int.from_bytes(content[:8], "little")
    return struct.pack("<Q", len(text)) + text + content[at:]


DATA_FILES = 5


def data_files() -> Iterator[tuple[str, bytes]]:
    """Data sets in what HDF5 has of layouts and filters, small so that much of it is structure."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    names = np.asarray(["no cat", "cat"], dtype=object)
    for name, version, options in (
        ("plain", "earliest", {}),
        ("gzip", "earliest", {"chunks": (5, 6, 6, 3), "compression": "gzip"}),
        (
            "all filters",
            "v108",
            {"chunks": (2, 3, 6, 3), "compression": "lzf", "shuffle": True, "fletcher32": True},
        ),
        ("latest", "latest", {"chunks": (5, 6, 6, 3), "compression": "gzip", "shuffle": True}),
        ("growing", "latest", {"chunks": (2, 6, 6, 3), "maxshape": (None, None, 6, 3)}),
    ):
        content = io.BytesIO()
        with h5py.File(content, "w", libver=(version, "latest")) as file:
            file.create_dataset("train_set_x", data=x, **options)
            file["train_set_y"] = np.arange(12) % 2
            file["list_classes"] = names if version != "v108" else names.astype("S6")
            file.attrs["made by"] = "scripts/torture"
        yield name, content.getvalue()


def pictures() -> list[tuple[str, bytes]]:
    """PNG and JPEG files of all modes, with and without metadata."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    deep = Image.fromarray(rng.integers(0, 65536, (24, 20), dtype=np.uint16))
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        (rgb, ".png", {"exif": exif}),
        (rgb.convert("L"), ".png", {"transparency": 7}),
        (rgb.convert("RGBA"), ".png", {"dpi": (72, 72)}),
        (rgb.convert("P"), ".png", {"transparency": bytes(range(256))}),
        (deep, ".png", {"transparency": 300}),
        (rgb.convert("1"), ".png", {}),
        (rgb, ".jpg", {"exif": exif, "quality": 95}),
        (rgb, ".jpg", {"progressive": True, "icc_profile": bytes(200)}),
        (rgb.convert("L"), ".jpg", {"comment": b"grey"}),
        (rgb.convert("CMYK"), ".jpg", {}),
    ]
    made = []
    for picture, suffix, options in cases:
        content = io.BytesIO()
        picture.save(content, "PNG" if suffix == ".png" else "JPEG", **options)
        made.append((suffix, content.getvalue()))
    return made


def with_sums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them, so that more than those is read."""
    made, at = bytearray(content), 8
    while at + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, at)
        end = at + 8 + length
        if end + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[at + 4 : end]))
        at = end + 4
    return bytes(made)


PARTS = {
    "models": damaged_models,
    "safetensors": damaged_safetensors,
    "data": damaged_data,
    "pictures": damaged_pictures,
}


def main(arguments: list[str]) -> int:
    """Run the parts, print their rows, and return 1 if one has a fault."""
    count, seed = (int(text) for text in (arguments + ["200", "0"][len(arguments) :]))
    logging.getLogger("portadnn").setLevel(logging.ERROR)
    rows = [row for part in PARTS.values() for row in part(count, seed)]
    for row in rows:
        print(f"{row.part:20} {row.count:6}  {row.found}  {row.fault or 'ok'}")
    return int(any(row.fault for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
