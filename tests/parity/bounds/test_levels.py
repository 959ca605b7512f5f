"""The smallest fault that is found: the promised level, and that of a run's own bounds."""

from dataclasses import replace

import numpy as np
import pytest
from parity_support import make_run

from portadnn.backends import get_backend
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import HEADS
from portadnn.network.optimizers import OPTIMIZERS
from portadnn.network.spec import Network
from portadnn.parity.bounds import Bound, declared_format
from portadnn.parity.bounds.levels import level, smallest_fault
from portadnn.parity.run import Run, watch
from portadnn.parity.step.operations import compute, step_order


def test_the_level_of_every_kind_is_a_multiple_of_u_sqrt_n():
    network = Network((12, 7, 5, 10), head="softmax")
    u = 2.0**-24 + 2.0**-53
    expected = {
        "Z2": 32 * u * np.sqrt(7), "dA1": 32 * u * np.sqrt(5), "dW2": 32 * u * np.sqrt(100),
        "db3": 32 * u * np.sqrt(100), "cost": 32 * u * np.sqrt(100), "A1": 64 * u,
        "A3": 64 * u * np.sqrt(10), "W2+": 256 * u, "vb1+": 256 * u,
        "norm": 64 * u * np.sqrt(84 + 35 + 50 + 22),
    }  # fmt: skip
    for tensor, value in expected.items():
        assert level(network, tensor, 100, "float32") == pytest.approx(value)
        double = value / u * 2.0**-52
        assert level(network, tensor, 100, "float64") == pytest.approx(double)
    assert level(Network((12, 5), head="sigmoid"), "cost", 8, "float32") == pytest.approx(
        32 * u * np.sqrt(40)
    )


def test_the_smallest_fault_is_twice_the_bound_as_a_share_of_the_tensor():
    x = np.asarray([[3.0, -4.0]])
    assert smallest_fault(Bound(x, x, np.asarray([[0.03, 0.04]]), x)) == pytest.approx(0.02)
    assert smallest_fault(Bound(x, x, np.zeros((1, 2)), x)) == 0
    assert smallest_fault(Bound(0 * x, x, np.ones((1, 2)), x)) == np.inf


RUNS = {
    **{f"{a}, {h}": make_run((40, 9, 8, 3), activations=a, head=h)
       for a, h in zip(ACTIVATIONS, [*HEADS, *HEADS], strict=False)},
    "wide": make_run((3000, 20, 10), m=8, head="softmax"),
    "many": make_run((6, 5, 1), m=5000, batch_size=2500, activations="tanh"),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_bound_of_an_ordinary_run_is_below_the_promised_level(run, optimizer, dtype):
    if run.network.head == "softmax":
        n = run.network.layer_dims[-1]
        run = replace(run, Y=np.eye(n)[:, np.arange(run.X.shape[1]) % n])
    penalties = {} if optimizer == "rmsprop" else {"l2": 0.01, "l1": 0.001}
    settings = {"optimizer": OPTIMIZERS[optimizer](), "clip_norm": 0.05, **penalties,
                "dropout": (0.25,) * (run.network.L - 1), "seed": 1}  # fmt: skip
    declaration = replace(run.declaration, **settings, data_sha256=None)
    run = Run(run.network, run.parameters, run.X, run.Y, declaration, 2)
    form = declared_format(dtype)
    for record in watch(run, get_backend("numpy", dtype=dtype), range(2)):
        t = {name: x.astype(np.float64) for name, x in record.tensors.items()}
        m = t["X"].shape[1]
        for _, tensor in step_order(run):
            if tensor[0] == "b" and tensor[-1] == "+":
                continue  # starts at 0 and may come back: then it is as small as its rounding
            bound = compute(run, tensor, t, form, entries=run.entries(record))
            assert smallest_fault(bound) <= level(run.network, tensor, m, dtype), tensor
