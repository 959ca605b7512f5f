"""Runs on data that stay in their file, against the same runs in memory."""

import gzip
import json
import os
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from portadnn.backends import get_backend
from portadnn.data import stored
from portadnn.data.load import load_dataset
from portadnn.errors import InputError
from portadnn.training import feed
from portadnn.training.checkpoints import Checkpoints
from portadnn.training.digests import digest_of
from portadnn.training.inference import evaluate, predict
from portadnn.training.models import fingerprint
from portadnn.training.stops import TrainingInterrupted
from portadnn.training.train import train

M = 300
OPTIONS = {"layers": [6], "optimizer": "adam", "batch_size": 32, "epochs": 3, "rng": 0}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (M, 6, 5)).astype(np.uint8)


@pytest.fixture
def labels(images):
    return (images.reshape(M, -1).sum(axis=1) % 3).astype(np.uint8)


def idx(x):
    return struct.pack(f">BBBB{x.ndim}I", 0, 0, 8, x.ndim, *x.shape) + x.tobytes()


def write_npy(folder, X, y):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", y)
    return {"path": folder / "x.npy", "labels": folder / "y.npy"}


def write_npz(folder, X, y, save=np.savez):
    save(folder / "d.npz", X=X, y=y)
    return {"path": folder / "d.npz"}


def write_packed_npz(folder, X, y):
    return write_npz(folder, X, y, np.savez_compressed)


def write_idx(folder, X, y, pack=bytes):
    (folder / "x").write_bytes(pack(idx(X)))
    (folder / "y").write_bytes(idx(y))
    return {"path": folder / "x", "labels": folder / "y"}


def write_packed_idx(folder, X, y):
    return write_idx(folder, X, y, gzip.compress)


def write_hdf5(folder, X, y, names=("X", "y"), **how):
    with h5py.File(folder / "d.h5", "w") as file:
        file.create_dataset(names[0], data=X, **how)
        file[names[1]] = y
        if names[0] != "X":
            file["list_classes"] = np.arange(3)
    return {"path": folder / "d.h5"}


def write_packed_hdf5(folder, X, y):
    return write_hdf5(folder, X, y, compression="gzip", chunks=(7, *X.shape[1:]))


def write_course(folder, X, y):
    return {**write_hdf5(folder, X, y, ("train_set_x", "train_set_y")), "split": "train"}


def write_folder(folder, X, y):
    for i, (x, label) in enumerate(zip(X, y, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(x).save(folder / str(label) / f"{i}.png")
    return {"path": folder}


WRITERS = [
    write_npy, write_npz, write_packed_npz, write_idx, write_packed_idx, write_hdf5,
    write_packed_hdf5, write_course, write_folder,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_has_the_same_rows(write, images, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 200)  # several blocks
    given = write(tmp_path, images, labels)
    inside, outside = (load_dataset(**given, stream=stream) for stream in (False, True))
    assert (inside.stored, outside.stored) == (False, True)
    np.testing.assert_array_equal(outside.examples[:], inside.examples)
    np.testing.assert_array_equal(outside.labels, inside.labels)
    np.testing.assert_array_equal(outside.columns("float32"), inside.columns("float32"))
    assert digest_of(outside) == digest_of(inside)
    assert outside.classes == inside.classes


@pytest.mark.parametrize("bytes_ahead", [1, 5000, feed.BYTES])
def test_the_bits_are_those_of_memory(
    bytes_ahead, backend_name, images, labels, tmp_path, monkeypatch
):
    if backend_name == "dask":
        pytest.skip("Dask is refused, see below")
    monkeypatch.setattr(feed, "BYTES", bytes_ahead)
    given = write_npy(tmp_path, images, labels)
    found = []
    for stream in (False, True):
        data = load_dataset(**given, stream=stream)
        model = train(
            data, **OPTIONS, backend=backend_name, validation=0.25, dropout=0.2, early_stopping=2,
            label_smoothing=0.1, class_weight="balanced", schedule="cosine",
        )  # fmt: skip
        scores = evaluate(model, data, backend=backend_name)
        predicted = predict(model, data, backend=backend_name).probabilities
        found.append((fingerprint(model), model.history, scores, predicted.tobytes()))
    (in_memory, history, *others), (streamed, again, *rest) = found
    assert streamed == in_memory
    assert rest == others
    if not get_backend(backend_name).fuses:  # a compiler may add the terms of a cost otherwise
        assert again == history


@pytest.mark.parametrize("target", [np.float64, np.uint8])
def test_values_and_labels_that_go_together(target, tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((M, 4)), rng.integers(0, 2, (M, 3)) + 0.25 * (target is np.float64)
    given = write_npy(tmp_path, X, Y.astype(target))
    found = [
        train(load_dataset(**given, stream=stream), **OPTIONS, backend="numpy")
        for stream in (False, True)
    ]
    assert found[0].network.head == ("identity" if target is np.float64 else "sigmoid")
    assert fingerprint(found[0]) == fingerprint(found[1])


def test_tables_are_fitted_and_preprocessed_alike(tmp_path, monkeypatch):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(stored, "BLOCK", 2000)
    monkeypatch.setattr("portadnn.data.readers.tables.BLOCK", 2000)
    rng = np.random.default_rng(0)
    table = {
        "a": rng.standard_normal(M),
        "b": [None if x < 0.1 else float(x) for x in rng.random(M)],
        "c": [*rng.choice(["red", "green"], M - 1).tolist(), "the longest text of all"],
        "d": [None, *(rng.random(M - 1) < 0.5).tolist()],
        "kind": rng.choice(["yes", "no"], M).tolist(),
    }
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(table), path, row_group_size=70)
    options = OPTIONS | {"preprocess": "standardise:missing=median", "backend": "numpy"}
    found = []
    for stream in (False, True):
        data = load_dataset(path, target="kind", stream=stream)
        assert data.stored == stream
        model = train(data, **options, validation=0.25)
        scores = evaluate(model, data)
        found.append((digest_of(data), digest_of(model.preprocess), fingerprint(model), scores))
    assert found[0] == found[1]
    model = train(load_dataset(path, target="kind"), **options | {"epochs": 1})
    table["c"][M - 2] = "blue"
    parquet.write_table(pa.table(table), path)
    with pytest.raises(InputError, match=r"from row \d+ on: row \d+, column 'c' is 'blue'"):
        predict(model, load_dataset(path, target="kind", stream=True))


def test_a_run_goes_on_from_its_checkpoint(images, labels, tmp_path):
    given = write_npy(tmp_path, images, labels)
    whole = train(load_dataset(**given), **OPTIONS, backend="numpy")

    class Stop:
        def on_epoch_end(self, state):
            if state.epoch == 2:
                raise KeyboardInterrupt

    data, folder = load_dataset(**given, stream=True), tmp_path / "run"
    options = OPTIONS | {"backend": "numpy", "checkpoint": Checkpoints(folder, every=0.0)}
    with pytest.raises(TrainingInterrupted):
        train(data, **options, callbacks=[Stop()])
    assert fingerprint(train(data, **options, resume=folder)) == fingerprint(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": None}, "the whole batch of them: give a batch size, such as 128"),
        ({"optimizer": "lbfgs", "batch_size": None}, "lbfgs minimises over all of them"),
        ({"first_layer": "sample", "optimizer": "momentum"}, "leave first_layer out"),
        ({"backend": "dask"}, "choose another backend"),
        ({"preprocess": "standardise"}, "only tables can be preprocessed"),
    ],
)
def test_what_needs_all_examples_is_refused(change, message, images, labels, tmp_path, require):
    require(change.get("backend", "numpy"))
    data = load_dataset(**write_npy(tmp_path, images, labels), stream=True)
    with pytest.raises(InputError, match=message):
        train(data, **OPTIONS | {"backend": "numpy"} | change)


def test_files_whose_rows_have_no_places(images, labels, tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(images))
    with pytest.raises(InputError, match="is stored in Fortran order"):
        load_dataset(tmp_path / "f.npy", labelled=False, stream=True)
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"convert it with `python -c .*d\.parquet"):
        load_dataset(tmp_path / "d.csv", target="b", stream=True)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0), (5, 2)])
