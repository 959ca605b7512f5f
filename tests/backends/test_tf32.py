"""TF32 as a declared mode of products.

No CPU has TF32. Here every library has a product that rounds its operands to 11 significant bits
when, and only when, the library is told to as a GPU would be.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from portadnn.backends import BackendUnavailableError, environment, get_backend
from portadnn.backends import cublas as cublas_module
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.precision import full_precision, reduced_precision
from portadnn.network.spec import Network
from portadnn.parity.certifier import Certifier
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.run import Run
from portadnn.training.declaration import Declaration
from portadnn.training.train import train


def rounded(x):
    """Veltkamp's splitting: the upper 24 - 13 = 11 bits of a float32, to nearest."""
    scaled = x * (2.0**13 + 1)
    return scaled - (scaled - x)


@dataclass(frozen=True)
class Told:
    """A namespace whose products round their operands if the library was told to."""

    raw: Any
    library: str = "numpy"

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def matmul(self, x, y, precision=None):
        if self.library == "torch":
            import torch

            told = torch.get_float32_matmul_precision() == "high"
        elif self.library == "jax":
            import jax

            told = precision == jax.lax.DotAlgorithmPreset.TF32_TF32_F32
        else:
            told = True
        return self.raw.matmul(*(map(rounded, (x, y)) if told else (x, y)))


@pytest.fixture
def tf32(backend_name, monkeypatch):
    """A backend in TF32."""
    library = backend_name.partition(":")[0]
    plain = get_backend(backend_name)
    if library == "cupy":  # a card, or the stand-in, which ignores it
        matmul = cublas_module.WithProducts.matmul

        def multiplied(self, x, y, *rest):
            told = self.tf32 and x.dtype == np.float32
            return matmul(self, *(map(rounded, (x, y)) if told else (x, y)), *rest)

        monkeypatch.setattr(cublas_module.WithProducts, "matmul", multiplied)
    elif library in ("torch", "jax"):
        import importlib

        wrapper = importlib.import_module(f"portadnn.backends.{library}").WithTF32
        made = wrapper(Told(plain.xp, library))
        monkeypatch.setattr(type(plain), "_tf32", lambda self: made)
    else:
        monkeypatch.setattr(type(plain), "_tf32", lambda self: Told(plain.xp))
    return get_backend(backend_name, matmul="tf32")


def drawn_run(steps=2):
    rng, dims = np.random.default_rng(0), (40, 30, 20, 3)
    X, Y = rng.random((dims[0], 60)), np.eye(3)[:, rng.integers(0, 3, 60)]
    network = Network(dims, "relu", "softmax")
    declared = Declaration(learning_rate=0.1)
    return Run(network, initialize_parameters_deep(dims, rng=0), X, Y, declared, steps)


def test_declared_it_is_within_the_bounds_of_parity(tf32):
    plain = get_backend(tf32.name)
    found = compare(drawn_run(), [plain, tf32])
    assert found.outcome is Outcome.PARITY, found.first_divergence
    ours, theirs = found.certificates
    assert (ours.matmul, theirs.matmul) == ("float32", "tf32")
    Z1 = next(check for check in theirs.checks if check.tensor == "Z1")
    assert 10 < Z1.bits < 16  # 12.4 on average, and 23 in float32
    assert theirs.mode_mismatch is False or theirs.fuses


def test_not_declared_it_is_found_and_named(tf32):
    found = compare(drawn_run(1), [tf32], matmul="float32")
    assert found.outcome is not Outcome.PARITY
    assert found.certificates[0].cause.name == "TF32"


def test_the_certificate_says_it_and_knows_its_bounds(tf32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 30))
    data = Dataset(X, (X[:, 0] > 0).astype(int), ("no", "yes"))
    certifier = Certifier(share=0.0, random_steps=1)
    train(
        data, layers=[5], epochs=4, backend=tf32.name, matmul="tf32", certify=certifier,
        validation=0.25,
    )  # fmt: skip
    content = certifier.certificate.content
    assert content["outcome"] == "PARITY", content["failures"]
    assert content["environment"]["matmul"] == content["declaration"]["matmul"] == "tf32"


