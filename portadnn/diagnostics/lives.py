"""Death and revival of units over training, as a callback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from portadnn.backends import to_host
from portadnn.diagnostics.units import unit_activity
from portadnn.errors import InputError
from portadnn.training.state import TrainingState


class UnitEvent(NamedTuple):
    """A unit that died or came back.

    Attributes
    ----------
    iteration : int
        The updates made when the change was first seen; 0 is before the first update.
    since : int
        The updates made at the look before. The change came after these, and not after
        ``iteration``. If every update has a report (``report_every=1``) it is ``iteration - 1``.
    layer : int
        1 .. L-1.
    unit : int
        From 0.
    died : bool
        Whether it died; otherwise it came back.
    """

    iteration: int
    since: int
    layer: int
    unit: int
    died: bool

    def __str__(self) -> str:
        what = "died" if self.died else "revived"
        if self.iteration == 0:
            what = "was dead from the start"
        return f"iteration {self.iteration}: unit {self.unit} of layer {self.layer} {what}"


class UnitCensus(NamedTuple):
    """The number of dead units of every hidden layer after so many updates."""

    iteration: int
    dead: tuple[int, ...]


@dataclass(eq=False)
class UnitLives:
    """A callback that follows the dead ReLU units of a run from report to report.

    It looks at the parameters before the first update and at every report, on the host.

    Parameters
    ----------
    X : array, shape (n_x, m)
        The data on which a unit counts as dead, one column per example. ``LayerUnits.for_good``
        holds only for the training data.

    Attributes
    ----------
    events : list of UnitEvent
        The events of the last run, in order; units dead from the start have iteration 0.
    census : list of UnitCensus
        One before the first update, and one for every report.

    Raises
    ------
    InputError
        When the run starts, if X does not fit the network.

    Examples
    --------
    >>> from portadnn import L_layer_model
    >>> X, Y = np.asarray([[-1.0, 1.0]]), np.asarray([[0.0, 1.0]])
    >>> lives = UnitLives(X)
    >>> _ = L_layer_model(X, Y, [1, 3, 1], 1.0, 200, rng=0, callbacks=[lives])
    >>> lives.census[-1]
    UnitCensus(iteration=200, dead=(0,))
    """

    X: Any
    events: list[UnitEvent] = field(default_factory=list, init=False)
    census: list[UnitCensus] = field(default_factory=list, init=False)
    _dead: list[np.ndarray] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self.X = np.asarray(to_host(self.X))

    def on_train_begin(self, state: TrainingState) -> None:
        n_x = state.network.layer_dims[0]
        if self.X.ndim != 2 or self.X.shape[0] != n_x or self.X.shape[1] == 0:
            raise InputError(
                f"UnitLives was given X of shape {self.X.shape}, but the network takes {n_x} "
                f"values per example: expected ({n_x}, m) with m >= 1, one column per example"
            )
        self.events.clear()
        self.census.clear()
        self._dead = [np.zeros(n_l, dtype=bool) for n_l in state.network.layer_dims[1:-1]]
        self._look(state)

    def on_epoch_end(self, state: TrainingState) -> None:
        self._look(state)

    def _look(self, state: TrainingState) -> None:
        now, since = state.steps_done, self.census[-1].iteration if self.census else 0
        parameters = state.parameters
        X = self.X.astype(parameters["W1"].dtype, copy=False)
        layers = unit_activity(X, parameters, network=state.network, xp=np)
        for before, layer in zip(self._dead, layers, strict=True):
            for unit in np.flatnonzero(before != layer.dead).tolist():
                died = bool(layer.dead[unit])
                self.events.append(UnitEvent(now, since, layer.layer, unit, died))
        self._dead = [layer.dead for layer in layers]
        self.census.append(UnitCensus(now, tuple(int(dead.sum()) for dead in self._dead)))
