"""Dicts and tuples of arrays as flat lists, and back."""

from __future__ import annotations

from typing import Any


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of dicts and tuples, named ones too, and their structure."""
    if isinstance(tree, dict):
        parts = [flatten(x) for x in tree.values()]
        return [leaf for leaves, _ in parts for leaf in leaves], (
            tuple(tree),
            tuple(structure for _, structure in parts),
        )
    if isinstance(tree, tuple):
        parts = [flatten(x) for x in tree]
        return [leaf for leaves, _ in parts for leaf in leaves], (
            getattr(tree, "_make", tuple),
            tuple(structure for _, structure in parts),
        )
    return [tree], None


def unflatten(structure: Any, leaves: Any) -> Any:
    if structure is None:
        return next(leaves)
    form, structures = structure
    parts = [unflatten(part, leaves) for part in structures]
    return form(parts) if callable(form) else dict(zip(form, parts, strict=True))
