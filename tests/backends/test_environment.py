"""What decides a backend's bits is on record."""

import json
import os
import subprocess
import sys

import portadnn
from portadnn.backends import environment, get_backend
from portadnn.backends.environment import PRECISION_VARIABLES


def test_it_names_versions_device_and_modes(backend):
    found = environment(backend)
    assert found["portadnn"] == portadnn.__version__
    assert found["library"].startswith(f"{backend.library} ")
    assert found["device"] == backend.device_text
    assert found["dtype"] == backend.dtype_name
    assert found["arithmetic"] == "fast"
    assert set(PRECISION_VARIABLES) < found.keys()
    assert all(isinstance(value, str) for value in found.values())


def test_variables_that_change_products_are_on_record(monkeypatch):
    backend = get_backend("numpy")
    for name in PRECISION_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert {environment(backend)[name] for name in PRECISION_VARIABLES} == {"not set"}
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    monkeypatch.setenv("CUPY_ACCELERATORS", "")  # which switches off CuPy's default
    found = environment(backend)
    assert found["CUBLAS_EMULATE_DOUBLE_PRECISION"] == "1"
    assert found["CUPY_ACCELERATORS"] == "empty"


def test_the_modes_of_pytorch_are_those_of_the_run(torch):
    backend = get_backend("torch")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu"):
            found = environment(backend)
        assert torch.get_float32_matmul_precision() == "medium"
        assert found["torch float32 matmul precision"] == "highest"
        assert found["torch autocast"] == found["torch cuda allow_tf32"] == "False"
        assert found["subnormal numbers"] == "kept"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_mode_of_jax_is_that_of_the_run(require):
    require("jax")
    assert environment(get_backend("jax"))["jax matmul precision"] == "float32"


def test_tf32_and_emulation_of_cupy(cupy):
    program = (
        "import json; from portadnn.backends import environment, get_backend; "
        "print(json.dumps(environment(get_backend('cupy'))))"
    )
    settings = {"CUPY_TF32": "1", "CUBLAS_EMULATE_DOUBLE_PRECISION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["cupy float32 products"] == "default"  # TF32 is taken only if it is declared
    assert found["matmul"] == "plain"
    assert found["cupy float64 products"] == "default"
    assert settings.items() <= found.items()


def test_a_model_history_and_every_certificate_have_it(tmp_path, monkeypatch):
    from portadnn.cli.main import main

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    out = tmp_path / "run"
    main(["train", "--epochs", "1", "--backend", "numpy", "--out", str(out), "--quiet"])
    history = json.loads((out / "history.json").read_text())
    assert history["environment"]["NVIDIA_TF32_OVERRIDE"] == "0"


def test_the_stand_in_is_named_as_one(stand_in, capsys, tmp_path):
    """No report of it can be taken for that of a GPU."""
    from portadnn.cli.main import main

    assert "stand-in" in environment(get_backend("cupy"))["device"]
    for words in (
        ["backends"],
        ["train", "--epochs", "1", "--backend", "cupy", "--out", str(tmp_path / "run")],
        ["train", "--epochs", "1", "--backend", "auto", "--out", str(tmp_path / "auto")],
        ["parity", "cupy", "--steps", "1", "--no-noise", "--html", str(tmp_path / "report.html")],
        ["parity", "cupy", "--steps", "1", "--no-noise", "--json"],
    ):
        main(words)
        assert "stand-in" in capsys.readouterr().out.replace("\n", " "), words
    for name in ("run/history.json", "report.html"):
        assert "stand-in" in (tmp_path / name).read_text()
