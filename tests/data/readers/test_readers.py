"""Every format gives the same data, and whatever is broken is named."""

import csv
import gzip
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from data.test_foreign import refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import portadnn as dnn
from portadnn.cli.train import train
from portadnn.data.dataset import Dataset
from portadnn.data.load import has_test, load_dataset
from portadnn.data.readers import formats, idx
from portadnn.errors import InputError
from portadnn.training.declaration import Declaration
from portadnn.training.inference import data_for, prepared
from portadnn.training.problem import make_problem

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
Y = np.arange(12) % 3


def write_idx(path, array, opened=open):
    code = {np.dtype(t): c for c, t in idx.TYPES.items()}[array.dtype.newbyteorder(">")
                                                         if array.dtype.itemsize > 1
                                                         else array.dtype]  # fmt: skip
    with opened(path, "wb") as file:
        file.write(bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape))
        file.write(array.astype(array.dtype.newbyteorder(">")).tobytes())


def as_idx(folder):
    write_idx(folder / "train-images-idx3-ubyte", X)
    write_idx(folder / "train-labels-idx1-ubyte", Y.astype(np.uint8))
    return load_dataset(folder / "train-images-idx3-ubyte")


def as_idx_gz(folder):
    write_idx(folder / "images.gz", X, gzip.open)
    write_idx(folder / "classes.gz", Y.astype(np.uint8), gzip.open)
    return load_dataset(folder / "images.gz", labels=folder / "classes.gz")


def as_npz(folder):
    np.savez(folder / "data.npz", images=X, labels=Y)
    return load_dataset(folder / "data.npz")


