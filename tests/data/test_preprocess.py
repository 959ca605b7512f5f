import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.data.dataset import Dataset
from portadnn.data.preprocess import (
    Preprocess,
    as_preprocess,
    in_units,
    preprocess_text,
    targets_of,
)
from portadnn.errors import InputError


def table(labels=None, **columns):
    kinds = [(n, "U9" if isinstance(v[0], str) else "f8") for n, v in columns.items()]
    rows = np.empty(len(next(iter(columns.values()))), kinds)
    for name, values in columns.items():
        rows[name] = values
    return Dataset(rows, labels, (), "flights.csv")


DATA = table(age=[1.0, 2.0, 3.0], town=["Bern", "Basel", "Bern"], flat=[7.0, 7.0, 7.0])


def test_worked_numbers():
    fitted = Preprocess.fitted(DATA, as_preprocess("standardise"))
    s = np.sqrt(1.5)
    np.testing.assert_allclose(
        fitted(DATA).examples, [[-s, 0, 1, 0], [0, 1, 0, 0], [s, 0, 1, 0]], rtol=1e-15
    )
    assert fitted.names == ("age", "town=Basel", "town=Bern", "flat")


def test_as_scikit_learn_does():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = np.random.default_rng(0).lognormal(size=(50, 3))
    data = Dataset(X, None, ())
    found = Preprocess.fitted(data, as_preprocess("standardise"))(data).examples
    # both sum 50 numbers and divide once: a few units in the last place
    expected = preprocessing.StandardScaler().fit_transform(X)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def test_it_is_fitted_on_the_training_rows_alone():
    fitted = Preprocess.fitted(DATA, as_preprocess("standardise"))
    other = table(age=[2.0], town=["Bern"], flat=[8.0])
    assert fitted(other).examples.tolist() == [[0.0, 0.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table(age=[1.0], town=["Chur"], flat=[7.0]), "'town' is 'Chur': expected Basel, Bern"),
        (table(age=[np.nan], town=["Bern"], flat=[7.0]), "row 1 has no value in column 'age'"),
        (table(age=[np.inf], town=["Bern"], flat=[7.0]), "row 1, column 'age' is inf"),
        (table(age=[1.0], town=[""], flat=[7.0]), "column 'town' is empty"),
        (table(town=["Bern"], age=[1.0], flat=[7.0]), "expected the order age, town, flat"),
        (table(age=[1.0], town=["Bern"]), "lacks the column 'flat'"),
        (table(age=[1.0], town=["Bern"], flat=[1.0], more=[1.0]), "has a column 'more'"),
        (table(age=["1"], town=["Bern"], flat=[1.0]), "column 'age' holds texts: expected numbers"),
        (table(age=[1.0], town=[3.5], flat=[1.0]), "column 'town' holds numbers: expected texts"),
        (table(age=[1.0], town=[3.0], flat=[1.0]), "'town' is '3': expected Basel, Bern"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(other, message):
    fitted = Preprocess.fitted(DATA, as_preprocess("standardise"))
    with pytest.raises(InputError) as error:
        fitted(other)
    assert message in str(error.value)
    assert "flights.csv" in str(error.value)


def test_numbers_whose_squares_have_no_sum_are_refused():
    with pytest.raises(InputError, match="flights.csv: row 2, column 'age' is -1e\\+200: expected"):
        Preprocess.fitted(table(age=[1.0, -1e200, 3.0]), as_preprocess("standardise"))


@pytest.mark.parametrize("text", ["standardise", "pixels", "none"])
def test_pictures_stay_pictures(text):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 1), dtype=np.uint8)
    fitted = Preprocess.fitted(Dataset(images, None, ()), as_preprocess(text))
    found = fitted(Dataset(images, None, ()))
    assert found.input_shape == (3, 2, 1)
    rows = fitted(Dataset(images.reshape(5, 6), None, ()))
    np.testing.assert_array_equal(found.examples.reshape(5, 6), rows.examples)


def test_missing_and_unknown_may_be_allowed():
    data = table(age=[1.0, np.nan, 4.0, 5.0], town=["Bern", "", "Basel", "Bern"])
    with pytest.raises(
        InputError, match=r"row 2 has no value in column 'age' \(rows without one: 1\)"
    ):
        Preprocess.fitted(data, as_preprocess("standardise"))
    how = as_preprocess("standardise:missing=median,unknown=ignore")
    fitted = Preprocess.fitted(data, how)
    assert fitted.columns[0].fill == 4.0
    assert fitted.names == ("age", "town=(missing)", "town=Basel", "town=Bern")
    found = fitted(table(age=[np.nan], town=["Chur"])).examples
    np.testing.assert_array_equal(found[0, 1:], [0, 0, 0])
    assert found[0, 0] == (4.0 - fitted.columns[0].mean) / fitted.columns[0].scale


