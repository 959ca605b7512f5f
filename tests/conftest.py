"""Backends, namespaces, devices and dtypes for every test that asks for them.

``--portadnn-backends`` names the backends; one that is named and cannot run fails its tests. By
default NumPy, array-api-strict on its CPU and on its fake ``device1``, and CuPy where a GPU works.
"""

import array_api_strict
import hypothesis
import pytest
from support import CAT_TEST, CAT_TRAIN

from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.data.hdf5 import load_digits

# the standard's optional parts stay off: the mathematics does without
array_api_strict.set_array_api_strict_flags(data_dependent_shapes=False, boolean_indexing=False)

# examples are drawn from the test's name, so that a failure in CI is one everywhere
hypothesis.settings.register_profile("portadnn", deadline=None, derandomize=True)
hypothesis.settings.load_profile("portadnn")


def pytest_addoption(parser):
    parser.addoption(
        "--portadnn-backends",
        default=None,
        help="comma-separated backends to test on, for example numpy,torch,cupy",
    )


def pytest_configure(config):
    chosen = config.getoption("--portadnn-backends")
    config.backends = chosen.split(",") if chosen else ["numpy", "strict", "strict:device1"]
    if not chosen and cupy_problem() is None:
        config.backends.append("cupy")


def cupy_problem():
    """Why CuPy cannot be tested here, or None."""
    try:
        get_backend("cupy")
    except BackendUnavailableError as error:
        return error.cause
    return None


def pytest_generate_tests(metafunc):
    if "backend_name" in metafunc.fixturenames:
        metafunc.parametrize("backend_name", metafunc.config.backends)
    if "dtype" in metafunc.fixturenames:
        metafunc.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def backend(backend_name, dtype):
    """A backend, inside its scope."""
    chosen = get_backend(backend_name, dtype=dtype)
    with chosen.scope():
        yield chosen


@pytest.fixture
def xp(backend):
    return backend.xp


@pytest.fixture
def device(backend):
    return backend.device


@pytest.fixture(scope="session")
def require(pytestconfig):
    """``require("jax")`` skips a test about one library where that is not under test."""

    def require(name):
        if name not in pytestconfig.backends:
            pytest.skip(f"{name} is not among --portadnn-backends (scripts/test --all-backends)")

    return require


@pytest.fixture(scope="session")
def torch(require):
    """PyTorch as a judge, where it is among the backends under test."""
    require("torch")
    import torch

    return torch


@pytest.fixture(scope="session")
def cat_files():
    """The course's training and test file, which the project does without."""
    if not CAT_TRAIN.exists():
        pytest.skip(f"{CAT_TRAIN} is absent")
    return CAT_TRAIN, CAT_TEST


@pytest.fixture(scope="session")
def digits():
    """The embedded digits, train and test."""
    return load_digits()
