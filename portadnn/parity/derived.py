"""The inputs of a step, derived a second time: orders, masks, scalars, weights, targets.

Only NumPy's Philox is shared with the code that trains. The formulas are written from the docs, in
floats and with the C library's functions, so numbers count as the same within ``AGREE``.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portadnn.training.recipe import Plan

AGREE = 1e-10  # relative; so much does 1 - beta2^t lose by rounding if beta2 is 1 - 1e-6


def agreed(given: Any, derived: Any) -> np.ndarray:
    """Each given number if it agrees with the derived one, otherwise the derived one."""
    given, derived = np.asarray(given, np.float64), np.asarray(derived, np.float64)
    return np.where(np.abs(given - derived) <= AGREE * np.abs(derived), given, derived)


def batch(plan: Plan, step: int) -> np.ndarray | None:
    """The examples of a step, in their order; None for all."""
    b = plan.batches
    if b.batch_size is None:
        return None
    per_epoch = b.m // b.batch_size if b.drop_last else (b.m + b.batch_size - 1) // b.batch_size
    epoch = step // per_epoch
    order = np.arange(b.m)
    if b.shuffle:
        order = _permutation(b.m, b.seed, b.first_epoch + epoch)
    first = (step - epoch * per_epoch) * b.batch_size
    return order[first : first + b.batch_size]


def places(batch: np.ndarray, m: int) -> np.ndarray:
    """Where each of m examples stands in a batch; behind its end if it is not in it."""
    where = {int(i): j for j, i in enumerate(batch)}
    return np.asarray([where.get(i, len(batch)) for i in range(m)], np.int32)


def mask(plan: Plan, step: int, layer: int, units: int, examples: int) -> np.ndarray:
    """The units that dropout keeps, (units, examples): each with the chance 1 - rate."""
    generator = _philox(plan.batches.seed, 1, plan.first_step + step, layer)
    draws = generator.random((examples, units), dtype=np.float32)
    return ~(draws < np.float32(plan.recipe.dropout[layer - 1])).T


def scalars(plan: Plan, step: int, factor: float) -> dict[str, float]:
    """Rate, decay and Adam's corrections in a step, whose number t begins at 1."""
    b, optimizer = plan.batches, plan.recipe.optimizer
    per_epoch = 1 if b.batch_size is None else -(-b.m // b.batch_size)
    if b.drop_last and b.batch_size is not None:
        per_epoch = b.m // b.batch_size
    rate = plan.learning_rate * _scheduled(plan.schedule, step / per_epoch, plan.epochs) * factor
    found = {"learning_rate": rate, "shrinkage": 1.0 - optimizer.weight_decay * rate}
    t = plan.first_step + step + 1
    if optimizer.name in ("adam", "adamw"):  # Kingma and Ba (2015), algorithm 1
        rest1, rest2 = (
            -math.expm1(t * math.log(beta)) if beta else 1.0
            for beta in (optimizer.beta1, optimizer.beta2)  # type: ignore[attr-defined]
        )
        found |= {"correction1": 1.0 / rest1, "correction2": rest2**-0.5}
    return found


def _scheduled(schedule: Any, epoch: float, epochs: int) -> float:
    """The factor on the rate: docs/training.md and docs/estimators.md."""
    match schedule.name:
        case "step":
            return schedule.factor ** math.floor(epoch / schedule.every)
        case "exponential":
            return schedule.factor**epoch
        case "cosine" if epoch < schedule.warmup:
            return (1 + epoch) / (1 + schedule.warmup)
        case "cosine":
            done = min((epoch - schedule.warmup) / max(epochs - schedule.warmup, 1), 1.0)
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * done)) / 2
        case "invscaling":
            return (schedule.seen + schedule.m * int(epoch) + 1) ** -schedule.power
        case "continued":
            return _scheduled(schedule.schedule, schedule.first + epoch, schedule.epochs)
        case "constant" | "plateau":
            return 1.0
    return schedule.factor_at(epoch, epochs)  # one of your own is its own definition


def plateau(schedule: Any, costs: Sequence[float]) -> float:
    """The factor on the rate after reports of these costs."""
    factor, best, waited = 1.0, math.inf, 0
    for cost in costs:
        waited += 1
        if cost < best - schedule.min_delta:
            best, waited = cost, 0
        elif waited == schedule.patience:
            factor, waited = factor * schedule.factor, 0
    return factor


def early_stop(costs: Sequence[float], patience: int) -> tuple[int | None, int]:
    """The report after which to stop, or None, and the one with the best parameters."""
    best = 0
    for i, cost in enumerate(costs):
        if cost < costs[best]:
            best = i
        elif i - best >= patience:
            return i, best
    return None, best


