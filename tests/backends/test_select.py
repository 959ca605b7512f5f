import logging
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.backends import (
    BackendUnavailableError,
    backend_of,
    choose_backend,
    get_backend,
    list_backends,
    registry,
)
from portadnn.backends.numpy import describe_blas, running_kernel
from portadnn.errors import InputError


def test_a_backend_is_a_value(backend_name, dtype):
    backend = get_backend(backend_name, dtype=dtype)
    assert backend.name == backend_name
    assert backend.dtype_name == dtype
    assert backend == get_backend(backend_name, dtype=dtype)
    assert hash(backend) == hash(get_backend(backend_name, dtype=dtype))
    assert get_backend(backend) is backend
    with pytest.raises(AttributeError):
        backend.name = "other"


def test_float32_where_nothing_is_said():
    assert get_backend("numpy").dtype_name == "float32"


@pytest.mark.parametrize("spelling", ["float64", np.float64, np.dtype("float64")])
def test_dtypes_in_several_spellings(spelling):
    assert get_backend("numpy", dtype=spelling).dtype_name == "float64"


def test_a_dtype_that_is_none():
    with pytest.raises(InputError, match="unknown dtype 'float16'"):
        get_backend("numpy", dtype="float16")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numpi", "unknown backend 'numpi': did you mean 'numpy'"),
        ("", "unknown backend ''"),
        ("numpy:1", "unknown device in backend 'numpy:1'"),
        ("strict:device7", "Known here: strict, strict:cpu, strict:device1, strict:device2"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(InputError, match=message):
        get_backend(name)


@pytest.mark.parametrize("library", ["cupy", "torch", "jax", "dask", "array_api_strict"])
def test_a_library_that_is_not_installed_is_named_with_the_remedy(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # makes its import fail
    name = "strict" if library == "array_api_strict" else library
    with pytest.raises(BackendUnavailableError) as caught:
        get_backend(name)
    assert caught.value.name == name
    assert "install" in caught.value.fix
    assert name in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    status = next(status for status in list_backends() if status.name == name)
    assert not status.usable
    assert status.cause == caught.value.cause


def test_auto_takes_numpy_where_cupy_fails_and_says_why(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", None)
    backend, reason = choose_backend(dtype="float64")
    assert backend.name == "numpy"
    assert backend.dtype_name == "float64"
    assert reason == "no GPU: CuPy is not installed"
    with caplog.at_level(logging.INFO, "portadnn"):
        assert get_backend("auto").name == "numpy"
    assert "backend auto: numpy (no GPU" in caplog.text


class BrokenCupy:
    """A CuPy whose product is wrong, as with a wheel for another CUDA."""

    __version__ = "0"
    float32 = np.float32
    arange, exp = staticmethod(np.arange), staticmethod(np.exp)

    class cuda:
        class runtime:
            getDeviceCount = staticmethod(lambda: 1)
            getDeviceProperties = staticmethod(lambda _: {"name": b"a GPU"})

        class Device:
            def __init__(self, id_):
                self.id = id_

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

    @staticmethod
    def matmul(_a, _b):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture\nmore lines")


class WrongProduct:
    def __add__(self, _):
        return self

    def get(self):
        return np.ones((2, 2))


def test_a_gpu_that_fails_its_probe_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "cupy", BrokenCupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", object())
    with pytest.raises(BackendUnavailableError, match="failed its probe.*gpu-architecture"):
        get_backend("cupy")
    backend, reason = choose_backend()
    assert backend.name == "numpy"
    assert "failed its probe" in reason


def test_a_gpu_that_multiplies_wrongly_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "cupy", BrokenCupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", object())
    monkeypatch.setattr(BrokenCupy, "matmul", lambda _a, _b: WrongProduct())
    with pytest.raises(BackendUnavailableError, match="a 2 x 2 product gave .*, not 3, 4, 7, 12"):
        get_backend("cupy")


def test_a_machine_without_gpus_is_told_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", BrokenCupy)
    monkeypatch.setattr(BrokenCupy.cuda.runtime, "getDeviceCount", lambda: 0)
    with pytest.raises(BackendUnavailableError, match="there is no CUDA device"):
        get_backend("cupy")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "No NVIDIA driver was found"),
        (12040, r"supports CUDA up to 12\.4: .* pip install 'cupy-cuda12x\[ctk\]'"),
        (13010, r"supports CUDA up to 13\.1: .* pip install 'cupy-cuda13x\[ctk\]'"),
    ],
)
def test_the_advice_follows_the_driver(version, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("portadnn.backends.cupy._driver_version", lambda: version)
    with pytest.raises(BackendUnavailableError, match=words):
        get_backend("cupy")


def test_devices_that_are_not_there(require):
    require("torch")
    with pytest.raises(InputError, match="unknown device in backend 'torch:quantum'"):
        get_backend("torch:quantum")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailableError, match="does not compute float32 on cuda"):
            get_backend("torch:cuda")


