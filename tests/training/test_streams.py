"""Shuffles, batches and masks: the same everywhere, and each to be had by itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.streams import (
    DROPOUT,
    SHUFFLE,
    SPLIT,
    Batches,
    check_seed,
    dropout_mask,
    stream,
)

SEEDS = st.integers(0, 2**64 - 1)
SIZES = st.integers(1, 60).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, m)))


def test_every_seed_stream_step_and_part_draws_its_own():
    keys = [
        (seed, which, step, part)
        for seed in (0, 1, 2**63, 2**64 - 1)
        for which in (SHUFFLE, DROPOUT, SPLIT)
        for step in (0, 1, 2, 10**9)
        for part in (0, 1, 2)
    ]
    # 256 bits of each: two that are equal have drawn the same numbers
    draws = {stream(*key).bytes(32) for key in keys}
    assert len(draws) == len(keys)
    # nor does a long draw of one step run into those of the next
    long = stream(0, DROPOUT, 0).integers(0, 2**64, 10**5, dtype=np.uint64)
    after = stream(0, DROPOUT, 1).integers(0, 2**64, 10**5, dtype=np.uint64)
    assert not np.isin(after, long).any()


def test_runs_of_other_machines_and_years_can_be_repeated():
    # NumPy promises the bits of Philox, but not what a Generator makes of them: pinned
    expected = np.random.Philox(key=[3, 1], counter=[0, 0, 2, 5]).random_raw(4)
    np.testing.assert_array_equal(stream(3, DROPOUT, 5, 2).bit_generator.random_raw(4), expected)
    assert Batches(8, 4, 3).order(0).tolist() == [4, 1, 6, 7, 0, 5, 2, 3]
    assert dropout_mask(3, 0, 1, (2, 4), 0.5).tolist() == MASK


MASK = [[True, True, False, True], [False, False, True, False]]


@given(SIZES, SEEDS, st.integers(0, 5))
def test_every_epoch_is_a_permutation_in_batches(sizes, seed, epoch):
    m, batch_size = sizes
    batches = Batches(m, batch_size, seed)
    first = epoch * batches.steps_per_epoch
    steps = range(first, first + batches.steps_per_epoch)
    drawn = [batches.indices(step) for step in steps]
    np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), np.arange(m))
    assert [len(indices) for indices in drawn] == [batches.size(step) for step in steps]
    assert all(len(indices) == batch_size for indices in drawn[:-1])
    assert len(drawn[-1]) == (m % batch_size or batch_size)


@given(SIZES, SEEDS)
def test_drop_last_leaves_out_what_does_not_fill_a_batch(sizes, seed):
    m, batch_size = sizes
    batches = Batches(m, batch_size, seed, drop_last=True)
    drawn = [batches.indices(step) for step in range(batches.steps_per_epoch)]
    assert {len(indices) for indices in drawn} == {batch_size}
    assert len(np.unique(np.concatenate(drawn))) == m - m % batch_size


def test_any_step_alone_is_the_one_of_the_sequence():
    sequence = [Batches(10, 3, 5).indices(step) for step in range(40)]
    for step in (39, 0, 17, 4):
        np.testing.assert_array_equal(Batches(10, 3, 5).indices(step), sequence[step])
    # also where a run goes on after 3 epochs
    for step in range(8):
        again = Batches(10, 3, 5, first_epoch=3).indices(step)
        np.testing.assert_array_equal(again, sequence[12 + step])


def test_epochs_and_seeds_differ():
    orders = [tuple(Batches(30, 7, seed).order(epoch)) for seed in (0, 1) for epoch in range(5)]
    assert len(set(orders)) == 10
    unshuffled = Batches(5, 2, shuffle=False)
    assert [unshuffled.indices(step).tolist() for step in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_the_whole_batch_has_no_indices():
    whole = Batches(5)
    assert whole.steps_per_epoch == 1
    assert whole.size(7) == 5
    assert whole.indices(7) is None


def test_a_handed_out_order_cannot_be_changed():
    order = Batches(9, 3).order(0)
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_keep_as_many_as_they_should(rate):
    n = 200 * 500
    for step in range(3):
        D = dropout_mask(3, step, 1, (200, 500), rate)
        assert D.dtype == bool
        assert D.shape == (200, 500)
        # 5 standard deviations of a binomial: once in 2 million
        assert abs(D.sum() - n * (1 - rate)) < 5 * math.sqrt(n * rate * (1 - rate))
        # and of every unit: 200 of them, so 5.5 deviations
        deviation = math.sqrt(500 * rate * (1 - rate))
        assert np.abs(D.sum(axis=1) - 500 * (1 - rate)).max() < 5.5 * deviation


def test_masks_of_two_layers_steps_and_seeds_are_independent():
    masks = [dropout_mask(seed, step, layer, (100, 100), 0.5).ravel()
             for seed in (0, 1) for step in (0, 1) for layer in (1, 2)]  # fmt: skip
    correlation = np.corrcoef(np.asarray(masks, dtype=float)) - np.eye(len(masks))
    assert np.abs(correlation).max() < 5 / math.sqrt(100 * 100)


def test_an_example_has_the_same_mask_in_a_smaller_batch():
    # columns are drawn one after another
    whole, part = (dropout_mask(3, 0, 1, (6, m), 0.5) for m in (10, 4))
    np.testing.assert_array_equal(whole[:, :4], part)


def test_every_backend_sees_the_same_inputs(backend):
    network = Network((3, 4, 5, 1))
    plan = Plan(0.1, 2, Batches(10, 4), Recipe("adam", dropout=(0.5, 0.2)), "exponential:0.9", 7)
    for start, stop, size in ((0, 2, 4), (2, 3, 2), (3, 5, 4)):
        inputs = plan.inputs(start, stop, network, backend)
        assert tuple(inputs["batch"].shape) == (stop - start, size)
        for i, step in enumerate(range(start, stop)):
            found = {name: backend.to_numpy(x[i, ...]) for name, x in inputs.items()}
            np.testing.assert_array_equal(found.pop("batch"), plan.batches.indices(step))
            # masks and Adam's t go on where an earlier run of 7 steps ended
            for l, width, rate in ((1, 4, 0.5), (2, 5, 0.2)):
                mask = dropout_mask(3, 7 + step, l, (width, size), rate)
                assert found[f"D{l}"].dtype == bool
                np.testing.assert_array_equal(found.pop(f"D{l}"), mask)
            rate, t = 0.1 * 0.9 ** (step / 3), 8 + step
            expected = {"learning_rate": rate, "correction1": 1 / (1 - 0.9**t),
                        "correction2": 1 / math.sqrt(1 - 0.999**t)}  # fmt: skip
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert found[name].shape == (1, 1)
                assert found[name] == np.asarray(value, dtype=backend.dtype_name), name


@pytest.mark.parametrize("batch_size", [0, -1, 11, 2.5, "4", float("nan")])
def test_batch_sizes_that_cannot_be_used(batch_size):
    with pytest.raises(InputError, match="batch size is .*: expected"):
        Batches(10, batch_size)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "3", None])
def test_seeds_that_cannot_be_used(seed):
    with pytest.raises(InputError, match="seed is .*: expected"):
        check_seed(seed)
    with pytest.raises(InputError, match="seed is .*: expected"):
        Plan(0.1, 1, Batches(10, 2, seed))
