"""The table of formats, and how a file's format is found from its content."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from portadnn.data.files import open_regular
from portadnn.data.readers import folder, hdf5, idx, npy, tables
from portadnn.data.readers.records import Records, Wanted
from portadnn.errors import InputError

TEXTS = (".csv", ".tsv", ".txt")


class Format(NamedTuple):
    """A row of the table.

    ``has_test(path)`` says whether there are test data in, or beside, the training data. ``takes``
    names the one setting of "target", "labels" and "size" that the format can use.
    """

    title: str
    read: Callable[[Path, Wanted], Records]
    has_test: Callable[[Path], bool]
    takes: str


def never(path: Path) -> bool:
    return False


FORMATS = {
    "hdf5": Format("an HDF5 file", hdf5.read, hdf5.has_test, "target"),
    "csv": Format("a CSV file", tables.read_csv, never, "target"),
    "parquet": Format("a Parquet file", tables.read_parquet, never, "target"),
    "npz": Format("an NPZ file", npy.read_npz, npy.has_test, "target"),
    "npy": Format("an NPY file", npy.read_npy, never, "labels"),
    "idx": Format("an IDX file", idx.read, idx.has_test, "labels"),
    "folder": Format("a folder of pictures", folder.read, folder.has_test, "size"),
}


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format of what is at ``path``, from its first bytes; the name only matters for CSV.

    Raises
    ------
    InputError
        If nothing is there, or its format is unknown.
    """
    path = Path(path)
    if path.is_dir():
        return FORMATS["folder"]
    with open_regular(path) as file:
        head = file.read(4096)
    if head.startswith(hdf5.SIGNATURE):
        return FORMATS["hdf5"]
    if head.startswith(tables.PARQUET):
        return FORMATS["parquet"]
    if head.startswith(npy.NPY):
        return FORMATS["npy"]
    if head.startswith(npy.ZIP):
        return FORMATS["npz"]
    if idx.is_idx(_inflated(head)):
        return FORMATS["idx"]
    if path.suffix.lower() in (".h5", ".hdf5"):
        raise InputError(f"{path} is not an HDF5 file, although its name says so")
    if head.strip() and (path.suffix.lower() in TEXTS or _looks_like_text(head)):
        return FORMATS["csv"]
    titles = ", ".join(row.title for row in FORMATS.values())
    what = "is empty" if not head.strip() else f"begins with the bytes {head[:8].hex(' ')}"
    raise InputError(f"{path} {what}: expected {titles}")


def _inflated(head: bytes) -> bytes:
    if not head.startswith(idx.GZIP):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 16)
    except zlib.error:
        return b""


def _looks_like_text(head: bytes) -> bool:
    if any(head.startswith(bom) for bom in tables.BOMS):
        return True
    control = set(range(32)) - {9, 10, 12, 13, 27}
    return bool(head.strip()) and not control & set(head)
