"""What the classifier and the regressor share: arrays in and out, and one way to the loop."""

from __future__ import annotations

import math
import warnings
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from portadnn.backends import Backend, backend_of, get_backend, to_host
from portadnn.backends.registry import library_of
from portadnn.errors import InputError
from portadnn.estimator.arrays import (
    as_parameters,
    checked_weights,
    columns,
    dense,
    float_dtypes,
    take,
)
from portadnn.estimator.monitor import Monitor
from portadnn.estimator.settings import (
    CONSTRAINTS,
    batch_size_of,
    initial_parameters,
    schedule_of,
    solver_of,
    widths,
)
from portadnn.network.losses import get_head
from portadnn.network.names import named
from portadnn.network.optimizers import Optimizer
from portadnn.network.spec import Network
from portadnn.parity.certificate import Certificate
from portadnn.parity.certifier import Certifier
from portadnn.training.declaration import Declaration
from portadnn.training.fit import certified, make_loop
from portadnn.training.lbfgs import EVALUATIONS_SPENT, LBFGS
from portadnn.training.recipe import Plan
from portadnn.training.state import RunState
from portadnn.training.stops import TrainingInterrupted
from portadnn.training.validation import answers
from portadnn.training.weights import normalized


def _is_same(a: Any, b: Any) -> bool:
    """Whether two settings are plain values, and equal."""
    plain = type(a) in (int, float, str, bool, tuple, type(None))
    return plain and type(a) is type(b) and a == b


class _Fitted:
    """The attributes that a fit sets; the fields of an estimator are its parameters."""

    coefs_: list[Any]
    intercepts_: list[Any]
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: Any
    best_validation_score_: float | None
    certificate_: Certificate | None
    t_: int
    _network: Network
    _planned: Plan
    _said: list[Any]
    _seed: int
    _solver: Optimizer | LBFGS
    _state: RunState


