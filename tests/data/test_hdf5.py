import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portadnn.data.dataset import Dataset
from portadnn.data.hdf5 import has_split, load_digits, write_dataset
from portadnn.data.load import load_dataset
from portadnn.errors import InputError

X = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
Y = np.asarray([0, 1, 1, 0])
CLASSES = np.asarray([b"non-cat", b"cat"])


def course_file(path, **changes):
    """A file in the course's layout, with datasets replaced, or left out where None."""
    content = {"train_set_x": X, "train_set_y": Y, "list_classes": CLASSES} | changes
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
    return path


def test_the_layout_of_the_course(tmp_path):
    data = load_dataset(course_file(tmp_path / "cats.h5"))
    np.testing.assert_array_equal(data.examples, X)
    np.testing.assert_array_equal(data.labels, Y)
    assert data.classes == ("non-cat", "cat")
    assert data.source.endswith("cats.h5 (train)")


def test_class_names_as_text(tmp_path):
    path = course_file(tmp_path / "a.h5", list_classes=np.asarray(["chat", "forêt"], dtype="O"))
    assert load_dataset(path).classes == ("chat", "forêt")


def test_both_splits_in_one_file(tmp_path):
    path = course_file(tmp_path / "a.h5", test_set_x=X[:1], test_set_y=Y[:1])
    assert len(load_dataset(path, "test")) == 1
    assert has_split(path, "test")
    with pytest.raises(InputError, match="holds train_set_x and test_set_x: say which split"):
        load_dataset(path)


def test_labels_may_be_absent_where_they_are_not_needed(tmp_path):
    path = course_file(tmp_path / "a.h5", train_set_y=None)
    assert load_dataset(path, labelled=False).labels is None
    with pytest.raises(InputError, match="train_set_y is missing"):
        load_dataset(path)


@pytest.mark.parametrize("kind", ["int64", "uint8", "float32", "float64"])
def test_classes_that_are_numbers(kind, tmp_path):
    data = load_dataset(course_file(tmp_path / "a.h5", list_classes=np.arange(6, dtype=kind)))
    assert data.classes == ("0", "1", "2", "3", "4", "5")


def test_classes_that_are_no_whole_numbers(tmp_path):
    assert load_dataset(course_file(tmp_path / "a.h5", list_classes=[0.5, 2.0])).classes == (
        "0.5",
        "2",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_set_x": None}, "train_set_x is missing.*holds list_classes, train_set_y"),
        ({"list_classes": None}, "list_classes is missing"),
        ({"train_set_x": X[:, 0, 0, 0]}, r"train_set_x has shape \(4,\): .*rank 2 or more"),
        ({"train_set_y": Y[None]}, r"train_set_y has shape \(1, 4\): expected .*shape \(4,\)"),
        ({"train_set_y": Y[:3]}, r"train_set_y has shape \(3,\): expected .*shape \(4,\)"),
        ({"train_set_x": np.asarray([[b"x"]])}, r"train_set_x has dtype \|S1: expected an array"),
        ({"train_set_y": np.asarray([b"x"] * 4)}, r"train_set_y has dtype \|S1"),
        ({"train_set_y": Y + 1}, "label 1 is 2: expected integers 0..1"),
        ({"train_set_x": X[:0], "train_set_y": Y[:0]}, "they are empty"),
        ({"train_set_x": np.full((4, 2), np.nan)}, r"example 0 holds nan at index \(0, 0\)"),
        ({"train_set_x": h5py.SoftLink("/train_set_y")}, "train_set_x is a link to another"),
        ({"train_set_x": h5py.ExternalLink("other.h5", "x")}, "train_set_x is a link to another"),
        ({"list_classes": CLASSES[None]}, r"list_classes has shape \(1, 2\)"),
        ({"list_classes": Y + 1j}, "list_classes has dtype complex128: expected the names"),
        ({"train_set_x": h5py.Empty("f4")}, "train_set_x has shape None and no size"),
    ],
)
def test_content_that_is_not_as_expected(tmp_path, changes, message):
    path = course_file(tmp_path / "bad.h5", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path)
    assert "bad.h5" in str(caught.value)


def test_a_group_in_the_place_of_a_dataset(tmp_path):
    path = course_file(tmp_path / "a.h5", train_set_x=None)
    with h5py.File(path, "a") as file:
        file.create_group("train_set_x")
    with pytest.raises(InputError, match="train_set_x is a group"):
        load_dataset(path)


def test_data_that_lies_in_other_files_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(48))
    path = course_file(tmp_path / "a.h5", train_set_x=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("train_set_x", X.shape, X.dtype, external=[(str(secret), 0, 48)])
    with pytest.raises(InputError, match="train_set_x is kept in other files"):
        load_dataset(path)


def test_a_declared_size_that_is_not_there_is_refused(tmp_path):
    path = course_file(tmp_path / "a.h5", train_set_x=None)
    with h5py.File(path, "a") as file:  # nothing of it is stored
        file.create_dataset("train_set_x", (2**40, 64), "f8", chunks=(1, 64))
    with pytest.raises(InputError, match="has 0 of its 1,099,511,627,776 chunks in the file"):
        load_dataset(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_dataset(tmp_path / "absent.h5")
    with pytest.raises(InputError, match="holds no pictures in sub-folders"):
        load_dataset(tmp_path)
    text = tmp_path / "text.h5"
    text.write_text("hello")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        load_dataset(text)


def test_a_truncated_file(tmp_path):
    path = course_file(tmp_path / "a.h5")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is a damaged HDF5 file"):
        load_dataset(path)


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path, seed, damage):
    path = course_file(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, len(content), damage):
        content[position] = rng.integers(0, 256)
    path.write_bytes(content)
    try:
        assert isinstance(load_dataset(path), Dataset)
    except InputError as error:
        assert "a.h5" in str(error)


def test_writing_and_reading_back(tmp_path):
    path = tmp_path / "out.h5"
    data = Dataset(X, Y, ("non-cat", "cat"))
    write_dataset(path, train=data, test=data)
    again = load_dataset(path, "test")
    np.testing.assert_array_equal(again.examples, X)
    np.testing.assert_array_equal(again.labels, Y)
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_the_embedded_digits():
    train, test = load_digits()
    assert len(train) + len(test) == 1797
    assert train.input_shape == (8, 8)
    assert train.examples.dtype == np.uint8
    assert train.classes == test.classes == tuple("0123456789")
    # a pixel value v of 0..16 is stored as round(v * 255 / 16)
    allowed = np.round(np.arange(17) * 255 / 16)
    assert np.isin(train.examples, allowed).all()
    # every class in both, in the same share
    shares = [np.bincount(data.labels) / len(data) for data in (train, test)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.005)
