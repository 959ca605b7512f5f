"""What a recipe and a plan refuse, before any work starts."""

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.optimizers import Adam, AdamW, GradientDescent
from portadnn.network.spec import Network
from portadnn.training.recipe import PLAIN, Plan, Recipe, dropout_rates
from portadnn.training.schedules import Constant, Step
from portadnn.training.streams import Batches
from portadnn.training.train import fit, train

DATA = Dataset(np.eye(6), [0, 1, 2, 0, 1, 2], ("a", "b", "c"))
NAN = float("nan")


class Began:
    """Fails the test where a run begins."""

    def on_train_begin(self, state):
        raise AssertionError("work was started")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch size is 0: expected 1 to 6"),
        ({"batch_size": 7}, "batch size is 7: expected 1 to 6"),
        ({"batch_size": 2.5}, "batch size is 2.5: expected a whole number"),
        ({"epochs": 0}, "number of epochs is 0: expected 1 or more"),
        ({"epochs": 2.5}, "number of epochs is 2.5: expected a whole number"),
        ({"learning_rate": 0}, "learning rate is 0: expected a finite number above 0"),
        ({"learning_rate": NAN}, "learning rate is nan"),
        ({"learning_rate": "fast"}, "learning rate is 'fast': expected a number"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
        ({"l2": -1}, "l2 is -1: expected a finite number 0 or more"),
        ({"l1": NAN}, "l1 is nan"),
        ({"clip_norm": 0}, "clip_norm is 0: expected a finite number above 0"),
        ({"dropout": 1}, "dropout is 1: expected a finite number 0 or more and below 1"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"dropout": NAN}, "dropout is nan"),
        ({"dropout": [0.5, 0.5, 0.5]}, "3 dropout rates were given for 2 hidden layers"),
        ({"dropout": [0.0, 0.0, 0.0]}, "3 dropout rates were given for 2 hidden layers"),
        ({"dropout": np.asarray([0.5])}, "1 dropout rates were given for 2 hidden layers"),
        ({"dropout": "half"}, "dropout is 'half': expected a number"),
        ({"report_every": 0}, "report_every is 0: expected 1 or more"),
        ({"report_every": 1.5}, "report_every is 1.5: expected a whole number"),
        ({"seed": 1.5}, "seed is 1.5: expected a whole number"),
        ({"seed": -1}, "seed is -1: expected 0 or more"),
        ({"layers": [3, 0]}, "layer 2 has width 0"),
        ({"early_stopping": 0}, "patience is 0: expected 1 or more"),
        ({"early_stopping": True, "validation": 0.5}, "patience is True: expected a whole number"),
        ({"batch_size": True}, "batch size is True: expected a whole number"),
        ({"learning_rate": True}, "learning rate is True: expected a number"),
        ({"layers": 5}, "layers is 5: expected a sequence of widths"),
        ({"dropout": np.asarray(1.5)}, "dropout is 1.5: expected a finite number 0 or more"),
        ({"early_stopping": 2.5}, "patience is 2.5: expected a whole number"),
        ({"early_stopping": 5}, "validation_cost is monitored, but there is no validation data"),
        ({"optimizer": "adamw:weight_decay=1000"}, "expected a product below 1"),
        ({"epochs": 3, "schedule": "cosine:warmup=3"}, "the warm-up of the schedule is 3 epochs"),
        ({"first_layer": "sampel"}, "unknown first_layer 'sampel': did you mean 'sample'"),
        ({"optimizer": "lbfgs", "batch_size": 2}, "lbfgs .*minibatches cannot be combined with it"),
        ({"optimizer": "lbfgs", "dropout": 0.5}, "lbfgs .*dropout cannot be combined with it"),
        ({"optimizer": "lbfgs", "clip_norm": 1.0}, "lbfgs .*clipping cannot be combined with it"),
    ],
)
def test_what_train_refuses_before_work_starts(given, message):
    options = {"layers": [4, 3], "epochs": 1, "backend": "numpy"} | given
    with pytest.raises(InputError, match=message):
        train(DATA, **options, callbacks=[Began()])


def test_an_optimizer_beside_that_of_the_recipe_is_refused():
    # the second optimizer would not be used
    network = Network((6, 3), head="softmax")
    with pytest.raises(TypeError, match="solver is Adam.*expected LBFGS or None"):
        fit(
            initialize_parameters_deep((6, 3)), np.eye(6), np.eye(3)[DATA.labels].T,
            network=network, backend=get_backend("numpy"), plan=Plan(0.1, 1, Batches(6)),
            solver=Adam(), callbacks=[Began()],
        )  # fmt: skip


@pytest.mark.parametrize("callback", [Began, None, print, "History", object()])
def test_a_callback_that_is_none_is_refused_before_work_starts(callback):
    with pytest.raises(TypeError, match="callback .*: expected an object with some of the methods"):
        train(DATA, layers=[3], callbacks=[Began(), callback], backend="numpy")


def test_a_recipe_is_a_value():
    recipe = Recipe("adam:beta1=0.8", l2=1, dropout=[0.5, np.float32(0.25)])
    same = Recipe(Adam(0.8), l2=1.0, dropout=(0.5, 0.25))
    assert recipe == same
    assert hash(recipe) == hash(same)
    assert recipe.dropped_layers() == [1, 2]
    assert Recipe(AdamW()) != Recipe(Adam(weight_decay=0.01))
    assert Recipe() == PLAIN
    assert PLAIN.optimizer == GradientDescent()
    assert not PLAIN.penalized
    assert Recipe(l1=0.1).penalized


def test_dropout_of_0_is_none():
    assert Recipe(dropout=(0, 0.0)) == PLAIN
    assert Recipe(dropout=(0, 0.5)).dropped_layers() == [2]


def test_one_rate_is_for_every_hidden_layer():
    network = Network((6, 5, 4, 3))
    assert dropout_rates(0.5, network) == (0.5, 0.5)
    assert dropout_rates([0.1, 0.2], network) == (0.1, 0.2)
    assert dropout_rates(0.5, Network((6, 3))) == ()


def test_a_plan_counts_its_steps():
    plan = Plan("0.5", np.int64(3), Batches(10, 4), schedule="step:2,factor=0.5")
    assert plan.learning_rate == 0.5
    assert plan.schedule == Step(2, 0.5)
    assert plan.steps == 9
    assert [plan.rate(step) for step in (0, 5, 6)] == [0.5, 0.5, 0.25]
    assert plan.rate(6, factor=0.1) == 0.25 * 0.1
    assert Plan(0.5, 3, Batches(10)).steps == 3
    assert Plan(0.5, 3, Batches(10)).schedule == Constant()


def test_adams_corrections_go_on_after_an_earlier_run():
    first = Plan(0.1, 5, Batches(10), Recipe("adam"))
    second = Plan(0.1, 2, Batches(10), Recipe("adam"), first_step=3)
    assert second.scalars(0) == first.scalars(3)
    assert second.scalars(1) == first.scalars(4)