@dataclass(eq=False, repr=False)
class BasePortaDNN(_Fitted, BaseEstimator):
    """One network behind scikit-learn's interface; a subclass has targets and a head."""

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    solver: Any = "adam"
    alpha: Any = 0.0001
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: Any = 0.001
    power_t: Any = 0.5
    max_iter: Any = 200
    shuffle: Any = True
    random_state: Any = None
    tol: Any = 1e-4
    verbose: Any = False
    warm_start: Any = False
    momentum: Any = 0.9
    nesterovs_momentum: Any = True
    early_stopping: Any = False
    validation_fraction: Any = 0.1
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    n_iter_no_change: Any = 10
    max_fun: Any = 15000
    l1: Any = 0.0
    clip_norm: Any = None
    dropout: Any = 0.0
    init: Any = None
    backend: Any = None
    dtype: Any = None
    arithmetic: Any = "fast"
    matmul: Any = "plain"
    certify: Any = False

    _parameter_constraints = CONSTRAINTS

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train from new initial weights, or from the last ones if ``warm_start`` is set.

        Parameters
        ----------
        X : array or sparse matrix, shape (m, n_x)
            A sparse matrix is computed with as a dense array.
        y : array, shape (m,), or (m, K)
            Labels, or 0 and 1 for K labels that may go together; of a regressor the values of one
            output, or of K.
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

    def _head(self) -> str:
        """The head for the targets that ``_targets`` saw."""
        raise NotImplementedError

    def _targets(self, y: Any, new: bool, partial: bool) -> np.ndarray:
        """Y as rows (``fit`` takes columns). Its classes are ``new`` unless they were seen before.

        In a ``partial`` fit some of those classes may be missing.
        """
        raise NotImplementedError

    def _width(self, Y: np.ndarray) -> int:
        """The number of outputs."""
        return Y.shape[1]

    def _weights(self, y: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Weights (m,) of the samples, or (n_L, m) of every output of every sample."""
        return sample_weight

    def _strata(self, y: Any) -> Any:
        """The labels whose shares the validation data must keep, or None."""
        return None

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, partial: bool = False) -> Any:
        before = self.__dict__.copy()
        try:
            return self._learn(X, y, sample_weight, partial)
        except BaseException:  # else new classes would name the outputs of the old weights
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _learn(self, X: Any, y: Any, sample_weight: Any, partial: bool) -> Any:
        if partial and self.early_stopping:
            raise InputError("partial_fit makes one pass: expected early_stopping=False")
        solver = solver_of(self)
        first = not hasattr(self, "coefs_") or not (self.warm_start or partial)
        X, y = validate_data(
            self,
            X,
            to_host(dense(y, "y")),
            accept_sparse="csr",
            dtype=float_dtypes(X),
            order="C",  # the bits of a product depend on it
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=first,
        )
        X = dense(X, "X")
        home = backend_of(X)
        home = get_backend(home.name, dtype=self.dtype or home.dtype_name)
        Y = self._targets(y, first and not partial, partial)
        sample_weight = checked_weights(sample_weight, len(Y))
        weights = self._weights(y, sample_weight)
        random_state = check_random_state(self.random_state)
        past = RunState({})
        said = [partial, self._head(), *(getattr(self, name) for name in CONSTRAINTS)]
        # a partial_fit after another makes the next step of the same run, which need not be
        # declared again
        again = not first and partial and all(map(_is_same, said, self._said))
        declared = None if again else self._declared(solver, random_state)
        if declared is None:
            network = self._network
        else:
            network = declared.network(self.n_features_in_, self._width(Y), self._head())
        if first:
            parameters = initial_parameters(self.init, network, random_state)
            self._seed = random_state.randint(np.iinfo(np.int32).max)
        else:
            parameters = as_parameters(self.coefs_, self.intercepts_)
            network.check(parameters)
            past = self._state
            if not partial or self._solver != solver:  # every fit starts its optimizer again
                past = replace(past, step=0, slots={})

        X, Y = columns(X), columns(Y)
        validation: tuple[Any, ...] | None = None
        if self.early_stopping:
            training, held_back = self._split(y, self._seed)
            scored = normalized(sample_weight[held_back])
            validation = take(X, held_back), Y[:, held_back]
            if scored is not None:
                validation = (*validation, scored)
            X, Y, weights = take(X, training), Y[:, training], weights[..., training]
        relative = normalized(weights)
        plan = self._plan(declared, network, X.shape[1], float(np.mean(weights)), past, partial)
        self._said, self._planned = said, plan
        monitor = self._monitor(solver)
        backend = self._backend(home)
        certifier = Certifier() if self.certify else None
        if certifier is not None:
            certifier.settings = {name: str(x) for name, x in self.get_params(deep=False).items()}
        with backend.scope():
            loop, start = make_loop(
                parameters, X, Y, network=network, backend=backend, plan=plan,
                solver=solver if isinstance(solver, LBFGS) else None, weights=relative,
                validation=validation, scored_as="identity" if is_regressor(self) else None,
                callbacks=[monitor], report_every=1,
                first_layer="feature" if past.slots else "auto", certify=certifier,
            )  # fmt: skip
            slots = {name: backend.asarray(x) for name, x in past.slots.items()} or start.slots
            start = replace(start, slots=slots, rows=past.rows, callbacks=past.callbacks)
            try:
                state = certified(loop, start)
            except TrainingInterrupted as error:
                state = error.state
                warnings.warn("Training interrupted by user.", stacklevel=5)
            else:
                limits = {
                    None: f"{self.max_iter} iterations, all that max_iter allows, were made",
                    EVALUATIONS_SPENT: f"{EVALUATIONS_SPENT} (max_fun is {self.max_fun})",
                }
                if monitor.stopped in limits and not partial:
                    warnings.warn(
                        f"{limits[monitor.stopped]}, and the optimization has not converged yet",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
            state = loop.left(state)
        self.certificate_ = None if certifier is None else certifier.certificate
        self._solver = solver
        # coefs_ and intercepts_ are the parameters, also if they are changed between two fits
        slots = {name: home.asarray(x) for name, x in state.slots.items()}
        self._state = replace(state, parameters={}, slots=slots, kept=None)
        self.n_iter_ = len(state.rows) - len(past.rows)
        self.t_ = self._seen(past) + self.n_iter_ * plan.batches.m
        self._set_fitted(network, state.parameters, home)
        self._set_curves(monitor)
        return self

    def _seen(self, past: RunState) -> int:
        """Samples before this fit."""
        return self.t_ if past.rows else 0

    def _declared(self, solver: Optimizer | LBFGS, random_state: Any) -> Declaration:
        """The declaration that the parameters give, before the data are seen."""
        return Declaration(
            layers=widths(self.hidden_layer_sizes),
            activation=self.activation,
            head=self._head(),
            init=initial_parameters if self.init is None else self.init,
            rng=random_state,
            optimizer=solver,
            learning_rate=None if isinstance(solver, LBFGS) else self.learning_rate_init,
            shuffle=self.shuffle,
            clip_norm=self.clip_norm,
            l1=self.l1,
            dropout=self.dropout,
            report_every=1,
            arithmetic=self.arithmetic,
            matmul=None if self.matmul == "plain" else self.matmul,
        )

    def _plan(
        self,
        declared: Declaration | None,
        network: Network,
        m: int,
        mean_weight: float,
        past: RunState,
        partial: bool,
    ) -> Plan:
        epochs, whole = len(past.rows), declared and isinstance(declared.solver, LBFGS)
        batch_size = m if whole else batch_size_of(self.batch_size, m)
        schedule = schedule_of(self, m, self._seen(past), epochs if partial else None)
        # divided by the sum of a batch's weights, which is its size if there are none
        l2 = self.alpha / (batch_size * mean_weight)
        size = batch_size if batch_size < m else None
        if declared is None:
            plan = self._planned
            batches = replace(plan.batches, m=m, batch_size=size, first_epoch=epochs)
            recipe = plan.recipe if plan.recipe.l2 == l2 else replace(plan.recipe, l2=l2)
            return replace(
                plan, batches=batches, recipe=recipe, schedule=schedule, first_step=past.step
            )
        return replace(
            declared,
            epochs=1 if partial else self.max_iter,
            batch_size=size,
            schedule=schedule,
            l2=l2,
            seed=self._seed,
        ).plan(network, m, first_epoch=epochs, first_step=past.step)

    def _monitor(self, solver: Optimizer | LBFGS) -> Monitor:
        scoring = self.early_stopping
        return Monitor(
            self.tol,
            # lbfgs has a rule of its own
            math.inf if isinstance(solver, LBFGS) and not scoring else self.n_iter_no_change,
            scoring,
            self.learning_rate == "adaptive" and self.solver == "sgd",
            bool(self.verbose),
        )

    def _set_curves(self, monitor: Monitor) -> None:
        scoring, rows = monitor.scoring, self._state.rows
        self.loss_curve_ = [row.cost for row in rows]
        self.loss_ = rows[-1].cost if rows else math.nan
        self.best_loss_ = None if scoring else monitor.best
        scores = [row.validation_score for row in rows if row.validation_score is not None]
        self.validation_scores_ = scores if scoring else None
        self.best_validation_score_ = -monitor.best if scoring else None

    def _set_fitted(self, network: Network, parameters: dict[str, Any], home: Backend) -> None:
        self._network = network
        layers = range(1, network.L + 1)
        self.coefs_ = [home.asarray(parameters[named("W", l)]).T for l in layers]  # (n_prev, n_l)
        self.intercepts_ = [home.asarray(parameters[named("b", l)])[:, 0] for l in layers]  # (n_l,)
        self.n_layers_ = network.L + 1
        self.n_outputs_ = network.layer_dims[-1]
        activation = get_head(network.head).activation.__name__
        self.out_activation_ = "logistic" if activation == "sigmoid" else activation

    def _split(self, y: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the samples to train on, and of those to score."""
        strata = self._strata(y)

        def split(strata: Any) -> Any:
            return train_test_split(
                np.arange(len(y)),
                random_state=seed,
                test_size=self.validation_fraction,
                stratify=strata,
            )

        try:
            training, held_back = split(strata)
        except ValueError as error:
            # as in MLPClassifier: of more than two classes, some may be missing in a part
            if strata is None or len(np.unique(strata)) < 3:
                raise InputError(
                    f"early_stopping cannot hold back validation_fraction="
                    f"{self.validation_fraction:g} of {len(y)} samples ({error}). Take another "
                    f"share, more samples, or early_stopping=False"
                ) from error
            training, held_back = split(None)
        if len(held_back) < 2:
            raise InputError(
                f"validation_fraction {self.validation_fraction:g} of {len(y)} samples is "
                f"{len(held_back)}: expected 2 or more. Take a larger share, or more samples"
            )
        return training, held_back

    def _outputs(self, X: Any, method: str) -> tuple[Any, Any, Backend, Backend]:
        """AL and ZL, (n_L, m), the backend that computed them, and the one where X lives."""
        check_is_fitted(self)
        self._check_same_place(X, method)
        how = {"accept_sparse": "csr", "dtype": float_dtypes(X), "order": "C"}
        X = validate_data(self, X, reset=False, **how)
        X = dense(X, "X")
        home = get_backend(backend_of(X).name, dtype=backend_of(self.coefs_[0]).dtype_name)
        backend = self._backend(home)
        parameters = as_parameters(self.coefs_, self.intercepts_)
        with backend.scope():
            given = {name: backend.asarray(p) for name, p in parameters.items()}
            AL, ZL = answers(self._network, backend, backend.asarray(columns(X)), given)
        return AL, ZL, backend, home

    def _check_same_place(self, X: Any, method: str) -> None:
        if not get_config()["array_api_dispatch"]:
            return
        fitted = backend_of(self.coefs_[0]).name
        library = library_of(X)
        given = "numpy" if library is None else library.full_name(library.device_of(X))
        if given != fitted:
            raise InputError(
                f"{type(self).__name__}.{method}() was given an array of {given}, fit() one of "
                f"{fitted}: both must use the same namespace and device"
            )

    def _backend(self, home: Backend) -> Backend:
        name = home.name if self.backend is None else self.backend
        how = {"arithmetic": self.arithmetic, "matmul": self.matmul}
        return get_backend(name, dtype=home.dtype_name, **how)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
