"""``portadnn backends``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from portadnn.blas import VARIABLE, kernel_for, this_processor
from portadnn.cli.options import JsonOption
from portadnn.errors import InputError

if TYPE_CHECKING:
    from portadnn.parity.run import Run

# for each of three measurements; the fastest counts
NETWORK, EXAMPLES, STEPS = "784,512,512,10", 256, 32


def backends(
    network: str | None = None,
    /,
    *,
    time: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the version and devices of every backend, or why it cannot be used and what to do.

    Also show the BLAS kernel that NumPy uses, and the one that this program chooses here.

    Parameters
    ----------
    network
        With --time: the widths of input, hidden layers and output. Default 784,512,512,10.
    time
        Measure a step of gradient descent with 256 examples in float32 on each usable backend, and
        show the estimate by which --backend auto chooses.
    """
    from dataclasses import asdict

    from portadnn.backends import list_backends
    from portadnn.backends.numpy import running_kernel
    from portadnn.cli.output import new_table, print_json, table_text

    if network is not None and not time:
        raise InputError(f"the network {network} is for --time: add it")
    run = _run(network or NETWORK) if time else None
    statuses = list_backends()
    running, chosen = running_kernel(), kernel_for(this_processor())
    times = {s.name: _times(run, s.name) for s in statuses if run and s.usable}
    if as_json:
        listed = [asdict(status) | times.get(status.name, {}) for status in statuses]
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
    if run:
        table = new_table(("backend", "device"), ("a step", "estimated"))
        for name, found in times.items():
            shown = (f"{1e6 * s:,.0f} us" if s else "" for s in found["step_seconds"].values())
            table.add_row(name, found["device"], *shown)
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


def _run(network: str) -> Run:
    """Gradient descent on drawn data."""
    import numpy as np

    from portadnn.network.initializers import initialize_parameters_deep
    from portadnn.network.spec import Network
    from portadnn.parity.run import Run
    from portadnn.training import texts
    from portadnn.training.declaration import Declaration

    dims, rng = texts.layers(network, "the network"), np.random.default_rng(0)
    if len(dims) < 2:
        raise InputError(f"the network {network}: expected two widths or more, such as {NETWORK}")
    made, drawn = Network(dims, "relu", "sigmoid"), initialize_parameters_deep(dims, rng=rng)
    X, Y = (rng.random((n, EXAMPLES)) for n in (dims[0], dims[-1]))
    return Run(made, drawn, X, Y, Declaration(learning_rate=0.01, epochs=STEPS))


def _times(run: Run, name: str) -> dict[str, Any]:
    """The device and the time of a step there: measured, and estimated if there is an estimate."""
    from time import perf_counter

    from portadnn.backends import get_backend
    from portadnn.backends.estimate import COSTS, Size, step_seconds
    from portadnn.backends.trees import flatten
    from portadnn.parity.run import on_backend
    from portadnn.training.step import make_step

    backend, seconds = get_backend(name), []
    with backend.scope():
        shared, state = on_backend(run, backend)
        step = make_step(run.network, backend.xp, recipe=run.recipe)
        for _ in range(4):  # the first compiles
            inputs = run.inputs(0, STEPS, backend)
            started = perf_counter()
            backend.synchronize(*flatten(backend.repeat(step, state, inputs, shared))[0])
            seconds.append((perf_counter() - started) / STEPS)
    size = Size(run.network.layer_dims, EXAMPLES, 0, STEPS)
    estimated = step_seconds(backend, size) if name in COSTS else None
    both = {"measured": min(seconds[1:]), "estimated": estimated}
    return {"device": backend.device_text, "step_seconds": both}
