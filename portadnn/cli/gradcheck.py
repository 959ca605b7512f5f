"""``portadnn gradcheck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portadnn.cli.options import (
    EXIT_WRONG,
    FOR_MODEL,
    BackendOption,
    DataFile,
    DataOptions,
    JsonOption,
    LabelsFile,
    ModelFile,
    WholeNumber,
)

if TYPE_CHECKING:
    from portadnn.diagnostics import GradientCheck, TensorCheck


def gradcheck(
    model: ModelFile,
    /,
    data: DataFile = None,
    labels: LabelsFile = None,
    *,
    options: DataOptions = FOR_MODEL,
    examples: WholeNumber = 100,
    entries: WholeNumber = 50,
    seed: WholeNumber = 0,
    backend: BackendOption = "numpy",
    as_json: JsonOption = False,
) -> int:
    """Check the gradients of a model against differences of its cost, in float64.

    Exit code 1 if an entry is wrong, or if all are on kinks or too small to check.

    Parameters
    ----------
    examples
        How many of the first examples to take.
    entries
        How many entries of each parameter, drawn at random.
    seed
        Draws the entries.
    """
    from portadnn.choice import check_whole
    from portadnn.cli.output import print_json, table_text
    from portadnn.data.preprocess import targets_of
    from portadnn.diagnostics import check_gradients
    from portadnn.training.inference import check_fits, prepared
    from portadnn.training.models import load_model

    check_whole("--examples", examples, 1)
    check_whole("--entries", entries, 1)
    loaded = load_model(model)
    given = prepared(loaded, options.load(loaded, data, labels))
    check_fits(loaded, given, labelled=True)
    found = check_gradients(
        given.columns("float64", slice(examples)),
        targets_of(given, "float64", loaded.preprocess)[:, :examples],
        loaded.parameters,
        network=loaded.network,
        entries=entries,
        rng=seed,
        backend=backend,
    )
    if as_json:
        print_json(_as_json(found))
    else:
        print(table_text(_table(found)))
        print(_verdict(found))
    return 0 if found.passed and found.told else EXIT_WRONG


def _verdict(found: GradientCheck) -> str:
    checked = sum(tensor.checked for tensor in found.tensors)
    kinked = sum(tensor.kinked for tensor in found.tensors)
    wrong = sum(tensor.faults for tensor in found.tensors)
    if wrong:
        names = ", ".join(tensor.name for tensor in found.tensors if tensor.faults)
        return f"WRONG: {wrong} of {checked} gradients, in {names}"
    if not found.told:
        return (
            f"NOTHING CHECKED: {kinked} entries sit on kinks, and the other {checked} have "
            f"gradients too small to check by differences; try more examples, or another model"
        )
    return (
        f"right: {checked} gradients, of which {checked - found.told} are too small to tell; "
        f"{kinked} entries on kinks were not compared"
    )


def _table(found: GradientCheck) -> Any:
    from portadnn.cli.output import new_table

    numbers = (
        "shape", "compared", "on kinks", "too small", "wrong", "worst entry", "gradient",
        "difference", "error / allowed",
    )  # fmt: skip
    table = new_table(("parameter",), numbers)
    for tensor in found.tensors:
        counts = (tensor.checked, tensor.kinked, tensor.blind, tensor.faults)
        table.add_row(tensor.name, str(tensor.shape), *map(str, counts), *_worst(tensor))
    return table


def _worst(tensor: TensorCheck) -> tuple[str, ...]:
    worst = tensor.worst
    if worst is None:
        return ("", "", "", "")
    numbers = (f"{worst.gradient:.9g}", f"{worst.difference:.9g}", f"{worst.ratio:.2g}")
    return (str(worst.at), *numbers)


def _as_json(found: GradientCheck) -> dict[str, Any]:
    from dataclasses import asdict

    tensors = []
    for tensor in found.tensors:
        worst = tensor.worst and {**tensor.worst._asdict(), "ratio": tensor.worst.ratio}
        tensors.append({**asdict(tensor), "worst": worst})
    return {"passed": found.passed, "told": found.told, "tensors": tensors}
