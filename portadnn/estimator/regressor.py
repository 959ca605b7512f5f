"""The regressor: one output or several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from portadnn.errors import InputError
from portadnn.estimator.base import BasePortaDNN
from portadnn.estimator.settings import CONSTRAINTS, makes_steps

HEADS = {"squared_error": "identity", "poisson": "poisson"}  # by their losses


@dataclass(eq=False, repr=False)
class PortaDNNRegressor(RegressorMixin, BasePortaDNN):
    """A network for regression, trained by half the squared error or half the Poisson deviance.

    Parameters and attributes are those of ``PortaDNNClassifier``, without ``class_weight`` and
    ``classes_``, and with ``loss``. ``out_activation_`` is "identity" or "exp", and validation
    scores are R^2. The loss is summed over the outputs.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        "poisson" is for counts and rates: y is 0 or more, and the network computes the logarithm of
        its mean.

    Examples
    --------
    >>> X = np.linspace(-1.0, 1.0, 50)[:, None]
    >>> y = X[:, 0] ** 2
    >>> network = PortaDNNRegressor((10,), solver="lbfgs", max_iter=2000, random_state=0)
    >>> network.fit(X, y).score(X, y) > 0.99
    True
    """

    _parameter_constraints = CONSTRAINTS | {"loss": [StrOptions(set(HEADS))]}
    loss: str = field(default="squared_error", kw_only=True)

    @available_if(makes_steps)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """One pass over the data, from where the last one ended.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As for ``fit``; also for ``early_stopping`` and the rates "adaptive" and "plateau",
            which need all data at once.
        """
        return self._fit(X, y, sample_weight, partial=True)

    def predict(self, X):
        """The value of every output for every sample.

        Parameters
        ----------
        X : array, shape (m, n_x)

        Returns
        -------
        y : array, shape (m,), or (m, K) for K outputs
            Where X lives.
        """
        AL, _, _, home = self._outputs(X, "predict")
        return home.asarray(AL[0, :] if self.n_outputs_ == 1 else AL.T)

    def _head(self) -> str:
        return HEADS[self.loss]

    def _targets(self, y: Any, new: bool, partial: bool) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if not new and hasattr(self, "n_outputs_") and Y.shape[1] != self.n_outputs_:
            raise InputError(f"y has {Y.shape[1]} outputs: expected {self.n_outputs_}, as before")
        return Y
