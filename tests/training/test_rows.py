"""X and y as people have them: arrays, lists, tables, labels of every kind."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import portadnn as dnn
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.training.rows import as_dataset

X = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [-7.0, 8.0]])
AGES, SIZES = [30, 41, 52, 63], [1.5, 1.6, 1.7, 1.8]


class Column:
    """A column of a table that can do no more than tables of all libraries can."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return np.asarray(self.values)


class Table:
    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return Column(self._columns[name])

    def __len__(self):
        return len(next(iter(self._columns.values())))


def pandas_table(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


def polars_table(columns):
    return pytest.importorskip("polars").DataFrame(columns, strict=False)


def arrow_table(columns):
    return pytest.importorskip("pyarrow").table(columns)


tables = pytest.mark.parametrize("table", [Table, pandas_table, polars_table, arrow_table])


@tables
def test_a_table_of_numbers(table):
    x = table({"age": AGES, "size": SIZES, "left": [True, False, True, False]})
    data, kept = as_dataset(x)
    expected = np.asarray([AGES, SIZES, [1, 0, 1, 0]], dtype=float).T
    np.testing.assert_array_equal(data.examples, expected)
    assert data.examples.dtype == np.float64
    assert kept == {"columns": ("age", "size", "left")}


def test_small_numbers_of_a_table_are_no_pixels():
    data, _ = as_dataset(Table({"dummy": np.asarray([0, 1], dtype=np.uint8)}))
    assert not data.scaled
    np.testing.assert_array_equal(data.columns("float32"), [[0, 1]])
    data, _ = as_dataset(np.asarray([[0], [255]], dtype=np.uint8))
    assert data.scaled


@tables
def test_what_is_no_number_in_a_table(table):
    with pytest.raises(InputError, match="column sex of X holds 'f' in row 0: expected finite num"):
        as_dataset(table({"age": AGES, "sex": ["f", "m", "f", "m"]}))
    with pytest.raises(InputError, match="column size of X holds 'nan' in row 2"):
        as_dataset(table({"size": [1.5, 1.6, float("nan"), 1.8]}))
    with pytest.raises(InputError, match="column seen of X holds '2020-01-01"):
        as_dataset(table({"seen": np.asarray(["2020-01-01"] * 4, dtype="datetime64[ns]")}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, "a"], [2, "b"]], "column 1 of X holds 'a' in row 0"),
        (np.asarray([["1", "2"]]), "column 0 of X holds '1' in row 0"),
        ([[1, None]], "column 1 of X holds 'None' in row 0"),
        ([[10**400, 1.0]], "column 0 of X holds '1000"),
        ([[1, 2], [3]], "X has rows of different lengths"),
        ([1.0, 2.0], "examples have shape .2,.: expected .m, ...., one row per example"),
        ([[np.nan, 1.0]], "example 0 holds nan"),
        (Table({"a": [1.0], 1: [2.0], "1": [3.0]}), "X has two columns of one name: a, 1, 1"),
        (dnn.load_digits()[0], "X is a Dataset, which has its labels: leave y out"),
        (3, "expected .m, ...., one row per example"),
    ],
)
def test_rows_that_cannot_be_used(rows, message):
    with pytest.raises(InputError, match=message):
        as_dataset(rows, [0, 1])


