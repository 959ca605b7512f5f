"""What the tests of several commands train on, and what they train."""

import h5py
import numpy as np
import pytest
from cli_support import QUICK, run


@pytest.fixture
def trained(tmp_path, capsys):
    """A model of the embedded digits, hardly trained."""
    code, _, _ = run(capsys, "train", *QUICK, "--out", tmp_path / "run")
    assert code == 0
    return tmp_path / "run" / "model.h5"


@pytest.fixture
def pictures(tmp_path):
    """A course file of 2 x 2 RGB images in two classes, with a test set."""
    rng = np.random.default_rng(0)
    path = tmp_path / "pictures.h5"
    with h5py.File(path, "w") as file:
        for split, m in (("train", 20), ("test", 6)):
            file[f"{split}_set_x"] = rng.integers(0, 256, (m, 2, 2, 3), dtype=np.uint8)
            file[f"{split}_set_y"] = np.arange(m) % 2
        file["list_classes"] = np.asarray([b"no", b"yes"])
    return path
