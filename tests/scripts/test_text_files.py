"""Every text file of a script is read and written as UTF-8."""

import ast

import pytest
from support import SCRIPTS

PROGRAMS = [
    path
    for path in sorted(SCRIPTS.rglob("*"))
    if path.is_file()
    and (path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python"))
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_every_text_file_names_its_encoding(path):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            is_text = name in ("read_text", "write_text") or (
                isinstance(node.func, ast.Name)
                and name == "open"
                and not any(
                    isinstance(a, ast.Constant) and "b" in str(a.value) for a in node.args[1:]
                )
            )
            encodings = [k.value for k in node.keywords if k.arg == "encoding"]
            assert not is_text or [e.value for e in encodings] == ["utf-8"], ast.unparse(node)
