"""Tables in CSV and Parquet files, read by PyArrow (extra ``data``)."""

from __future__ import annotations

import codecs
import csv
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.data.files import check_size, open_regular
from portadnn.data.readers.records import Records, Wanted
from portadnn.errors import InputError

PARQUET = b"PAR1"
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?"]
NULLS = {"null_values": MISSING, "strings_can_be_null": True, "quoted_strings_can_be_null": True}
LONGEST_TEXT = 1000  # characters; longer texts name no category
SAMPLE = 2**16  # bytes from which separator, encoding and heading are found
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_csv(path: Path, wanted: Wanted) -> Records:
    """The columns of a CSV file; separator, encoding, heading and decimal mark are found in it."""
    arrow = _pyarrow("pyarrow.csv", path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(SAMPLE)
    check_size(f"{path} has", 4 * size, "a CSV file")
    encoding, separator, heading, decimal = _form(start, path)
    options = {
        "read_options": arrow.ReadOptions(
            encoding=encoding, autogenerate_column_names=not heading, block_size=2**24
        ),
        "parse_options": arrow.ParseOptions(delimiter=separator, newlines_in_values=True),
        "convert_options": arrow.ConvertOptions(decimal_point=decimal, **NULLS),
    }
    try:
        table = arrow.read_csv(str(path), **options)
    except (_pyarrow("pyarrow", path).ArrowException, OSError, UnicodeError) as error:
        raise InputError(f"{path}: {_one_line(error)}") from error
    return _records(table, wanted, path)


def read_parquet(path: Path, wanted: Wanted) -> Records:
    """The columns of a Parquet file."""
    arrow = _pyarrow("pyarrow.parquet", path)
    with open_regular(path):
        pass
    try:
        file = arrow.ParquetFile(path)
        meta = file.metadata
        check_size(f"{path} has {meta.num_rows} rows and", 8 * meta.num_rows * meta.num_columns,
                   "a Parquet file")  # fmt: skip
        table = file.read()
    except (_pyarrow("pyarrow", path).ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is a damaged Parquet file: {_one_line(error)}") from error
    return _records(table, wanted, path)


def _pyarrow(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path} is a table, which PyArrow reads: install it with pip install 'portadnn[data]'"
        ) from error


def _form(start: bytes, path: Path) -> tuple[str, str, bool, str]:
    """Encoding, separator, whether the first row names the columns, and the decimal mark."""
    encoding = next((name for bom, name in BOMS.items() if start.startswith(bom)), "utf-8")
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start).lstrip("\ufeff")
    if "\0" in text or not text.strip():
        raise InputError(f"{path} is {'empty' if not text.strip() else 'no text'}: expected a CSV "
                         f"file, rows of values with separators between them")  # fmt: skip
    first = text.splitlines()[0]
    counts = {mark: first.count(mark) for mark in ",;\t|"}
    separator = max(counts, key=lambda mark: counts[mark])
    if not counts[separator]:
        separator = ","
    cells = re.split(rf"[{separator}\r\n]", text)
    marks = [x for x in ".," if any(re.fullmatch(rf"[-+]?\d+[{x}]\d+", cell) for cell in cells)]
    decimal = "".join(marks) if len(marks) == 1 else "."
    names = next(csv.reader([first.replace(decimal, ".")], delimiter=separator))
    return encoding, separator, not all(map(_is_number, names)), decimal


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip() in MISSING
    return True


def _records(table: Any, wanted: Wanted, path: Path) -> Records:
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two columns named {twice!r}: expected names that differ")
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows")
    if not wanted.target and wanted.labelled:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise InputError(
            f"{path} is a table with the columns {shown}: say which to predict with --target NAME"
        )
    for name in wanted.target:
        if name not in names and wanted.labelled:
            raise InputError(f"{path} has no column {name!r}: it has {', '.join(names[:20])}")
    targets = [name for name in wanted.target if name in names]
    columns = {name: _column(table[name], name, path) for name in names}
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


def _column(column: Any, name: str, path: Path) -> np.ndarray:
    """A column as float64 or text; what is missing is NaN or ""."""
    types = _pyarrow("pyarrow", path).types
    kind = column.type
    if types.is_dictionary(kind):
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
    if types.is_string(kind) or types.is_large_string(kind):
        texts = ["" if x is None else x for x in column.to_pylist()]
        longest = max(map(len, texts))
        if longest > LONGEST_TEXT:
            raise InputError(
                f"{path}: column {name!r} has a text of {longest} characters in row "
                f"{max(range(len(texts)), key=lambda i: len(texts[i])) + 1}: expected categories "
                f"of at most {LONGEST_TEXT}"
            )
        check_size(f"{path}: column {name!r} takes", 4 * longest * len(texts), "shorter texts")
        return np.asarray(texts, dtype=f"U{max(longest, 1)}")
    found = "text that is not UTF-8" if types.is_binary(kind) else kind
    raise InputError(
        f"{path}: column {name!r} holds {found}: expected numbers, truth values or texts in UTF-8. "
        f"Convert it, or leave the column out"
    )


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]
