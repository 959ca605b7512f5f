"""How far a backend's own freedom moves its numbers."""

from dataclasses import replace

import numpy as np
import pytest
from parity_support import make_run

from portadnn.backends import get_backend
from portadnn.parity.step.noise import noise_floor


def test_the_noise_floor(backend):
    floor = noise_floor(make_run(), backend)
    eps = float(backend.xp.finfo(backend.dtype).eps)
    assert floor["repeat"] == 0
    assert floor["batch split"] < 100 * eps  # 4 steps of a few roundings each
    if backend.library in ("numpy", "torch"):
        assert floor["threads"] < 100 * eps
    else:
        assert floor["threads"] is None


@pytest.mark.parametrize("batch_size", [None, 9])
def test_a_step_in_halves_adds_penalty_and_clipping_once(batch_size):
    backend = get_backend("numpy", dtype="float64")
    run = make_run(batch_size=batch_size)
    declared = replace(run.declaration, optimizer="momentum", l2=0.1, dropout=(0.5, 0.2))
    run = replace(run, declaration=declared, weights=np.linspace(0, 2, 31)[None])
    eps = np.finfo(float).eps
    clipped = replace(run, declaration=replace(declared, clip_norm=0.1))
    for form in (run, clipped, run.in_sample_space("float64")):
        # 4 steps of a few roundings each
        assert noise_floor(form, backend)["batch split"] < 100 * eps


def test_the_noise_floor_of_batches_of_one():
    assert noise_floor(make_run(m=1), get_backend("numpy"))["batch split"] is None
    assert noise_floor(make_run(batch_size=8), get_backend("numpy"))["batch split"] > 0