@pytest.mark.parametrize(
    ("y", "values", "classes"),
    [
        (["b", "a", "b", "c"], ("a", "b", "c"), ("a", "b", "c")),
        ([np.int64(2), 1, 1, 1], (1, 2), ("1", "2")),
        (
            [1234567.0, 1234568.0, 0.0, 0.0],
            (0.0, 1234567.0, 1234568.0),
            ("0", "1234567", "1234568"),
        ),
        (np.asarray(["b", "a", "b", "c"], dtype=object), ("a", "b", "c"), ("a", "b", "c")),
        ([7, 3, 7, 3], (3, 7), ("3", "7")),
        (np.asarray([-1.0, 1.0, 1.0, -1.0]), (-1.0, 1.0), ("-1", "1")),
        ([True, False, True, True], (False, True), ("False", "True")),
        (["1", "0", "10", "1"], ("0", "1", "10"), ("0", "1", "10")),
        ([[3], [5], [3], [4]], (3, 4, 5), ("3", "4", "5")),
        (Column(["ä", "z", "z", "z"]), ("z", "ä"), ("z", "ä")),
        (np.asarray([2**53 + 1, 2**53, 0, 0]), (0, 2**53, 2**53 + 1), None),
    ],
)
def test_labels_are_classes_and_come_back(y, values, classes, tmp_path):
    data, kept = as_dataset(X, y)
    assert kept == {"columns": (), "values": values}
    assert [type(v) for v in kept["values"]] == [type(v) for v in values]
    assert data.classes == (classes or tuple(map(str, values)))
    rows = np.eye(4)
    model = dnn.train(rows, y, layers=[16], learning_rate=0.5, epochs=500, backend="numpy")
    wanted = np.asarray(getattr(y, "values", y)).reshape(-1)
    dnn.save_model(model, tmp_path / "m.h5")
    for found in (model.predict(rows), dnn.load_model(tmp_path / "m.h5").predict(rows)):
        assert found.dtype.kind == ("U" if wanted.dtype.kind == "O" else wanted.dtype.kind)
        assert (found == wanted).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 0], "labels have shape .3,. for 4 examples: expected .4,."),
        ([[0, 1], [1, 1]], "labels have shape .2, 2. for 4 examples"),
        (3, "y: labels have shape .."),
        ([], "y: there are no examples: labels have shape .0,."),
        ([0.0, 1.0, np.nan, 1.0], "y has no label at 2"),
        (np.asarray([0.0, 1.0, np.nan, 1.0]), "y: row 3 has no label"),
        ([0.0, 1.0, np.inf, 1.0], "y: row 3 has a label that is not finite"),
        (np.asarray([0, 1, None, 1]), "y has no label at 2: leave that row out"),
        ([None, None, "a", "b"], "y has no label at 0"),
        (np.asarray(["a", "b", np.nan, "a"], dtype=object), "y has no label at 2"),
        (np.ma.masked_equal([0, 1, 9, 1], 9), "y has masked values: leave their rows out"),
        (["a", "b", 3, "a"], "y holds 3 at 2: expected texts alone, or numbers alone"),
        ([3, "a", "b", "a"], "y holds 'a' at 1"),
        ([b"a", b"b", b"a", b"a"], "y holds b'a' at 0"),
        (np.asarray([b"a", b"b", b"a", b"a"]), "y: labels have dtype .S1: expected texts or"),
        ([1j, 2, 3, 4], "y holds 1j at 0"),
        (np.asarray(["2020-01-01"] * 4, dtype="datetime64[ns]"), "y: labels have dtype datetime64"),
        ([[1], [2, 3], [1], [1]], "y holds .1. at 0"),
        (["a", "a", "a", "a"], "y has 1 class: expected two or more"),
    ],
)
def test_labels_that_cannot_be_used(y, message):
    with pytest.raises(InputError, match=message):
        dnn.train(X, y, layers=[4], epochs=1, backend="numpy")


def test_values_are_learnt():
    y, options = [0.0, 0.5, 1.0, 2.5], {"layers": [4], "epochs": 2, "backend": "numpy"}
    model = dnn.train(X, y, validation=(X[:2], [1, 2]), **options)
    same = dnn.train(dnn.Dataset(X, y, ("y1",), head="identity"), **options)
    assert dnn.fingerprint(model) == dnn.fingerprint(same)
    np.testing.assert_array_equal(model.predict(X), same.predict(X))
    with pytest.raises(InputError, match="the identity head has values, not probabilities"):
        model.predict_proba(X)


def test_labels_that_may_go_together():
    y = [[0, 1], [1, 1], [0, 0], [1, 0]]
    model = dnn.train(np.eye(4), y, layers=[16], learning_rate=0.5, epochs=500, backend="numpy")
    assert model.network.head == "sigmoid"
    assert model.predict(np.eye(4)).tolist() == y


def test_masked_values_are_not_learnt_from():
    masked = np.ma.masked_greater(X, 7.5)
    with pytest.raises(InputError, match=r"X has masked values: .* with X.filled"):
        dnn.train(masked, [0, 1, 0, 1], layers=[4], epochs=1, backend="numpy")
    data, _ = as_dataset(np.ma.masked_greater(X, 9), [0, 1, 0, 1])  # none is masked
    np.testing.assert_array_equal(data.examples, X)


@tables
def test_a_table_without_columns(table):
    for how in ({}, {"preprocess": "standardise"}):
        with pytest.raises(InputError, match="X has no columns"):
            dnn.train(table({}), [0, 1], epochs=1, backend="numpy", **how)


