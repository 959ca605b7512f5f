"""How far lawful changes on a backend move its numbers: two backends may differ by as much."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from portadnn.backends import Backend
from portadnn.network.names import is_mask
from portadnn.parity.run import Run, final_parameters
from portadnn.training.sample_space import sample_gradient
from portadnn.training.step import apply, gradients


def noise_floor(run: Run, backend: Backend) -> dict[str, float | None]:
    """The relative distance of the final parameters between runs that should be the same.

    Parameters
    ----------
    run : Run
    backend : Backend

    Returns
    -------
    distances : dict
        ``repeat``: the run once more. ``threads``: with one thread; None if the library has no
        switch. ``batch split``: every gradient as the mean of those of two halves of the batch, as
        data-parallel training does; None for batches of one example. Each is the largest
        ``max |p - q| / max |p|`` over the parameters.
    """
    reference = final_parameters(run, backend)
    floor: dict[str, float | None] = {
        "repeat": distance(reference, final_parameters(run, backend)),
        "threads": None,
        "batch split": None,
    }
    single = backend.single_thread()
    if single is not None:
        with single:
            floor["threads"] = distance(reference, final_parameters(run, backend))
    batches = run.plan.batches
    if min(batches.size(0), batches.size(batches.steps_per_epoch - 1)) > 1:
        floor["batch split"] = distance(reference, final_parameters(run, backend, split_step))
    return floor


def distance(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The largest ``max |p - q| / max |p|`` over the parameters; inf if one is not finite."""
    largest = 0.0
    for name, p in ours.items():
        p, q = p.astype(np.float64), theirs[name].astype(np.float64)
        if np.array_equal(p, q, equal_nan=True):
            continue
        scale = np.max(np.abs(p))
        relative = float(np.max(np.abs(p - q)) / scale) if scale else np.inf
        largest = max(largest, relative if np.isfinite(relative) else np.inf)
    return largest


def split_step(state, inputs, shared, *, network, recipe, sample=False, xp):
    """A training step whose gradients are added up from two halves of the batch."""
    parameters, _ = state
    whole = shared
    if "batch" in inputs:
        whole = shared.batch(inputs, xp, recipe.smoothing(network))._replace(classes=None)
    m = whole.X.shape[1]
    found: dict = {}
    parts: list = []
    cost = 0.0
    for part in (slice(0, m // 2), slice(m // 2, m)):
        half = whole.mapped(lambda x, part=part: x[:, part])
        masks = {name: D[:, part] for name, D in inputs.items() if is_mask(name)}
        of_half, tensors = gradients(parameters, masks, half, network=network, recipe=recipe, xp=xp)
        share = half.X.shape[1] / m
        cost = cost + share * tensors["cost"]
        parts.append(tensors["dZ1"])
        for name, dp in of_half.items():
            term = xp.multiply(dp, share)
            found[name] = found[name] + term if name in found else term
    if sample:  # a column for each example, so no sum is split
        dZ1 = xp.concat(parts, axis=1)
        found["dW1"] = sample_gradient(dZ1, parameters["W1"], inputs, xp=xp)
    return apply(state, found, inputs, recipe=recipe, xp=xp)[0], cost
