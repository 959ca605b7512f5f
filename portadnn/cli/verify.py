"""``portadnn verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from portadnn.cli.options import (
    EXIT_WRONG,
    Isolated,
    JsonOption,
    LabelsFile,
    ModelFile,
    backend_of_run,
)


def verify(
    model: ModelFile,
    /,
    *,
    certificate: Path | None = None,
    data: str | None = None,
    labels: LabelsFile = None,
    replay: str | None = None,
    isolated: Isolated = False,
    whole: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonOption = False,
) -> int:
    """Check that a model, its data and its certificate belong together.

    The settings in config.toml beside the model are compared as well. Exit code 1 if anything does
    not fit; every difference is named.

    Parameters
    ----------
    certificate
        Default certificate.json beside the model.
    data
        The file or folder that the run learnt from, or digits, if it is not where the run found it.
    replay
        A backend, such as numpy: steps of the run are made again on it, from the states in
        certificate.h5, and checked there.
    whole
        With --replay, make the whole run again from its beginning.
    """
    from portadnn.cli.output import print_json, print_line
    from portadnn.cli.run_directory import CERTIFICATE, FILES
    from portadnn.cli.run_options import read_config
    from portadnn.data.directories import present
    from portadnn.errors import InputError
    from portadnn.parity.certificate import Certificate, data_digests
    from portadnn.parity.replay import repeated, replayed
    from portadnn.training.declaration import Declaration
    from portadnn.training.models import load_model
    from portadnn.training.problem import make_problem

    if whole and replay is None:
        raise InputError("--whole is for --replay BACKEND: add it")
    path = present(model.parent / CERTIFICATE) if certificate is None else certificate
    read = Certificate.read(path)
    config = present(model.parent / FILES["config"])
    declared = Declaration(**read_config(config)).values() if config.exists() else {}
    loaded, again = load_model(model), ""
    failures = read.check_model(loaded, declared)
    problem = make_problem(
        read.declaration(data, None if labels is None else str(labels)),
        test=False,
        isolated=isolated,
    )
    for part in problem.examples:
        failures += read.check_data(part, data_digests(problem, part))
    if replay is not None and not failures:
        backend, _ = backend_of_run(replay, problem.declaration)
        if whole:
            failures, again = read.check_replay(replayed(read, problem, backend)), "made again"
        else:
            failures, steps = repeated(read, path, loaded, problem, backend)
            again = f"{len(steps)} of its steps made again"
        again = f"; {again} on {replay}, at parity"
    if as_json:
        print_json({"certificate": str(path), "fits": not failures, "failures": failures})
    elif failures:
        for failure in failures:
            print_line(failure)
    else:
        print_line(f"{model}, its data and its certificate belong together{again}")
        print_line(str(read))
    return EXIT_WRONG if failures else 0
