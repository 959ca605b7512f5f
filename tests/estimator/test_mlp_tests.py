"""scikit-learn's own tests of its MLP estimators, with our estimators in their place."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OURS = """\
from portadnn import PortaDNNClassifier as MLPClassifier
from portadnn import PortaDNNRegressor as MLPRegressor
"""
SEED = """
import pytest

@pytest.fixture
def global_random_seed():
    return 42
"""
# the tests that fail, and why that is right; docs/estimators.md names the departures
EXPECTED = {
    "test_fit": "sets private attributes of MLP before the first fit",
    "test_gradient": "calls MLP's private _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads MLP's private _optimizer",
    "test_adaptive_learning_rate": "reads MLP's private _optimizer",
    "test_n_iter_no_change": "reads MLP's private _no_improvement_count",
    "test_n_iter_no_change_inf": "reads MLP's private _no_improvement_count",
    "test_warm_start": "other words for other classes",
    "test_early_stopping_stratified": "the rare class is named as in y, not as 'True'",
    "test_mlp_partial_fit_after_fit": "other words for early_stopping in partial_fit",
    "test_minimum_input_sample_size": "other words for a single validation sample",
    "test_nonfinite_params": "departure: training that diverges raises DivergenceError",
    "test_mlp_diverging_loss": "departure: training that diverges raises DivergenceError",
    "test_preserve_feature_names": "departure: y has one class, which is refused",
    "test_predict_proba_multilabel": "departure: predict_log_proba comes from the logits",
}


def test_only_what_is_listed_fails(pytester):
    pytest.importorskip("sklearn", minversion="1.9")  # earlier ones have other tests
    try:
        found = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip("this installation of scikit-learn has no tests of its own")
    text = Path(found.origin).read_text(encoding="utf-8")
    assert text.count(IMPORT) == 1
    pytester.makeconftest(SEED)
    pytester.makepyfile(test_ported=text.replace(IMPORT, OURS))
    pytester.runpytest_subprocess("--junitxml=report.xml", "--quiet", "--tb=no")
    cases = list(ElementTree.parse("report.xml").iter("testcase"))
    names = {case.get("name").partition("[")[0] for case in cases}
    failed = {
        case.get("name").partition("[")[0]
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    assert len(names) >= 40
    # also if one of them passes by now, so that the list stays true
    assert failed == set(EXPECTED)
