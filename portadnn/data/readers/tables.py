"""Tables in CSV and Parquet files, read by PyArrow (extra ``data``)."""

from __future__ import annotations

import codecs
import collections
import csv
import io
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.data.files import open_regular
from portadnn.data.foreign import MEBI, Budget, library, reading
from portadnn.data.readers.records import Records, Wanted
from portadnn.data.stored import BLOCK, spooled, streams
from portadnn.errors import InputError

PARQUET = b"PAR1"
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?"]
NULLS = {"null_values": MISSING, "strings_can_be_null": True, "quoted_strings_can_be_null": True}
LONGEST_TEXT = 1000  # characters; longer texts name no category
MOST_COLUMNS = 20_000
SAMPLE = MEBI  # bytes that are read to find separator, encoding and heading
FEW = 2**16  # characters of them that are read to find the decimal mark
RATIO = 64  # bytes of memory for a byte of a CSV file: each text takes as much as the longest
SPARE = 64 * MEBI  # a Parquet file may hold a value once for all rows
QUOTED = re.compile(r'(^|[,;\t|\r\n])"[^"]*(?:""[^"]*)*"')  # a cell, and what is before it
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_csv(path: Path, wanted: Wanted) -> Records:
    """The columns of a CSV file; separator, encoding, heading and decimal mark are found in it."""
    if wanted.stream:
        raise InputError(
            f"{path} is a CSV file, whose rows have no fixed places, so they cannot stay in "
            f'it: convert it with `python -c "from pyarrow import csv, parquet; '
            f"parquet.write_table(csv.read_csv('{path}'), '{path.with_suffix('.parquet')}')\"`"
        )
    arrow = library("pyarrow.csv", "data")
    with open_regular(path) as file:
        budget = Budget(path, os.fstat(file.fileno()).st_size, ratio=RATIO)
        start = file.read(SAMPLE)
    with reading(path, "cannot be read as a CSV file"):
        encoding, separator, heading, decimal = _form(start, path, wanted)
        texts = dict.fromkeys(wanted.texts, library("pyarrow", "data").string())
        table = arrow.read_csv(
            str(path),
            arrow.ReadOptions(
                encoding=encoding,
                autogenerate_column_names=not heading,
                block_size=2**24,
                use_threads=False,  # so that an error has its row
            ),
            arrow.ParseOptions(delimiter=separator, newlines_in_values=True),
            arrow.ConvertOptions(decimal_point=decimal, column_types=texts, **NULLS),
        )
        return _records(table, wanted, path, budget)


def read_parquet(path: Path, wanted: Wanted) -> Records:
    """The columns of a Parquet file."""
    arrow = library("pyarrow.parquet", "data")
    with open_regular(path) as file:
        budget = Budget(path, os.fstat(file.fileno()).st_size, SPARE)
    with reading(path, "is a damaged Parquet file"), arrow.ParquetFile(path) as content:
        meta, schema = content.metadata, content.schema_arrow
        _check_columns(meta.num_columns, path)
        shape = meta.num_rows, meta.num_columns
        stays = streams(wanted.stream, shape, np.dtype(np.float64)) and meta.num_rows > 0
        groups = map(meta.row_group, range(meta.num_row_groups))
        size = sum(max(group.total_byte_size, 0) for group in groups)
        whole = max(size, 8 * meta.num_rows * meta.num_columns)
        if not stays or whole > budget.unpacked:
            budget.take("its columns", whole)
        types = library("pyarrow", "data").types
        # a text that many rows have is kept once
        texts = [field.name for field in schema if types.is_string(field.type)]
        with arrow.ParquetFile(path, read_dictionary=texts) as again:
            if stays:
                return _unpacked(again, wanted, path)
            # columns one after the other, so that memory does not depend on the threads
            return _records(again.read(use_threads=False), wanted, path, budget)


def _unpacked(content: Any, wanted: Wanted, path: Path) -> Records:
    """The columns of a Parquet file in a file of our own; a first pass sees how long texts are."""
    meta, arrow = content.metadata, library("pyarrow", "data")
    size = max(1, BLOCK // (8 * meta.num_columns))

    def parts() -> Iterator[Records]:
        for batch in content.iter_batches(size, use_threads=False):
            table = arrow.Table.from_batches([batch])
            yield _records(table, wanted, path, Budget(path, table.nbytes, SPARE, ratio=RATIO))

    kinds: list[np.dtype] = []
    labels: list[Any] = []
    for part in parts():
        kinds.append(part.examples.dtype)
        labels.append(part.labels)
    dtype = np.dtype([
        (name, np.result_type(*(kind[name] for kind in kinds))) for name in kinds[0].names or ()
    ])  # fmt: skip
    rows = spooled((part.examples.astype(dtype) for part in parts()), (meta.num_rows,), dtype, path)
    target = None if part.labels is None else np.concatenate(labels)
    return Records(rows, target, part.names, source=str(path))


def _form(start: bytes, path: Path, wanted: Wanted) -> tuple[str, str, bool, str]:
    """Encoding, separator, whether the first row names the columns, and the decimal mark."""
    encoding = next((name for bom, name in BOMS.items() if start.startswith(bom)), "utf-8")
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start).lstrip("\ufeff")
    text = text.lstrip("\r\n")
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path} has a NUL in row {row}: expected text in UTF-8, or in UTF-16 "
                         f"with its mark (BOM)")  # fmt: skip
    if not text.strip():
        raise InputError(f"{path} is empty: expected rows of values with separators between them")
    first = re.split("[\r\n]", QUOTED.sub(r"\1", text), maxsplit=1)[0]
    counts = {mark: first.count(mark) for mark in ",;\t|"}
    separator = max(counts, key=lambda mark: counts[mark])
    _check_columns(counts[separator] + 1, path)
    lines = io.StringIO(text[:FEW], newline="")
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    cells = {*itertools.chain(*rows)}
    # between commas "1,500" may be a thousand and a half
    could = ".," if separator != "," else "."
    marks = [x for x in could if any(re.fullmatch(rf"[-+]?\d+[{x}]\d+", cell) for cell in cells)]
    decimal = "".join(marks) if len(marks) == 1 else "."
    heading = _is_heading(rows, decimal, wanted)
    if heading and "\ufffd" in "".join(rows[0]):
        raise InputError(f"{path} has a column name that is not UTF-8: expected text in UTF-8, or "
                         f"in UTF-16 with its mark (BOM)")  # fmt: skip
    return encoding, separator, heading, decimal


