"""``portadnn parity``: compare backends, record a run, replay it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from portadnn.cli.options import BackendOption, Dtype, JsonOption, WholeNumber, parse_layers
from portadnn.cli.parity_output import show, show_self_test

if TYPE_CHECKING:
    from portadnn.parity.run import Run

Matmul = Literal["float32", "float64", "tf32", "bfloat16"]
HtmlOption = Annotated[
    Path | None, Parameter(name="--html", help="Write a report to this file as well.")
]

MOST_STEPS = 1_000_000

parity = App(name="parity", help="Prove that backends computed the same training.")


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions:
    """The run that is made on every backend."""

    data: Annotated[Path | None, Parameter(help="HDF5 file; without it the digits.")] = None
    layers: Annotated[
        str | None, Parameter(help="Hidden widths. Default as for `portadnn train`.")
    ] = None
    activation: Annotated[str, Parameter(help="Of the hidden layers.")] = "relu"
    learning_rate: Annotated[float | None, Parameter(help="Default as for `portadnn train`.")] = (
        None
    )
    steps: Annotated[WholeNumber, Parameter(help="Iterations.")] = 50
    batch_size: Annotated[WholeNumber | None, Parameter(help="Default the whole batch.")] = None
    init: Annotated[str, Parameter(help="As for `portadnn train`.")] = "he"
    optimizer: Annotated[str, Parameter(help="As for `portadnn train`, but lbfgs.")] = (
        "gradient_descent"
    )
    schedule: Annotated[str, Parameter(help="As for `portadnn train`, but plateau.")] = "constant"
    l2: Annotated[float, Parameter(help="Penalty l2 / 2 sum(W^2).")] = 0.0
    l1: Annotated[float, Parameter(help="Penalty l1 sum(abs(W)).")] = 0.0
    clip_norm: Annotated[float | None, Parameter(help="Largest norm of all gradients.")] = None
    dropout: Annotated[float, Parameter(help="Share of the hidden units to drop.")] = 0.0
    first_layer: Annotated[
        Literal["feature", "sample"],
        Parameter(help="Form of the first layer; sample space is for data wider than many."),
    ] = "feature"
    class_weight: Annotated[Literal["balanced"] | None, Parameter(help="Weigh classes.")] = None
    seed: Annotated[
        WholeNumber | None, Parameter(help="Default draws as numpy.random.RandomState(3).")
    ] = None
    dtype: Dtype = "float32"
    matmul: Annotated[
        Matmul | None, Parameter(help="Declared mode of float32 products. Default plain.")
    ] = None

    def run(self) -> Run:
        """The declared run."""
        from portadnn.cli.run_config import DIGITS_DEFAULTS, FILE_DEFAULTS
        from portadnn.data.hdf5 import load_dataset, load_digits
        from portadnn.errors import InputError
        from portadnn.network.initializers import initialize_parameters_deep
        from portadnn.network.optimizers import as_optimizer
        from portadnn.parity.run import Run
        from portadnn.training.recipe import Recipe, check_schedule, dropout_rates
        from portadnn.training.sample_space import choose_form
        from portadnn.training.train import network_for
        from portadnn.training.weights import example_weights

        defaults: dict[str, Any] = DIGITS_DEFAULTS if self.data is None else FILE_DEFAULTS
        optimizer = as_optimizer(self.optimizer)
        rate = self.learning_rate
        if rate is None:
            rate = optimizer.usual_rate(defaults["learning_rate"])
        check_schedule(rate, self.steps, "steps")
        if self.steps > MOST_STEPS:
            raise InputError(f"--steps {self.steps}: expected {MOST_STEPS:,} or fewer")
        hidden = parse_layers(self.layers or defaults["layers"])
        data = load_digits()[0] if self.data is None else load_dataset(self.data, "train")
        data.check_range(self.dtype)
        network = network_for(data, hidden, self.activation)
        parameters = initialize_parameters_deep(network.layer_dims, init=self.init, rng=self.seed)
        X, Y = data.columns("float64"), data.targets("float64")
        recipe = Recipe(
            optimizer, self.l2, self.l1, self.clip_norm, dropout_rates(self.dropout, network)
        )
        run = Run(
            network,
            parameters,
            X,
            Y,
            rate,
            self.steps,
            self.batch_size,
            recipe=recipe,
            schedule=self.schedule,  # type: ignore[arg-type]  # a text
            weights=example_weights(data.labels, data.classes, self.class_weight),
        )
        if self.first_layer == "feature":
            return run
        choose_form(self.first_layer, network, run.plan)
        return run.in_sample_space(self.dtype)


@parity.default
def compare(
    *backends: str,
    options: RunOptions | None = None,
    sample: Annotated[bool, Parameter(negative="")] = False,
    every: WholeNumber | None = None,
    eager: Annotated[bool, Parameter(negative="")] = False,
    noise: bool = True,
    self_test: Annotated[bool, Parameter(negative="")] = False,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Make the same run on several backends and check every operation against derived bounds.

    Exit code 0 for parity (undecidable kinks included), 1 for SUSPECT or DIVERGED, 2 for bad input.

    Parameters
    ----------
    backends
        Two or more, such as numpy torch jax; one is checked against the float64 shadow alone.
    sample
        Check steps 0, 1, 2, 5, 10, 100, 1000 and the last in full, and as many others by random
        projections as the time of the run itself allows, instead of every step in full.
    every
        As --sample, with every so many-th step by random projections, whatever it costs.
    eager
        Run op by op also where a backend would compile.
    noise
        Measure each backend's own noise floor: repeat, threads, batch split.
    self_test
        Plant every known fault and show which are found.
    """
    from portadnn.backends import get_backend
    from portadnn.errors import InputError
    from portadnn.parity.compare import compare as compare_backends
    from portadnn.parity.noise import noise_floor
    from portadnn.parity.plan import affordable_plan, full_plan, sampled_plan

    options = options or RunOptions()
    if self_test:
        if backends or html is not None:
            raise InputError("--self-test takes no backends and writes no report")
        return show_self_test(as_json)
    if not backends:
        raise InputError("no backend was named: expected two or more, such as numpy torch")
    chosen = [get_backend(name, dtype=options.dtype) for name in backends]
    if every is not None and every < 1:
        raise InputError(f"--every {every}: expected 1 or more")
    run = options.run()
    _check_writable(html, options.data)
    if every is not None:
        plan = sampled_plan(run.steps, every)
    else:
        plan = affordable_plan(run, chosen[0]) if sample else full_plan(run.steps)
    result = compare_backends(run, chosen, plan=plan, matmul=options.matmul, jit=not eager)
    if noise:
        result.noise = {backend.name: noise_floor(run, backend) for backend in chosen}
    return show(result, html, as_json)