def test_jax_devices_that_are_not_there(require):
    require("jax")
    import jax

    if jax.default_backend() == "cpu":
        with pytest.raises(BackendUnavailableError, match="has no device 'gpu'"):
            get_backend("jax:gpu")
    with pytest.raises(InputError, match="unknown device in backend 'jax:cpu:99'"):
        get_backend("jax:cpu:99")


def test_backend_of_an_array(backend):
    found = backend_of(backend.asarray([[1.0, 2.0]]))
    assert found == backend


def test_backend_of_what_is_no_array():
    with pytest.raises(TypeError, match="list is not an array of numpy, cupy"):
        backend_of([1.0])
    with pytest.raises(TypeError, match="the array has dtype int64: expected float32 or float64"):
        backend_of(np.asarray([1]))


def test_the_list_shows_every_library():
    statuses = {status.name: status for status in list_backends()}
    assert statuses.keys() == registry.CLASSES.keys()
    assert statuses["numpy"].usable
    assert statuses["numpy"].report.version == np.__version__
    for status in statuses.values():
        assert status.report if status.usable else (status.cause and status.fix)


def test_the_blas_of_numpy_is_described():
    # the kernel that OpenBLAS is told to take is the one that is reported
    program = "from portadnn.backends.numpy import describe_blas; print(describe_blas())"
    text = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "openblas" not in describe_blas():
        pytest.skip(f"NumPy is built with another BLAS here: {text}")
    assert "Nehalem kernel, 1 thread\n" in text


def test_a_blas_that_is_not_known_is_called_so(monkeypatch):
    monkeypatch.setattr("portadnn.backends.numpy.blas_pool", lambda: None)
    assert describe_blas() == "BLAS not recognised"
    assert running_kernel() is None


def test_cupy_on_a_gpu(request):
    from conftest import cupy_problem

    problem = cupy_problem()
    if problem is not None:
        pytest.skip(problem)
    backend = get_backend("cupy")
    assert_lives_on(backend.asarray([[1.0]]), backend)


def test_a_library_that_is_broken_is_named_with_its_error(monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "dask":
                raise OSError("libwhatever.so: cannot open shared object file\nmore")

    for name in [name for name in sys.modules if name.partition(".")[0] == "dask"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "array_api_compat.dask.array", raising=False)
    monkeypatch.delitem(sys.modules, "array_api_compat.dask", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(BackendUnavailableError, match="broken .OSError: libwhatever.so"):
        get_backend("dask")
    assert not next(status for status in list_backends() if status.name == "dask").usable


def test_a_backend_and_another_dtype_contradict():
    backend = get_backend("numpy", dtype="float64")
    assert get_backend(backend, dtype="float64") is backend
    with pytest.raises(InputError, match="dtype is float32, but the given backend has"):
        get_backend(backend, dtype="float32")
