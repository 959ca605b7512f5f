"""A step on every backend against derived bounds, and faults that must be found where they are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.certify import Verdict, certify_step, first_failure
from portadnn.parity.record import record_step

RATE = 0.0075


def problem(network, m, seed, scale=1.0):
    """Parameters with biases, data with a blank example (exact zeros), labels."""
    rng = np.random.default_rng(seed)
    parameters = {
        name: p if name[0] == "W" else rng.standard_normal(p.shape) * 0.1
        for name, p in initialize_parameters_deep(network.layer_dims, rng=rng).items()
    }
    X = rng.standard_normal((network.layer_dims[0], m)) * scale
    X[:, 0] = 0
    return parameters, X, rng.integers(0, 2, (network.layer_dims[-1], m)).astype(float)


def records(network, backend, m, seed=0, steps=3, scale=1.0):
    parameters, X, Y = problem(network, m, seed, scale)
    parameters = {name: backend.asarray(p) for name, p in parameters.items()}
    X, Y = backend.asarray(X), backend.asarray(Y)
    found = []
    for step in range(steps):
        parameters, record = record_step(
            parameters, X, Y, RATE, network=network, backend=backend, step=step
        )
        found.append(record)
    return found


@pytest.mark.parametrize(
    ("dims", "m"), [((12, 7, 5, 1), 31), ((300, 20, 7, 5, 1), 50), ((3, 1), 1), ((5, 1, 2), 4)]
)
def test_honest_steps_lie_within_their_bounds(dims, m, backend):
    for record in records(Network(dims), backend, m):
        checks = certify_step(record)
        assert first_failure(checks) is None, str(first_failure(checks))
        assert max(check.ratio for check in checks) <= 1
        # every tensor of the step was checked
        L = len(dims) - 1
        assert len(checks) == 2 * L + 1 + 3 * L + (L - 1) + 2 * L
        masks = [c for c in checks if c.tensor[:2] == "dZ" and c.layer < L]
        assert all(check.verdict is Verdict.EXACT for check in masks)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=6),
    st.integers(1, 8),
    st.integers(0, 2**32),
    st.floats(1e-3, 1e3),
    st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=150)
def test_no_honest_case_is_flagged(dims, m, seed, scale, dtype):
    backend = get_backend("numpy", dtype=dtype)
    for record in records(Network(tuple(dims)), backend, m, seed, steps=2, scale=scale):
        failure = first_failure(certify_step(record))
        assert failure is None, str(failure)


def test_the_cat_data(cat_files, backend):
    from portadnn.data.hdf5 import load_dataset

    if backend.name == "dask":
        pytest.skip("the smaller cases cover Dask")
    data = load_dataset(cat_files[0])
    network = Network((12288, 20, 7, 5, 1))
    parameters = initialize_parameters_deep(network.layer_dims, backend=backend)
    X, Y = (backend.asarray(x("float64")) for x in (data.columns, data.targets))
    for step in range(2):
        parameters, record = record_step(
            parameters, X, Y, RATE, network=network, backend=backend, step=step
        )
        failure = first_failure(certify_step(record))
        assert failure is None, str(failure)


NETWORK = Network((12, 7, 5, 1))


def faulty(record, **changes):
    """The record with tensors replaced; what follows from them is computed honestly."""
    return replace(record, tensors={**record.tensors, **changes})


def honest(backend):
    return records(NETWORK, backend, m=31, steps=2)[-1]


def test_a_wrong_mask_is_found_at_its_tensor(backend):
    record = honest(backend)
    index = tuple(np.argwhere(record.tensors["Z2"] <= 0)[0])
    dZ = record.tensors["dZ2"].copy()
    dZ[index] = record.tensors["dA2"][index]  # let through where the unit was off
    failure = first_failure(certify_step(faulty(record, dZ2=dZ)))
    assert failure.verdict is Verdict.DIVERGED
    assert (failure.step, failure.layer, failure.tensor) == (1, 2, "dZ2")
    assert failure.index == index
    assert failure.flagged == 1


@pytest.mark.parametrize("tensor", ["dW1", "dW3", "db2"])
def test_a_missing_1_over_m_is_found_at_its_tensor(tensor, backend):
    record = honest(backend)
    failure = first_failure(certify_step(faulty(record, **{tensor: record.tensors[tensor] * 31})))
    assert failure.verdict is Verdict.DIVERGED
    assert failure.tensor == tensor
    assert failure.layer == int(tensor[-1])
    assert f"DIVERGED step 1, layer {failure.layer}, {tensor}[" in str(failure)


def test_a_float16_learning_rate_is_found_at_the_update(backend):
    record = honest(backend)
    rate = np.float64(np.float16(RATE))
    W = record.tensors["W1"].astype(np.float64) - rate * record.tensors["dW1"].astype(np.float64)
    W = W.astype(record.tensors["W1"].dtype)
    failure = first_failure(certify_step(faulty(record, **{"W1+": W})))
    assert (failure.tensor, failure.layer) == ("W1+", 1)
    assert failure.verdict is Verdict.DIVERGED


def test_a_product_in_lower_precision_is_suspect_or_worse():
    record = records(Network((300, 20, 1)), get_backend("numpy"), m=50, steps=1)[0]
    t = {name: x.astype(np.float64) for name, x in record.tensors.items()}

    def bfloat16(x):
        return (x.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)

    Z = bfloat16(t["W1"]).astype(np.float64) @ bfloat16(t["X"]) + t["b1"]
    failure = first_failure(certify_step(faulty(record, Z1=Z.astype(np.float32))))
    assert failure.tensor == "Z1"
    assert failure.verdict in (Verdict.SUSPECT, Verdict.DIVERGED)


def test_what_is_not_finite_is_said():
    record = honest(get_backend("numpy"))
    Z = record.tensors["Z1"].copy()
    Z[0, 0] = np.nan
    failure = first_failure(certify_step(faulty(record, Z1=Z)))
    assert failure.verdict is Verdict.NON_FINITE
    assert (failure.tensor, failure.index) == ("Z1", (0, 0))


def test_an_operation_without_a_bound_is_not_certified():
    network = Network((3, 2, 1), "tanh")
    record = records(network, get_backend("numpy"), m=4, steps=1)[0]
    with pytest.raises(InputError, match="no bound is derived for 'tanh'"):
        certify_step(record)


def test_recording_a_step_does_not_change_it(backend_name):
    from portadnn.training.step import train_step

    backend = get_backend(backend_name)
    parameters, X, Y = problem(NETWORK, 31, 0)
    parameters = {name: backend.asarray(p) for name, p in parameters.items()}
    X, Y = backend.asarray(X), backend.asarray(Y)
    with backend.scope():
        rate = backend.asarray([[RATE]])
        plain, cost = train_step(parameters, rate, X, Y, network=NETWORK, xp=backend.xp)
    recorded, record = record_step(parameters, X, Y, RATE, network=NETWORK, backend=backend)
    assert float(backend.to_numpy(cost)) == float(record.tensors["cost"])
    for name, p in plain.items():
        np.testing.assert_array_equal(backend.to_numpy(p), backend.to_numpy(recorded[name]))