def as_compressed_npz(folder):
    np.savez_compressed(folder / "d.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    assert has_test(folder / "d.npz")
    assert load_dataset(folder / "d.npz", "test").examples.shape == (2, 5, 4)
    return load_dataset(folder / "d.npz", "train")


def as_npy(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return load_dataset(folder / "x.npy", labels=folder / "y.npy")


def as_hdf5(folder):
    with h5py.File(folder / "d.h5", "w") as file:
        file["pictures"], file["kinds"] = X, Y
    return load_dataset(folder / "d.h5", target=["kinds"])


def as_course(folder):
    with h5py.File(folder / "c.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = X, Y
        file["list_classes"] = [b"0", b"1", b"2"]
    return load_dataset(folder / "c.h5")


def as_folder(folder):
    for i, (x, y) in enumerate(zip(X, Y, strict=True)):
        (folder / "p" / str(y)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / "p" / str(y) / f"{i:03}.png")
    return load_dataset(folder / "p")


FORMATS = [as_idx, as_idx_gz, as_npz, as_compressed_npz, as_npy, as_hdf5, as_course, as_folder]


@pytest.mark.parametrize("read", FORMATS, ids=lambda f: f.__name__)
def test_every_format_gives_the_same_data(read, tmp_path):
    data = read(tmp_path)
    assert data.examples.dtype == np.uint8
    np.testing.assert_array_equal(data.examples, X)
    np.testing.assert_array_equal(data.labels, Y)
    assert (data.classes, data.head) == (("0", "1", "2"), "softmax")


# "pixels" says of a table what the other formats say by uint8
FINGERPRINT_OPTIONS = {"layers": [6], "epochs": 4, "batch_size": 5, "optimizer": "adam"}


def as_table(suffix):
    def read(folder):
        arrow = pytest.importorskip("pyarrow")
        columns = {f"p{i}": column for i, column in enumerate(X.reshape(12, -1).T)}
        table = arrow.table(columns | {"y": Y})
        if suffix == "csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, folder / "d.csv")
        else:
            pytest.importorskip("pyarrow.parquet").write_table(table, folder / "d.parquet")
        return load_dataset(folder / f"d.{suffix}", target="y")

    read.__name__ = f"as_{suffix}"
    return read


READERS = [*FORMATS, as_table("csv"), as_table("parquet")]


def test_every_format_is_read_here():
    names = {read.__name__.removeprefix("as_") for read in READERS}
    assert formats.FORMATS.keys() == names - {"idx_gz", "compressed_npz", "course"}


def test_every_format_is_told_of():
    page = Path(__file__).parents[3] / "docs" / "data.md"
    for text in (page.read_text(encoding="utf-8"), load_dataset.__doc__, train.__doc__):
        for row in formats.FORMATS.values():
            assert row.title.split()[1] in text


@pytest.mark.parametrize("read", READERS, ids=lambda f: f.__name__)
def test_the_same_pictures_give_the_same_bits(read, tmp_path):
    options = FINGERPRINT_OPTIONS | {"rng": 3, "backend": "numpy"}
    data = read(tmp_path)
    how = None if data.table is None else "pixels"
    model = dnn.train(data, preprocess=how, **options)
    expected = dnn.train(Dataset(X, Y, ("0", "1", "2")), **options)
    assert dnn.fingerprint(model) == dnn.fingerprint(expected)
    assert dnn.predict(model, data).labels.tolist() == dnn.predict(expected, X).labels.tolist()


def test_the_courses_layout_keeps_its_numbers(tmp_path):
    """Also if two classes have one name, and if there are no labels."""
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = X, Y
        file["test_set_x"] = X[:2]
        file["list_classes"] = [b"a", b"b", b"a"]
    data = load_dataset(tmp_path / "c.h5", split="train")
    assert data.labels.tolist() == Y.tolist()
    data = load_dataset(tmp_path / "c.h5", "test", labelled=False)
    assert (data.labels, data.classes) == (None, ("a", "b", "a"))
    data = load_dataset(tmp_path / "c.h5", "train", task="regression")
    assert (data.labels.tolist(), data.head) == (Y.tolist(), "identity")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables(suffix, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    columns = {"age": [1.5, None, 3.0], "town": ["Bern", "Basel", None], "ill": [True, False, True]}
    table = arrow.table(columns)
    path = tmp_path / f"d.{suffix}"
    if suffix == "csv":
        path.write_text("age,town,ill\n1.5,Bern,true\nNA,Basel,false\n3,,true\n")
    else:
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    data = load_dataset(path, target="ill")
    assert data.table == ("age", "town")
    np.testing.assert_array_equal(data.examples["age"], [1.5, np.nan, 3.0])
    assert data.examples["town"].tolist() == ["Bern", "Basel", ""]
    assert (data.classes, data.head) == (("False", "True"), "sigmoid")
    assert data.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a;b;y\n1;2;0\n3;4;1\n", [(1, 2), (3, 4)]),
        (b"a\tb\ty\r\n1\t2\t0\r\n3\t4\t1\r\n", [(1, 2), (3, 4)]),
        (b"\xef\xbb\xbfa,b,y\n1,2,0\n3,4,1\n", [(1, 2), (3, 4)]),
        ("a,b,y\n1,2,0\n3,4,1\n".encode("utf-16"), [(1, 2), (3, 4)]),
        (b'a,b,y\n"1",2,0\n3,"4",1', [(1, 2), (3, 4)]),
        (b"a;b;y\n1,5;2;0\n-3,25;4;1\n", [(1.5, 2), (-3.25, 4)]),
        (b"a;b;y\n1,5;2.5;0\n3;4;1\n", [("1,5", 2.5), ("3", 4)]),
        (b'"a, in EUR, net";"b";"y"\n1;2;0\n3;4;1\n', [(1, 2), (3, 4)]),
        (b'"a;\n;;b",b,"y"\n1,2,0\n3,4,1\n', [(1, 2), (3, 4)]),
        (b'a;b;y\n"1,5";"2,5";0\n"-3";"4";1\n', [(1.5, 2.5), (-3, 4)]),
        (b'a,b,y\n"1,500",2,0\n"3,000",4,1\n', [("1,500", 2), ("3,000", 4)]),
    ],
    ids=[
        *("semicolons", "tabs and CRLF", "a BOM", "UTF-16", "quotes", "commas", "both marks"),
        *("a quoted comma", "a quoted line", "quoted decimals", "quoted thousands"),
    ],
)
def test_forms_of_csv(content, rows, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_bytes(content)
    data = load_dataset(tmp_path / "d.csv", target=["y"])
    assert data.examples.tolist() == rows
    assert data.labels.tolist() == [0, 1]


@pytest.mark.parametrize("content", ["1,2,0\n3,4,1\n", "1;2,5;0\n3;4,5;1\n"])
def test_a_csv_file_without_a_heading(content, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(content)
    data = load_dataset(tmp_path / "d.csv", target=["f2"])
    assert len(data) == 2
    assert data.table == ("f0", "f1")


def test_a_column_of_texts_may_look_like_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    rows = ["A1,0", "12,1", "007,0", "7,1"] * 3
    (tmp_path / "d.csv").write_text("\n".join(["code,y", *rows]))
    for name, rows in (("e", ["007,0", "12,1"]), ("f", ["12,1", "7,0"]), ("g", ["12,1", "8.5,0"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["code,y", *rows]))
    path, other = str(tmp_path / "d.csv"), str(tmp_path / "e.csv")
    declared = Declaration(data=path, target=("y",), validation=other, test=other)
    problem = make_problem(declared)
    codes = ("007", "12", "7", "A1")
    assert problem.preprocess.columns[0].categories == codes
    expected = [[1, 0, 0, 0], [0, 1, 0, 0]]
    for part in ("validation", "test"):
        assert problem.examples[part].examples.tolist() == expected
    data = load_dataset(path, target="y")
    model = dnn.train(data, layers=[2], epochs=1, backend="numpy")
    for isolated in (False, True):
        found = data_for(model, other, isolated=isolated, target="y")
        assert prepared(model, found).examples.tolist() == expected
    frame = load_dataset(tmp_path / "f.csv", target="y")  # numbers, as of a Parquet file
    assert prepared(model, frame).examples.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    with pytest.raises(InputError, match="row 2, column 'code' is '8.5': expected 007, 12, 7, A1"):
        prepared(model, data_for(model, tmp_path / "g.csv", target="y"))
    with pytest.raises(
        InputError, match="column 'code' holds numbers: expected texts, as in train"
    ):
        prepared(model, load_dataset(tmp_path / "g.csv", target="y"))
    with pytest.raises(InputError, match="has no column 'codes': it has code, y"):
        load_dataset(path, target="y", texts=["codes"])


@pytest.mark.parametrize("names", ["2019,town", "2019,2020", "a,2020"])
def test_the_names_that_a_model_knows_are_names(names, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(f"{names},y\n1,2,a\n3,4,b\n")
    (tmp_path / "e.csv").write_text(f"{names}\n1,2\n3,4\n")
    (tmp_path / "f.csv").write_text("1,x\n2,y\n")
    model = dnn.train(load_dataset(tmp_path / "d.csv", target="y"), layers=[2], epochs=1)
    found = data_for(model, tmp_path / "e.csv", labelled=False)
    assert ",".join(found.table) == names
    assert prepared(model, found).examples.tolist() == [[-1, -1], [1, 1]]
    with pytest.raises(InputError, match="f.csv lacks the column"):
        prepared(model, data_for(model, tmp_path / "f.csv", labelled=False))


WRITABLE = st.text(st.sampled_from("ab,;|\t\" '\n"), min_size=1, max_size=5).map("n{}".format)


@given(st.lists(WRITABLE, min_size=2, max_size=4, unique=True), st.sampled_from(",;\t|"))
def test_separators_in_quotes_separate_nothing(tmp_path_factory, names, separator):
    pytest.importorskip("pyarrow")
    path = tmp_path_factory.getbasetemp() / "quoted.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([names, range(len(names)), range(len(names))])
    data = load_dataset(path, target=names[0], task="regression")
    assert data.table == tuple(names[1:])
    assert data.examples[0].tolist() == (*range(1, len(names)),)


@pytest.mark.parametrize(
    ("content", "target", "names"),
    [
        ("5.1,3.5,Iris\n4.9,3.0,Iris\n", "f2", ("f0", "f1")),
        ("5,1;3;Iris\n4,9;3;Iris\n", "f2", ("f0", "f1")),
        ("a,5\nb,6\n", "f0", ("f1",)),
        ("2019,2020,region\n5,6,a\n7,8,b\n", "region", ("2019", "2020")),
        ("2019,2020,region\n5,6,a\n7,8,b\n", "2019", ("2020", "region")),
        ("2019,region\n?,a\n8,b\n", "region", ("2019",)),
        ("a,y\nb,c\nd,e\n", "y", ("a",)),
        ("a,inf,y\nb,c,0\nd,e,1\n", "y", ("a", "inf")),
    ],
)
def test_a_number_above_a_number_is_no_name(content, target, names, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(content)
    data = load_dataset(tmp_path / "d.csv", target=target, labelled=False)
    assert data.table == names
    assert len(data) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected an HDF5 file, a CSV file"),
        (b"\n\n", "is empty"),
        (b"a,b,y\n1,2,0\n3,4\n", "Row #3: Expected 3 columns, got 2"),
        (b"a,b,y\n1,2,0\n3,\0,1\n", "has a NUL in row 3: expected text in UTF-8"),
        ("a,y\n1,0\n".encode("utf-16-le"), "has a NUL in row 1: expected text in UTF-8"),
        (b"x" * 2000 + b",y\n1,0\n2,1\n", "has a column whose name has 2,000 characters"),
        (b"a,y\n" + b"x" * 10**6 + b",0\n2,1\n", "text of 1000000 characters in row 1"),
        (b"a,y\n" + b"x" * 999 + b",0\n" + b"2,1\n" * 10**5, "would take 381.1 MiB"),
        (b"a," * 20_000 + b"y\n", "has 20,001 columns or more: expected 20,000 at most"),
        (b"a,a,y\n1,2,0\n", "two columns named 'a'"),
        (b"a,b\n1,2\n", "has no column 'y'"),
        (b"y\n1\n2\n", "has no columns but the target"),
        (b"a,b,y\n", "has no rows"),
        (b"a,y\n1,0\n2,\n", "row 2 has no label"),
        ("a,y\nZürich,0\nBern,1\n".encode("latin-1"), "column 'a' holds text that is not UTF-8"),
        ("größe,y\n1,0\n2,1\n".encode("latin-1"), "a column name that is not UTF-8: expected text"),
        (b"a,y\n2020-01-01,0\n2021-01-01,1\n", "column 'a' holds date32"),
    ],
)
def test_csv_that_cannot_be_used(content, message, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_dataset(tmp_path / "d.csv", target=["y"])
    assert message in str(error.value)
    assert "d.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "table", "named"),
    [
        (",a,y\n0,5,0\n1,6,1\n", ("column 1", "a"), "column 1"),
        ("a,,y,\n5,0,0,\n6,1,1,\n", ("a", "column 2"), "column 2"),
        ("column 2,,y\n5,0,0\n6,1,1\n", ("column 2", "column 2*"), "column 2*"),
    ],
)
def test_columns_without_a_name(content, table, named, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(content)
    data = load_dataset(tmp_path / "d.csv", target="y")
    assert data.table == table
    assert sorted(data.examples[0].tolist()) == [0, 5]
    assert load_dataset(tmp_path / "d.csv", target=named).labels.tolist() == [0, 1]


def test_a_table_needs_a_target(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns a, b: say which to predict with --target"):
        load_dataset(tmp_path / "d.csv")


@pytest.mark.parametrize("cut", [0, 3, 8, 15, 16, 60, -1])
def test_idx_that_is_cut_short(cut, tmp_path):
    as_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        load_dataset(path)


def test_idx_with_huge_dimensions_takes_no_memory(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(InputError, match=r"of shape .* would take .* expected 1.0 MiB at most"):
        idx.read_array(path)
    path.write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**30))
    with pytest.raises(InputError, match="would take 1,024.0 MiB"):
        idx.read_array(path)


def test_idx_with_more_than_it_says(tmp_path):
    as_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes() + b"1")
    with pytest.raises(InputError, match="more bytes than its shape"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["x.npy", "d.npz"])
def test_numpy_files_that_hold_objects_are_refused(name, tmp_path):
    objects = np.asarray([{}, []], dtype=object)
    if name == "x.npy":
        np.save(tmp_path / name, objects, allow_pickle=True)
        np.save(tmp_path / "y.npy", Y)
    else:
        np.savez(tmp_path / name, x=objects, y=Y)
    with pytest.raises(InputError, match="expected numbers or texts"):
        load_dataset(tmp_path / name, labels=None if name == "d.npz" else tmp_path / "y.npy")


def test_a_numpy_file_of_python_2_is_read_without_a_warning(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    content = (tmp_path / "x.npy").read_bytes()
    ours = repr(X.shape).encode() + b", }" + b" " * X.ndim
    theirs = repr(X.shape).replace(",", "L,").replace(")", "L)").encode() + b", }"
    assert ours in content
    (tmp_path / "x.npy").write_bytes(content.replace(ours, theirs))
    data = load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy")
    np.testing.assert_array_equal(data.examples, X)


def test_numpy_files_that_lie_take_no_memory(tmp_path):
    """A header as long as a file may say, other compressions, and a text that is none."""
    header = b"\x93NUMPY\x02\0\xff\xff\xff\xff"
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("X.npy", header + bytes(10**8))
    refused(
        load_dataset, tmp_path / "d.npz", "its header has 4294967295 bytes: expected 10000 at most"
    )
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("X.npy", bytes(10**8))
    refused(load_dataset, tmp_path / "d.npz", "X is compressed in another way than deflate")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.full(12, 2**31 - 1, np.int32).view("<U1"))
    with pytest.raises(InputError, match="is damaged"):
        load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy")


def test_a_parquet_file_with_one_long_text_for_all_rows(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    for size, message in ((10**6, "text of 1000000 characters in row 1"), (900, "would take")):
        texts = arrow.DictionaryArray.from_arrays(np.zeros(10**5, np.int32), ["x" * size])
        table = arrow.table({"a": texts, "y": np.arange(10**5) % 2})
        pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "d.parquet")
        refused(lambda path: load_dataset(path, target=["y"]), tmp_path / "d.parquet", message)


@pytest.mark.parametrize("shape", [(), (11,), (1, 11)])
def test_wrong_counts(shape, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.zeros(shape))
    with pytest.raises(InputError, match=r"x.npy has examples of shape \(12, 5, 4\) but labels of"):
        load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["X"], file["y"] = X, np.zeros(shape)
    with pytest.raises(InputError, match=r"d.h5 has examples of shape \(12, 5, 4\) but labels of"):
        load_dataset(tmp_path / "d.h5")


def test_it_is_said_if_the_arrays_cannot_be_told_apart(tmp_path):
    np.savez(tmp_path / "d.npz", a=X, b=X)
    with pytest.raises(InputError, match=r"holds a \(12, 5, 4\), b \(12, 5, 4\).*--target NAME"):
        load_dataset(tmp_path / "d.npz")


def test_it_is_said_if_the_examples_are_not_clear(tmp_path):
    np.savez(tmp_path / "d.npz", foo=X, bar=Y, baz=X)
    with pytest.raises(InputError, match="which array holds the examples; .* Call the examples X"):
        load_dataset(tmp_path / "d.npz", target="bar")


@pytest.mark.parametrize("isolated", [False, True])
def test_a_fault_of_the_labels_names_their_file(isolated, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.where(Y == 2, np.nan, Y))
    fault = r"^\S*y.npy \(labels of \S*x.npy\): row 3 has no label"
    with pytest.raises(InputError, match=fault):
        load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy", isolated=isolated)
    as_idx(tmp_path)
    fault = (
        r"train-labels-idx1-ubyte \(labels of \S*train-images-idx3-ubyte\): the label '2' is not"
    )
    with pytest.raises(InputError, match=fault):
        load_dataset(tmp_path / "train-images-idx3-ubyte", classes="01", isolated=isolated)


def test_a_target_that_is_named_twice(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text("a,price\n1,2\n3,4\n")
    with pytest.raises(InputError, match="the targets are price, price: expected each name once"):
        load_dataset(tmp_path / "d.csv", target=["price", "price"])


def test_idx_labels_in_place_of_images(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"\0\1\2")
    with pytest.raises(InputError, match=r"shape \(3,\), which looks like labels: expected the ex"):
        load_dataset(path)


def test_labels_that_are_not_wanted_are_not_read(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text("a,y\n1,\n2,new\n")
    known = {"target": ["y"], "classes": ["old", "older"], "task": "classification"}
    with pytest.raises(InputError):
        load_dataset(tmp_path / "d.csv", **known)
    data = load_dataset(tmp_path / "d.csv", **known, labelled=False)
    assert (data.labels, data.table, data.classes) == (None, ("a",), ("old", "older"))


def test_pictures_without_labels_may_lie_in_the_folder_itself(tmp_path):
    for i, colour in enumerate(("red", "blue")):
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match="holds no pictures in sub-folders"):
        load_dataset(tmp_path)
    data = load_dataset(tmp_path, labelled=False)
    assert data.labels is None
    assert data.examples[:, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255]]


def test_pictures_of_different_sizes(tmp_path):
    for kind, size in (("a", (4, 4)), ("b", (6, 4))):
        (tmp_path / kind).mkdir()
        Image.new("RGB", size).save(tmp_path / kind / "1.png")
    with pytest.raises(InputError, match="4x6 pixels.*4x4: expected one size.*--size"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, size=(3, 2)).examples.shape == (2, 3, 2, 3)


def test_the_content_decides_and_not_the_name(tmp_path):
    with open(tmp_path / "d.csv", "wb") as file:
        np.savez(file, images=X, labels=Y)
    np.testing.assert_array_equal(load_dataset(tmp_path / "d.csv").examples, X)
    (tmp_path / "d.h5").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not an HDF5 file, although its name says so"):
        load_dataset(tmp_path / "d.h5")
    (tmp_path / "d.bin").write_bytes(b"\x00\x01\x02\x03" * 9)
    with pytest.raises(InputError, match="begins with the bytes 00 01 02 03 .*: expected an HDF5"):
        load_dataset(tmp_path / "d.bin")


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_a_damaged_npz_is_refused_or_read(place, tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, images=X, labels=Y)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x41
    path.write_bytes(content)
    try:
        data = load_dataset(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        np.testing.assert_array_equal(data.examples, X)
