"""One declaration of a run: everything that decides what it computes, as a frozen value.

``train``, the estimators, the program, parity and its bundles all make their runs from it, and
``config.toml`` is its text. This module does not import NumPy before a run is made, because the
program reads its options before it chooses a BLAS kernel.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from portadnn.choice import known_name
from portadnn.errors import InputError, unknown_name
from portadnn.training import texts
from portadnn.training.parts import SHA256, Part, held, names_part, value_of

if TYPE_CHECKING:
    from portadnn.network.optimizers import Optimizer
    from portadnn.network.spec import Network
    from portadnn.training.lbfgs import LBFGS
    from portadnn.training.recipe import Plan

DIGITS = "digits"  # the embedded ones
AUTO = "auto"
SEED = 3
# with the whole batch an iteration is an epoch
ALIASES = {"iterations": "epochs", "lr": "learning_rate", "activations": "activation"}
# options of `train` that do not affect the result; not allowed in config files
COMMAND_ONLY = {
    "config", "out", "overwrite", "resume", "resume_anyway", "checkpoint_every", "log",
    "tensorboard", "json", "quiet", "certify",
}  # fmt: skip

# with minibatches a run has as many steps as iterations, but at least the fewest epochs
DIGITS_DEFAULTS = {"layers": (64, 32), "learning_rate": 0.5, "iterations": 1000, "fewest": 20}
FILE_DEFAULTS = {"layers": (20, 7, 5), "learning_rate": 0.0075, "iterations": 3000, "fewest": 20}
MANY = 5000  # examples from which the defaults are minibatches and Adam
# measured in docs/measurements/defaults.md; rate and schedule hold if no optimizer is given
TABLE_DEFAULTS = {
    "layers": (64, 32), "optimizer": "adamw:weight_decay=2", "batch_size": 128, "iterations": 300,
    "fewest": 100, "rate": 0.002, "schedule": "cosine",
}  # fmt: skip
MANY_DEFAULTS = TABLE_DEFAULTS | {
    "layers": (256, 128), "optimizer": "adamw:weight_decay=0.1", "iterations": 4000, "fewest": 10
}  # fmt: skip


def _setting(
    default: Any, parse: Callable[[Any, str], Any], word: str = "", group: str = ""
) -> Any:
    """Its default and reader, the word that stands for None, and its option's group, if any."""
    metadata = {"parse": parse, "word_for_none": word, "group": group}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Every setting that decides what a run computes, in the order of ``config.toml``.

    A setting that has a text is held as that text, or as numbers. Arrays, a generator, an optimizer
    or a schedule of your own are held as a ``Part``. It does not hold callbacks.

    Parameters
    ----------
    data
        A file or a folder, or digits; in Python also a Dataset.
    labels
        The file with the labels, if they have one of their own; none, the default, looks for them
        with the data.
    target
        What to predict: a column of a table or several with commas between them, or the name of the
        dataset of labels in a file that holds several.
    task
        classification, multilabel, regression or counts; auto, the default, infers it from the
        labels.
    size
        The size to which pictures are brought, such as 64 or 48x64 (height and width); auto, the
        default, is the one they all have.
    preprocess
        standardise (the default for tables), with options such as
        standardise:missing=median,unknown=ignore; pixels, for whole numbers 0..255; or none (the
        default for all else).
    test
        A file or folder to test on, or none. Default what lies in or beside the data.
    validation
        The share of the training data to hold back and to score at every report, such as 0.2, a
        file (its test set, or its only set), or none.
    data_sha256
        The SHA-256 of the training examples and of a validation file; auto checks nothing.
    layers
        Widths of the hidden layers, such as 20,7,5, or none. Default 64,32 for the digits and for
        tables, 20,7,5 for other data, 256,128 from 5,000 examples on.
    activation
        The activation of all hidden layers, or one for each: relu, leaky_relu, sigmoid, tanh, ...
    head
        The head that the data must have, such as sigmoid; auto, the default, takes any.
    init
        How weights are drawn in all layers, or in each: zeros, normal, lecun, xavier or he. You can
        add _normal or _uniform, and :GAIN, such as xavier_uniform or normal:0.05. Default he.
    rng
        Draws the initial weights: a seed of numpy.random.default_rng, or randomstate:1, which draws
        those of the course. Default the value of seed.
    optimizer
        gradient_descent, momentum, nesterov, rmsprop, adam, adamw or lbfgs, with options such as
        momentum:0.95 or adam:beta1=0.8,weight_decay=0.01. Default gradient_descent, for
        tables adamw:weight_decay=2, and adamw:weight_decay=0.1 from 5,000 examples on.
    learning_rate
        The size of the steps. Default 0.5 for the digits and 0.0075 for other data, a tenth of it
        with momentum and nesterov, 0.001 with rmsprop, adam and adamw, and 0.002 for tables and
        from 5,000 examples on if neither optimizer nor schedule is given. lbfgs does not have one.
    epochs
        Passes over the data. Default 1000 for the digits and 3000 for other data; with minibatches
        as many as make that number of steps, but at least 20. By default for tables as many as make
        300 steps, but at least 100, and from 5,000 examples on 4,000 steps, but at least 10.
    batch_size
        Examples in a step, shuffled in every epoch, or all. Default all, and 128 for tables and
        from 5,000 examples on.
    shuffle
        Whether every epoch has an order of its own.
    schedule
        How the learning rate changes: constant, step, exponential, cosine or plateau, with options
        such as step:every=100,factor=0.5 or cosine:warmup=5. Default constant, and cosine for
        tables and from 5,000 examples on if no optimizer is given.
    clip_norm
        The largest norm of all gradients together, or none.
    l2
        L2 / 2 times the sum of the squared weights is added to the cost.
    l1
        L1 times the sum of the weights' magnitudes is added to the cost.
    dropout
        The share of units that every step drops, of all hidden layers or of each: 0.2 or 0.3,0.1.
    label_smoothing
        The share of every label that is spread evenly over all classes.
    class_weight
        balanced, NAME=WEIGHT,NAME=WEIGHT, or none.
    sample_weight
        An array with a weight for each example, or none.
    early_stopping
        Stop when the validation cost has not fallen for this many reports, and keep the best
        weights; or none.
    report_every
        Epochs between two reports, which are rows of history.json. Default 100 if an epoch is one
        step, else 1.
    first_layer
        How the first layer is computed: feature is the plain form, sample the same with fewer
        operations for few examples of many values; auto, the default, takes the cheaper one.
    seed
        Draws the shuffles, dropout and the share for validation. Default that of rng, or 3.
    backend
        numpy, cupy, torch, jax, dask or strict; a device can follow after a colon (cupy:1,
        torch:cuda, jax:gpu); auto, the default, takes a working GPU through CuPy if its steps are
        estimated to be faster, else NumPy.
    dtype
        float32, the default, or float64: the precision of data, weights and arithmetic.
    arithmetic
        fast, the default, is the library's own; reproducible gives the same bits on every backend,
        number of threads and device, and takes longer.
    matmul
        plain, the default: products in the dtype. tf32 lets an NVIDIA GPU round the operands of
        float32 products to 11 significant bits, which is faster.
    """

    data: Any = _setting(DIGITS, texts.path)
    labels: Any = _setting(None, texts.path, "none")
    target: Any = _setting((), texts.names, "", "Data")
    task: str | None = _setting(None, texts.text, AUTO, "Data")
    size: Any = _setting(None, texts.size, AUTO, "Data")
    preprocess: Any = _setting(None, texts.text, AUTO, "Data")
    test: str | None = _setting(AUTO, texts.path, "none", "Data")
    validation: Any = _setting(None, texts.share_or_path, "none", "Data")
    data_sha256: str | None = _setting(None, texts.sha256, AUTO)
    layers: Any = _setting(None, texts.layers, AUTO, "Network")
    activation: Any = _setting("relu", texts.one_or_list(texts.text), "", "Network")
    head: str | None = _setting(None, texts.text, AUTO)
    init: Any = _setting("he", texts.one_or_list(texts.text), "", "Network")
    rng: Any = _setting(None, texts.draw, AUTO, "Network")
    optimizer: Any = _setting(None, texts.text, AUTO, "Descent")
    learning_rate: Any = _setting(None, texts.number, AUTO, "Descent")
    epochs: Any = _setting(None, texts.whole, AUTO, "Descent")
    batch_size: Any = _setting(AUTO, texts.whole_or_auto, "all", "Descent")
    shuffle: bool = _setting(True, texts.truth)
    schedule: Any = _setting(None, texts.text, AUTO, "Descent")
    clip_norm: float | None = _setting(None, texts.number, "none", "Descent")
    l2: float = _setting(0.0, texts.number, "", "Against overfitting")
    l1: float = _setting(0.0, texts.number, "", "Against overfitting")
    dropout: Any = _setting(0.0, texts.one_or_list(texts.number), "", "Against overfitting")
    label_smoothing: float = _setting(0.0, texts.number, "", "Against overfitting")
    class_weight: Any = _setting(None, texts.class_weight, "none", "Against overfitting")
    sample_weight: Any = _setting(None, texts.nothing, "none")
    early_stopping: Any = _setting(None, texts.whole, "none", "Against overfitting")
    report_every: int | None = _setting(None, texts.whole, AUTO, "Descent")
    first_layer: str = _setting(AUTO, texts.text, "", "Machine")
    seed: Any = _setting(None, texts.whole, AUTO, "Machine")
    backend: str = _setting(AUTO, texts.text, "", "Machine")
    dtype: str = _setting("float32", texts.dtype, "", "Machine")
    arithmetic: str = _setting("fast", texts.text, "", "Machine")
    matmul: str | None = _setting(None, texts.text, "plain", "Machine")

    def __post_init__(self) -> None:
        for name in SETTINGS:
            object.__setattr__(self, name, held(name, getattr(self, name)))
        if isinstance(self.rng, str):
            object.__setattr__(self, "rng", texts.draw(self.rng, "rng"))

    def given(self, name: str) -> Any:
        """The setting as it was given, also if it is a part.

        Raises
        ------
        InputError
            If only its digest is known.
        """
        value = getattr(self, name)
        if isinstance(value, tuple):
            return tuple(value_of(name, item) for item in value)
        return value_of(name, value)

    @property
    def solver(self) -> Optimizer | LBFGS:
        """The optimizer, or L-BFGS."""
        from portadnn.training.lbfgs import as_solver

        return as_solver(self.given("optimizer") or "gradient_descent")

    def complete(self, m: int, *, table: bool = False, **known: Any) -> Declaration:
        """The same run with every default filled in, every text in full and paths absolute.

        Parameters
        ----------
        m : int
            The number of examples to learn from.
        table : bool
            Whether they are the rows of a table, which has other defaults.
        **known
            Settings that were found out since, such as the backend that "auto" took.

        Raises
        ------
        InputError
            If a text names nothing, or two settings exclude each other. No file is read for it.
        """
        from portadnn.network.initializers import as_initializer
        from portadnn.network.losses import HEADS
        from portadnn.training.fit import usual_report_every
        from portadnn.training.lbfgs import LBFGS
        from portadnn.training.schedules import as_schedule

        def in_full(init: Any) -> Any:
            return init if isinstance(init, Part) else as_initializer(init)

        defaults: dict[str, Any] = DIGITS_DEFAULTS if self.data == DIGITS else FILE_DEFAULTS
        if table or m >= MANY:
            defaults = FILE_DEFAULTS | (MANY_DEFAULTS if m >= MANY else TABLE_DEFAULTS)
        if self.optimizer is None:
            usual = {"optimizer": defaults.get("optimizer", "gradient_descent")}
            if self.schedule is None and "schedule" in defaults:
                rate = defaults["rate"] if self.learning_rate is None else self.learning_rate
                usual |= {"schedule": defaults["schedule"], "learning_rate": rate}
            return replace(self, **usual).complete(m, table=table, **known)
        solver = self.solver
        epochs, rate, batch_size = self.epochs, self.learning_rate, self.batch_size
        if batch_size == AUTO:
            batch_size = None if isinstance(solver, LBFGS) else defaults.get("batch_size")
            batch_size = None if batch_size is None else min(batch_size, m)
        if epochs is None:
            epochs = defaults["iterations"]
            if batch_size is not None:
                steps_per_epoch = -(-m // max(batch_size, 1))  # 0 is refused later
                epochs = max(-(-epochs // steps_per_epoch), defaults["fewest"])
        if not isinstance(solver, LBFGS):
            rate = solver.usual_rate(defaults["learning_rate"]) if rate is None else rate
        elif rate is not None:
            raise InputError(
                f"learning_rate {rate} cannot be combined with lbfgs, which chooses its own step "
                f"length: remove it, or set it to auto"
            )
        every = self.report_every
        if every is None:
            every = usual_report_every(batch_size, solver)
        filled = {
            "test": self.data if self.test == AUTO else self.test,
            "layers": defaults["layers"] if self.layers is None else self.layers,
            "init": tuple(map(in_full, self.init))
            if isinstance(self.init, tuple)
            else in_full(self.init),
            "head": self.head and known_name("head", self.head, HEADS),
            "optimizer": solver,
            "learning_rate": rate,
            "batch_size": batch_size,
            "epochs": epochs,
            "schedule": as_schedule(self.given("schedule") or "constant"),
            "report_every": every,
            "seed": self.seeds[1],
        } | known
        values = {name: filled.get(name, getattr(self, name)) for name in SETTINGS}
        return Declaration(**{name: _absolute(name, value) for name, value in values.items()})

    @property
    def seeds(self) -> tuple[Any, Any]:
        """The seed or generator of the initial weights, and the seed of everything else."""
        rng, seed = self.rng, self.seed
        if seed is None:
            seed = rng if isinstance(rng, int) else SEED
        return seed if rng is None else rng, seed

    def network(self, n_x: int, outputs: int, head: str) -> Network:
        """The hidden layers between ``n_x`` values and the outputs of a head."""
        from portadnn.network.spec import Network

        layers = self.layers
        if isinstance(layers, str) or not isinstance(layers, Iterable):
            raise InputError(
                f"layers is {layers!r}: expected a sequence of widths, such as [20, 7, 5]"
            )
        if self.head not in (None, head):
            raise InputError(f"the head is {self.head!r}: expected {head!r} for these data")
        return Network((n_x, *layers, outputs), self.activation, head)

    def parameters(self, network: Network) -> dict[str, Any]:
        """The initial parameters, float64 on the host."""
        from portadnn.network.initializers import initialize_parameters_deep

        rng, init = value_of("rng", self.seeds[0]), self.given("init")
        if isinstance(init, Mapping):  # the weights of a model
            network.check(init)
            return {name: p.astype("float64") for name, p in init.items()}
        return initialize_parameters_deep(network.layer_dims, init=init, rng=rng)

    def plan(self, network: Network, m: int, *, first_epoch: int = 0, first_step: int = 0) -> Plan:
        """The steps of the run over m examples; L-BFGS makes its own, under the same penalties.

        A run that goes on has already made ``first_epoch`` epochs and ``first_step`` steps.
        """
        from portadnn.network.optimizers import GradientDescent
        from portadnn.training.lbfgs import LBFGS
        from portadnn.training.recipe import Plan, Recipe, dropout_rates
        from portadnn.training.streams import Batches

        full, solver, rate = self.complete(m), self.solver, 1.0
        if isinstance(solver, LBFGS):
            solver = GradientDescent()
        else:
            rate = full.learning_rate
        static = {
            setting.name: getattr(full, setting.name) for setting in dataclasses.fields(Recipe)
        }
        dropout = dropout_rates(full.dropout, network)
        recipe = Recipe(**static | {"optimizer": solver, "dropout": dropout})
        batches = Batches(m, full.batch_size, full.seed, full.shuffle, first_epoch=first_epoch)
        return Plan(rate, full.epochs, batches, recipe, full.given("schedule"), first_step)

    def values(self) -> dict[str, Any]:
        """The settings as TOML values, with absolute paths."""
        return {name: _toml_value(name, getattr(self, name)) for name in SETTINGS}

    def to_toml(self) -> str:
        """A text from which ``from_toml`` makes the same declaration, if every part is a text."""
        import tomli_w

        return tomli_w.dumps(self.values())

    @classmethod
    def from_toml(cls, text: str, source: str = "the text", *, parts: bool = False) -> Declaration:
        """The declaration of a TOML text.

        Parameters
        ----------
        text : str
        source : str
            What to call it in messages.
        parts : bool
            Take parts that are known by their digests alone, because they lie elsewhere.

        Raises
        ------
        InputError
            If the text is not TOML, or a key or a value of it cannot be used.
        """
        return cls(**parse_toml(text, source, parts=parts))


SETTINGS = {setting.name: setting for setting in dataclasses.fields(Declaration)}


def parse_toml(text: str, source: str, *, parts: bool = False) -> dict[str, Any]:
    """The settings of a TOML text, whose keys have hyphens or underscores."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits
        raise InputError(f"{source} is not TOML: {error}") from error
    settings: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        name = ALIASES.get(name, name)
        if name in COMMAND_ONLY:
            raise InputError(
                f"{source}: {key} belongs to one command, not to the run: give it as --{key}"
            )
        if name not in SETTINGS:
            raise unknown_name(f"key of {source}", key, SETTINGS)
        if name in settings:
            raise InputError(f"{source}: {name} is given twice, the second time as {key}")
        settings[name] = parse_setting(name, value, f"{key} of {source}", parts=parts)
    return settings