def test_it_is_part_of_the_backend(tf32):
    assert tf32 != get_backend(tf32.name)
    assert get_backend(tf32) is get_backend(tf32, matmul="tf32") is tf32
    with pytest.raises(InputError, match="matmul is plain, but the given backend has tf32"):
        get_backend(tf32, matmul="plain")
    modes = environment(tf32)
    assert modes["matmul"] == "tf32"
    name = {"jax": "jax matmul precision", "torch": "torch float32 matmul precision",
            "cupy": "cupy float32 products"}.get(tf32.library, "matmul")  # fmt: skip
    assert modes[name] == "tf32"


@pytest.mark.parametrize("name", ["numpy", "strict", "dask", "torch", "jax:cpu"])
def test_a_device_that_does_not_have_it_is_named(name):
    try:
        get_backend(name)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    with pytest.raises(InputError, match="which does not have TF32: expected cupy, torch:cuda or"):
        get_backend(name, matmul="tf32")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dtype": "float64"}, "products of float64 are never tf32"),
        ({"arithmetic": "reproducible"}, "tf32 cannot be combined with reproducible arithmetic"),
        ({"matmul": "tf23"}, "unknown matmul 'tf23': did you mean 'tf32'"),
        ({"matmul": "bfloat16"}, "unknown matmul 'bfloat16'"),
    ],
)
def test_what_cannot_be_in_tf32(how, message):
    with pytest.raises(InputError, match=message):
        get_backend("numpy", **{"matmul": "tf32"} | how)


def test_estimators_take_it():
    pytest.importorskip("sklearn")
    from portadnn.estimator import PortaDNNClassifier

    with pytest.raises(InputError, match="which does not have TF32"):
        PortaDNNClassifier(matmul="tf32", dtype="float32").fit([[0.0], [1.0]], [0, 1])


def test_pytorch_has_it_for_one_product_alone(torch):
    before = torch.get_float32_matmul_precision()
    with full_precision(torch, "cpu"), full_precision(torch, "cpu"):
        with reduced_precision(torch, "cpu"):
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == "highest"
    with reduced_precision(torch, "cpu"):
        pass
    assert torch.get_float32_matmul_precision() == before


def test_pytorch_refuses_it_while_another_thread_computes(torch):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with full_precision(torch, "cpu"):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(60)
    try:
        refused = pytest.raises(InputError, match="another thread computes with PyTorch")
        with refused, reduced_precision(torch, "cpu"):
            pass
    finally:
        leave.set()
        thread.join()
    with reduced_precision(torch, "cpu"):
        pass


@pytest.mark.parametrize("ambient", [1, 7])
def test_cublas_is_told_to_only_if_it_is_declared(cupy, ambient, monkeypatch):
    from cupy._core import get_compute_type, set_compute_type

    computations, call = [], cublas_module._Handle.call

    def spied(self, name, *arguments):
        computations.append(arguments[-2])
        call(self, name, *arguments)

    monkeypatch.setattr(cublas_module._Handle, "call", spied)
    before = get_compute_type(np.dtype("float32"))
    set_compute_type(np.dtype("float32"), ambient)  # 7 is that of CUPY_TF32=1
    try:
        x, parts = cupy.ones((4, 4), np.float32), cupy.empty((8, 4), np.float32)
        for matmul, expected in (("plain", 68), ("tf32", 77)):
            xp = get_backend("cupy", matmul=matmul).xp
            xp.matmul(x, x)
            xp.matmul(x, x, out=parts)  # in parts
            xp.matmul(x.astype(float), x.astype(float))
            assert computations == [expected, expected, 70]
            computations.clear()
            xp.matmul(x[None], x[None])  # by CuPy itself, whose mode comes back
            assert get_compute_type(np.dtype("float32")) == ambient
    finally:
        set_compute_type(np.dtype("float32"), before)
