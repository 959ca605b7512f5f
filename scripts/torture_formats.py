"""The part of ``scripts/torture`` about data in other formats than HDF5: see ``torture_files.py``.

Each file is either damaged at random, or made by hand to be as bad as its format allows. Alone:

    python scripts/torture_formats.py [COUNT [SEED]]
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv  # here, and not once in each fork
import pyarrow.parquet
from PIL import Image
from torture_files import Row, _row, mutated, outcome

from portadnn.data.load import load_dataset

MANY = 10**6
X = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
Y = np.arange(12, dtype=np.uint8) % 3
TABLE = [("age", "town", "y")] + [
    (str(i / 2), ("Bern", "Zürich", "a, b", 'the "x"', "")[i % 5], str(i % 2)) for i in range(12)
]
TOKENS = (
    '"', "'", ",", ";", "\t", "|", "\n", "\r", "\r\n", "\0", "\x1b[2J", "\u202e", "\ufeff", "é",
    "NA", "inf", "-inf", "nan", "1e999", "9" * 400, "0x1", "1_0", "true", "2020-01-01", "=1+1",
    " " * 99, "\x85",
)  # fmt: skip


def damaged_formats(count: int, seed: int) -> list[Row]:
    """A damaged CSV, Parquet, NPZ, NPY or IDX file or picture of a folder is read or refused."""
    rng = np.random.default_rng(seed)
    return [_damaged(name, count, rng) for name in FORMATS]


def _damaged(name: str, count: int, rng: np.random.Generator) -> Row:
    read = functools.partial(read_folder, name)
    honest = FORMATS[name]()
    broken = [*HOSTILE[name](), *_mutants(name, honest, count, rng)]
    outcomes, most = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for files in honest:
            _write(folder, files)
            found = outcome(read, Path(folder))
            assert found.kind == "read", found
            most = max(most, found.mebi)
        for files in broken:
            _write(folder, files)
            outcomes.append(outcome(read, Path(folder)))
    return _row(f"data, {name}", outcomes, most, {"read", "refused"})


def _mutants(name: str, honest: list[Any], count: int, rng: np.random.Generator) -> Iterator[Any]:
    for i in range(count):
        files = dict(honest[i % len(honest)])
        which = list(files)[int(rng.integers(len(files)))]
        content = files[which]
        if name == "CSV" and i % 2:  # as text, so that it stays one
            for _ in range(rng.integers(1, 4)):
                at = int(rng.integers(0, len(content) + 1))
                token = str(rng.choice(TOKENS)).encode("utf-16-le" if b"\0" in content else "utf-8")
                content = content[:at] + token + content[at + int(rng.integers(0, 5)) :]
            files[which] = content
        else:
            files[which] = mutated(content, rng)
        yield files


def read_folder(name: str, folder: Path) -> Any:
    """What ``load`` makes of the files of a case, with what a user would say of them."""
    if name == "folder":
        return load_dataset(folder)
    first, *labels = sorted(folder.iterdir())
    target = ["y"] if name in ("CSV", "Parquet") else []
    return load_dataset(first, target=target, labels=labels[0] if labels else None)


def _write(folder: str, files: dict[str, bytes]) -> None:
    for path in sorted(Path(folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def csv_files() -> list[dict[str, bytes]]:
    """CSV files in the forms that are taken."""
    quoted = [[f'"{c}"'.replace('the "x"', 'the ""x""') for c in row] for row in TABLE]
    made = [mark.join(row) + end for mark, end in ((",", "\n"), (";", "\r\n")) for row in quoted]
    comma, semicolon = ("".join(made[i : i + 13]) for i in (0, 13))
    contents = [comma.encode(), semicolon.encode("utf-8-sig"), comma.encode("utf-16")]
    return [{"d.csv": content} for content in contents]


def _wide(columns: int) -> str:
    names = ",".join(f"c{i}" for i in range(columns))
    return f"{names},y\n" + "1," * columns + "0\n" + "2," * columns + "1\n"


def hostile_csv() -> Iterator[dict[str, bytes]]:
    """CSV files as bad as they can be."""
    rows = "1,2,0\n3,4,1\n"
    for text in (
        "", "\n", " ", "\0", "\ufeff", "a,b,y", "a,b,y\n", "a,b,y\n1,2,0", "a,b,y\n1,2,0\n3,4\n",
        "a,b,y\n1,2,0\n3,4,1,5\n", 'a,b,y\n"1,2,0\n', "a,a,y\n" + rows, ",,y\n" + rows, "y\n1\n2\n",
        "a\0,b,y\n" + rows, "a\x1b[2J,b,y\n" + rows, "a\u202e,b,y\n1,x\x1b[2J,0\n3,4,\x1b[2J\n",
        "a,b,y\n1,2,0\n3,\0,1\n", "a,b,y\r1,2,0\r3,4,1\r", "a,b,y\n" + "1,x,0\n" * 9 + "z,2,0\n",
        "a,b,y\n1,2,\n3,4,1\n", "a,b,y\n1e999,2,0\n3,4,1\n", "a,b,y\n\n\n1,2,0\n\n3,4,1\n",
        "a;b;y\n1,5;2;0\n3,5;4;1\n", "y,a,b\n" + "inf,nan,-inf\n" * 3,
    ):  # fmt: skip
        yield {"d.csv": text.encode()}
    long = "x" * MANY
    for text in (
        f"a,b,y\n1,{long},0\n3,4,1\n", f"a,b,y\n1,2,{long}\n3,4,1\n", f"{long},b,y\n{rows}",
        f"a,b,y\n1,{long},0\n" + "1,2,0\n" * MANY, f"a,b,y\n1,{'x' * 1000},0\n" + "1,2,0\n" * MANY,
        "a,b,y\n" + f"1,{long},0\n" * 20, "," * MANY, "a" + "," * MANY + "y\n" + "1" + "," * MANY,
        "\n" * MANY, '"' * MANY, "a,y\n" + "1" * MANY, _wide(MANY), _wide(30_000), _wide(20_000),
        _wide(15_000), "x," * (MANY // 10) + "y\n" + "1," * (MANY // 10) + "0\n",
    ):  # fmt: skip
        yield {"d.csv": text.encode()}
    text = "a,b,y\n1,ü,0\n3,4,1\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp037"):
        yield {"d.csv": text.encode(encoding)}
    yield {"d.csv": b"\xff\xfe" + b"a"}
    yield {"d.csv": b"\xef\xbb\xbf"}
    yield {"d.csv": b"\xff\xfe" + text.encode("utf-16-be")}


def parquet_files() -> list[dict[str, bytes]]:
    """Parquet files in several compressions and types."""
    columns = {
        "age": [i / 2 for i in range(12)],
        "town": [row[1] or None for row in TABLE[1:]],
        "small": pyarrow.array(range(12), pyarrow.int8()),
        "y": [bool(i % 2) for i in range(12)],
    }
    table = pyarrow.table(columns)
    return [
        {"d.parquet": _parquet(table, compression=kind, use_dictionary=plain, row_group_size=5)}
        for kind, plain in (("none", True), ("snappy", False), ("zstd", True), ("gzip", True))
    ]


def _parquet(table: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    pyarrow.parquet.write_table(table, content, **options)
    return content.getvalue()


def hostile_parquet() -> Iterator[dict[str, bytes]]:
    """Parquet files as bad as they can be."""
    few = np.arange(100) % 2
    zeros = np.zeros(50 * MANY)
    for columns in (
        {"a": ["x" * MANY] * 10_000, "y": np.arange(10_000) % 2},
        {"a": ["x" * 900] + ["z"] * MANY, "y": np.arange(MANY + 1) % 2},
        {"a": zeros, "b": zeros, "y": zeros},
        {"a": [[1, 2]] * 100, "y": few},
        {"a": [{"b": 1}] * 100, "y": few},
        {"a": [b"\0\xff"] * 100, "y": few},
        {"a": [None] * 100, "y": few},
        {"a": [2**62] * 100, "y": [None] * 100},
        {"a\x1b[2J": ["\x1b[2J", "z"] * 50, "y": ["\x1b[2J", "\0"] * 50},
        {"y": few},
        {"a": np.zeros(0), "y": np.zeros(0)},
        {f"c{i}": np.zeros(1) for i in range(20_000)},
    ):
        texts = isinstance(columns.get("a"), list) and isinstance(columns["a"][0], str)
        if texts:  # from a dictionary, so that the file is made without the memory
            columns["a"] = pyarrow.array(columns["a"][:1] + columns["a"][-1:]).dictionary_encode()
            index = np.zeros(len(columns["y"]), np.int32)
            index[1:] = int(len(columns["a"].dictionary) > 1)
            columns["a"] = pyarrow.DictionaryArray.from_arrays(index, columns["a"].dictionary)
        yield {"d.parquet": _parquet(pyarrow.table(columns))}
        if texts:
            yield {"d.parquet": _parquet(pyarrow.table(columns), store_schema=False)}
    twice = pyarrow.Table.from_arrays([pyarrow.array(few)] * 3, names=["a", "a", "y"])
    yield {"d.parquet": _parquet(twice)}
    yield from ({"d.parquet": x} for x in (b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\x7fPAR1"))


def npz_files() -> list[dict[str, bytes]]:
    """NPZ files, with and without compression."""
    made = []
    for save in (np.savez, np.savez_compressed):
        content = io.BytesIO()
        save(content, X=X, y=Y)
        made.append({"d.npz": content.getvalue()})
    return made


def header(shape: str, dtype: str = "|u1", version: int = 1, pad: int = 0) -> bytes:
    """The start of an NPY file, whatever it says."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * pad + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
    )


