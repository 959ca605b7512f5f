"""``portadnn parity``: compare backends, record a run, replay it elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from portadnn.cli.options import (
    AsTyped,
    BackendOption,
    DataFile,
    Isolated,
    JsonOption,
    LabelsFile,
    Library,
    WholeNumber,
    backend_of_run,
)
from portadnn.cli.parity_output import show, show_self_test
from portadnn.cli.run_options import (
    NOTHING_TYPED,
    ConfigOption,
    RunOptions,
    check_apart,
    declared_run,
    files_read,
)

if TYPE_CHECKING:
    from portadnn.parity.run import Run
    from portadnn.training.declaration import Declaration

StepsOption = Annotated[
    WholeNumber | None,
    Parameter(help="How many of the run's steps to make. Default 50, or all if it has fewer."),
]
HtmlOption = Annotated[
    Path | None, Parameter(name="--html", help="Write a report to this file as well.")
]

MOST_STEPS = 1_000_000

parity = App(name="parity", help="Prove that backends computed the same training.")


@parity.default
def compare(
    *backends: Annotated[Library, AsTyped],
    data: DataFile = None,
    labels: LabelsFile = None,
    options: RunOptions = NOTHING_TYPED,
    config: ConfigOption = None,
    steps: StepsOption = None,
    sample: Annotated[bool, Parameter(negative="")] = False,
    eager: Annotated[bool, Parameter(negative="")] = False,
    noise: bool = True,
    self_test: Annotated[bool, Parameter(negative="")] = False,
    html: HtmlOption = None,
    isolated: Isolated = False,
    as_json: JsonOption = False,
) -> int:
    """Make the same run on several backends and check every operation against derived bounds.

    Exit code 0 for parity (undecidable kinks included), 1 for SUSPECT or DIVERGED, 2 for bad input.

    Parameters
    ----------
    backends
        Two or more, such as numpy torch jax; one alone is only checked against float64 on the host.
    sample
        Check steps 0, 1, 2, 5, 10, 100, 1000 and the last instead of every step.
    eager
        Run op by op, also on a backend that would compile.
    noise
        Measure each backend's own noise floor: repeat, threads, batch split.
    self_test
        Plant a few faults in the step of training and show which are found.
    """
    from portadnn.errors import InputError
    from portadnn.parity.compare import compare as compare_backends
    from portadnn.parity.compare import sampled_steps
    from portadnn.parity.step.noise import noise_floor

    if self_test:
        if backends or html is not None:
            raise InputError("--self-test takes no backends and writes no report: leave them out")
        return show_self_test(as_json)
    if not backends:
        raise InputError("no backend was named: expected two or more, such as numpy torch")
    typed = {"data": data, "labels": labels, **vars(options)}
    if typed["backend"] is not None:
        raise InputError(
            f"--backend {typed['backend']}: name the backends without it, as in portadnn parity "
            f"numpy torch"
        )
    declared = declared_run(typed, config)
    chosen, refused = zip(*(backend_of_run(name, declared) for name in backends), strict=True)
    if all(refused):
        raise refused[0]
    _check_writable(html, files_read(declared, config))
    run = _run_of(declared, steps, isolated)
    checked = sampled_steps(run.steps) if sample else None
    result = compare_backends(run, chosen, checked=checked, jit=not eager)
    if noise:
        result.noise = {backend.name: noise_floor(run, backend) for backend in chosen}
    return show(result, html, as_json)


@parity.command
def record(
    *,
    out: Path,
    data: DataFile = None,
    labels: LabelsFile = None,
    options: RunOptions = NOTHING_TYPED,
    config: ConfigOption = None,
    steps: StepsOption = None,
    keep: str | None = None,
    isolated: Isolated = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a run on one backend and keep it in a file, to be checked and repeated elsewhere.

    Parameters
    ----------
    out
        The HDF5 file to write.
    keep
        Steps to keep in full, such as 0,1,49; the others leave a digest. Default 0, 1, 2, 5, 10,
        100, 1000 and the last.
    overwrite
        Replace a file that is there already.
    """
    from portadnn.cli.train import chosen_backend
    from portadnn.data.files import check_hdf5_name
    from portadnn.errors import InputError
    from portadnn.parity.bundles import record_bundle

    kept_steps = None if keep is None else _parse_steps(keep)
    declared = declared_run({"data": data, "labels": labels, **vars(options)}, config)
    backend, _ = chosen_backend(declared)
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists: choose another --out, or add --overwrite")
    _check_writable(out, files_read(declared, config))
    check_hdf5_name(out)
    run = _run_of(declared, steps, isolated)
    bundle = record_bundle(run, backend, out, keep=kept_steps)
    kept = ", ".join(str(record.step) for record in bundle.records)
    print(f"{run.steps} steps on {backend.name}, {declared.dtype}; steps {kept} kept in {out}")


@parity.command
def replay(
    bundle: Path,
    /,
    *,
    backend: BackendOption = "numpy",
    matmul: Literal["plain", "tf32"] = "plain",
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check a recorded run and make it again on a backend of this host.

    Exit code as for `portadnn parity`.

    Parameters
    ----------
    bundle
        A file of `portadnn parity record`.
    matmul
        As for `portadnn train`.
    """
    from portadnn.backends import get_backend
    from portadnn.parity.bundles import read_bundle
    from portadnn.parity.bundles import replay as replay_bundle

    loaded = read_bundle(bundle)
    chosen = get_backend(backend, dtype=loaded.dtype, matmul=matmul)
    _check_writable(html, [bundle])
    return show(replay_bundle(loaded, chosen), html, as_json)


def _run_of(declared: Declaration, steps: int | None, isolated: bool) -> Run:
    """The first steps of the run that ``portadnn train`` makes with the same options."""
    from portadnn.errors import InputError
    from portadnn.parity.run import Run
    from portadnn.training.problem import make_problem

    if steps is not None and steps > MOST_STEPS:
        raise InputError(f"--steps {steps}: expected {MOST_STEPS:,} or fewer")
    return Run.of(make_problem(declared, test=False, isolated=isolated), steps)


def _parse_steps(text: str) -> frozenset[int]:
    from portadnn.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--keep {text}: expected step numbers with commas, such as 0,1,49")
    return frozenset(map(int, parts))


def _check_writable(path: Path | None, read: Iterable[str | Path]) -> None:
    """Raise InputError before work starts if a file cannot be written there, or is an input."""
    from portadnn.errors import InputError

    if path is None:
        return
    check_apart([path], read)
    if path.is_dir():
        raise InputError(f"{path} is a directory: expected the name of a file")
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
