"""Which part of the data and which of its arrays are read, and what is said if there is none."""

import gzip
import struct

import h5py
import numpy as np
import pytest
from PIL import Image

import portadnn as dnn
from portadnn.data.load import has_test, load_dataset
from portadnn.errors import InputError
from portadnn.training.declaration import Declaration
from portadnn.training.problem import make_problem

X = np.random.default_rng(0).integers(0, 256, (6, 3, 2), dtype=np.uint8)
Y = np.arange(6, dtype=np.uint8) % 3


def idx_bytes(array):
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def test_mnists_test_files_lie_beside_the_training_files(tmp_path):
    for part, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(X[rows]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(Y[rows]))
    path = tmp_path / "train-images-idx3-ubyte"
    assert has_test(path)
    test = load_dataset(path, "test")
    np.testing.assert_array_equal(test.examples, X[4:])
    np.testing.assert_array_equal(test.labels, [0, 1])
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    assert not has_test(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images", idx_bytes(X), "images holds no labels: give the file of the labels after it"),
        ("x.npy", X, "x.npy holds no labels: give the file of the labels after it"),
        ("d.npz", {"X": X}, "d.npz holds no labels beside X"),
        ("d.h5", {"X": X}, "holds no labels beside X"),
    ],
)
def test_examples_alone(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".npy"):
        np.save(path, content)
    elif name.endswith(".npz"):
        np.savez(path, **content)
    else:
        with h5py.File(path, "w") as file:
            file.update(content)
    with pytest.raises(InputError, match=message):
        load_dataset(path)
    np.testing.assert_array_equal(load_dataset(path, labelled=False).examples, X)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"train_x": X, "train_y": Y},
            {"split": "test"},
            "has no test data: it holds train_x, tra",
        ),
        ({"X": X, "y": Y}, {"target": "z"}, "does not hold 'z': it holds X, y"),
        ({"X": X, "y": Y[:5]}, {}, "has examples of shape .* but labels of shape"),
    ],
)
def test_arrays_that_are_not_there(arrays, options, message, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "d.npz", **options)


@pytest.mark.parametrize(
    "names", [("a", "b"), ("train_set_x", "train_set_y"), ("X_train", "y_train")]
)
def test_arrays_by_their_names_or_their_sizes(names, tmp_path):
    np.savez(tmp_path / "d.npz", **dict(zip(names, (X, Y), strict=True)))
    data = load_dataset(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.examples, X)
    np.testing.assert_array_equal(data.labels, Y)


def test_labels_that_are_no_idx_file(tmp_path):
    (tmp_path / "x").write_bytes(idx_bytes(X))
    (tmp_path / "y").write_bytes(b"no such thing")
    with pytest.raises(InputError, match="y is not an IDX file: its first bytes are 6e6f2073"):
        load_dataset(tmp_path / "x", labels=tmp_path / "y")


def test_a_shape_that_no_array_has(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(2, 3)", b"(-2,3)"))
    with pytest.raises(InputError, match=r"its shape is \(-2, 3\)"):
        load_dataset(tmp_path / "x.npy", labelled=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [(idx_bytes(X)[:-3], "ends too early, in row"), (idx_bytes(X) + b"more", "more bytes")],
)
def test_packed_rows_that_stay_in_a_file_are_counted(content, message, tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "x.gz", labelled=False, stream=True)


def test_gzip_of_nothing_known(tmp_path):
    for content in (b"\x1f\x8b" + bytes(30), gzip.compress(b"text")):
        (tmp_path / "x.gz").write_bytes(content)
        with pytest.raises(
            InputError, match="x.gz begins with the bytes 1f 8b .*: expected an HDF5"
        ):
            load_dataset(tmp_path / "x.gz")


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "x.npy", "images", "folder", "d.npz"])
def test_test_data_that_are_not_there_are_refused(name, tmp_path):
    path, options = tmp_path / name, {}
    if name in ("d.csv", "d.parquet"):
        arrow = pytest.importorskip("pyarrow")
        table, options = arrow.table({"a": [1, 2, 3], "y": [0, 1, 0]}), {"target": "y"}
        if name == "d.csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, path)
        else:
            pytest.importorskip("pyarrow.parquet").write_table(table, path)
    elif name == "x.npy":
        np.save(path, X)
        np.save(tmp_path / "y.npy", Y)
        options = {"labels": tmp_path / "y.npy"}
    elif name == "images":
        path.write_bytes(idx_bytes(X))
        (tmp_path / "labels").write_bytes(idx_bytes(Y))
    elif name == "folder":
        for i, x in enumerate(X):
            (path / str(Y[i])).mkdir(parents=True, exist_ok=True)
            Image.fromarray(x).save(path / str(Y[i]) / f"{i}.png")
    else:
        np.savez(path, X=X, y=Y)
    with pytest.raises(InputError, match=f"{name} has no test data: .*"):
        load_dataset(path, "test", **options)
    assert len(load_dataset(path, "train", **options)) == len(load_dataset(path, **options)) > 2
    if name != "x.npy":
        target = (options["target"],) if options else ()
        declared = Declaration(data=str(path), test=str(path), target=target)
        assert len(make_problem(declared).examples["test"]) > 2
    with pytest.raises(InputError, match="unknown split 'tests'"):
        load_dataset(path, "tests", **options)


def test_a_folder_without_the_part(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="has no folder 'test'"):
        load_dataset(tmp_path, "test")


def test_columns_of_every_type_of_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({
        "level": arrow.array(["low", "high", "low"]).dictionary_encode(),
        "nothing": arrow.nulls(3),
        "price": arrow.array([1, 2, 3], arrow.int32()).cast(arrow.decimal128(12, 2)),
        "a": [0.0, 1.0, 2.0],
        "b": [1.0, 1.0, 2.0],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "d.parquet")
    data = load_dataset(tmp_path / "d.parquet", target=["a", "b"])
    assert data.table == ("level", "nothing", "price")
    assert data.examples["level"].tolist() == ["low", "high", "low"]
    assert np.isnan(data.examples["nothing"]).all()
    assert data.examples["price"].tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(data.labels, [[0.0, 1.0], [1.0, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.asarray(["a", "", "b", "a"]), "row 2"),
        (np.asarray([1.0, np.inf, 2.0, 3.0]), "row 2"),
        (np.asarray([1.0, np.nan, 2.0, 3.0]), "row 2"),
    ],
)
def test_a_row_that_cannot_be_preprocessed_is_named(column, message):
    table = np.zeros(4, [("c", column.dtype), ("d", float)])
    table["c"], table["d"] = column, [1, 2, 3, 4]
    data = dnn.Dataset(table, np.asarray([0, 1, 0, 1]), ("x", "y"))
    with pytest.raises(InputError, match=f"column 'c'.*{message}|{message}.*column 'c'"):
        dnn.train(data, layers=[2], epochs=1, backend="numpy")