def targets(Y: np.ndarray, share: float, exclusive: bool) -> np.ndarray:
    """Labels of which a share is spread evenly over the classes, or over 0 and 1."""
    return Y + share * ((1 / len(Y) if exclusive else 0.5) - Y)


def weights(
    labels: Any,
    classes: Sequence[Any],
    class_weight: str | Mapping[Any, float] | None,
    sample_weight: Any,
) -> np.ndarray:
    """The weight of each example, (1, m), of mean 1."""
    w = [1.0] * len(labels) if sample_weight is None else [float(x) for x in sample_weight]
    if class_weight is not None:
        names = [classes[int(label)] for label in labels]
        count = Counter(names)
        if isinstance(class_weight, str):
            class_weight = {name: len(names) / (len(count) * n) for name, n in count.items()}
        w = [x * float(class_weight.get(name, 1.0)) for x, name in zip(w, names, strict=True)]
    largest = max(w)  # their sum may be more than a float holds
    w = [x / largest for x in w]
    return np.asarray([w]) * (len(w) / math.fsum(w))


def initial(init: Sequence[str], rng: int | str, dims: Sequence[int]) -> dict[str, np.ndarray]:
    """W1, b1, ... as declared: the variances are those of the papers, the generator NumPy's."""
    generator: Any = np.random.RandomState(int(rng.partition(":")[2])) if isinstance(
        rng, str
    ) else np.random.default_rng(rng)  # fmt: skip
    found: dict[str, np.ndarray] = {}
    for l, (text, n_in, n_out) in enumerate(zip(init, dims[:-1], dims[1:], strict=True), start=1):
        kind, _, given = text.partition(":")
        name, _, shape = kind.partition("_")
        gain = float(given or {"normal": 0.01, "lecun": 1.0}.get(name, 2.0))
        deviation = (
            gain if name == "normal" else (gain / (n_in + n_out * (name == "xavier"))) ** 0.5
        )
        if name == "zeros":
            draws = np.zeros(n_in * n_out)
        elif shape == "uniform":
            draws = (2 * generator.random(n_in * n_out) - 1) * 3**0.5 * deviation
        else:
            draws = generator.standard_normal(n_in * n_out) * deviation
        found |= {f"W{l}": draws.reshape(n_out, n_in), f"b{l}": np.zeros((n_out, 1))}
    return found


def split(labels: Any, share: float, seed: int) -> np.ndarray:
    """Which examples are held back, (m,): a share of each class, or of all if they have values."""
    labels = np.asarray(labels)
    groups = [list(range(len(labels)))]
    if labels.dtype.kind != "f":
        groups = [[i for i, x in enumerate(labels) if x == c] for c in range(int(max(labels)) + 1)]
    generator, held = _philox(seed, 2, 0, 0), np.zeros(len(labels), bool)
    for group in groups:
        order = generator.permutation(len(group))
        for i in order[: round(share * len(group))]:
            held[group[i]] = True
    return held


def score(head: str, A: np.ndarray, Y: np.ndarray, S: np.ndarray | None = None) -> float:
    """The share of right predictions, or 1 - loss / (the loss of the mean as prediction)."""
    A, Y = A.astype(np.float64), Y.astype(np.float64)
    S = np.ones((1, Y.shape[1])) if S is None else S.astype(np.float64)
    if head in ("sigmoid", "softmax"):
        said = (A > 0.5) if head == "sigmoid" else np.arange(len(A))[:, None] == A.argmax(axis=0)
        right = [all(pair) for pair in zip(*(said == (Y > 0.5)), strict=True)]
        weight = S[0] if len(S) == 1 else np.ones(len(right))
        return math.fsum(weight[right]) / math.fsum(weight)
    shares = []
    for a, y, s in zip(A, Y, np.broadcast_to(S, Y.shape), strict=True):
        mean = math.fsum(s * y) / math.fsum(s)
        left, total = math.fsum(s * _loss(a, y, head)), math.fsum(s * _loss(mean, y, head))
        shares.append(1 - left / total if total > 0 else float(left == 0))
    return math.fsum(shares) / len(shares)


def _loss(p: Any, y: np.ndarray, head: str) -> np.ndarray:
    if head == "identity":
        return (p - y) ** 2
    with np.errstate(divide="ignore"):
        return 2 * (y * np.log(np.where(y > 0, y, p) / p) - y + p)


def _philox(seed: int, stream: int, step: int, part: int) -> np.random.Generator:
    key, counter = [seed, stream], [0, 0, part, step]
    words = (np.asarray(words, np.uint64) for words in (key, counter))
    return np.random.Generator(np.random.Philox(key=next(words), counter=next(words)))


@functools.lru_cache(maxsize=2)
def _permutation(m: int, seed: int, epoch: int) -> np.ndarray:
    return _philox(seed, 0, epoch, 0).permutation(m)
