"""``portadnn backends``."""

from __future__ import annotations

from portadnn.blas import VARIABLE, kernel_for, this_processor
from portadnn.cli.options import JsonOption


def backends(*, as_json: JsonOption = False) -> None:
    """Show every backend: usable here, with version and devices, or why not and what to do.

    Also which BLAS kernel NumPy runs on, and which one this program chooses for this processor.
    """
    from dataclasses import asdict

    from portadnn.backends import list_backends
    from portadnn.backends.numpy import running_kernel
    from portadnn.cli.output import new_table, print_json, table_text

    statuses = list_backends()
    running, chosen = running_kernel(), kernel_for(this_processor())
    if as_json:
        listed = [asdict(status) for status in statuses]
        print_json({"backends": listed, "blas_kernel": {"running": running, "chosen": chosen}})
        return
    table = new_table(("backend", "version", "devices", "details"))
    for status in statuses:
        if status.report:
            report = status.report
            table.add_row(status.name, report.version, ", ".join(report.devices), report.details)
        else:
            table.add_row(status.name, "not usable", "", f"{status.cause}. {status.fix}")
    print(table_text(table))
    if running is None:
        print("BLAS kernel of NumPy: unknown, because its BLAS is not OpenBLAS")
    elif chosen is None:
        print(f"BLAS kernel of NumPy: {running}; this program leaves the choice to OpenBLAS")
    else:
        print(
            f"BLAS kernel of NumPy: {running}; to run your own programs on {chosen}: "
            f"export {VARIABLE}={chosen}"
        )
