"""What the classifier and the regressor share: arrays in and out, and one way to the loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from sklearn import get_config
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from portadnn.backends import DTYPES, Backend, backend_of, get_backend
from portadnn.backends.base import to_host
from portadnn.backends.registry import library_of
from portadnn.errors import InputError
from portadnn.estimator.monitor import Monitor
from portadnn.estimator.settings import (
    OUT_ACTIVATIONS,
    Continued,
    InverseScaling,
    activations_of,
    batch_size_of,
    initializers_of,
    schedule_of,
    solver_of,
    widths,
)
from portadnn.network.initializers import Initializer, initialize_parameters_deep
from portadnn.network.model import L_model_forward
from portadnn.network.optimizers import GradientDescent, Optimizer
from portadnn.network.spec import Network
from portadnn.training.lbfgs import LBFGS
from portadnn.training.recipe import Plan, Recipe, dropout_rates
from portadnn.training.schedules import Plateau, Schedule
from portadnn.training.stops import TrainingInterrupted
from portadnn.training.streams import Batches
from portadnn.training.train import fit
from portadnn.training.weights import normalized


class BasePortaDNN(BaseEstimator):
    """One network behind scikit-learn's interface; a subclass has targets and a head."""

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's own form)
        "hidden_layer_sizes": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "activation": [str, "array-like"],
        "solver": [str, Optimizer, LBFGS],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), None, Interval(Integral, 1, None, closed="left")],
        "learning_rate": [str, Schedule],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {math.inf}),
        ],
        "l1": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "init": [None, str, Initializer, "array-like"],
        "backend": [None, str],
        "dtype": [None, StrOptions(set(DTYPES))],
    }

    def _head(self) -> str:
        """The head for the targets that ``_targets`` saw."""
        raise NotImplementedError

    def _targets(self, y: Any, new: bool) -> np.ndarray:
        """Y as rows, (m, n_L), on the host; ``new`` unless its classes were seen before."""
        raise NotImplementedError

    def _weights(self, y: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Weights (m,) of the samples, or (n_L, m) of every output of every sample."""
        return sample_weight

    def _strata(self, y: Any) -> Any:
        """What the validation data is to have the same shares of, or None."""
        return None

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, partial: bool = False) -> Any:
        if partial and self.early_stopping:
            raise InputError("partial_fit makes one pass: expected early_stopping=False")
        first = not hasattr(self, "coefs_") or not (self.warm_start or partial)
        X, y = validate_data(
            self,
            X,
            to_host(y),
            dtype=_float_dtypes(X),
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=first,
        )
        home = backend_of(X)
        home = get_backend(home.name, dtype=self.dtype or home.dtype_name)
        Y = self._targets(y, new=first and not partial)
        sample_weight = _checked_weights(sample_weight, len(Y))
        weights = self._weights(y, sample_weight)
        network = Network(
            (self.n_features_in_, *widths(self.hidden_layer_sizes), Y.shape[1]),
            activations_of(self.activation),
            self._head(),
        )
        random_state = check_random_state(self.random_state)
        # before the weights, which are drawn once only: every partial_fit has the same seed
        seed = random_state.randint(np.iinfo(np.int32).max)
        if first:
            init = initializers_of(self.init, network.activations)
            parameters = initialize_parameters_deep(network.layer_dims, init=init, rng=random_state)
        else:
            parameters = _parameters(self.coefs_, self.intercepts_)
            network.check(parameters)

        X, Y = _columns(X), _columns(Y)
        validation = None
        if self.early_stopping:
            training, held_back = self._split(y, seed)
            scored = normalized(sample_weight[held_back])
            validation = (_take(X, held_back), _take(Y, held_back))
            if scored is not None:
                validation = (*validation, scored)
            X, Y, weights = _take(X, training), _take(Y, training), weights[..., training]
        return self._run(
            network,
            parameters,
            (X, Y, weights, validation),
            home=home,
            seed=seed,
            first=first,
            partial=partial,
        )

    def _run(
        self,
        network: Network,
        parameters: dict[str, Any],
        data: tuple[Any, Any, np.ndarray, tuple[Any, ...] | None],
        *,
        home: Backend,
        seed: int,
        first: bool,
        partial: bool,
    ) -> Any:
        """Train on columns, and set the fitted attributes when that is done."""
        X, Y, weights, validation = data
        m = X.shape[1]
        backend = self._backend(home)
        solver = solver_of(self)
        whole = isinstance(solver, LBFGS)
        batch_size = m if whole else batch_size_of(self.batch_size, m)
        relative = normalized(weights)
        # an optimizer that was changed since starts anew
        goes_on = partial and not first and self._solver == solver
        slots, steps, epochs = self._optimizer_state if goes_on else ({}, 0, 0)
        schedule = schedule_of(self, m, 0 if first else self.t_)
        if partial:
            if isinstance(schedule, Plateau):
                raise InputError(
                    f"learning_rate {self.learning_rate!r} follows the losses of one fit: "
                    f"expected another with partial_fit"
                )
            if not isinstance(schedule, InverseScaling):
                schedule = Continued(schedule, epochs, self.max_iter)
        plan = Plan(
            self.learning_rate_init,
            1 if partial else self.max_iter,
            Batches(m, batch_size if batch_size < m else None, seed, self.shuffle,
                    first_epoch=epochs),
            Recipe(
                GradientDescent() if isinstance(solver, LBFGS) else solver,
                self.alpha / (batch_size * float(np.mean(weights))),
                self.l1,
                self.clip_norm,
                dropout_rates(self.dropout, network),
            ),
            schedule,
            first_step=steps,
        )  # fmt: skip
        monitor = self._monitor(first, whole)
        slots = {name: backend.asarray(x) for name, x in slots.items()}
        interrupted = False
        try:
            parameters = fit(
                parameters,
                X,
                Y,
                network=network,
                backend=backend,
                plan=plan,
                solver=solver,
                weights=relative,
                validation=validation,
                callbacks=[monitor],
                report_every=1,
                slots=slots,
            )
        except TrainingInterrupted as error:
            interrupted = True
            parameters = monitor.parameters or error.parameters
            warnings.warn("Training interrupted by user.", stacklevel=3)
        if not (monitor.stopped or interrupted or partial):
            warnings.warn(
                f"the maximum of {self.max_iter} iterations was reached and the optimization has "
                f"not converged yet",
                ConvergenceWarning,
                stacklevel=3,
            )
        self._network, self._solver = network, solver
        self._optimizer_state = (
            {name: home.asarray(x) for name, x in slots.items()},
            steps + monitor.epochs * plan.batches.steps_per_epoch,
            epochs + monitor.epochs,
        )
        self._waited = monitor.waited
        self._set_fitted(parameters, home)
        self._set_curves(monitor)
        self.n_iter_ = monitor.epochs
        self.t_ = (0 if first else self.t_) + m * monitor.epochs
        return self

    def _monitor(self, first: bool, whole: bool) -> Monitor:
        scoring = self.early_stopping
        monitor = Monitor(
            self.tol,
            math.inf if whole and not scoring else self.n_iter_no_change,
            scoring,
            self.learning_rate == "adaptive" and self.solver == "sgd",
            bool(self.verbose),
        )
        if not first:
            monitor.losses = list(self.loss_curve_)
            monitor.waited = self._waited
            if scoring == (self.best_validation_score_ is not None):
                monitor.best = -self.best_validation_score_ if scoring else self.best_loss_
                monitor.scores = list(self.validation_scores_ or [])
        return monitor

    def _set_curves(self, monitor: Monitor) -> None:
        scoring = monitor.scoring
        self.loss_curve_ = monitor.losses
        self.loss_ = monitor.losses[-1] if monitor.losses else math.nan
        self.best_loss_ = None if scoring else monitor.best
        self.validation_scores_ = monitor.scores if scoring else None
        self.best_validation_score_ = -monitor.best if scoring else None

    def _set_fitted(self, parameters: dict[str, Any], home: Backend) -> None:
        network = self._network
        layers = range(1, network.L + 1)
        self.coefs_ = [home.asarray(parameters[f"W{l}"]).T for l in layers]  # (n_prev, n_l)
        self.intercepts_ = [home.asarray(parameters[f"b{l}"])[:, 0] for l in layers]  # (n_l,)
        self.n_layers_ = network.L + 1
        self.n_outputs_ = network.layer_dims[-1]
        self.out_activation_ = OUT_ACTIVATIONS[network.head]

    def _split(self, y: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the samples to train on, and of those to score."""
        training, held_back = train_test_split(
            np.arange(len(y)),
            random_state=seed,
            test_size=self.validation_fraction,
            stratify=self._strata(y),
        )
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
        X = validate_data(self, X, dtype=_float_dtypes(X), reset=False)
        home = get_backend(backend_of(X).name, dtype=backend_of(self.coefs_[0]).dtype_name)
        backend = self._backend(home)
        parameters = _parameters(self.coefs_, self.intercepts_)
        with backend.scope():
            AL, caches = L_model_forward(
                backend.asarray(_columns(X)),
                {name: backend.asarray(p) for name, p in parameters.items()},
                network=self._network,
                xp=backend.xp,
            )
        return AL, caches[-1][1], backend, home

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
        return home if self.backend is None else get_backend(self.backend, dtype=home.dtype_name)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.target_tags.multi_output = True
        return tags


def makes_steps(estimator: Any) -> bool:
    """Whether the solver goes through the data step by step, which partial_fit needs."""
    solver = estimator.solver
    if isinstance(solver, LBFGS) or str(solver).partition(":")[0] == "lbfgs":
        raise AttributeError(
            "lbfgs needs all data at once: partial_fit is there with another solver"
        )
    return True


def _columns(rows: Any) -> Any:
    """The one place that turns rows, (m, n), into columns, (n, m)."""
    return rows.T


def _parameters(coefs: Sequence[Any], intercepts: Sequence[Any]) -> dict[str, Any]:
    parameters = {}
    for l, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True), start=1):
        parameters[f"W{l}"] = coef.T  # (n_l, n_prev)
        parameters[f"b{l}"] = intercept[:, None]  # (n_l, 1)
    return parameters


def _take(x: Any, indices: np.ndarray) -> Any:
    """The columns of those indices, where ``x`` lives."""
    home = backend_of(x)
    with home.scope():
        return home.xp.take(x, home.asarray(indices, dtype="int32"), axis=1)


def _checked_weights(sample_weight: Any, m: int) -> np.ndarray:
    weights = _check_sample_weight(
        to_host(sample_weight), np.empty((m, 1)), dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise InputError("sample_weight is zero for every sample: expected some above 0")
    return weights


def _float_dtypes(X: Any) -> list[Any]:
    """float64 and float32 of the namespace in which scikit-learn will handle X."""
    dispatched = get_config()["array_api_dispatch"] and library_of(X) is not None
    xp = array_namespace(X) if dispatched else np
    return [xp.float64, xp.float32]
