"""What ``portadnn parity`` prints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from portadnn.parity.compare import BackendResult, Comparison
    from portadnn.parity.planted import Detection

MOST_KINKS = 10  # on the terminal; --json has all


def show(result: Comparison, html: Path | None, as_json: bool) -> int:
    """Print a comparison, write its report if asked to, and return the exit code."""
    from portadnn.cli.output import print_json, print_line, table_text

    if html is not None:
        from portadnn.report import write_report

        write_report(result, html)
    if as_json:
        print_json(_as_json(result))
        return result.outcome.exit_code
    print_line(table_text(_certificate_table(result)))
    for certificate in result.certificates:
        made_by = certificate.environment
        print_line(f"{certificate.backend}: {made_by['library']} on {made_by['device']}")
    for note in result.notes:
        print_line(note)
    for certificate in result.certificates:
        if certificate.mode_mismatch:
            print_line(f"{certificate.backend}: {certificate.mode}")
    if result.first_divergence:
        backend, check = result.first_divergence
        failed = next(c for c in result.certificates if c.backend == backend)
        whole = failed.full == result.run.steps
        earlier = "certified" if whole else "that was checked passed"
        print_line(f"{backend}: {check}; every earlier operation {earlier}")
        if failed.cause:
            print_line(f"{backend}: {failed.cause}")
    for certificate in result.certificates:
        if certificate.unsaid:
            print_line(
                f"{certificate.backend}: nothing can be said of {certificate.unsaid:,} operations: "
                f"their numbers or bounds are not finite"
            )
    unexplained = [kink for kink in result.kinks if not kink.undecidable]
    for kink in unexplained[:MOST_KINKS]:
        print_line(str(kink))
    if len(unexplained) > MOST_KINKS:
        print_line(f"... {len(unexplained):,} unexplained masks in all (--json has every one)")
    if lawful := [kink for kink in result.kinks if kink.undecidable]:
        print_line(
            f"{len(lawful):,} mask entries differ, the first at step {lawful[0].step}, where "
            f"rounding errors alone decide: that is lawful (--json has every one)"
        )
    steps = result.run.steps
    words = [_checked(certificate, steps) for certificate in result.certificates]
    if len(set(words)) > 1:
        words = [f"{w} on {c.backend}" for w, c in zip(words, result.certificates, strict=True)]
    said = "; ".join(dict.fromkeys(words))
    print_line(f"{result.outcome.value} over {steps} steps, checked: {said}")
    if html is not None:
        print_line(f"report: {html}")
    return result.outcome.exit_code


def _checked(certificate: BackendResult, steps: int) -> str:
    """How many steps were checked, and how, in words."""
    if certificate.full == steps:
        return "every operation of all of them"
    return f"every operation of {certificate.full}, nothing of {steps - certificate.full}"


def _certificate_table(result: Comparison) -> Any:
    from portadnn.cli.output import new_table

    noise = ("repeat", "threads", "batch split") if result.noise else ()
    numbers = ("steps", "operations", "largest ratio", "bits", *(f"noise, {key}" for key in noise))
    table = new_table(("backend", "verdict"), numbers)
    for certificate in result.certificates:
        largest = certificate.largest
        floor = result.noise.get(certificate.backend, {})
        bits = certificate.fewest_bits
        table.add_row(
            certificate.backend,
            certificate.outcome.value + _mode(certificate),
            str(certificate.full),
            f"{len(certificate.checks):,}",
            f"{largest.ratio:.3f} {largest.tensor}" if largest else "",
            f"{bits:.1f}" if bits is not None else "",
            *("" if (value := floor.get(key)) is None else f"{value:.2g}" for key in noise),
        )
    return table


def _mode(certificate: BackendResult) -> str:
    """The declared mode of products, if it is not the plain one."""
    plain = certificate.matmul == certificate.dtype
    return "" if plain else f" ({certificate.matmul} products)"


def _as_json(result: Comparison) -> dict[str, Any]:
    from dataclasses import asdict

    from portadnn.cli.output import network_json

    run = result.run
    kinks = [asdict(kink) | {"undecidable": kink.undecidable} for kink in result.kinks]
    return {
        "outcome": result.outcome.value,
        "network": network_json(run.network),
        "config": run.declaration.values(),
        "steps": run.steps,
        "coverage": len(result.checked) / run.steps,
        "certificates": [
            {
                "backend": certificate.backend,
                "outcome": certificate.outcome.value,
                "dtype": certificate.dtype,
                "matmul": certificate.matmul,
                "environment": certificate.environment,
                "steps_checked_in_full": certificate.full,
                "operations": len(certificate.checks),
                "largest_ratio": certificate.largest.ratio if certificate.largest else None,
                "fewest_bits": certificate.fewest_bits,
                "operations_unsaid": certificate.unsaid,
                "mode_mismatch": certificate.mode_mismatch,
                "mode": certificate.mode,
                "seconds": certificate.seconds,
                "noise": result.noise.get(certificate.backend),
                "first_failure": str(certificate.first_failure)
                if certificate.first_failure
                else None,
                "cause": asdict(certificate.cause) if certificate.cause else None,
            }
            for certificate in result.certificates
        ],
        "notes": result.notes,
        "kinks": kinks,
    }


def show_self_test(as_json: bool) -> int:
    """Run the self-test; exit code 1 if a fault is missed, misplaced, or flagged without cause."""
    from portadnn.cli.output import print_json, print_line, table_text
    from portadnn.parity.planted import self_test

    rows = self_test()
    passed = all(row.passed for row in rows)
    if as_json:
        faults = [
            {
                "fault": row.fault.name,
                "dtype": row.dtype,
                "result": row.result,
                "flag": str(row.flag) if row.flag else None,
                "cause": row.cause.name if row.cause else None,
            }
            for row in rows
        ]
        print_json({"passed": passed, "faults": faults})
    else:
        print_line(table_text(detection_table(rows)))
        print_line("the checker is sound" if passed else "the checker has FAILED")
    return 0 if passed else 1


def detection_table(rows: Iterable[Detection]) -> Table:
    """A row for each planted fault and dtype."""
    from portadnn.cli.output import new_table

    table = new_table(("planted, dtype", "in", "result", "first flag", "cause"), ("ratio",))
    for row in rows:
        flag, cause = row.flag, row.cause
        found = (f"step {flag.step}, {flag.tensor}", f"{flag.ratio:.3g}") if flag else ("", "")
        cells = f"{row.fault.name}, {row.dtype}", row.fault.tensor or "", row.result, found[0]
        table.add_row(*cells, cause.name if cause else "", found[1])
    return table
