"""A frozen dataclass from a text such as ``adam:beta1=0.8,epsilon=1e-7``, and back."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Collection, Mapping
from typing import Any

from portadnn.errors import InputError, unknown_name

_BCE = "logistic bce bceloss bcewithlogitsloss binary_cross_entropy binary_crossentropy"
_CATEGORICAL = "categorical_crossentropy sparse_categorical_crossentropy crossentropyloss"
_EITHER = "write softmax for classes that exclude each other, else sigmoid"
_HALF = "write identity, whose cost is half the mean squared error"
# Our name, or advice that is printed, and the words of other libraries for the same.
_WORDS: dict[str, dict[str, str]] = {
    "optimizer": {"gradient_descent": "sgd gd", "nesterov": "nag", "lbfgs": "l_bfgs"},
    "initialiser": {"he": "kaiming msra", "xavier": "glorot", "zeros": "zero",
                    "write normal_uniform:0.05 for a standard deviation of 0.05": "uniform"},
    "activation": {"sigmoid": "logistic", "identity": "linear none",
                   "leaky_relu": "leakyrelu lrelu"},
    "head": {"sigmoid": _BCE, "softmax": _CATEGORICAL, "identity": "linear squared_error",
             "poisson": "poisson_nll poissonnllloss poisson_deviance",
             _EITHER: "cross_entropy crossentropy log_loss nll nll_loss nllloss",
             _HALF: "mse mse_loss mseloss l2 mean_squared_error regression"},
    "schedule": {"constant": "none fixed", "step": "steplr step_decay",
                 "exponential": "exponentiallr exponential_decay",
                 "cosine": "cosineannealinglr cosine_annealing cosine_decay",
                 "plateau": "reducelronplateau reduce_on_plateau",
                 "write plateau:patience=10,factor=0.2": "adaptive"},
    "monitor": {"cost": "loss", "validation_cost": "val_loss validation_loss",
                "validation_score": "val_accuracy val_acc validation_accuracy"},
    "backend": {"torch": "pytorch", "numpy": "np", "jax": "jnp", "strict": "array_api_strict",
                "write cupy, torch:cuda or jax:gpu, or auto for a GPU that works": "cuda gpu",
                "write numpy, torch, jax:cpu or dask": "cpu",
                "write torch:mps": "mps", "write jax:tpu": "tpu"},
    "matmul": {"plain": "float32 float64 full highest ieee", "tf32": "tensorfloat32 high"},
    "dtype": {"float32": "single fp32 f4", "float64": "double fp64 f8",
              "write float32, or float64 for a float of Python": "float"},
}  # fmt: skip


def known_name(kind: str, given: Any, known: Collection[str]) -> str:
    """The name in ``known`` that ``given`` means; it may be another library's word.

    For an unknown name, an InputError says what to write, or which name is meant or nearest.

    >>> known_name("optimizer", "sgd", ["gradient_descent", "adam"])
    'gradient_descent'
    """
    if given in known:
        return given
    spelled = str(given).strip().lower().replace("-", "_").replace(" ", "_")
    words = _WORDS.get(kind.lstrip("-").partition(" ")[0], {}).items()  # or "dtype of x.toml"
    meant = next((ours for ours, theirs in words if spelled in theirs.split()), spelled)
    if meant in known and spelled == given:
        return meant
    if " " in meant:
        raise InputError(f"unknown {kind} {given!r}: {meant}")
    raise unknown_name(kind, given, known, spelled if meant in known else "")


def choose(kind: str, given: Any, table: Mapping[str, type], base: type | tuple[type, ...]) -> Any:
    """``given``, or the instance that a text names: ``name[:value | :field=value,...]``.

    Parameters
    ----------
    kind : str
        What is chosen, for messages.
    given : str, or instance of ``base``
    table : dict of frozen dataclasses by name
        A value without a field's name is for the first field that is not keyword-only.

    Raises
    ------
    InputError
        If a name is unknown (the message has the nearest one), or a value cannot be used.
    TypeError
        If ``given`` is neither a text nor an instance.
    """
    if isinstance(given, base):
        return given
    if not isinstance(given, str):
        raise TypeError(
            f"{kind} is {given!r}: expected a name such as {next(iter(table))!r}, "
            f"or an instance of its class"
        )
    name, colon, text = given.partition(":")
    name = known_name(kind, name, table)
    chosen = table[name]
    fields = {field.name: field for field in dataclasses.fields(chosen) if field.init}
    values: dict[str, Any] = {}
    for i, part in enumerate(text.split(",") if colon else ()):
        field_name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            first = next((f.name for f in fields.values() if not f.kw_only), None)
            if i or first is None:
                raise InputError(f"{kind} {given!r}: expected {_grammar(name, fields)}")
            field_name, value = first, field_name
        if field_name not in fields:
            raise unknown_name(f"option of {kind} {name}", field_name, fields)
        if field_name in values:
            raise InputError(f"{kind} {given!r}: {field_name} is given twice")
        values[field_name] = _value(fields[field_name], value, f"{kind} {given!r}")
    return chosen(**values)


def as_text(name: str, instance: Any) -> str:
    """The text from which ``choose`` makes the same instance."""
    fields = [field for field in dataclasses.fields(instance) if field.init]
    values = {field.name: getattr(instance, field.name) for field in fields}
    parts = [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in
             values.items()]  # fmt: skip
    return f"{name}:{','.join(parts)}" if parts else name


def check_number(
    kind: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """``value`` as a float within the limits, or an InputError that gives them."""
    try:
        number = float(_no_truth(value))
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise InputError(f"{kind} is {value!r}: expected a number") from None
    inside = (number > low or (number == low and not low_open)) and (
        number < high or (number == high and not high_open and high != math.inf)
    )
    if not (inside and math.isfinite(number)):
        limits = f"above {low:g}" if low_open else f"{low:g} or more"
        if high != math.inf:
            limits += f" and {'below' if high_open else 'at most'} {high:g}"
        raise InputError(f"{kind} is {number:g}: expected a finite number {limits}")
    return number


def check_whole(kind: str, value: Any, low: int | None = None) -> int:
    """``value`` as a Python integer, of ``low`` or more, or an InputError."""
    try:
        number = operator.index(_no_truth(value))
    except TypeError:
        raise InputError(f"{kind} is {value!r}: expected a whole number") from None
    if low is not None and number < low:
        raise InputError(f"{kind} is {number}: expected {low} or more")
    return number


def _no_truth(value: Any) -> Any:
    """``value``, or a TypeError for True and False, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise TypeError(value)
    return value


def _value(field: dataclasses.Field, text: str, what: str) -> Any:
    if isinstance(field.default, str):
        return text
    whole = isinstance(field.default, int) and not isinstance(field.default, bool)
    try:
        return int(text) if whole else float(text)
    except ValueError:
        expected = "a whole number" if whole else "a number"
        raise InputError(f"{what}: {field.name} is {text!r}: expected {expected}") from None


def _grammar(name: str, fields: Mapping[str, Any]) -> str:
    if not fields:
        return f"{name} alone, which has no options"
    first = sorted(fields, key=lambda name: fields[name].kw_only)  # keyword-only fields last
    words = {f: "WORD" if isinstance(fields[f].default, str) else "NUMBER" for f in first}
    return f"{name}:{','.join(f'{field}={word}' for field, word in words.items())}"
