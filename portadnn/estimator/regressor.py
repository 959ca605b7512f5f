"""The regressor: one output or several."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from portadnn.errors import InputError
from portadnn.estimator.base import BasePortaDNN
from portadnn.estimator.settings import makes_steps


class PortaDNNRegressor(RegressorMixin, BasePortaDNN):
    """A network for regression, trained by half the squared error.

    Parameters and attributes are those of ``PortaDNNClassifier``, without ``class_weight`` and
    ``classes_``; ``out_activation_`` is "identity", and validation scores are R^2. The loss is
    summed over the outputs.

    Examples
    --------
    >>> X = np.linspace(-1.0, 1.0, 50)[:, None]
    >>> y = X[:, 0] ** 2
    >>> network = PortaDNNRegressor((10,), solver="lbfgs", max_iter=2000, random_state=0)
    >>> network.fit(X, y).score(X, y) > 0.99
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        l1=0.0,
        clip_norm=None,
        dropout=0.0,
        init=None,
        backend=None,
        dtype=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.l1 = l1
        self.clip_norm = clip_norm
        self.dropout = dropout
        self.init = init
        self.backend = backend
        self.dtype = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train from new initial weights, or from the last ones where ``warm_start`` is set.

        Parameters
        ----------
        X : array, shape (m, n_x)
        y : array, shape (m,), or (m, K) for K outputs
        sample_weight : array, shape (m,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data cannot be used; no work has started then.
        BackendUnavailableError
            If the backend cannot run here.
        DivergenceError
            If a cost or a parameter is no longer finite.
        """
        return self._fit(X, y, sample_weight)

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
        return "identity"

    def _targets(self, y: Any, new: bool) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if not new and hasattr(self, "n_outputs_") and Y.shape[1] != self.n_outputs_:
            raise InputError(f"y has {Y.shape[1]} outputs: expected {self.n_outputs_}, as before")
        return Y
