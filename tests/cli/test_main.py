"""The program, and inputs that several commands take."""

import numpy as np
import pytest
from cli_support import QUICK, run


def test_without_arguments_it_shows_its_help(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert "Usage: portadnn COMMAND" in out


@pytest.mark.parametrize("command", ["evaluate", "predict", "summary", "fingerprint"])
def test_a_model_that_is_none(command, tmp_path, capsys):
    code, _, err = run(capsys, command, tmp_path / "absent.h5")
    assert code == 2
    assert "no such file" in err


def test_streamed_data_give_what_data_in_memory_give(tmp_path, capsys):
    x, y, said = tmp_path / "x.npy", tmp_path / "y.npy", []
    rng = np.random.default_rng(0)
    np.save(x, rng.integers(0, 256, (90, 4, 5)).astype(np.uint8))
    np.save(y, np.arange(90) % 3)
    for i, option in enumerate(([], ["--stream"])):
        out, model = tmp_path / str(i), tmp_path / str(i) / "model.h5"
        options = ["--layers", "4", "--epochs", "3", "--batch-size", "20", "--validation", "0.2"]
        code, _, _ = run(capsys, "train", x, y, *options, *option, "--out", out)
        assert code == 0
        commands = (["fingerprint", model], ["evaluate", model, x, y], ["predict", model, x])
        reads = ([], option, option)
        said.append([run(capsys, *c, *o) for c, o in zip(commands, reads, strict=True)])
        assert (out / "mistakes.png").exists()
    assert said[0] == said[1]
    options = ["--batch-size", "all", "--out", tmp_path / "2"]
    code, _, error = run(capsys, "train", x, y, "--stream", *options)
    assert code == 2
    assert "give a batch size, such as 128" in error


def test_figures_replace_no_picture_of_others(trained, tmp_path, capsys):
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "residuals.png").write_bytes(b"\x89PNG of mine")
    for command in (
        ["evaluate", trained, "--plots", directory],
        ["train", *QUICK, "--out", directory, "--overwrite"],
    ):
        code, _, err = run(capsys, *command)
        assert code == 2
        assert "residuals.png is not a figure of portadnn, and a figure would replace" in err
    assert [path.name for path in directory.iterdir()] == ["residuals.png"]
    assert (directory / "residuals.png").read_bytes() == b"\x89PNG of mine"
    (directory / "residuals.png").unlink()
    for _ in range(2):  # the figures of an earlier run are replaced
        assert run(capsys, "evaluate", trained, "--plots", directory)[0] == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            MemoryError("8 GiB"),
            "there is not enough memory (8 GiB): take fewer examples or float32",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_the_machine_does_not_have_is_said(error, said, trained, capsys, monkeypatch):
    def fails(path):
        raise error

    monkeypatch.setattr("portadnn.training.models.load_model", fails)
    code, out, err = run(capsys, "summary", trained)
    assert (code, out) == (2, "")
    assert said in err


def test_a_fault_of_the_program_keeps_its_traceback(trained, monkeypatch, capsys):
    def fails(path):
        raise RuntimeError("a fault")

    monkeypatch.setattr("portadnn.training.models.load_model", fails)
    with pytest.raises(RuntimeError, match="a fault"):
        run(capsys, "summary", trained)
