"""``portadnn evaluate``."""

from __future__ import annotations

from pathlib import Path

from portadnn.cli.options import (
    FOR_MODEL,
    BackendOption,
    DataFile,
    DataOptions,
    Distributed,
    JsonOption,
    LabelsFile,
    ModelFile,
)


def evaluate(
    model: ModelFile,
    /,
    data: DataFile = None,
    labels: LabelsFile = None,
    *,
    options: DataOptions = FOR_MODEL,
    plots: Path | None = None,
    backend: BackendOption = "numpy",
    distributed: Distributed = None,
    as_json: JsonOption = False,
) -> None:
    """Print the score and the cost of a model on labelled data.

    Parameters
    ----------
    plots
        A directory for confusion.png and, of images, mistakes.png and weights.png.
    """
    from portadnn.cli.output import evaluation_json, evaluation_text, print_json
    from portadnn.cli.run_directory import (
        FIGURES,
        check_figures,
        writable_directory,
        write_figures,
    )
    from portadnn.parallel import together, working
    from portadnn.training.inference import evaluate as evaluate_model
    from portadnn.training.inference import predict as predict_model
    from portadnn.training.models import load_model

    with working(distributed) as ranks:
        with together(ranks):
            loaded = load_model(model)
            examples = options.load(loaded, data, labels)
        evaluation = evaluate_model(loaded, examples, backend=backend, ranks=ranks)
    if ranks is not None and not ranks.first:
        return
    files = {}
    if plots is not None:
        with writable_directory(plots, "--plots", list(FIGURES.values())):
            check_figures(plots, "--plots")
            prediction = predict_model(loaded, examples, backend=backend)
            written = write_figures(plots, loaded, examples, prediction)
            files = {what: str(plots / name) for what, name in written.items()}
    if as_json:
        result = {"data": examples.source, **evaluation_json(evaluation)}
        print_json(result | ({"files": files} if files else {}))
    else:
        print(evaluation_text(f"{examples.source}:", evaluation))
