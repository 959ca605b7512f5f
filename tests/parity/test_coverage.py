"""Which steps are checked, and how many a budget allows."""

from parity_support import make_run

from portadnn.backends import get_backend
from portadnn.parity.coverage import affordable_coverage, full_coverage, sampled_coverage


def test_steps_that_are_looked_at():
    assert full_coverage(3).steps(3) == [0, 1, 2]
    coverage = sampled_coverage(3000, 10)
    assert coverage.full == {0, 1, 2, 5, 10, 100, 1000, 2999}
    assert coverage.steps(30) == [0, 1, 2, 5, 10, 20]
    assert coverage.share(3000) == 304 / 3000  # 1, 2, 5 and 2999 are no multiples of 10


def test_an_affordable_coverage_has_more_projections_for_more_time():
    run = make_run(steps=3000)
    backend = get_backend("numpy")
    assert affordable_coverage(run, backend, share=0.0).every == 0
    generous = affordable_coverage(run, backend, share=1000.0)
    assert generous.every == 1
    assert generous.full == sampled_coverage(3000).full