@pytest.mark.parametrize("rows", [X, X.tolist()])
def test_y_is_missing(rows):
    with pytest.raises(InputError, match=r"y is missing: expected train\(X, y\), or a Dataset"):
        dnn.train(rows)
    with pytest.raises(TypeError, match="expected a Dataset or the path of a file"):
        dnn.train(3)


def test_it_trains_as_a_dataset_does(backend):
    y = np.asarray(["b", "a", "b", "b"])
    options = {"layers": [4], "epochs": 20, "rng": 3, "backend": backend}
    model = dnn.train(backend.asarray(X), y, **options)
    same = dnn.train(dnn.Dataset(X, np.asarray([1, 0, 1, 1]), ("a", "b")), **options)
    assert dnn.fingerprint(model) == dnn.fingerprint(same)
    assert model.history == same.history
    assert (model.predict(backend.asarray(X)) == np.asarray(["a", "b"])[same.predict(X)]).all()
    expected = dnn.predict(same, dnn.Dataset(X, None, ())).probabilities
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@tables
def test_the_columns_of_a_table_are_kept(table, tmp_path):
    columns = {"age": AGES, "size": SIZES}
    model = dnn.train(table(columns), list("abab"), layers=[4], epochs=2, backend="numpy")
    model.save(tmp_path / "m.h5")
    again = dnn.load_model(tmp_path / "m.h5")
    assert model.columns == again.columns == ("age", "size")
    expected = np.stack([AGES, SIZES], axis=1)
    np.testing.assert_array_equal(
        again.predict_proba(table(columns)), model.predict_proba(expected)
    )
    message = "X has the columns size, age: expected age, size, in this order"
    with pytest.raises(InputError, match=message):
        again.predict(table({"size": SIZES, "age": AGES}))
    with pytest.raises(InputError, match=message):
        dnn.train(
            table(columns), list("abab"), epochs=1, backend="numpy",
            validation=(table({"size": SIZES, "age": AGES}), list("abab")),
        )  # fmt: skip


@pytest.mark.parametrize("y", [list("abab"), [3, 5, 3, 5], [0.5, 1.25, 0.1, 7.0]])
def test_evaluate_takes_what_train_takes(y):
    model = dnn.train(X, y, layers=[4], epochs=2, backend="numpy")
    found = dnn.evaluate(model, X, y)
    assert found == dnn.evaluate(model, as_dataset(X, y)[0])
    assert (found.examples, found.cost > 0) == (4, True)
    with pytest.raises(InputError, match="the data has no labels"):
        dnn.evaluate(model, X)
    if isinstance(y[0], str):
        with pytest.raises(InputError, match="the label 'c' is not a known class: expected a, b"):
            dnn.evaluate(model, X[:1], ["c"])


def test_validation_as_a_pair():
    y, options = list("abcb"), {"layers": [4], "epochs": 200, "backend": "numpy"}
    model = dnn.train(X, y, validation=(X[:2], y[:2]), **options)  # one class less
    assert model.history[-1].validation_score in (0.0, 0.5, 1.0)
    with pytest.raises(InputError, match="the label 'bird' is not a known class: expected a, b, c"):
        dnn.train(X, y, validation=(X[:1], ["bird"]), **options)


def test_dtype():
    model = dnn.train(X, list("abab"), layers=[4], epochs=2, backend="numpy", dtype="float64")
    assert model.dtype == "float64"
    assert dnn.train(X, list("abab"), layers=[4], epochs=2, backend="numpy").dtype == "float32"
    single = dnn.get_backend("numpy")
    with pytest.raises(InputError, match="dtype is float64, but the given backend has"):
        dnn.train(X, list("abab"), backend=single, dtype="float64")


def test_what_is_left_of_a_run_that_diverges():
    with pytest.raises(dnn.DivergenceError) as caught:
        dnn.train(X * 10, list("abab"), layers=[], learning_rate=1e38, backend="numpy")
    assert caught.value.model.values == ("a", "b")


def test_a_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse")
    data, _ = as_dataset(sparse.csr_array(X), list("abab"))
    np.testing.assert_array_equal(data.examples, X)


@pytest.fixture(scope="module")
def of_a_file():
    """A model of a table as ``load`` reads it: a structured array, preprocessed."""
    rows = np.empty(4, [("age", "f8"), ("sex", "U1")])
    rows["age"], rows["sex"] = AGES, list("fmfm")
    data = Dataset(rows, np.asarray([0, 1, 0, 1]), ("a", "b"))
    options = {"layers": [4], "learning_rate": 0.5, "epochs": 300, "backend": "numpy"}
    return data, dnn.train(data, **options)


