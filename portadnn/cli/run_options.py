"""The options that declare a run, made from the settings of ``Declaration``, and its file."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from cyclopts import Group, Parameter

from portadnn.choice import check_number
from portadnn.cli.options import AsTyped, Dtype, Library
from portadnn.errors import InputError
from portadnn.training import texts
from portadnn.training.declaration import (
    ALIASES,
    SETTINGS,
    Declaration,
    is_path,
    parse_setting,
    parse_toml,
)

MAY_BE_TYPED = ("epochs", "backend", "test")  # with --resume, beside the path of the same data

ConfigOption = Annotated[
    Path | None,
    Parameter(
        help="A TOML file with the same names (batch_size = 32), for example config.toml of an "
        "earlier run. Options on the command line override it."
    ),
]

# Types for the help and the shell: the names of a setting, or what its reader returns. A test
# compares the names with the library's, whose import needs NumPy
_NAMES: dict[str, Any] = {
    "task": Literal["classification", "multilabel", "regression", "counts"],
    "activation": Literal["sigmoid", "relu", "leaky_relu", "tanh", "identity", "softmax"],
    "init": Literal["zeros", "normal", "lecun", "xavier", "he"],
    "optimizer": Literal[
        "gradient_descent", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lbfgs"
    ],
    "schedule": Literal["constant", "step", "exponential", "cosine", "plateau"],
    "first_layer": Literal["auto", "sample", "feature"],
    "backend": Library,
    "dtype": Dtype,
    "arithmetic": Literal["fast", "reproducible"],
    "matmul": Literal["plain", "tf32"],
}
_KINDS: dict[Any, Any] = {
    texts.number: float,
    texts.whole: int,
    texts.whole_or_auto: int,
    texts.layers: int,
    texts.size: int,
    texts.draw: int | str,
    texts.path: Path,
    texts.share_or_path: float | Path,
}


def _options() -> type:
    """A dataclass with a text for each setting that has a group; None if nothing was typed."""
    groups: dict[str, Group] = {}
    fields = []
    for name, setting in SETTINGS.items():
        group = setting.metadata["group"]
        if group:
            groups.setdefault(group, Group(group, sort_key=len(groups) + 1))
            names = [name, *(alias for alias, of in ALIASES.items() if of == name)]
            options = [f"--{option.replace('_', '-')}" for option in names]
            parameter = Parameter(name=options, group=groups[group], show_default=False)
            kind = _NAMES.get(name) or _KINDS.get(inspect.unwrap(setting.metadata["parse"]), str)
            hint: Any = Annotated[Optional[kind], AsTyped, parameter]  # noqa: UP045
            fields.append((name, hint, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("RunOptions", fields, frozen=True, kw_only=True)
    made.__doc__ = Declaration.__doc__  # the help of each
    made.__module__ = __name__
    return Parameter(name="*")(made)


if TYPE_CHECKING:

    class RunOptions:
        """The raw text of each option; None if it was not given."""
else:
    RunOptions = _options()

NOTHING_TYPED = RunOptions()


def declared_run(given: Mapping[str, Any], file: Path | None = None) -> Declaration:
    """The run to make: typed options override the file, and the file overrides the defaults.

    Parameters
    ----------
    given : dict of str or None by the names of settings
        The texts of the command line; None for a setting that was not typed.
    file : path, optional
        A TOML file.

    Raises
    ------
    InputError
        If a value cannot be read, or a key of the file names no setting.
    """
    settings = {} if file is None else read_config(file)
    typed = {name: value for name, value in given.items() if value is not None}
    declared_file = settings.get("validation")
    for name, value in typed.items():
        settings[name] = parse_setting(name, value, f"--{name.replace('_', '-')}")
    files = [isinstance(v, str) for v in (declared_file, settings.get("validation"))]
    if "data" in typed:
        settings["labels"] = typed.get("labels")  # the file's labels are those of other examples
    if "data" in typed or ("validation" in typed and any(files)):
        settings.pop("data_sha256", None)  # the digest in the file is that of other examples
    declared = Declaration(**settings)
    declared.complete(1)  # so that an unknown name is an error before any file is read
    if declared.early_stopping is not None and declared.validation is None:
        raise InputError(
            f"early stopping ({declared.early_stopping}) needs validation data: add a share such "
            f"as --validation 0.2, or a file"
        )
    return declared


def resumed_run(declared: Declaration, given: Mapping[str, Any]) -> Declaration:
    """The run to go on with: the declared one, with what was typed if that may change.

    Raises
    ------
    InputError
        If another setting was typed.
    """
    typed = {name: value for name, value in given.items() if value is not None}
    for name in typed:
        if name not in (*MAY_BE_TYPED, "data", "labels"):
            raise InputError(
                f"--{name.replace('_', '-')} cannot be combined with --resume, since the run goes "
                f"on as it was declared: expected only --epochs, --backend or --test"
            )
    changed = {name: parse_setting(name, value, f"--{name}") for name, value in typed.items()}
    return dataclasses.replace(declared, **changed)


def parse_every(text: str | None) -> float | None:
    """Seconds from a text such as "60s", "5m" or "1h"; None for "off"."""
    if text == "off":
        return None
    text = "60s" if text is None else text
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        seconds = float(text if unit is None else text[:-1])
    except ValueError:
        raise InputError(
            f"--checkpoint-every is {text!r}: expected a time such as 60s, 5m or 1h, or off"
        ) from None
    return check_number("--checkpoint-every", seconds * (unit or 1), 0.0)


def read_config(file: Path) -> dict[str, Any]:
    """The settings of a TOML file; relative paths in it start at its own directory."""
    from portadnn.data.foreign import MEBI, open_regular, reading

    with open_regular(file) as content, reading(file, "is not TOML"):
        text = content.read(MEBI + 1).decode()
        if len(text) > MEBI:
            raise InputError("it is longer than 1 MiB")
    settings = parse_toml(text, str(file))
    for name, value in settings.items():
        if is_path(name, value):
            settings[name] = os.path.join(file.parent, os.path.expanduser(value))
    return settings


def files_read(declared: Declaration, config: Path | None = None) -> list[str | Path]:
    """The files that a run reads: its data, and the one that declares it."""
    values = {name: getattr(declared, name) for name in SETTINGS}
    data: list[str | Path] = [value for name, value in values.items() if is_path(name, value)]
    return data if config is None else [*data, config]


def check_apart(written: Iterable[Path | None], read: Iterable[str | Path]) -> None:
    """Raise InputError if a path to write is a file that is read, also by another name."""
    for path, source in itertools.product(written, read):
        if path is not None:
            same = os.path.realpath(path) == os.path.realpath(source)
            if same or (path.exists() and os.path.exists(source) and path.samefile(source)):
                raise InputError(f"{path} is a file that is read: choose another to write")
