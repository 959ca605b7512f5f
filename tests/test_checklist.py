"""A checklist of what people do first, run: README's commands, a table, a photo, a notebook."""

import os
import re
import select
import shlex
import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from PIL import Image, ImageDraw
from support import script_module

import portadnn as dnn
from portadnn.cli.main import main

README = (Path(__file__).parent.parent / "README.md").read_text()
LINES = re.findall(r"^ {4}portadnn ((?:.*\\\n)*.*)$", README, re.MULTILINE)
LINES += re.findall(r"portadnn (train --config run[^`\n]*)", README)  # in a sentence and in TOML
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def assert_fits(text, width=80):
    """No cell of a table is cut, and no table is wider than the terminal."""
    assert "…" not in text
    assert "Traceback" not in text
    for line in text.splitlines():
        assert not line.startswith(" ") or len(line.rstrip()) <= width, line


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that README's commands name, small ones in the same layouts."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("place")
    real = script_module("cats.py").cat_files()
    for i, (part, m) in enumerate((("train", 30), ("test", 10))):
        path = folder / ("cats.h5", "cats_test.h5")[i]
        if real:
            path.symlink_to(real[i])
            continue
        with h5py.File(path, "w") as file:
            file[f"{part}_set_x"] = rng.integers(0, 256, (m, 16, 16, 3), dtype=np.uint8)
            file[f"{part}_set_y"] = np.arange(m) % 2
            file["list_classes"] = np.asarray([b"non-cat", b"cat"])
    rows = [f"{km},{name},{km / 50 + len(name)}" for km, name in enumerate(["KLM", "BA"] * 20)]
    (folder / "flights.csv").write_text("\n".join(["distance,carrier,delay", *rows]))
    for i in range(20):
        picture, kind = Image.new("RGB", (24, 20), "white"), ("blank", "ink")[i % 2]
        if kind == "ink":
            ImageDraw.Draw(picture).ellipse((2, 2, 12 + i // 2, 18), "black")
        (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
        picture.save(folder / "photos" / kind / f"{i}.png")
    picture.save(folder / "photo.jpg")
    (toml,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (folder / "run.toml").write_text(toml)
    return folder


def test_the_commands_of_the_readme(place, monkeypatch, capfd):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")
    commands = [shlex.split(line.replace("\\\n", ""), comments=True) for line in LINES]
    assert len(commands) >= 16
    others = dict.fromkeys(("torch", "jax", "cupy"), "strict")  # the one that is always there
    for i, words in enumerate(commands):
        words = [others.get(word, word) for word in words]
        words = ["8" if word == "2500" else word for word in words]
        if words[0] == "train":
            words += ["--epochs", "8"] * ("--epochs" not in words)
            words += ["--out", f"runs/{i}"] * ("--out" not in words)
        if words[0] == "parity":  # each of them once
            words = [*dict.fromkeys(words), *["--steps", "2"] * ("replay" not in words)]
        code = main(words)
        out, err = capfd.readouterr()
        assert (code, err) == (0, ""), words
        assert_fits(out)
    assert Path("report.html").exists()
    same = [dnn.load_model(f"{run}/model.h5") for run in ("runs/cats", "again")]
    assert dnn.fingerprint(same[0]) == dnn.fingerprint(same[1])


def test_the_digits():
    train, test = dnn.load_digits()
    model = dnn.train(train, layers=[32], optimizer="adam", batch_size=64, epochs=30, rng=3)
    assert dnn.evaluate(model, test).accuracy > 0.9


def test_a_data_frame_with_labels_of_text(tmp_path):
    rng = np.random.default_rng(1)
    frame = pandas.DataFrame({"height": rng.normal(size=60), "weight": rng.normal(size=60)})
    kinds = pandas.Series(np.where(frame.height > frame.weight, "tall", "wide"))
    model = dnn.train(frame, kinds, layers=[8], learning_rate=0.5, epochs=200)
    assert (model.predict(frame) == kinds).mean() > 0.9
    assert dnn.evaluate(model, frame, kinds).accuracy == (model.predict(frame) == kinds).mean()
    np.testing.assert_allclose(model.predict_proba(frame).sum(axis=1), 1, rtol=1e-6)
    assert model.history[-1].epoch == 200
    assert model.history[-1].cost < model.history[0].cost
    model.save(tmp_path / "model.h5")
    again = dnn.load_model(tmp_path / "model.h5")
    assert (again.predict(frame) == model.predict(frame)).all()
    assert "2 classes: tall, wide" in repr(again)
    assert max(map(len, repr(again).splitlines())) <= 80
    with pytest.raises(dnn.InputError, match="expected height, weight, in this order"):
        again.predict(frame[["weight", "height"]])


def test_a_transparent_photo(place, monkeypatch, capfd, caplog):
    monkeypatch.chdir(place)
    settings = ["--layers", "4", "--optimizer", "adam", "--epochs", "200"]
    assert main(["train", "photos", *settings, "--quiet", "--out", "drawings"]) == 0
    drawing = Image.new("RGBA", (24, 20), (0, 0, 0, 0))  # all of it is black without its alpha
    drawing.save("blank.png")
    ImageDraw.Draw(drawing).ellipse((2, 2, 16, 18), (0, 0, 0, 255))
    drawing.save("ink.png")
    capfd.readouterr()
    assert main(["predict", "drawings/model.h5", "ink.png", "blank.png"]) == 0
    rows = capfd.readouterr().out.splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["ink", "blank"]
    assert caplog.messages == ["transparent parts are shown over white: ink.png, blank.png"]


def in_a_terminal(program, folder, width):
    """What a program of Python shows in a terminal so wide, as the terminal gets it."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    done = subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=environment | {"TERM": "xterm"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the program has ended
                break
    os.close(ours)
    return done.wait(10), shown.decode()


def test_a_terminal_of_80_columns(place):
    program = """
from portadnn.cli.main import main
train = ["train", "--layers", "1000,64,32", "--epochs", "10", "--out", "wide"]
others = [["summary"], ["inspect"], ["gradcheck", "--entries", "5"]]
codes = [main(train)] + [main([name, "wide/model.h5", *more]) for name, *more in others]
raise SystemExit(any([*codes, main(["backends"]), main(["parity", "numpy", "--steps", "2"])]))
"""
    code, shown = in_a_terminal(program, place, 80)
    assert code == 0, shown
    assert re.search(r"epoch \d+/10 .*cost \d\.\d{6} ", ANSI.sub("", shown))  # the bar
    drawn = re.split(r"[\r\n]+", ANSI.sub("", shown))
    assert all(len(line) <= 80 for line in drawn if line.startswith("epoch "))
    assert_fits("\n".join(drawn))
    assert "PARITY over 2 steps" in shown


TRAINING = """\
import portadnn as dnn
train, test = dnn.load_digits()
model = dnn.train(train, layers=[8], epochs=40, callbacks=[dnn.ProgressBar()])
"""
CELLS = [TRAINING, "model", "dnn.evaluate(model, test)"]


@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_a_notebook():
    for module in ("nbformat", "ipykernel"):
        pytest.importorskip(module, reason="Jupyter is not installed (dependency group docs)")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (group docs)")
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(
        notebook, timeout=120, startup_timeout=120, kernel_name="python3"
    ).execute()
    bar, model, score = (cell.outputs for cell in notebook.cells)
    assert [shown.output_type for shown in bar] == ["display_data"]  # no warning, no stream
    page = bar[0].data["text/html"]
    assert "epoch 40/40" in page
    assert "\x1b" not in page
    assert re.search(r"cost \d\.\d{6}", page)
    assert model[0].data["text/html"].startswith("<p>Model: 64 values -&gt; 8 relu")
    assert "<td>10</td><td>softmax</td>" in model[0].data["text/html"]
    assert "accuracy" in score[0].data["text/plain"]
