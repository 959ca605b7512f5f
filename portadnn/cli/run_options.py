"""The options of ``portadnn train`` that decide what a run computes, as texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from cyclopts import Group, Parameter

_DATA = Group("Data", sort_key=1)
_NETWORK = Group("Network", sort_key=2)
_DESCENT = Group("Descent", sort_key=3)
_OVERFITTING = Group("Against overfitting", sort_key=4)
_MACHINE = Group("Machine", sort_key=5)

DataText: TypeAlias = Annotated[str | None, Parameter(group=_DATA, show_default=False)]
NetworkText: TypeAlias = Annotated[str | None, Parameter(group=_NETWORK)]
DescentText: TypeAlias = Annotated[str | None, Parameter(group=_DESCENT)]
OverfittingText: TypeAlias = Annotated[str | None, Parameter(group=_OVERFITTING)]
MachineText: TypeAlias = Annotated[str | None, Parameter(group=_MACHINE)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What was typed; None where nothing was. ``RunConfig`` has one field for each, and reads it.

    Parameters
    ----------
    test
        An HDF5 file with test_set_x and test_set_y, or none. Default what the data's file holds.
    validation
        The share of the training data to hold back and to score at every report, such as 0.2, an
        HDF5 file (its test set, or its only set), or none.
    layers
        Widths of the hidden layers, or none. Default 20,7,5 for a file, 64,32 for the digits.
    activation
        Of the hidden layers, one or one for each: relu, leaky_relu, sigmoid, tanh, ...
    init
        One or one for each layer: zeros, normal, lecun, xavier or he, with _normal or _uniform and
        :GAIN if need be, such as xavier_uniform or normal:0.05. Default he.
    optimizer
        gradient_descent, momentum, nesterov, rmsprop, adam, adamw or lbfgs, with options such as
        momentum:0.95 or adam:beta1=0.8,weight_decay=0.01. Default gradient_descent.
    learning_rate
        Default 0.5 for the digits and 0.0075 for a file, a tenth of it with momentum and nesterov,
        0.001 with rmsprop, adam and adamw. lbfgs has none.
    epochs
        Passes over the data. Default 1000 for the digits and 3000 for a file; with minibatches as
        many as make that number of steps, but at least 20.
    batch_size
        Examples in a step, shuffled in every epoch, or all. Default all.
    schedule
        Of the learning rate: constant, step, exponential, cosine or plateau, with options such as
        step:every=100,factor=0.5 or cosine:warmup=5. Default constant.
    clip_norm
        The largest norm of all gradients together, or none.
    l2
        L2 / 2 times the sum of the squared weights is added to the cost.
    l1
        L1 times the sum of the weights' magnitudes is added to the cost.
    dropout
        The share of units that every step drops, of all hidden layers or of each: 0.2 or 0.3,0.1.
    class_weight
        balanced, NAME=WEIGHT,NAME=WEIGHT, or none.
    early_stopping
        Stop when the validation cost has not fallen for so many reports, and keep the best
        weights; or none.
    report_every
        Epochs between two reports, which are rows of history.json. Default 100 where an epoch is
        one step, else 1.
    first_layer
        Its form: sample is the same algorithm with fewer operations for data with more values than
        examples, feature the plain one; auto, the default, counts.
    seed
        Of the initial weights, shuffles, dropout and the share for validation. Default 3.
    backend
        numpy, cupy, torch, jax, dask or strict, with a device after a colon if need be (cupy:1,
        torch:cuda, jax:gpu); auto, the default, takes a working GPU through CuPy, else NumPy.
    dtype
        float32, the default, or float64: the precision of data, weights and arithmetic.
    arithmetic
        fast, the default, is the library's own; reproducible gives the same bits on every backend,
        number of threads and device, and takes longer.
    """

    test: DataText = None
    validation: DataText = None
    layers: NetworkText = None
    activation: NetworkText = None
    init: NetworkText = None
    optimizer: DescentText = None
    learning_rate: DescentText = None
    epochs: Annotated[str | None, Parameter(name=["--epochs", "--iterations"], group=_DESCENT)] = (
        None
    )
    batch_size: DescentText = None
    schedule: DescentText = None
    clip_norm: DescentText = None
    l2: OverfittingText = None
    l1: OverfittingText = None
    dropout: OverfittingText = None
    class_weight: OverfittingText = None
    early_stopping: OverfittingText = None
    report_every: DescentText = None
    first_layer: MachineText = None
    seed: MachineText = None
    backend: MachineText = None
    dtype: MachineText = None
    arithmetic: MachineText = None
