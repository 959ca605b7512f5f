"""The configuration of a run: its settings, read from options and TOML, and written as TOML."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portadnn.cli import run_values as read
from portadnn.errors import InputError, unknown_name

if TYPE_CHECKING:
    from portadnn.network.optimizers import Optimizer
    from portadnn.training.lbfgs import LBFGS

DIGITS = "digits"  # the embedded ones
AUTO = "auto"
ALIASES = {"iterations": "epochs"}  # with the whole batch they are the same
# of one command, not of what it computes
COMMAND_ONLY = {"config", "out", "overwrite", "log", "tensorboard", "json", "quiet"}

DIGITS_DEFAULTS = {"layers": "64,32", "learning_rate": 0.5, "iterations": 1000}
FILE_DEFAULTS = {"layers": "20,7,5", "learning_rate": 0.0075, "iterations": 3000}
FEWEST_EPOCHS = 20  # by default, of minibatches


def _by(parse: Callable[[Any, str], Any], word_for_none: str = "") -> dict[str, Any]:
    """A setting's reader, and the word that stands for None."""
    return {"parse": parse, "word_for_none": word_for_none}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Every setting that decides what a run computes, in the order of the file.

    None is what its word says: "auto" what ``complete`` fills in, "none" and "all" themselves.
    """

    data: str = field(default=DIGITS, metadata=_by(read.path))
    test: str | None = field(default=AUTO, metadata=_by(read.path, "none"))
    validation: float | str | None = field(default=None, metadata=_by(read.share_or_path, "none"))
    layers: tuple[int, ...] | None = field(default=None, metadata=_by(read.layers, AUTO))
    activation: str | tuple[str, ...] = field(
        default="relu", metadata=_by(read.one_or_list(read.text))
    )
    init: str | tuple[str, ...] = field(default="he", metadata=_by(read.one_or_list(read.text)))
    optimizer: str = field(default="gradient_descent", metadata=_by(read.text))
    learning_rate: float | None = field(default=None, metadata=_by(read.number, AUTO))
    epochs: int | None = field(default=None, metadata=_by(read.whole, AUTO))
    batch_size: int | None = field(default=None, metadata=_by(read.whole, "all"))
    schedule: str = field(default="constant", metadata=_by(read.text))
    clip_norm: float | None = field(default=None, metadata=_by(read.number, "none"))
    l2: float = field(default=0.0, metadata=_by(read.number))
    l1: float = field(default=0.0, metadata=_by(read.number))
    dropout: float | tuple[float, ...] = field(
        default=0.0, metadata=_by(read.one_or_list(read.number))
    )
    class_weight: str | dict[str, float] | None = field(
        default=None, metadata=_by(read.class_weight, "none")
    )
    early_stopping: int | None = field(default=None, metadata=_by(read.whole, "none"))
    report_every: int | None = field(default=None, metadata=_by(read.whole, AUTO))
    first_layer: str = field(default=AUTO, metadata=_by(read.text))
    seed: int = field(default=3, metadata=_by(read.whole))
    backend: str = field(default=AUTO, metadata=_by(read.text))
    dtype: str = field(default="float32", metadata=_by(read.dtype))
    arithmetic: str = field(default="fast", metadata=_by(read.text))

    def solver(self) -> Optimizer | LBFGS:
        """What the optimizer's text names."""
        from portadnn.training.lbfgs import as_solver

        return as_solver(self.optimizer)

    def check(self) -> None:
        """Raise InputError for texts that name nothing, before any file is read."""
        from portadnn.network.initializers import as_initializer
        from portadnn.training.lbfgs import LBFGS
        from portadnn.training.schedules import as_schedule

        as_schedule(self.schedule)
        for init in (self.init,) if isinstance(self.init, str) else self.init:
            as_initializer(init)
        if isinstance(self.solver(), LBFGS) and self.learning_rate is not None:
            raise InputError(
                f"lbfgs chooses the length of its steps, so the learning rate "
                f"{self.learning_rate:g} cannot be had with it: leave it out, or say auto"
            )
        if self.early_stopping is not None and self.validation is None:
            raise InputError(
                f"early stopping ({self.early_stopping}) needs validation data: add a share such "
                f"as --validation 0.2, or a file"
            )

    def complete(self, m: int, *, has_test: bool, backend: str) -> RunConfig:
        """The same run with every default filled in, every text in full and paths absolute.

        Parameters
        ----------
        m : int
            The number of examples to learn from.
        has_test : bool
            Whether there are examples to test on.
        backend : str
            What "auto" took.
        """
        from portadnn.network.initializers import as_initializer
        from portadnn.training.fit import usual_report_every
        from portadnn.training.lbfgs import LBFGS
        from portadnn.training.schedules import as_schedule

        defaults: dict[str, Any] = DIGITS_DEFAULTS if self.data == DIGITS else FILE_DEFAULTS
        solver = self.solver()
        epochs, rate = self.epochs, self.learning_rate
        if epochs is None:
            epochs = defaults["iterations"]
            if self.batch_size is not None:
                steps_per_epoch = -(-m // max(self.batch_size, 1))  # 0 is refused later
                epochs = max(-(-epochs // steps_per_epoch), FEWEST_EPOCHS)
        if rate is None and not isinstance(solver, LBFGS):
            rate = solver.usual_rate(defaults["learning_rate"])
        every = self.report_every
        if every is None:
            every = usual_report_every(self.batch_size, solver)
        layers = read.layers(defaults["layers"], "") if self.layers is None else self.layers
        data = _absolute("data", self.data)
        test = data if self.test == AUTO else _absolute("test", self.test)
        inits = (self.init,) if isinstance(self.init, str) else self.init
        full_inits = tuple(str(as_initializer(init)) for init in inits)
        return dataclasses.replace(
            self,
            data=data,
            test=test if has_test else None,
            validation=_absolute("validation", self.validation),
            layers=layers,
            init=full_inits[0] if isinstance(self.init, str) else full_inits,
            optimizer=str(solver),
            learning_rate=rate,
            epochs=epochs,
            schedule=str(as_schedule(self.schedule)),
            report_every=every,
            backend=backend,
        )

    def values(self) -> dict[str, Any]:
        """The settings as TOML values, with absolute paths."""
        values: dict[str, Any] = {}
        for setting in dataclasses.fields(self):
            value = _absolute(setting.name, getattr(self, setting.name))
            if value is None:
                value = setting.metadata["word_for_none"]
            values[setting.name] = list(value) if isinstance(value, tuple) else value
        return values

    def to_toml(self) -> str:
        """A text from which ``read_config`` makes the same settings."""
        import tomli_w

        return tomli_w.dumps(self.values())


def config_from(given: Mapping[str, Any], file: Path | None = None) -> RunConfig:
    """The run of what was typed, over what the file says, over the defaults.

    Parameters
    ----------
    given : dict of str or None by the names of settings
        From the command line; None where nothing was typed.
    file : path, optional
        In TOML.

    Raises
    ------
    InputError
        If a value cannot be read, or a key of the file names no setting.
    """
    settings = {} if file is None else read_config(file)
    for name, value in given.items():
        if value is not None:
            settings[name] = parse_setting(name, value, f"--{name.replace('_', '-')}")
    config = RunConfig(**settings)
    config.check()
    return config


def read_config(file: Path) -> dict[str, Any]:
    """The settings of a TOML file; relative paths in it start at its own directory."""
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{file}: {what}: expected a TOML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not TOML: {error}") from error
    settings = parse_toml(text, str(file))
    for name, value in settings.items():
        if _is_path(name, value):
            settings[name] = os.path.join(file.parent, os.path.expanduser(value))
    return settings


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The settings of a TOML text, whose keys have hyphens or underscores."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits
        raise InputError(f"{source} is not TOML: {error}") from error
    settings: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        name = ALIASES.get(name, name)
        if name in COMMAND_ONLY:
            raise InputError(
                f"{source}: {key} belongs to one command, not to the run: give it as --{key}"
            )
        if name not in RunConfig.__dataclass_fields__:
            known = [setting.name for setting in dataclasses.fields(RunConfig)]
            raise unknown_name(f"key of {source}", key, known)
        if name in settings:
            raise InputError(f"{source}: {name} is given twice, the second time as {key}")
        settings[name] = parse_setting(name, value, f"{key} of {source}")
    return settings


def parse_setting(name: str, value: Any, what: str) -> Any:
    """A setting's value from a text or a TOML value; ``what`` names it in messages."""
    setting = RunConfig.__dataclass_fields__[name].metadata
    word = setting["word_for_none"]
    if word and isinstance(value, str) and value.strip() == word:
        return None
    return setting["parse"](value, what)


def _is_path(name: str, value: Any) -> bool:
    words = {"data": (DIGITS,), "test": (DIGITS, AUTO), "validation": ()}
    return isinstance(value, str) and name in words and value not in words[name]


def _absolute(name: str, value: Any) -> Any:
    return os.path.abspath(value) if _is_path(name, value) else value