@tables
def test_a_table_for_a_model_that_preprocesses(table, of_a_file):
    data, model = of_a_file
    found = table({"age": AGES, "sex": list("fmfm")})
    np.testing.assert_array_equal(model.predict_proba(found), model.predict_proba(data))
    assert model.predict(found).tolist() == [0, 1, 0, 1]
    with pytest.raises(InputError, match="has the columns sex, age: expected the order age, sex"):
        model.predict(table({"sex": list("fmfm"), "age": AGES}))
    with pytest.raises(InputError, match="row 2 has no value in column 'age'"):
        model.predict(table({"age": [30.0, float("nan")], "sex": ["f", "m"]}))
    with pytest.raises(InputError, match="row 1, column 'sex' is 'x'"):
        model.predict(table({"age": [30.0], "sex": ["x"]}))


def test_numbers_for_a_model_that_preprocesses():
    rows = np.empty(4, [("age", "f8"), ("size", "f8")])
    rows["age"], rows["size"] = AGES, SIZES
    data = Dataset(rows, np.asarray([0, 1, 0, 1]), ("a", "b"))
    model = dnn.train(data, layers=[4], epochs=20, backend="numpy")
    expected = model.predict_proba(data)
    plain = np.stack([AGES, SIZES], axis=1)
    for X in (plain, plain.tolist(), Table({"age": AGES, "size": SIZES})):
        np.testing.assert_array_equal(model.predict_proba(X), expected)


LABELS = st.none() | st.text(max_size=2) | st.booleans() | st.integers() | st.floats() | st.binary()


@given(st.lists(LABELS, min_size=4, max_size=4) | hnp.arrays(hnp.scalar_dtypes(), 4))
def test_any_labels_are_learnt_or_an_input_error(y):
    try:
        data, kept = as_dataset(X, y)
    except InputError as error:
        assert str(error)
    else:
        again = [kept["values"][i] for i in data.labels] if kept["values"] else data.labels.tolist()
        assert np.array_equal(again, np.asarray(y).tolist())


@given(st.lists(st.lists(LABELS, min_size=1, max_size=2), min_size=1, max_size=3))
def test_any_rows_are_numbers_or_an_input_error(rows):
    try:
        data, _ = as_dataset(rows)
    except InputError as error:
        assert str(error)
    else:
        np.testing.assert_array_equal(data.examples, np.asarray(rows, dtype=float))


MIXED = {
    "age": [30.0, np.nan, 52.0, 63.0] * 5,
    "town": ["Bern", "Basel", None, "Zug"] * 5,
    "left": [True, False, False, True] * 5,
}
ILL = ["yes", "no", "no", "yes"] * 5
QUICK = {"layers": [4], "epochs": 5, "learning_rate": 0.1, "backend": "numpy", "rng": 1}


@tables
def test_texts_and_gaps_are_preprocessed_as_in_a_csv_file(table, tmp_path):
    pytest.importorskip("pyarrow")
    lines = [",".join([*MIXED, "ill"])]
    for age, town, left, ill in zip(*MIXED.values(), ILL, strict=True):
        lines.append(f"{age},{town or ''},{left},{ill}")
    (tmp_path / "d.csv").write_text("\n".join(lines))
    data = dnn.load_dataset(tmp_path / "d.csv", target="ill")
    how = "standardise:missing=median,unknown=ignore"
    from_file = dnn.train(data, preprocess=how, **QUICK)
    x = table(MIXED)
    model = dnn.train(x, ILL, preprocess=how, validation=(x, ILL), **QUICK)
    assert dnn.fingerprint(model) == dnn.fingerprint(from_file)
    assert model.preprocess == from_file.preprocess
    assert model.network.layer_dims == (6, 4, 1)
    np.testing.assert_array_equal(
        model.predict_proba(x), dnn.predict(from_file, data).probabilities
    )
    assert set(model.predict(table(MIXED | {"town": ["Genf"] * 20}))) <= {"yes", "no"}


