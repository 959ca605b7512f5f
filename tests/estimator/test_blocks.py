"""On NumPy many rows are predicted a block at a time."""

import numpy as np
import pytest

from portadnn.estimator import PortaDNNClassifier
from portadnn.training import validation


@pytest.mark.filterwarnings("ignore:3 iterations")
@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize("classes", [2, 3])
def test_many_rows_are_predicted_in_blocks(classes, arithmetic, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 5)), np.arange(100) % classes
    model = PortaDNNClassifier((8,), max_iter=3, random_state=0, arithmetic=arithmetic).fit(X, y)
    whole = model.predict(X), model.predict_proba(X), model.predict_log_proba(X)
    monkeypatch.setattr(validation, "BLOCK", 30)
    blocks = model.predict(X), model.predict_proba(X), model.predict_log_proba(X)
    np.testing.assert_array_equal(blocks[0], whole[0])
    for x, y in zip(blocks[1:], whole[1:], strict=True):
        if arithmetic == "reproducible":
            np.testing.assert_array_equal(x, y)
        else:  # a product of other columns may add its 8 terms in another order
            np.testing.assert_allclose(x, y, rtol=1e-12)