def hostile_arrays() -> Iterator[bytes]:
    """NPY files as bad as they can be."""
    for shape in (
        "(4294967296, 4294967296)", "(1099511627776,)", f"({2**33}, 1)", "(0, 5)", "()",
        "(-1, 5)", "(True, 5)",
        f"({2**63}, 0)", "(1.5,)", "(" * 500, "[12]", "(12, 4, 4)" * 2, "(" + "1," * 2000 + ")",
        f"({'9' * 5000},)", "(12,)", "(1,)", f"(12, {2**40}, 0)", "(12, 0)",
    ):  # fmt: skip
        yield header(shape) + X.tobytes()
    for dtype in (
        "|O", "|V16", "<M8[s]", "<c16", "|S192", "<U48", "<f2", ">f8", "|b1", "<U0", "x", "|V0",
    ):  # fmt: skip
        yield header("(1, 12)", dtype) + X.tobytes()
        yield header("(12,)", dtype) + X.tobytes()
    yield header("(12, 4, 4)", version=2, pad=9 * MANY) + X.tobytes()
    yield header("(12, 4, 4)", version=3) + X.tobytes()
    yield header("(12, 4, 4)", version=9) + X.tobytes()
    yield b"\x93NUMPY\x02\0\xff\xff\xff\xff" + bytes(4000)
    yield b"\x93NUMPY"
    yield header("(12, 4, 4)") + X.tobytes() + bytes(2 * MANY)


