"""The names of tensors, built and taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.errors import InputError
from portadnn.network import names

LAYERS = st.integers(1, 10**6)
PARAMETERS = st.builds(names.named, st.sampled_from(["W", "b"]), LAYERS)


@given(st.sampled_from(names.OF_LAYER), LAYERS)
def test_taking_apart_is_the_inverse_of_building(kind, l):
    assert names.kind_and_layer(names.named(kind, l)) == (kind, l)


@given(st.text(max_size=6) | st.from_regex(r"[vsdrg]?[WbAZD]{1,2}\d{1,3}\+{0,2}", fullmatch=True))
def test_what_can_be_taken_apart_is_built_again(name):
    try:
        kind, l = names.kind_and_layer(name)
    except InputError:
        return
    assert (names.named(kind, l) if l else kind) == name


@pytest.mark.parametrize("name", names.WITHOUT_LAYER)
def test_what_belongs_to_no_layer_has_layer_0(name):
    assert names.kind_and_layer(name) == (name, 0)


@pytest.mark.parametrize("name", ["", "W", "W0", "W01", "W²", "dX", "dW1+", "D1+", "W1++", "1"])
def test_what_is_no_name(name):
    with pytest.raises(InputError, match="unknown tensor"):
        names.kind_and_layer(name)


@given(st.sampled_from(["", "v", "s"]), PARAMETERS, st.booleans())
def test_slots(slot, parameter, updated):
    name = names.of(slot, parameter)
    assert names.before(names.after(name)) == names.before(name) == name
    assert names.slot_and_parameter(names.after(name) if updated else name) == (slot, parameter)


@given(st.sampled_from(["d", "g", "v", "s"]), PARAMETERS)
def test_what_there_is_of_a_parameter_is_of_its_layer(prefix, parameter):
    kind, l = names.kind_and_layer(parameter)
    assert names.kind_and_layer(names.of(prefix, parameter)) == (prefix + kind, l)
    assert names.is_weight(parameter) == (kind == "W")


def test_masks():
    kinds = {kind for kind in names.OF_LAYER if names.is_mask(names.named(kind, 1))}
    assert kinds == {"D"}
    assert not any(map(names.is_mask, names.WITHOUT_LAYER))
