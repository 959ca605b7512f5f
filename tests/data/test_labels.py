import numpy as np
import pytest

from portadnn.data.labels import read_labels, task_of
from portadnn.errors import InputError


@pytest.mark.parametrize(
    ("raw", "values", "classes", "head"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b"), "sigmoid"),
        ([True, False, True], [1, 0, 1], ("False", "True"), "sigmoid"),
        ([1, 2, 3, 1], [0, 1, 2, 0], ("1", "2", "3"), "softmax"),
        ([1.0, 2.0, 3.0], [0, 1, 2], ("1", "2", "3"), "softmax"),
        ([[1], [0], [2]], [1, 0, 2], ("0", "1", "2"), "softmax"),
        ([[1, 0, 2]], [1, 0, 2], ("0", "1", "2"), "softmax"),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [1, 0, 2], ("0", "1", "2"), "softmax"),
        ([[0, 1], [1, 1]], [[0, 1], [1, 1]], ("y1", "y2"), "sigmoid"),
        ([0.5, 1.0, 2.0], [0.5, 1.0, 2.0], ("y1",), "identity"),
        ([[0.5, 1], [2, 3]], [[0.5, 1], [2, 3]], ("y1", "y2"), "identity"),
        (list(range(0, 3000, 3)), list(range(0, 3000, 3)), ("y1",), "identity"),
    ],
)
def test_what_labels_suggest(raw, values, classes, head):
    found = read_labels(np.asarray(raw))
    np.testing.assert_array_equal(found.values, values)
    assert (found.classes, found.head) == (classes, head)


def test_the_task_may_be_given():
    assert read_labels(np.asarray([1, 2, 3]), task="regression").head == "identity"
    assert read_labels(np.asarray([1, 2, 3]), task="counts").head == "poisson"
    assert read_labels(np.asarray([0.5, 1.5]), task="classification").classes == ("0.5", "1.5")


def test_the_classes_of_the_training_data_number_others():
    found = read_labels(np.asarray(["c", "a"]), classes=("a", "b", "c"), task="classification")
    assert found.values.tolist() == [2, 0]
    assert found.head == "softmax"
    with pytest.raises(InputError, match="the label 'd' is not a known class: expected a, b, c"):
        read_labels(np.asarray(["d"]), classes=("a", "b", "c"), task="classification")


@pytest.mark.parametrize(
    ("raw", "task", "message"),
    [
        (["a", ""], None, "row 2 has no label"),
        ([1.0, np.nan], None, "row 2 has no label"),
        ([[1.0, 2.0], [np.inf, 2.0]], None, "row 2 has a label that is not finite"),
        (["a", "a"], None, "has 1 class: expected two or more"),
        (["a", "b"], "regression", "labels are texts such as 'a'"),
        ([[0, 2], [1, 1]], "multilabel", "labels hold 2: expected 0 and 1"),
        ([[1, 1], [0, 1]], "classification", "not one-hot"),
        ([1, 2], "regresion", "did you mean 'regression'"),
        (np.zeros((2, 2, 2)), None, "shape (2, 2, 2)"),
    ],
)
def test_labels_that_cannot_be_used(raw, task, message):
    with pytest.raises(InputError) as error:
        read_labels(np.asarray(raw), task=task)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("head", "outputs", "task"),
    [("sigmoid", 1, "classification"), ("softmax", 3, "classification"),
     ("sigmoid", 2, "multilabel"), ("identity", 1, "regression"), ("poisson", 1, "counts")],
)  # fmt: skip
def test_the_task_of_a_network(head, outputs, task):
    assert task_of(head, outputs) == task
