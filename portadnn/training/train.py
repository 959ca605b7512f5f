"""Training, from the course's call to a whole dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portadnn.backends import DTYPES, Backend, backend_of, get_backend
from portadnn.data.dataset import Dataset
from portadnn.data.models import Model
from portadnn.errors import InputError
from portadnn.network.initializers import Initializer, Rng, initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.loop import (
    DivergenceError,
    Report,
    TrainingInterrupted,
    check_data,
    check_schedule,
    deferred_interrupt,
    descend,
)

REPORT_EVERY = 100  # iterations between two costs of the history


def L_layer_model(
    X: Any,
    Y: Any,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    init: str | Initializer = "he",
    rng: Rng = None,
    network: Network | None = None,
    backend: str | Backend | None = None,
    history: list[tuple[int, float]] | None = None,
    plot_cost: bool = False,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, Any]:
    """Train an L-layer network on the whole batch by gradient descent.

    Parameters
    ----------
    X : array, shape (n_x, m)
        One column per example.
    Y : array, shape (n_L, m)
    layers_dims : sequence of int
        ``(n_x, n_1, ..., n_L)``.
    learning_rate : float
    num_iterations : int
    print_cost : bool
        Print ``Cost after iteration %i: %f`` every 100 iterations.
    init : str or Initializer
        See ``initialize_parameters_deep``.
    rng : int, Generator, RandomState or None
        None draws as ``RandomState(3)``; an integer seeds ``numpy.random.default_rng``.
    network : Network, optional
        None means ReLU in every hidden layer and a sigmoid head.
    backend : str or Backend, optional
        Where to train; None stays where X is. A name computes in the dtype of X, or in float32
        where X is not floating.
    history : list, optional
        Collects ``(iteration, cost)`` every 100 iterations, in full precision. The cost is that of
        the parameters before the iteration's update.
    plot_cost : bool
        Show the cost curve with matplotlib at the end.
    on_report : callable, optional
        Called with a ``Report`` a few times a second.

    Returns
    -------
    parameters : dict
        ``W1, b1, ..., WL, bL`` on the backend.

    Raises
    ------
    InputError, TypeError
        If anything given cannot be used; no work has started then.
    BackendUnavailableError
        If the backend cannot run here.
    DivergenceError, TrainingInterrupted
        With the last parameters as ``.parameters``; a TrainingInterrupted is a KeyboardInterrupt.

    Examples
    --------
    >>> X, Y = np.asarray([[-1.0, 1.0]]), np.asarray([[0.0, 1.0]])
    >>> parameters = L_layer_model(X, Y, [1, 1], 1.0, 200, print_cost=True, rng=0)
    Cost after iteration 0: 0.608189
    Cost after iteration 100: 0.010076

    References
    ----------
    Goodfellow, Bengio and Courville, Deep Learning (2016), section 6.5.
    """
    declared = Network(layers_dims)  # type: ignore[arg-type]  # any sequence
    network = network or declared
    if declared.layer_dims != network.layer_dims:
        raise InputError(
            f"layers_dims is {declared.layer_dims}, but the network has {network.layer_dims}: "
            f"expected the same"
        )
    learning_rate, num_iterations = check_schedule(learning_rate, num_iterations)
    chosen = _backend_for(X, backend)
    recorded: list[tuple[int, float]] = [] if history is None else history
    with chosen.scope():
        X, Y = chosen.asarray(X), chosen.asarray(Y)
        check_data(X, Y, network, chosen)
        parameters = initialize_parameters_deep(
            network.layer_dims, init=init, rng=rng, backend=chosen
        )
        chunks = descend(
            parameters,
            X,
            Y,
            network=network,
            backend=chosen,
            learning_rate=learning_rate,
            num_iterations=num_iterations,
            report_every=REPORT_EVERY,
        )
        done = 0
        try:
            with deferred_interrupt() as interrupted:
                for parameters, costs, report in chunks:
                    done = report.iteration
                    recorded.extend(costs)
                    for iteration, cost in costs if print_cost else ():
                        print(f"Cost after iteration {iteration}: {cost:f}")
                    if on_report:
                        on_report(report)
                    if interrupted():
                        raise TrainingInterrupted(done, parameters)
        except KeyboardInterrupt as error:
            if isinstance(error, TrainingInterrupted):
                raise
            raise TrainingInterrupted(done, parameters) from None
    if plot_cost:
        from portadnn.plots import show_costs

        show_costs(recorded, learning_rate)
    return parameters


def train(
    data: Dataset,
    *,
    layers: Sequence[int] = (20, 7, 5),
    activations: str | Sequence[str] = "relu",
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    init: str | Initializer = "he",
    rng: Rng = None,
    backend: str | Backend = "auto",
    history: list[tuple[int, float]] | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> Model:
    """Train a classifier of ``data``: the head follows the number of classes.

    Parameters
    ----------
    data : Dataset
        Labelled; from ``load_dataset``, ``load_digits`` or your own arrays.
    layers : sequence of int
        Widths of the hidden layers; the input's and the output's follow from the data.
    activations : str or sequence of str
        Of the hidden layers.
    learning_rate, num_iterations, init, rng, history, on_report
        As for ``L_layer_model``.
    backend : str or Backend
        Where to train; "auto" takes a working GPU, else NumPy, in float32.

    Returns
    -------
    model : Model
        Its parameters are on the host.

    Raises
    ------
    InputError, TypeError, BackendUnavailableError
        As for ``L_layer_model``.
    DivergenceError, TrainingInterrupted
        With the last finite model as ``.model``.

    Examples
    --------
    >>> from portadnn.data.hdf5 import load_digits
    >>> digits, _ = load_digits()
    >>> train(digits, layers=[32], learning_rate=0.5, num_iterations=5, backend="numpy").network
    Network(layer_dims=(64, 32, 10), activations=('relu',), head='softmax')
    """
    network = network_for(data, layers, activations)
    chosen = get_backend(backend)

    def as_model(parameters: dict[str, Any]) -> Model:
        host = {name: np.array(chosen.to_numpy(p)) for name, p in parameters.items()}
        return Model(network, host, data.classes, data.input_shape, data.scaled)

    try:
        parameters = L_layer_model(
            data.columns(chosen.dtype_name),
            data.targets(chosen.dtype_name),
            network.layer_dims,
            learning_rate,
            num_iterations,
            init=init,
            rng=rng,
            network=network,
            backend=chosen,
            history=history,
            on_report=on_report,
        )
    except (DivergenceError, TrainingInterrupted) as error:
        error.model = as_model(error.parameters)
        raise
    return as_model(parameters)


def _backend_for(X: Any, backend: str | Backend | None) -> Backend:
    if backend is None:
        return backend_of(X)
    if isinstance(backend, Backend):
        return backend
    dtype = str(getattr(X, "dtype", "")).rpartition(".")[2]
    return get_backend(backend, dtype=dtype if dtype in DTYPES else None)


def network_for(
    data: Dataset, layers: Sequence[int], activations: str | Sequence[str] = "relu"
) -> Network:
    """The network of ``train``: hidden ``layers`` between the data's values and its classes."""
    outputs = 1 if data.head == "sigmoid" else len(data.classes)
    return Network((data.n_x, *layers, outputs), activations, data.head)  # type: ignore[arg-type]
