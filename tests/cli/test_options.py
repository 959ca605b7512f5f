"""Options that several commands share."""

import numpy as np
import pytest

from portadnn.cli.main import main

RUN = "--layers", "4", "--epochs", "2", "--batch-size", "all"


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Examples and labels in files of their own, and a certified run over them."""
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.standard_normal((30, 5)))
    np.save(folder / "y.npy", np.arange(30) % 3)
    data = [str(folder / name) for name in ("x.npy", "y.npy")]
    assert main(["train", *data, *RUN, "--certify", "--out", str(folder / "run")]) == 0
    return folder


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ["train", *RUN, "--out", "RUN/again"],
        ["evaluate", "RUN/model.h5"],
        ["inspect", "RUN/model.h5", "--plot", "RUN/inspect.png"],
        ["gradcheck", "RUN/model.h5"],
        ["verify", "RUN/model.h5"],
        ["parity", "numpy", "--steps", "2", "--no-noise"],
        ["parity", "record", *RUN, "--out", "RUN/run.h5", "--overwrite"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_takes_a_file_of_labels(arrays, command, named, capsys):
    if not named and command[0] in ("verify", "parity"):
        pytest.skip("it takes its data by name")
    x, y = arrays / "x.npy", arrays / "y.npy"
    place = 2 if command[0] in ("evaluate", "inspect", "gradcheck") else 1
    data = ["--data", x, "--labels", y] if named else [x, y]
    where = len(command) if named else place
    words = [*command[:where], *data, *command[where:]]
    words = [str(word).replace("RUN", str(arrays / "run")) for word in words]
    words += ["--overwrite"] if command[0] == "train" else []
    assert main(words) == 0, capsys.readouterr().err


def test_verify_reads_the_labels_that_are_named(arrays, tmp_path, capsys):
    labels = np.load(arrays / "y.npy")
    labels[4] = 0
    np.save(tmp_path / "y.npy", labels)
    for named, code in ((tmp_path / "y.npy", 1), (arrays / "y.npy", 0)):
        data = "--data", str(arrays / "x.npy"), "--labels", str(named)
        assert main(["verify", str(arrays / "run" / "model.h5"), *data]) == code
        out = capsys.readouterr().out
        assert code == 0 or "the labels (train data) are not those" in out