@pytest.mark.parametrize("power", [-600, -300, 0, 60])
def test_numbers_of_any_size_are_standardised_alike(power):
    ages = np.asarray([1.0, 2.5, 4.0, 5.0])
    plain, scaled = (
        Preprocess.fitted(data, as_preprocess("standardise"))(data).examples
        for data in (table(age=ages), table(age=np.ldexp(ages, power)))
    )
    np.testing.assert_array_equal(scaled, plain)


def test_pixels():
    data = table(p1=[0.0, 255.0], p2=[3.0, 4.0])
    found = Preprocess.fitted(data, as_preprocess("pixels"))(data)
    assert found.scaled
    assert found.examples.tolist() == [[0, 3], [255, 4]]
    with pytest.raises(
        InputError, match="row 1, column 'p1' is 256: expected whole numbers 0..255"
    ):
        Preprocess.fitted(data, as_preprocess("pixels"))(table(p1=[256.0], p2=[1.0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [("standardize", "did you mean 'standardise'"),
     ("standardise:missing=mean", "refuse or median"),
     ("none:missing=median", "option")],
)  # fmt: skip
def test_what_cannot_be_asked_for(text, message):
    with pytest.raises(InputError, match=message):
        as_preprocess(text)


@pytest.mark.parametrize("text", ["standardise:missing=median,unknown=ignore", "pixels", "none"])
def test_text_and_json_are_inverse(text):
    how = as_preprocess(text)
    assert as_preprocess(preprocess_text(how)) == how
    data = DATA if text.startswith("standardise") else table(a=[1.0, 2.0])
    fitted = Preprocess.fitted(data, how, ["delay"])
    assert Preprocess.from_json(fitted.to_json()) == fitted
    assert fitted.targets == ("delay",)


@given(st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=40))
def test_no_finite_numbers_become_others(numbers):
    data = table(x=numbers)
    found = Preprocess.fitted(data, as_preprocess("standardise"))(data).examples
    assert np.isfinite(found).all()


def test_a_word_among_numbers_is_named():
    numbers = [f"{i / 8}" for i in range(120)]
    numbers[100] = "n/a"
    message = (
        r"flights.csv: row 101, column 'delay' is 'n/a', but most others are numbers: expected"
    )
    with pytest.raises(InputError, match=message):
        Preprocess.fitted(table(delay=numbers), as_preprocess("standardise"))
    numbers[3], words = "", [f"r{x}" for x in numbers]
    with pytest.raises(InputError, match=message):
        Preprocess.fitted(table(delay=numbers), as_preprocess("standardise:missing=median"))
    for codes in (words, [f"{i:03}" for i in range(120)]):
        with pytest.raises(InputError, match="holds 120 different texts in 120 rows"):
            Preprocess.fitted(table(delay=codes), as_preprocess("standardise"))


def test_a_column_that_names_the_rows_is_refused():
    data = table(row=[f"r{i}" for i in range(60)], age=[1.0] * 60)
    message = (
        "flights.csv: column 'row' holds 60 different texts in 60 rows: expected at most 30 "
        "categories. .* remove the column from the file"
    )
    with pytest.raises(InputError, match=message):
        Preprocess.fitted(data, as_preprocess("standardise"))
    few = table(row=[f"r{i}" for i in range(20)])
    assert len(Preprocess.fitted(few, as_preprocess("standardise")).names) == 20


def test_many_categories_are_told(caplog):
    for categories, told in ((100, 0), (101, 1)):
        caplog.clear()
        data = table(town=[f"t{i % categories}" for i in range(300)])
        assert len(Preprocess.fitted(data, as_preprocess("standardise")).names) == categories
        assert len(caplog.messages) == told
    assert "flights.csv: column 'town' holds 101 different texts" in caplog.text


def test_values_to_predict_are_standardised_and_put_back():
    labels = np.asarray([[100.0, 7.0], [200.0, 7.0], [300.0, 7.0]])
    data = table(age=[1.0, 2.0, 3.0])
    values = Dataset(data.examples, labels, ("a", "b"), head="identity")
    fitted = Preprocess.fitted(values, as_preprocess("standardise"))
    deviation = float(np.sqrt(20000 / 3))
    assert fitted.scaling == ((200.0, deviation), (7.0, 1.0))
    Y = targets_of(values, "float32", fitted)
    assert Y.dtype == np.float32
    s = np.float32(100 / deviation)
    np.testing.assert_array_equal(Y, [[-s, 0, s], [0, 0, 0]])
    # a float32 has a relative error of 6e-8, of at most 100
    np.testing.assert_allclose(in_units(Y, fitted), labels.T, rtol=0, atol=1e-5)
    for other in (None, Preprocess.fitted(values, as_preprocess("none"))):
        np.testing.assert_array_equal(targets_of(values, "float64", other), labels.T)
        assert in_units(Y, other) is Y
    counts = Dataset(data.examples, labels, ("a", "b"), head="poisson")
    assert Preprocess.fitted(counts, as_preprocess("standardise")).scaling == ()
