"""Values that are read from texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.errors import InputError
from portadnn.training.texts import parse_layers, size


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_layers_are_read_back(widths):
    assert parse_layers(", ".join(map(str, widths))) == tuple(widths)


def test_widths_may_be_repeated():
    assert parse_layers("784, 512x3,10 x 2") == (784, 512, 512, 512, 10, 10)


@given(st.text(max_size=12))
def test_layers_are_widths_or_an_input_error(text):
    try:
        widths = parse_layers(text)
    except InputError:
        return
    assert all(width > 0 for width in widths)
    assert widths or text.strip().lower() == "none"


@pytest.mark.parametrize("text", ["12x", "x", "ax3", "0", "1x2x3", ""])
def test_the_forms_of_a_size_are_named(text):
    assert (size("64", "--size"), size("48X64", "--size")) == ((64, 64), (48, 64))
    with pytest.raises(InputError, match=f"--size is '{text}': expected a size such as 64, or 48x"):
        size(text, "--size")