@parity.command
def record(
    *,
    out: Path,
    backend: BackendOption = "numpy",
    options: RunOptions | None = None,
    keep: str | None = None,
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
    from portadnn.backends import get_backend
    from portadnn.errors import InputError
    from portadnn.parity.bundles import record_bundle

    options = options or RunOptions()
    steps = None if keep is None else _parse_steps(keep)
    chosen = get_backend(backend, dtype=options.dtype)
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists: choose another --out, or add --overwrite")
    run = options.run()
    _check_writable(out, options.data)
    bundle = record_bundle(run, chosen, out, keep=steps, matmul=options.matmul)
    kept = ", ".join(str(record.step) for record in bundle.records)
    print(f"{run.steps} steps on {chosen.name}, {options.dtype}; steps {kept} kept in {out}")


@parity.command
def replay(
    bundle: Path,
    /,
    *,
    backend: BackendOption = "numpy",
    matmul: Matmul | None = None,
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
        Declared mode of this host's float32 products.
    """
    from portadnn.backends import get_backend
    from portadnn.parity.bundles import read_bundle
    from portadnn.parity.bundles import replay as replay_bundle

    loaded = read_bundle(bundle)
    chosen = get_backend(backend, dtype=loaded.dtype)
    _check_writable(html, bundle)
    return show(replay_bundle(loaded, chosen, matmul=matmul), html, as_json)


def _parse_steps(text: str) -> frozenset[int]:
    from portadnn.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--keep {text}: expected step numbers with commas, such as 0,1,49")
    return frozenset(map(int, parts))


def _check_writable(path: Path | None, given: Path | None = None) -> None:
    """Raise InputError before work starts if a file cannot be written there, or is the input."""
    from portadnn.errors import InputError

    if path is None:
        return
    if given is not None and path.resolve() == given.resolve():
        raise InputError(f"{path} is the file that is read: choose another to write")
    probe = path.with_name(f".{path.name}.probe")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
