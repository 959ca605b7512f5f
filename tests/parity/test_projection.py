"""Steps whose products are checked through random signs."""

import numpy as np
import pytest
from parity_support import judge_faulty, make_run

from portadnn.backends import get_backend
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.coverage import Coverage
from portadnn.parity.projection import project_step
from portadnn.parity.run import watch


def test_projections_find_gross_faults_between_the_full_checks():
    run = make_run(steps=9)
    coverage = Coverage(frozenset({0, 8}), every=1)
    honest = compare(run, [get_backend("numpy")], coverage=coverage)
    assert honest.outcome is Outcome.PARITY
    assert (honest.certificates[0].full, honest.certificates[0].projected) == (2, 7)
    result = judge_faulty(run, 4, "dW1", lambda x: x * 31, coverage)
    assert result.outcome is Outcome.DIVERGED
    assert result.first_divergence[1].tensor == "dW1"


@pytest.mark.parametrize("seed", range(20))
def test_projections_flag_no_honest_step(seed, backend):
    run = make_run((40, 9, 6, 2), m=20, steps=2, seed=seed)
    for record in watch(run, backend, range(2)):
        assert project_step(run, record) == []


@pytest.mark.parametrize("tensor", ["Y", "A1", "db2", "dZ1", "b1+"])
def test_projected_steps_check_all_but_products_in_full(tensor):
    run = make_run(steps=9)
    coverage = Coverage(frozenset({0, 8}), every=1)
    result = judge_faulty(run, 4, tensor, lambda x: x + np.float32(0.01), coverage)
    assert result.first_divergence[1].tensor == tensor