def parse_setting(name: str, value: Any, what: str, *, parts: bool = False) -> Any:
    """A setting's value from a text or a TOML value; ``what`` names it in messages."""
    setting = SETTINGS[name].metadata
    word = setting["word_for_none"]
    if word and isinstance(value, str) and value.strip() == word:
        return None
    if isinstance(value, list) and any(map(names_part, value)):
        return tuple(parse_setting(name, item, what, parts=parts) for item in value)
    if not names_part(value):
        return setting["parse"](value, what)
    if not parts:
        digest, _, kind = value.removeprefix(SHA256).partition(" of ")
        raise InputError(
            f"{what} is known by its SHA-256 alone ({digest[:12]}...), because a {kind or 'part'} "
            f"of your own has no text: make the run in Python, and give it to portadnn.train"
        )
    return Part(None, value)


def is_path(name: str, value: Any) -> bool:
    """Whether the value of a setting is the path of a file."""
    words = {"data": (DIGITS,), "test": (DIGITS, AUTO), "validation": (), "labels": ()}
    return isinstance(value, str) and name in words and value not in words[name]


def _absolute(name: str, value: Any) -> Any:
    return os.path.abspath(value) if is_path(name, value) else value


def _toml_value(name: str, value: Any) -> Any:
    if value is None:
        return SETTINGS[name].metadata["word_for_none"]
    if isinstance(value, Part):
        return value.text
    if isinstance(value, tuple):
        return [_toml_value(name, item) for item in value]
    return _absolute(name, value)
