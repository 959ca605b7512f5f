"""Every check that scikit-learn has for an estimator, array API dispatch included."""

import pytest
from array_api_strict import ArrayAPIStrictFlags
from sklearn.utils.estimator_checks import parametrize_with_checks

from portadnn import PortaDNNClassifier, PortaDNNRegressor

pytest.importorskip("sklearn", minversion="1.9")  # earlier ones have other checks


@parametrize_with_checks([PortaDNNClassifier(max_iter=100), PortaDNNRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_of_scikit_learn(estimator, check, backends_under_test):
    namespace = getattr(check, "keywords", {}).get("array_namespace")
    if namespace == "cupy" and "cupy" not in backends_under_test:
        pytest.skip("CuPy is installed, but not under test: it may have no device here")
    # scikit-learn's own code uses the standard's optional parts
    with ArrayAPIStrictFlags(data_dependent_shapes=True, boolean_indexing=True):
        check(estimator)