def _is_heading(rows: list[list[str]], decimal: str, wanted: Wanted) -> bool:
    """Whether the first row names the columns: a number above a number is no name."""
    first, below = ([x.replace(decimal, ".") for x in row] for row in [*rows, []][:2])
    if wanted.columns and {*wanted.columns} <= {*rows[0]}:
        return True
    if all(_is_number(x) or x.strip() in MISSING for x in first):
        return False
    pairs = zip(first, below, strict=False)
    named = bool(wanted.target) and {*wanted.target} <= {*rows[0]}
    return named or not any(_is_number(x) and _is_number(y) for x, y in pairs)


def _check_columns(count: int, path: Path) -> None:
    if count > MOST_COLUMNS:
        raise InputError(
            f"{path} has {count:,} columns or more: expected {MOST_COLUMNS:,} at most. An NPY file "
            f"holds so many numbers better"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip() not in MISSING


def _records(table: Any, wanted: Wanted, path: Path, budget: Budget) -> Records:
    types, found = library("pyarrow", "data").types, table.column_names
    names = [x or f"column {i}" + "*" * (f"column {i}" in found) for i, x in enumerate(found, 1)]
    # an unnamed column of gaps is a separator at the end of each row
    kept = [i for i, x in enumerate(table.schema) if x.name or not types.is_null(x.type)]
    table = table.rename_columns(names).select(kept)
    names = table.column_names
    longest = max(map(len, names), default=0)
    if longest > LONGEST_TEXT:
        raise InputError(f"{path} has a column whose name has {longest:,} characters: expected "
                         f"names of at most {LONGEST_TEXT:,}")  # fmt: skip
    twice, times = collections.Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise InputError(f"{path} has two columns named {twice!r}: expected names that differ")
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows")
    if not wanted.target and wanted.labelled:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise InputError(
            f"{path} is a table with the columns {shown}: say which to predict with --target NAME"
        )
    for name in wanted.texts + wanted.target * wanted.labelled:
        if name not in names:
            raise InputError(f"{path} has no column {name!r}: it has {', '.join(names[:20])}")
    targets = [name for name in wanted.target if name in names]
    columns = {name: _column(table[name], name, path, budget) for name in names}
    labels = None
    if targets:
        labels = np.stack([columns.pop(name) for name in targets], axis=1)
        if len(targets) == 1:
            labels = labels[:, 0]
    if not columns:
        raise InputError(f"{path} has no columns but the target: expected some to predict from")
    rows = np.empty(table.num_rows, [(name, x.dtype) for name, x in columns.items()])
    for name, x in columns.items():
        rows[name] = x
    return Records(rows, labels, tuple(targets), source=str(path))


def _column(column: Any, name: str, path: Path, budget: Budget) -> np.ndarray:
    """A column as float64 or text; what is missing is NaN or ""."""
    types = library("pyarrow", "data").types
    kind = column.type
    coded = types.is_dictionary(kind)
    if types.is_string(kind.value_type if coded else kind) or types.is_large_string(kind):
        coded = column if coded else column.dictionary_encode()
        return _texts(coded.unify_dictionaries().combine_chunks(), name, path, budget)
    if coded:
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind) and column.null_count == 0:
        return column.to_numpy().astype(bool)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        found = column.to_numpy()  # with what is missing as NaN
        return found.astype(np.float64)
    if types.is_decimal(kind):
        return column.cast("float64").to_numpy()
    found = "text that is not UTF-8" if types.is_binary(kind) else kind
    raise InputError(
        f"{path}: column {name!r} holds {found}: expected numbers, truth values or texts in UTF-8. "
        f"Convert it, or leave the column out"
    )


def _texts(column: Any, name: str, path: Path, budget: Budget) -> np.ndarray:
    """The texts of a dictionary-encoded column, one for each row."""
    found = ["" if x is None else x for x in column.dictionary.to_pylist()]
    numbers = column.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    lengths = np.asarray([*map(len, found), 0])
    longest = int(lengths.max())
    if longest > LONGEST_TEXT:
        row = int(np.argmax(lengths[numbers] == longest)) + 1
        raise InputError(
            f"{path}: column {name!r} has a text of {longest} characters in row {row}: expected "
            f"categories of at most {LONGEST_TEXT}"
        )
    what = f"column {name!r}, whose longest text has {longest} characters,"
    budget.take(what, 4 * longest * len(numbers))
    return np.asarray([*found, ""], dtype=f"U{max(longest, 1)}")[numbers]
