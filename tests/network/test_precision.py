"""The caller's PyTorch settings change nothing of what the package computes."""

import contextlib
import threading

import numpy as np
import pytest

import portadnn as dnn
from portadnn.backends import get_backend
from portadnn.backends.base import keeps_subnormals
from portadnn.network.precision import full_precision, is_full


@contextlib.contextmanager
def setting(torch, name, value):
    """``torch.set_<name>(value)``, or a switch of ``torch.backends``, as long as it lasts."""
    holder = getattr(torch.backends.mkldnn, "matmul", None)
    if name == "switch":
        if holder is None:
            pytest.skip("PyTorch before 2.9 has one setting only")
        before, holder.fp32_precision = holder.fp32_precision, value
    else:
        usual = {"flush_denormal": False, "default_dtype": torch.float32}.get(name)
        before = "highest" if name == "float32_matmul_precision" else usual
        getattr(torch, f"set_{name}")(value)
    try:
        yield
    finally:
        if name == "switch":
            holder.fp32_precision = before
        else:
            getattr(torch, f"set_{name}")(before)


AMBIENT = {
    "autocast": lambda torch: torch.autocast("cpu", dtype=torch.bfloat16),
    "medium": lambda torch: setting(torch, "float32_matmul_precision", "medium"),
    "switch": lambda torch: setting(torch, "switch", "bf16"),
    "inference": lambda torch: torch.inference_mode(),
    "default dtype": lambda torch: setting(torch, "default_dtype", torch.float64),
    "default device": lambda torch: setting(torch, "default_device", "meta"),
    "flushed": lambda torch: setting(torch, "flush_denormal", True),
    "gradients": lambda torch: torch.enable_grad(),
}


def trained(X, y):
    # 512 wide: PyTorch takes bfloat16 only for products of some size
    pytest.importorskip("sklearn")  # a GPU host may do without
    from portadnn.estimator import PortaDNNClassifier

    made = PortaDNNClassifier((512,), backend="torch", max_iter=2, random_state=0, batch_size=128)
    made.fit(X, y)
    return [*made.coefs_, *made.intercepts_, made.predict_proba(X)]


@pytest.mark.parametrize("name", AMBIENT)
def test_estimators_give_the_same_bits(name, torch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(256, 512)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    with pytest.warns(UserWarning, match="max_iter"):
        expected = trained(X, y)
    with AMBIENT[name](torch), pytest.warns(UserWarning, match="max_iter"):
        found = trained(X, y)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# outside the scope the caller decides whether subnormal numbers are flushed
@pytest.mark.parametrize("name", [name for name in AMBIENT if name != "flushed"])
def test_the_functions_give_the_same_bits(name, torch):
    rng = np.random.default_rng(0)
    shapes = {"W1": (512, 512), "b1": (512, 1), "W2": (1, 512), "b2": (1, 1)}
    P = {key: torch.from_numpy(rng.normal(size=s).astype("f")) for key, s in shapes.items()}
    X = torch.from_numpy(rng.normal(size=(512, 256)).astype("f"))
    Y = torch.from_numpy((rng.normal(size=(1, 256)) > 0).astype("f"))

    def computed():
        AL, caches = dnn.L_model_forward(X, P)
        return [AL, dnn.compute_cost(AL, Y), *dnn.L_model_backward(AL, Y, caches).values()]

    expected = computed()
    with AMBIENT[name](torch):
        found = computed()
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


def test_the_scope_holds_the_settings_off_and_sets_them_back(torch):
    backend = get_backend("torch")
    tiny = torch.tensor(1e-40)
    with (
        torch.inference_mode(),
        torch.autocast("cpu"),
        setting(torch, "float32_matmul_precision", "medium"),
        setting(torch, "flush_denormal", True),
    ):
        with backend.scope():
            assert is_full(torch, "cpu")
            assert keeps_subnormals()
            assert (tiny * 1).item() > 0
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        assert not keeps_subnormals()


def test_the_last_of_several_threads_sets_the_precision_back(torch):
    with setting(torch, "float32_matmul_precision", "medium"):
        first = full_precision(torch, "cpu")
        first.__enter__()
        inside, leave, seen = threading.Event(), threading.Event(), []

        def second():
            with full_precision(torch, "cpu"):
                inside.set()
                leave.wait(10)
                seen.append(torch.get_float32_matmul_precision())

        thread = threading.Thread(target=second)
        thread.start()
        assert inside.wait(10)
        first.__exit__(None, None, None)
        leave.set()
        thread.join()
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "medium"


def test_a_switch_that_disagrees_comes_back(torch):
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("PyTorch before 2.9 has one setting only")
    with setting(torch, "switch", "bf16"):
        with full_precision(torch, "cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"


def test_a_switch_that_follows_another_still_does(torch):
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("PyTorch before 2.9 has one setting only")
    switches = torch.backends.mkldnn.matmul, torch.backends.cuda.matmul
    before = torch.backends.fp32_precision
    for switch in switches:
        switch.fp32_precision = "none"
    try:
        torch.backends.fp32_precision = "tf32"
        with full_precision(torch, "cpu"):
            assert [switch.fp32_precision for switch in switches] == ["ieee", "ieee"]
        assert [switch.fp32_precision for switch in switches] == ["tf32", "tf32"]
        torch.backends.fp32_precision = "ieee"
        assert [switch.fp32_precision for switch in switches] == ["ieee", "ieee"]
    finally:
        torch.backends.fp32_precision = before
        torch.set_float32_matmul_precision("highest")