def _zip(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file:
        for name, x in entries.items():
            file.writestr(name, x)
    return content.getvalue()


def hostile_npz() -> Iterator[dict[str, bytes]]:
    """NPZ files as bad as they can be."""
    y = header("(12,)") + Y.tobytes()
    for array in hostile_arrays():
        yield {"d.npz": _zip({"X.npy": array, "y.npy": y})}
        yield {"d.npz": _zip({"X.npy": header("(12, 4, 4)") + X.tobytes(), "y.npy": array})}
    bomb = header(f"({50 * MANY // 64}, 64)") + bytes(50 * MANY // 64 * 64)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield {"d.npz": _zip({"X.npy": bomb, "y.npy": y}, method)}
    long = b"\x93NUMPY\x02\0" + struct.pack("<I", 50 * MANY) + bytes(50 * MANY)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        yield {"d.npz": _zip({"X.npy": long, "y.npy": y}, method)}
    few = _zip({"X.npy": header("(12, 4, 4)") + X.tobytes(), "y.npy": y})
    lies = few.replace(struct.pack("<I", 192 + len(header("(12, 4, 4)"))), b"\xff\xff\xff\x7f")
    yield {"d.npz": lies}
    yield {"d.npz": _zip({f"{i}.npy": y for i in range(20_000)})}
    yield {"d.npz": _zip({"X\x1b[2J.npy": y, "../y.npy": y, "a.txt": b"hello"})}
    yield {"d.npz": _zip({"X.npy": y, "X": y, "y.npy": y})}
    yield {"d.npz": _zip({})}
    locked = bytearray(few)
    locked[6] |= 1  # says that it is encrypted
    locked[locked.index(b"PK\1\2") + 8] |= 1
    yield {"d.npz": bytes(locked)}


def npy_files() -> list[dict[str, bytes]]:
    """NPY files, in two dtypes and orders."""
    made = []
    for x in (X, np.asfortranarray(X.astype(">f4"))):
        files = {}
        for name, array in (("x.npy", x), ("y.npy", Y)):
            content = io.BytesIO()
            np.save(content, array)
            files[name] = content.getvalue()
        made.append(files)
    return made


def hostile_npy() -> Iterator[dict[str, bytes]]:
    """NPY files as bad as they can be, as examples and as labels."""
    good = npy_files()[0]
    for array in hostile_arrays():
        yield good | {"x.npy": array}
        yield good | {"y.npy": array}


def idx(code: int, shape: tuple[int, ...], content: bytes) -> bytes:
    """An IDX file."""
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def idx_files() -> list[dict[str, bytes]]:
    """IDX files, plain and with gzip."""
    plain = {"a": idx(8, X.shape, X.tobytes()), "b": idx(8, Y.shape, Y.tobytes())}
    return [plain, {name: gzip.compress(x, mtime=0) for name, x in plain.items()}]


def hostile_idx() -> Iterator[dict[str, bytes]]:
    """IDX files as bad as they can be."""
    most = 2**32 - 1
    made = [
        idx(8, shape, content)
        for shape in ((most,) * 3, (most,) * 255, (2**30, 3), (0, most), (12, 0), (12,), (),
                      (1,) * 200)
        for content in (b"", X.tobytes())
    ]  # fmt: skip
    made += [idx(code, (12, 4), bytes(12 * 4 * 8)) for code in range(16)]
    made += [b"\0\0\x08\x03", b"\0\0", idx(8, (50 * MANY, 1), bytes(50 * MANY))]
    good = idx_files()[0]
    bombs = [gzip.compress(idx(8, (12, 4, 4), bytes(50 * MANY)), 9)]
    for x in [*(gzip.compress(x, 6) for x in made), *bombs, *made[:-1]]:
        yield good | {"a": x}
        yield good | {"b": x}
    yield good | {"a": gzip.compress(good["a"])[:-8]}
    yield good | {"a": gzip.compress(good["a"]) + b"more"}
    yield good | {"a": gzip.compress(gzip.compress(good["a"]))}
    yield good | {"a": bz2.compress(good["a"])}


def folders() -> list[dict[str, bytes]]:
    """A folder of pictures."""
    made = {}
    for i in range(4):
        content = io.BytesIO()
        Image.fromarray(X[i]).save(content, "PNG" if i % 2 else "JPEG")
        made[f"{'ab'[i // 2]}/{i}.{'png' if i % 2 else 'jpg'}"] = content.getvalue()
    return [made]


def hostile_folders() -> Iterator[dict[str, bytes]]:
    """Folders with what does not belong there."""
    good = folders()[0]
    picture = good["a/1.png"]
    large = picture[:16] + struct.pack(">II", 60_000, 60_000) + picture[24:]
    for wrong in (b"", picture[:-20], b"GIF89a" + bytes(99), large):
        yield good | {"a/1.png": wrong}
    for name in ("a/1.png", "1.png", "a/b/1.png", "train/1.png"):
        yield {name: picture}
    for name in ("a\x1b[2J/1.png", "train/a/1.png"):
        yield good | {name: picture}
    yield {}
    yield good | {"a/.1.png": b"", "b/Thumbs.db": b"", ".git/x": b""}


FORMATS = {
    "CSV": csv_files,
    "Parquet": parquet_files,
    "NPZ": npz_files,
    "NPY": npy_files,
    "IDX": idx_files,
    "folder": folders,
}
HOSTILE = dict(
    zip(
        FORMATS,
        (hostile_csv, hostile_parquet, hostile_npz, hostile_npy, hostile_idx, hostile_folders),
        strict=True,
    )
)
PARTS = {"formats": damaged_formats}


def main(arguments: list[str]) -> int:
    """Run the part, print its rows, and return 1 if one has a fault."""
    count, seed = (int(text) for text in (arguments + ["300", "0"][len(arguments) :]))
    rows = damaged_formats(count, seed)
    for row in rows:
        print(f"{row.part:20} {row.count:6}  {row.found}  {row.fault or 'ok'}")
    return int(any(row.fault for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
