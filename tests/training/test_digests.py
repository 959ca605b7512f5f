"""Parts that differ have different digests, whatever library or class they are of."""

import numpy as np
import pytest

from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.optimizers import Momentum
from portadnn.training.declaration import Declaration
from portadnn.training.digests import digest_of
from portadnn.training.schedules import Constant


class Plain(Constant):
    def __init__(self, r):
        object.__setattr__(self, "r", r)


class Slotted(Constant):
    __slots__ = ("r",)


class Series:
    """As that of pandas: an array inside an object."""

    def __init__(self, *values):
        self.hidden = memoryview(np.asarray(values))

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.hidden)


def test_arrays_of_every_library_go_by_their_values(backend):
    host = np.arange(3, dtype=backend.dtype_name)
    assert digest_of(backend.asarray(host)) == digest_of(host)
    ours = Declaration(sample_weight=backend.asarray(host))
    assert ours == Declaration(sample_weight=backend.asarray(host))
    assert ours != Declaration(sample_weight=backend.asarray(host + 1))


def test_what_has_an_array_goes_by_its_values():
    assert digest_of(Series(1.0, 2.0)) == digest_of(np.asarray([1.0, 2.0]))
    assert digest_of(Series(1.0, 2.0)) != digest_of(Series(1.0, 3.0))


def test_a_plain_subclass_goes_by_all_that_it_holds():
    assert Declaration(schedule=Plain(0.5)) == Declaration(schedule=Plain(0.5))
    assert Declaration(schedule=Plain(0.5)) != Declaration(schedule=Plain(0.1))


@pytest.mark.parametrize("value", [Slotted(), np.asarray([object()]), {1}, memoryview(b"")])
def test_what_cannot_be_read_is_refused(value):
    with pytest.raises(InputError, match="cannot be read|an array has dtype object"):
        digest_of(value)


def test_what_leads_back_to_itself_is_refused():
    value = Plain([])
    value.r.append(value)
    with pytest.raises(InputError, match="a Plain cannot be read, because it refers to itself"):
        digest_of(value)


def test_digests_are_those_that_files_hold():
    data = Dataset(np.arange(6, dtype=np.uint8).reshape(3, 2), [0, 1, 0], ("a", "b"))
    assert digest_of([data, None])[:12] == "dfd1d6644248"
    assert digest_of(Momentum(0.5))[:12] == "133e28f7e537"
