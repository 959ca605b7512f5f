import numpy as np
import pytest

from portadnn.data.dataset import Dataset
from portadnn.errors import InputError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)


def test_rows_become_columns(dtype):
    data = Dataset(IMAGES, [0, 1], ("a", "b"))
    X = data.columns(dtype)
    assert X.dtype == dtype
    assert X.shape == (12, 2)
    np.testing.assert_array_equal(X[:, 1], IMAGES[1].ravel() / np.dtype(dtype).type(255))
    assert data.input_shape == (2, 2, 3)
    assert data.n_x == 12
    assert len(data) == 2


def test_only_uint8_is_scaled():
    for dtype in (np.int16, np.float32):
        data = Dataset(IMAGES.astype(dtype), [0, 1], ("a", "b"))
        np.testing.assert_array_equal(data.columns("float64")[:, 0], IMAGES[0].ravel())


def test_targets_follow_the_number_of_classes():
    two = Dataset(IMAGES, [0, 1], ("a", "b"))
    assert two.head == "sigmoid"
    np.testing.assert_array_equal(two.targets("float32"), [[0, 1]])
    three = Dataset(IMAGES, [2, 1], ("a", "b", "c"))
    assert three.head == "softmax"
    np.testing.assert_array_equal(three.targets("float64"), [[0, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("examples", "labels", "classes", "message"),
    [
        (np.zeros(3), [0, 0, 0], "ab", r"examples have shape \(3,\): expected \(m, ...\)"),
        (np.zeros((0, 3)), [], "ab", "they are empty"),
        (np.zeros((2, 0)), [0, 0], "ab", "they are empty"),
        (np.asarray([["x"]]), [0], "ab", "examples have dtype <U1: expected numbers"),
        ([[0.0, 1.0], [np.nan, 0.0]], [0, 1], "ab", r"example 1 holds nan at index \(1, 0\)"),
        ([[0.0, np.inf]], [0], "ab", r"example 0 holds inf at index \(0, 1\)"),
        (np.zeros((2, 3)), [0], "ab", r"labels have shape \(1,\) for 2 examples"),
        (np.zeros((2, 3)), [0, 2], "ab", r"label 1 is 2: expected integers 0..1.*a, b"),
        (np.zeros((2, 3)), [-1, 0], "ab", "label 0 is -1"),
        (np.zeros((2, 3)), [0.5, 0], "ab", "label 0 is 0.5"),
        (np.zeros((2, 3)), [np.nan, 0], "ab", "label 0 is nan"),
        (np.zeros((2, 3)), ["a", "b"], "ab", "labels have dtype <U1"),
    ],
)
def test_what_is_no_dataset(examples, labels, classes, message):
    with pytest.raises(InputError, match=message):
        Dataset(np.asarray(examples), np.asarray(labels), tuple(classes), source="x.h5")


def test_one_class_has_no_head():
    with pytest.raises(InputError, match="1 class: expected two or more"):
        _ = Dataset(IMAGES, [0, 0], ("a",)).outputs


def test_labels_that_go_together():
    data = Dataset(IMAGES, [[1, 0, 1], [0, 0, 1]], ("a", "b", "c"), head="sigmoid")
    np.testing.assert_array_equal(data.targets("float32"), [[1, 0], [0, 0], [1, 1]])
    assert data.outputs == 3


@pytest.mark.parametrize("head", ["identity", "poisson"])
def test_values(head):
    one = Dataset(IMAGES, [1.5, 2.0], (), head=head)
    assert (one.head, one.outputs) == (head, 1)
    np.testing.assert_array_equal(one.targets("float64"), [[1.5, 2.0]])
    many = Dataset(IMAGES, [[1.5, 2.0, 3.0], [0.0, 4.0, 5.0]], ("x", "y", "z"), head=head)
    np.testing.assert_array_equal(many.targets("float64"), [[1.5, 0.0], [2.0, 4.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("labels", "classes", "head", "message"),
    [
        (
            [1.0, np.nan],
            (),
            "identity",
            "label 1 is nan: expected finite numbers from -inf",
        ),
        ([1.0, -2.0], (), "poisson", "label 1 is -2.0: expected finite numbers from 0 to inf"),
        (
            [[1, 0], [0, 2]],
            ("a", "b"),
            "sigmoid",
            "label 1 is 2: expected .* from 0 to 1",
        ),
        ([[1, 0], [0, 1]], ("a",), "sigmoid", "1 names for 2 labels of an example"),
        ([[1, 0], [0, 1]], ("a",), "identity", "1 names for 2 labels of an example"),
        ([1.0], (), "identity", r"labels have shape \(1,\) for 2 examples"),
        (["a", "b"], (), "identity", "labels have dtype <U1: expected finite numbers"),
        ([0, 1], ("a", "b"), "sigmod", "unknown head 'sigmod': did you mean 'sigmoid'"),
    ],
)
def test_labels_that_do_not_fit_the_head(labels, classes, head, message):
    with pytest.raises(InputError, match=message):
        Dataset(IMAGES, labels, classes, head=head)


def test_values_beyond_float32_are_found_before_training():
    data = Dataset(np.asarray([[1e300]]), [0], ("a", "b"))
    assert np.isfinite(data.columns("float64")).all()
    with pytest.raises(InputError, match="too large for float32"):
        data.columns("float32")
