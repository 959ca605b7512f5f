"""What MLPClassifier records of a run, and its rule to stop, as one callback."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from portadnn.estimator.settings import SMALLEST_RATE
from portadnn.training.state import TrainingState


@dataclass(eq=False)
class Monitor:
    """Stop if more than ``patience`` epochs in a row were not better by ``tol``.

    The best so far is that of all epochs, also of one that was better by less than ``tol``: this is
    the rule of MLPClassifier, not that of ``EarlyStopping``.

    Parameters
    ----------
    tol, patience : float
    scoring : bool
        Whether the validation score decides, not the loss; the best parameters are kept then.
    adaptive : bool
        Whether the rate has to become small before the run stops.
    verbose : bool
        Whether every epoch is printed.
    best : float
        The least loss, or the negative of the best score.
    waited : int
        Epochs since it was better.
    parameters : dict, optional
        The parameters with the best score.
    stopped : str, optional
        Why the run stopped.
    """

    tol: float
    patience: float
    scoring: bool = False
    adaptive: bool = False
    verbose: bool = False
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)
    parameters: dict[str, Any] | None = field(default=None, init=False)
    stopped: str | None = field(default=None, init=False)

    def state_dict(self) -> dict[str, Any]:
        """What the next fit goes on from."""
        names = "scoring", "best", "waited", "parameters"
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, past: dict[str, Any]) -> None:
        """Go on from an earlier ``state_dict()``; its best counts only if it is of this kind."""
        self.waited = past["waited"]
        if past["scoring"] == self.scoring:
            self.best, self.parameters = past["best"], past["parameters"]

    def on_epoch_end(self, state: TrainingState) -> None:
        record = state.record
        assert record is not None
        if self.verbose:
            print(f"Iteration {state.epoch}, loss = {record.cost:.8f}")
        value = record.cost
        if self.scoring:
            assert record.validation_score is not None
            value = -record.validation_score
            if self.verbose:
                print(f"Validation score: {record.validation_score:f}")
        self.waited = self.waited + 1 if value > self.best - self.tol else 0
        if value < self.best:
            self.best = value
            if self.scoring:
                self.parameters = state.parameters
        if self.waited > self.patience:
            self._stop(state, record.learning_rate)

    def on_train_end(self, state: TrainingState) -> None:
        self.stopped = state.stopped
        if self.parameters is not None:
            state.keep(self.parameters)

    def _stop(self, state: TrainingState, rate: float) -> None:
        if self.adaptive and rate > SMALLEST_RATE:
            self.waited = 0
            return
        what = "Validation score" if self.scoring else "Training loss"
        reason = f"{what} did not improve more than tol={self.tol:f} for {self.patience} epochs"
        if self.verbose:
            print(f"{reason}. Stopping.")
        state.stop(reason)
