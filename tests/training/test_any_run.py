"""Whatever is declared: a certificate, a checkpoint or another backend moves no bit of a run."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portadnn import Certifier
from portadnn.training.checkpoints import Checkpoints
from portadnn.training.models import fingerprint
from portadnn.training.stops import DivergenceError
from portadnn.training.train import train

TARGETS = {
    "two classes": lambda rng, m: np.arange(m) % 2,
    "classes": lambda rng, m: np.arange(m) % 3,
    "labels": lambda rng, m: np.stack([np.arange(m) % 2, rng.integers(0, 2, m)], axis=1),
    "values": lambda rng, m: rng.standard_normal((m, 2)),
    "counts": lambda rng, m: rng.poisson(40.0, m) + 0.5,
}


def settings_of_a_run(m, kind):
    classes = kind in ("two classes", "classes")
    return st.fixed_dictionaries(
        {
            "layers": st.lists(st.sampled_from([1, 3, 8]), max_size=3),
            "activations": st.sampled_from(["relu", "leaky_relu", "tanh", "sigmoid"]),
            "optimizer": st.sampled_from(
                ["gradient_descent", "momentum", "nesterov", "rmsprop", "adam", "adamw"]
            ),
            "learning_rate": st.sampled_from([1e-3, 0.1]),
            "epochs": st.sampled_from([3, 7]),
            "dtype": st.sampled_from(["float32", "float64"]),
            "rng": st.integers(0, 9),
        },
        optional={
            "batch_size": st.sampled_from([1, 7, m - 1, m]),
            "schedule": st.sampled_from(["step:every=2", "cosine:warmup=1", "plateau:patience=1"]),
            "report_every": st.sampled_from([1, 2, 5]),
            "l2": st.just(0.01),
            "l1": st.just(0.001),
            "clip_norm": st.sampled_from([0.1, 10.0]),
            "dropout": st.just(0.3),
            "sample_weight": st.just(np.linspace(0.1, 2.0, m)),
            "seed": st.just(7),
            "first_layer": st.sampled_from(["auto", "feature"]),
        }
        | (
            {"label_smoothing": st.just(0.1), "class_weight": st.just("balanced")}
            if classes
            else {}
        ),
    )


@st.composite
def runs(draw):
    m, n_x = draw(st.sampled_from([12, 30])), draw(st.sampled_from([2, 9, 60]))
    kind = draw(st.sampled_from(sorted(TARGETS)))
    how = draw(settings_of_a_run(m, kind))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if not how["layers"]:
        how.pop("dropout", None)
    return rng.standard_normal((m, n_x)), TARGETS[kind](rng, m), how


def trained(X, y, how, **more):
    """The fingerprint and the reports; those before a divergence if the run diverges."""
    try:
        model = train(X, y, **how | more)
    except DivergenceError as error:
        model = error.model
    return fingerprint(model), [(row.epoch, row.cost) for row in model.history]


class Stop(Exception):
    """The run fails after so many chunks."""


class Failing:
    def __init__(self, after):
        self.left = after

    def on_progress(self, state):
        self.left -= 1
        if not self.left:
            raise Stop


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(run=runs(), after=st.integers(1, 6), arithmetic=st.sampled_from(["fast", "reproducible"]))
def test_nothing_beside_a_run_moves_its_bits(
    run, after, arithmetic, backend_name, tmp_path_factory
):
    if backend_name == "dask":
        pytest.skip("Dask takes a second for every few steps")
    X, y, how = run
    how = how | {"backend": backend_name, "arithmetic": arithmetic}
    expected = trained(X, y, how)
    certifier = Certifier()
    assert trained(X, y, how, certify=certifier) == expected
    assert certifier.certificate.outcome == "PARITY", certifier.certificate.content["failures"]
    folder = tmp_path_factory.mktemp("run")
    try:
        again = trained(
            X, y, how, checkpoint=Checkpoints(folder, every=0), callbacks=[Failing(after)]
        )
    except Stop:
        again = trained(X, y, how, resume=folder)
    assert again == expected
    if arithmetic == "reproducible":
        assert trained(X, y, how | {"backend": "numpy"}) == expected
