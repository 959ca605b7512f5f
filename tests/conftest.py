"""What the package's own tests add to its plugin, ``portadnn.testing``: both dtypes, and data.

The plugin makes the fixtures ``backend``, ``xp`` and ``device``; pyproject.toml names the default
backends: NumPy, array-api-strict on its CPU and its fake ``device1``, and CuPy where a GPU works.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
import warnings

import array_api_strict
import hypothesis
import pytest
from fake_cuda.events import on_stand_in
from support import script_module

from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.data.hdf5 import load_digits
from portadnn.testing import backend_names

pytest_plugins = ["pytester"]

# scikit-learn's array API dispatch needs it, and SciPy reads it when it is first imported
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# the standard's optional parts stay off: the mathematics does without
array_api_strict.set_array_api_strict_flags(data_dependent_shapes=False, boolean_indexing=False)

# jobs that a shell starts in the background ignore Ctrl-C, and those of nohup a lost terminal: some
# tests send both to programs that they start, which inherit what is ignored
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# examples are drawn from the test's name, so that a failure in CI is one everywhere; a busy machine
# draws them slowly, and is not a fault
hypothesis.settings.register_profile(
    "portadnn",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("portadnn")


def pytest_addoption(parser):
    text = "run only tests that compute on a backend under test: the others ran without it"
    parser.addoption("--backend-tests", action="store_true", help=text)
    text = "how many drawn recipes generated kernels are tested with, in each dtype and arithmetic"
    parser.addoption("--portadnn-recipes", type=int, default=3, help=text)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--backend-tests"):
        return
    chosen = {"portadnn_backend_name", "cupy"}
    left_out = [item for item in items if chosen.isdisjoint(item.fixturenames)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not chosen.isdisjoint(item.fixturenames)]


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_dropped():
    """JAX keeps what it compiles, which grows to gigabytes over all modules."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


def cupy_problem():
    """Why CuPy cannot be tested here, or None."""
    try:
        get_backend("cupy")
    except BackendUnavailableError as error:
        return error.cause
    return None


def torch_beside_cupy(names):
    """Whether PyTorch may judge CuPy, although it is not one of the backends under test."""
    if "cupy" not in names or importlib.util.find_spec("torch") is None:
        return False
    # the stand-in also replaces the libraries of a CUDA build
    return not on_stand_in() or importlib.metadata.version("torch").endswith("+cpu")


def pytest_sessionstart(session):
    # a library may warn when it is first imported, which is not the test's fault that imports it;
    # and some tests hide libraries, which would break a first import after them
    names = backend_names(session.config)
    for name in [*names, *(["torch"] if torch_beside_cupy(names) else [])]:
        with warnings.catch_warnings(), contextlib.suppress(BackendUnavailableError):
            warnings.simplefilter("ignore")
            get_backend(name)


def pytest_generate_tests(metafunc):
    if "dtype" in metafunc.fixturenames:
        metafunc.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def backend_name(portadnn_backend_name):
    """A backend under test by its name, for tests that make it themselves."""
    return portadnn_backend_name


@pytest.fixture
def backend_dtype(dtype):
    """The fixture ``backend`` comes in both dtypes."""
    return dtype


@pytest.fixture(scope="session")
def backends_under_test(pytestconfig):
    """The names of all of them, for tests that compare them."""
    return backend_names(pytestconfig)


@pytest.fixture(scope="session")
def require(backends_under_test):
    """``require("jax")`` skips a test about one library if that is not under test."""

    def require(name):
        if name not in backends_under_test:
            pytest.skip(f"{name} is not among --portadnn-backends (scripts/test --all-backends)")

    return require


@pytest.fixture(scope="session")
def torch(require, backends_under_test):
    """PyTorch as a judge, if it is one of the backends under test or is installed beside CuPy."""
    if not torch_beside_cupy(backends_under_test):
        require("torch")
    import torch

    return torch


@pytest.fixture(scope="session")
def cupy(require):
    """CuPy, if it is one of the backends under test."""
    require("cupy")
    import cupy

    return cupy


@pytest.fixture(autouse=True)
def generated_kernels(request, monkeypatch):
    """Only in modules that ask for them: compiling them for every test would take an hour."""
    if not getattr(request.module, "GENERATED_KERNELS", False):
        monkeypatch.setattr("portadnn.backends.cupy.Program", None)


@pytest.fixture
def stand_in(cupy):
    """CuPy on the stand-in for CUDA, which counts what is asked of the device."""
    if not on_stand_in():
        pytest.skip("this CuPy is not on the stand-in (tests/fake_cuda/run PYTHON -m pytest)")
    return cupy


@pytest.fixture(scope="session")
def cat_files():
    """The course's training and test file, which the project does not ship."""
    cats = script_module("cats.py")
    files = cats.cat_files()
    if files is None:
        pytest.skip(f"{cats.VARIABLE} does not name the folder of the cat images")
    return files


@pytest.fixture(scope="session")
def digits():
    """The embedded digits, train and test."""
    return load_digits()
