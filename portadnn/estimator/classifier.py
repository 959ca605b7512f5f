"""The classifier: binary, multi-class and multi-label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from portadnn.choice import check_number
from portadnn.data.heads import head_for, meaning_of
from portadnn.errors import InputError
from portadnn.estimator.base import BasePortaDNN
from portadnn.estimator.settings import CONSTRAINTS, makes_steps
from portadnn.network.activations import sigmoid


@dataclass(eq=False, repr=False)
class PortaDNNClassifier(ClassifierMixin, BasePortaDNN):
    """A network for classification, trained by cross-entropy.

    Two classes have one sigmoid unit, more have softmax. Labels that may go together (an indicator
    matrix y) have a sigmoid unit each. The first parameters are those of ``MLPClassifier``, with
    the differences in docs/estimators.md; the last ones are the package's own.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : str or sequence of str
        "identity", "logistic" (our "sigmoid"), "tanh", "relu", "leaky_relu" or "softmax"; one for
        all hidden layers or one for each.
    solver : str, Optimizer or LBFGS
        "adam", "sgd" (with ``momentum`` and ``nesterovs_momentum``), "lbfgs", or a name or text of
        ``portadnn.train``, such as "adamw:weight_decay=0.1", which has its options in itself.
    alpha : float
        ``alpha / 2 sum(W^2)``, divided by the number of samples in a batch, is added to the loss.
    batch_size : int, "auto" or None
        "auto" is 200, or all samples if they are fewer; None is all of them.
    learning_rate : str or Schedule
        "constant"; for "sgd" also "invscaling" and "adaptive"; or a schedule of ``portadnn.train``,
        such as "cosine:warmup=5".
    learning_rate_init, power_t : float
        The first rate, and the exponent of "invscaling".
    max_iter : int
        Passes over the data; for "lbfgs", iterations.
    shuffle : bool
        Whether every pass has an order of its own.
    random_state : int, RandomState or None
        Draws initial weights, orders, dropout and the validation samples.
    tol, n_iter_no_change : float, int
        Training ends if more than ``n_iter_no_change`` passes in a row were not better by ``tol``.
        "lbfgs" ends if no entry of the gradient is larger than ``tol``.
    max_fun : int
        The most evaluations of cost and gradient that "lbfgs" may make.
    verbose : bool
        Print the loss of every pass.
    warm_start : bool
        Whether ``fit`` goes on from the weights of the last one.
    momentum, nesterovs_momentum : float, bool
        Options of "sgd".
    early_stopping, validation_fraction : bool, float
        If True, that share of the samples is held back, its score decides when training ends, and
        the best weights are returned.
    beta_1, beta_2, epsilon : float
        Options of "adam".
    class_weight : "balanced", dict or list of dict, optional
        What every class's loss is multiplied by, on top of ``sample_weight``. "balanced" is
        ``m / (C m_c)`` for a class of m_c samples. For several labels it is a list with the dict of
        0 and 1 of every label, or "balanced" for each.
    l1 : float
        The loss has ``l1 sum(abs(W))`` added.
    clip_norm : float, optional
        The largest norm of all gradients together.
    dropout : float or sequence of float
        The share of units to drop, of all hidden layers or of each.
    init : str, Initializer or a sequence of them, optional
        As for ``portadnn.train``; None draws what ``MLPClassifier`` draws, biases too.
    backend : str, optional
        Where to compute, see ``get_backend``; None is where X lives.
    dtype : {"float32", "float64"}, optional
        The dtype to compute in; None is that of X, or float64 if X is not floating.
    arithmetic : {"fast", "reproducible"}
        The library's own, or one that gives the same bits on every backend.
    matmul : {"plain", "tf32"}
        Products in the dtype, or of float32 with operands that an NVIDIA GPU may round to TF32.
    certify : bool
        Whether every fit is watched and its steps are checked, see docs/certificates.md.

    Attributes
    ----------
    classes_ : array, shape (C,), or (K,) for K labels
    coefs_ : list of array, shapes (n_prev, n_l)
        Where X lives, as for all results.
    intercepts_ : list of array, shapes (n_l,)
    loss_, loss_curve_ : float, list of float
        The mean loss of the last pass, and of all.
    best_loss_ : float or None
        None with ``early_stopping``.
    validation_scores_, best_validation_score_ : list of float or None, float or None
        Accuracies; None without ``early_stopping``.
    certificate_ : Certificate or None
        The certificate of the last call, if ``certify`` is set.
    n_iter_, t_ : int
        Passes of the last call, and samples seen in all.
    n_layers_, n_outputs_ : int
        The input counts as a layer.
    out_activation_ : {"logistic", "softmax"}
    n_features_in_, feature_names_in_
        The number and the names of the columns of X in ``fit``.

    References
    ----------
    Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks
    (2010); Kingma and Ba, Adam (2015).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> network = PortaDNNClassifier((10,), solver="lbfgs", max_iter=1000, random_state=0)
    >>> make_pipeline(StandardScaler(), network).fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints = CONSTRAINTS | {
        "class_weight": [None, StrOptions({"balanced"}), dict, list]
    }

    class_weight: Any = field(default=None, kw_only=True)

    @available_if(makes_steps)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One pass over the data, from where the last one ended.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        classes : array, shape (C,)
            All classes there will be; the first call needs it.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As for ``fit``; also for ``early_stopping``, ``class_weight="balanced"`` and the rates
            "adaptive" and "plateau", which need all data at once.
        """
        if self.class_weight == "balanced":
            raise InputError(
                "class_weight 'balanced' needs all data at once: give partial_fit a dict"
            )
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, partial=True)

    def predict(self, X):
        """The label of every sample.

        Parameters
        ----------
        X : array, shape (m, n_x)

        Returns
        -------
        y : array, shape (m,), or (m, K) of 0 and 1 for several labels
            Where X lives; labels that are not numbers are in NumPy arrays.
        """
        AL, _, backend, home = self._outputs(X, "predict")
        with backend.scope():
            codes = meaning_of(self._head()).decide(backend.to_numpy(AL))
        if self._is_multilabel:
            return home.asarray(codes.reshape(len(codes), -1), dtype="int64")
        labels = self.classes_[codes]
        return (
            home.asarray(labels, dtype=labels.dtype.name) if labels.dtype.kind in "biuf" else labels
        )

    def predict_proba(self, X):
        """The probability of every class, or of every label.

        Parameters
        ----------
        X : array, shape (m, n_x)

        Returns
        -------
        probabilities : array, shape (m, C), or (m, K)
            In the order of ``classes_``, where X lives.
        """
        AL, Z, backend, home = self._outputs(X, "predict_proba")
        with backend.scope():
            if self.out_activation_ == "logistic" and not self._is_multilabel:
                AL = sigmoid(backend.xp.concat([-Z, Z], axis=0), xp=backend.xp)
        return home.asarray(AL.T)

    def predict_log_proba(self, X):
        """The logarithms of ``predict_proba``, from the logits: finite also if a probability is 0.

        Parameters
        ----------
        X : array, shape (m, n_x)

        Returns
        -------
        logarithms : array, shape (m, C), or (m, K)
        """
        _, Z, backend, home = self._outputs(X, "predict_log_proba")
        xp = backend.xp
        with backend.scope():
            if self._head() == "softmax":
                Z = Z - xp.max(Z, axis=0, keepdims=True)
                logarithms = Z - xp.log(xp.sum(xp.exp(Z), axis=0, keepdims=True))
            else:
                Z = Z if self._is_multilabel else xp.concat([-Z, Z], axis=0)
                # log(sigmoid(Z)) = -log(1 + exp(-Z))
                logarithms = xp.minimum(Z, 0.0) - xp.log1p(xp.exp(-xp.abs(Z)))
        return home.asarray(logarithms.T)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _is_multilabel(self) -> bool:
        return self._label_binarizer.y_type_.startswith("multilabel")

    def _head(self) -> str:
        return "sigmoid" if self._is_multilabel else head_for(len(self.classes_), "y")

    def _targets(self, y: Any, new: bool, partial: bool) -> np.ndarray:
        plain = y.ndim == 1 and y.dtype.kind in "iu"  # integers, which need no check
        if not plain:
            check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if new:
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        elif plain and not self._is_multilabel:
            labels, codes = np.unique(y, return_inverse=True)
            self._check_known(labels, partial)
            codes = np.searchsorted(self.classes_, labels)[codes]
            C = len(self.classes_)
            return codes[:, None] == np.arange(1, C) if C == 2 else codes[:, None] == np.arange(C)
        else:
            self._check_known(unique_labels(y), partial)
            if type_of_target(y).startswith("multilabel") != self._is_multilabel:
                one, many = "one label per sample", "an indicator matrix of labels"
                given, before = (one, many) if self._is_multilabel else (many, one)
                raise InputError(f"y has {given}, but it had {before} before: expected the same")
        if len(self.classes_) < 2 and not self._is_multilabel:
            raise InputError(f"y has one class, {self.classes_[0]!r}: expected two or more")
        if self._head() == "softmax":
            return np.searchsorted(self.classes_, column_or_1d(y)).astype(np.int32)[:, None]
        return self._label_binarizer.transform(y)

    def _width(self, Y: np.ndarray) -> int:
        return len(self.classes_) if self._head() == "softmax" else Y.shape[1]

    def _check_known(self, labels: np.ndarray, partial: bool) -> None:
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise InputError(
                f"y has the classes {unknown} that were not seen before: expected some of "
                f"{self.classes_}. Give partial_fit all classes at once, or fit without warm_start"
            )
        if not partial and len(labels) < len(self.classes_):
            raise InputError(
                f"y has the classes {labels}, but the last fit had {self.classes_}: warm_start "
                f"needs the same ones. Use partial_fit, or fit without warm_start"
            )

    def _weights(self, y: Any, sample_weight: np.ndarray) -> np.ndarray:
        given = self.class_weight
        if given is None:
            return sample_weight
        if isinstance(given, list) != self._is_multilabel and given != "balanced":
            raise InputError(
                f"class_weight is {given!r}: expected 'balanced' or a dict of classes, or for "
                f"several labels a list of dicts of 0 and 1, one for each label"
            )
        if not self._is_multilabel:
            return sample_weight * _class_weights(given, self.classes_, column_or_1d(y))
        columns = self._label_binarizer.transform(y).T  # (K, m)
        each = [given] * len(columns) if given == "balanced" else given
        if len(each) != len(columns):
            raise InputError(
                f"class_weight has {len(each)} dicts for {len(columns)} labels: expected as many"
            )
        of_labels = [_class_weights(w, np.arange(2), Y) for w, Y in zip(each, columns, strict=True)]
        return sample_weight * np.stack(of_labels)

    def _strata(self, y: Any) -> Any:
        return None if self._is_multilabel else y


def _class_weights(given: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weight of every sample that follows from its class."""
    if given == "balanced":
        return compute_sample_weight(given, y)  # takes a y of one class as well
    for name, weight in given.items():
        check_number(f"class_weight of {name!r}", weight, 0.0)
    return compute_class_weight(given, classes=classes, y=y)[np.searchsorted(classes, y)]