@pytest.mark.parametrize("write", [write_npy, write_npz, write_packed_npz, write_hdf5])
def test_hostile_shapes_are_named_in_one_line(write, shape, tmp_path):
    given = write(tmp_path, np.ones(shape, "f4"), np.zeros(5, int))
    if shape == (5, 2):  # right, but cut short
        os.truncate(given["path"], os.path.getsize(given["path"]) - 20)
    with pytest.raises(InputError) as caught:
        load_dataset(**given, stream=True)
    assert str(given["path"]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_in_a_run_ends_it(images, labels, tmp_path):
    given = write_npy(tmp_path, images, labels)

    class Change:
        def on_epoch_end(self, state):
            os.truncate(given["path"], 2000)

    with pytest.raises(InputError, match="x.npy was changed while it was read: start again"):
        train(load_dataset(**given, stream=True), **OPTIONS, backend="numpy", callbacks=[Change()])


def test_a_picture_that_vanishes_is_named(images, labels, tmp_path, monkeypatch):
    given = write_folder(tmp_path, images[:20], labels[:20])

    def without_one(blocks, *rest):
        next(tmp_path.glob("*/7.png")).unlink()
        return stored.spooled(blocks, *rest)

    monkeypatch.setattr("portadnn.data.images.spooled", without_one)
    with pytest.raises(InputError, match=r"7\.png: no such file"):
        load_dataset(**given, stream=True)


MEASURED = """
import json, sys, threading
import numpy as np
import portadnn as dnn

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("RssAnon"))

options = {"layers": [8], "optimizer": "adam", "batch_size": 64, "epochs": 1, "backend": "numpy"}
small = dnn.Dataset(np.eye(2000, 64, dtype=np.float32), np.arange(2000) % 3, ("a", "b", "c"))
dnn.predict(dnn.train(small, **options), small)
before, most, over = anonymous(), 0, threading.Event()

def watch():
    global most
    while not over.wait(0.002):
        most = max(most, anonymous())

thread = threading.Thread(target=watch)
thread.start()
data = dnn.load_dataset("x.npy", labels="y.npy", stream=json.loads(sys.argv[1]))
model = dnn.train(data, **options)
found = dnn.predict(model, data).labels
over.set()
thread.join()
print(json.dumps([most - before, dnn.fingerprint(model), int(found.sum())]))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_is_a_small_part_of_the_data(tmp_path):
    rng, m = np.random.default_rng(0), 320_000
    np.save(tmp_path / "x.npy", rng.random((m, 64), np.float32))  # 82 MB
    np.save(tmp_path / "y.npy", rng.integers(0, 3, m).astype(np.uint8))
    found = []
    for stream in ("false", "true"):
        command = [sys.executable, "-c", MEASURED, stream]
        run = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        found.append(json.loads(run.stdout))
    (whole, *bits), (part, *again) = found
    assert again == bits
    assert whole > 82e6  # in memory are at least the bytes of the file
    # the order of the examples, their labels and the answer are 40 bytes for each, 13 MB; two
    # chunks of 512 steps, and blocks of 8,192 examples, are 23 MB; the rest is fragmentation
    assert part < 42e6