@tables
def test_texts_and_gaps_are_refused_by_name(table):
    x = table(MIXED)
    with pytest.raises(InputError, match=r"column age of X holds 'nan' in row 1.*preprocess="):
        dnn.train(x, ILL, **QUICK)
    with pytest.raises(
        InputError, match="row 2 has no value.*train with preprocess standardise:miss"
    ):
        dnn.train(x, ILL, preprocess="standardise", **QUICK)
    with pytest.raises(InputError, match="column 'town' holds texts: expected numbers"):
        dnn.train(table(MIXED | {"age": AGES * 5}), ILL, preprocess="none", **QUICK)
    with pytest.raises(InputError, match="unknown preprocess 'standardize'"):
        dnn.train(x, ILL, preprocess="standardize", **QUICK)


@tables
def test_a_cell_that_is_neither_number_nor_gap_is_refused(table):
    how = {"preprocess": "standardise:missing=median,unknown=ignore", **QUICK}
    dates = np.asarray(["2020-01-01"] * 20, dtype="datetime64[ns]")
    with pytest.raises(InputError, match="column seen of X holds '2020-01-01"):
        dnn.train(table(MIXED | {"seen": dates}), ILL, **how)


def test_numbers_and_words_in_one_column():
    pandas = pytest.importorskip("pandas")
    how = {"preprocess": "standardise:missing=median", **QUICK}
    ages = pandas.DataFrame({"age": np.arange(20.0)})
    model = dnn.train(ages, ILL, **how)
    cells = [5, None, pandas.NA, pandas.NaT, float("nan"), np.float32("nan"), Decimal("7.5")]
    rows = model.prepare(pandas.DataFrame({"age": np.asarray(cells, dtype=object)}))
    filled = pandas.DataFrame({"age": [5.0] + [9.5] * 5 + [7.5]})
    np.testing.assert_array_equal(rows, model.prepare(filled))
    for word in ("5,0", "-5.0", pandas.Timestamp("2020-01-01"), 1j, np.datetime64("NaT")):
        mixed = pandas.DataFrame({"age": np.asarray([5.0, word], dtype=object)})
        with pytest.raises(InputError, match=r"column age of X holds .* in row 1: expected finite"):
            model.prepare(mixed)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_the_memory_order_of_X_moves_no_bit(name, require):
    require(name)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3000, 3)).astype("float32"), rng.integers(0, 3, 3000)
    frozen = X.copy()
    frozen.flags.writeable = False
    how = {"layers": [16], "epochs": 5, "backend": name, "learning_rate": 0.1, "dtype": "float32"}
    model = dnn.train(X, y, **how)
    expected = dnn.predict(model, X, backend=name).probabilities
    one = dnn.predict(model, X[:1], backend=name).probabilities
    for same in (
        np.asfortranarray(X),
        frozen,
        X[::-1].copy()[::-1],
        np.repeat(X, 2, axis=1)[:, ::2],
    ):
        again = dnn.train(same, y, **how)
        assert dnn.fingerprint(again) == dnn.fingerprint(model)
        found = dnn.predict(model, same, backend=name).probabilities
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(dnn.predict(model, same[:1], backend=name).probabilities, one)


def test_names_with_control_characters_are_the_classes_that_they_were():
    X, y = np.arange(12.0).reshape(6, 2), ["cat\t", "dog\u200e"] * 3
    model = dnn.train(X, y, validation=(X, y), **QUICK)
    assert model.classes == ("cat\\t", "dog\\u200e")
    assert set(model.predict(X)) <= set(y)
    assert dnn.evaluate(model, X, y).examples == 6
    with pytest.raises(InputError, match=r"two classes have the same name: cat\\t, cat\\t"):
        dnn.train(X, ["cat\t", "cat\\t"] * 3, **QUICK)


@pytest.mark.parametrize("values", [True, False])
def test_one_example_has_several_values_or_labels(values):
    X = np.arange(12.0).reshape(6, 2)
    Y = np.stack([X[:, 0], X[:, 1], X[:, 0]], axis=1)
    Y = Y if values else (Y > 5).astype(int)
    model = dnn.train(X, Y, validation=(X[:1], Y[:1]), **QUICK | {"learning_rate": 1e-4})
    assert dnn.evaluate(model, X[:1], Y[:1]).examples == 1
    assert dnn.predict(model, X[:1]).labels.shape == (1, 3)
    assert dnn.train(X[:1], Y[:1], **QUICK | {"learning_rate": 1e-4}).network.layer_dims[-1] == 3


def test_what_is_predicted_may_be_changed(backend_name):
    X = np.arange(12.0).reshape(6, 2)
    model = dnn.train(X, X[:, 0], **QUICK | {"learning_rate": 1e-4})
    dnn.predict(model, X, backend=backend_name).labels[0] = 1.0
