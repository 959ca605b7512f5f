"""The report of a comparison: one HTML file that needs nothing but itself."""

from __future__ import annotations

import os
from html import escape
from importlib.resources import files

from portadnn.data.files import whole_file
from portadnn.parity.compare import Comparison
from portadnn.report import sections

__all__ = ["write_report"]

# nothing is loaded and no script runs, whatever a name in the report holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the report of a comparison, whole or not at all.

    Parameters
    ----------
    comparison : Comparison
    path : path
        An existing file is replaced.
    """
    page = render(comparison)
    with whole_file(path) as file:
        file.write(page.encode())


def render(comparison: Comparison) -> str:
    """The report as HTML: the same text for the same comparison."""
    names = ", ".join(certificate.backend for certificate in comparison.certificates)
    parts = [
        sections.verdict(comparison),
        _section("First divergence", sections.divergence(comparison)),
        _section("Backends", sections.backends(comparison)),
        _section("Error against bound", sections.plots(comparison)),
        _section("Effective bits of products", sections.bits(comparison)),
        _section("Kink ledger", sections.kinks(comparison)),
        _section("Environments", sections.environments(comparison)),
        _section("The run", sections.run(comparison)),
    ]
    style = files(__name__).joinpath("style.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Parity of {escape(names)}: {comparison.outcome.value}</title>
<style>
{style}</style>
</head>
<body>
<main>
{"".join(parts)}</main>
</body>
</html>
"""


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}</section>\n" if content else ""
