"""``portadnn backends``."""

from __future__ import annotations

from portadnn.cli.options import JsonOption


def backends(*, as_json: JsonOption = False) -> None:
    """Show every backend: usable here, with version and devices, or why not and what to do."""
    from dataclasses import asdict

    from rich import box
    from rich.table import Table

    from portadnn.backends import list_backends
    from portadnn.cli.output import print_json, table_text

    statuses = list_backends()
    if as_json:
        print_json({"backends": [asdict(status) for status in statuses]})
        return
    table = Table(box=box.SIMPLE)
    for heading in ("backend", "version", "devices", "details"):
        table.add_column(heading, overflow="fold")
    for status in statuses:
        if status.report:
            report = status.report
            table.add_row(status.name, report.version, ", ".join(report.devices), report.details)
        else:
            table.add_row(status.name, "not usable", "", f"{status.cause}. {status.fix}")
    print(table_text(table))
