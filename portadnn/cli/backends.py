"""``portadnn backends``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portadnn.blas import VARIABLE
from portadnn.cli.options import JsonOption

if TYPE_CHECKING:
    from portadnn.backends.kernels import KernelAdvice


def backends(*, as_json: JsonOption = False) -> None:
    """Show every backend: usable here, with version and devices, or why not and what to do.

    And which BLAS kernel NumPy runs on, whether another would be faster here, and how to get it.
    """
    from dataclasses import asdict

    from rich import box
    from rich.table import Table

    from portadnn.backends import list_backends
    from portadnn.backends.kernels import kernel_advice
    from portadnn.cli.output import print_json, table_text

    advice = kernel_advice()  # timed before other libraries start threads
    statuses = list_backends()
    if as_json:
        listed = [asdict(status) for status in statuses]
        print_json({"backends": listed, "blas_kernel": asdict(advice)})
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
    print(_kernel_text(advice))


def _kernel_text(advice: KernelAdvice) -> str:
    kernel = f"BLAS kernel of NumPy: {advice.running or 'unknown'}"
    if advice.default not in (None, advice.running):
        kernel += f" ({advice.default} where {VARIABLE} is not set)"
    return f"{kernel}; {advice.text}"
