"""Runs that are watched while they train: no bit moves, and what is wrong in them is found."""

import dataclasses

import numpy as np
import pytest
from parity_support import watched_run as made

import portadnn as dnn
import portadnn.training.lbfgs
import portadnn.training.loop
import portadnn.training.problem
import portadnn.training.train
from portadnn.backends import tape
from portadnn.errors import InputError
from portadnn.network.initializers import Initializer
from portadnn.network.optimizers import Adam
from portadnn.parity.certifier import Certifier
from portadnn.parity.replay import repeated
from portadnn.training.callbacks import EarlyStopping
from portadnn.training.models import fingerprint
from portadnn.training.sample_space import SampleSpace
from portadnn.training.stops import TrainingInterrupted
from portadnn.training.validation import Validation

WIDE = {"first_layer": "sample", "l2": 1e-3}
PATHS = {
    "plain": {},
    "short batches": {"batch_size": 7, "optimizer": "adam", "dropout": 0.2, "clip_norm": 0.5},
    "sample space": WIDE,
    "sample space in batches": WIDE | {"batch_size": 7},
    "early stopping": {"validation": 0.3, "early_stopping": 2, "batch_size": 7},
    "plateau": {"schedule": "plateau:patience=1", "report_every": 1, "class_weight": "balanced"},
    "lbfgs": {"optimizer": "lbfgs", "learning_rate": None, "l2": 1e-2},
    "reproducible": {"arithmetic": "reproducible"},
    "float64": {"float64": True},
}


def certificate_of(backend="numpy", **settings):
    certifier = Certifier()
    made(certifier, backend, **settings)
    return certifier.certificate


@pytest.mark.parametrize("path", PATHS)
def test_no_bit_moves_and_every_path_is_covered(path, backends_under_test):
    for name in backends_under_test:
        if name.startswith(("dask", "strict:device1")):
            continue
        certifier = Certifier()
        model = made(certifier, name, **PATHS[path])
        assert fingerprint(model) == fingerprint(made(None, name, **PATHS[path]))
        certificate = certifier.certificate
        assert certificate.outcome == "PARITY", certificate.content["failures"]
        assert certificate.content["weights"] == fingerprint(model)
        steps = certificate.content["steps"]
        checked = sorted(map(int, certificate.checked))
        assert checked[:2] == [0, 1]
        assert len(checked) >= min(13, steps["made"])
        if path != "lbfgs":
            assert checked[-1] == steps["made"] - 1
            assert sum(step["random"] for step in certificate.checked.values()) >= 10
        tensors = certificate.content["tensors"]
        assert {"Z1", "dW2", "cost", "prediction, A3"} <= tensors.keys()
        assert "W1+" in tensors
        assert any("the program that trains" in name for name in tensors)
        for name in ("Z1", "dW2", "cost"):
            assert tensors[name]["smallest_detectable_fault"] > 1e-17
        assert ("sample space, W1" in tensors) == path.startswith("sample space")
        assert ("validation, cost" in tensors) == (path == "early stopping")
        assert bool(certificate.content["not_covered"]) == (path == "lbfgs")


def test_no_bit_of_several_classes_moves(backends_under_test):
    """Labels stay numbers until a batch; XLA rounds the step of ready columns in another way."""
    rng = np.random.default_rng(58)
    X, y = rng.standard_normal((17, 9)), np.arange(17) % 4
    settings = {
        "layers": [3, 3, 3], "activations": "sigmoid", "optimizer": "rmsprop", "epochs": 11,
        "l2": 0.01, "label_smoothing": 0.1, "batch_size": 17, "dtype": "float64", "rng": 1,
        "sample_weight": np.linspace(0.1, 2.0, 17),
    }  # fmt: skip
    for name in backends_under_test:
        if name.startswith(("dask", "strict:device1")):
            continue
        certifier = Certifier()
        model = dnn.train(X, y, backend=name, certify=certifier, **settings)
        assert certifier.certificate.outcome == "PARITY", certifier.certificate.content["failures"]
        assert fingerprint(model) == fingerprint(dnn.train(X, y, backend=name, **settings))


@pytest.mark.parametrize("path", PATHS)
def test_steps_of_every_path_are_made_again_on_other_backends(path, backends_under_test, tmp_path):
    certifier = Certifier()
    model = made(certifier, **PATHS[path])
    certificate = certifier.certificate
    certificate.save(tmp_path / "certificate.json")
    for name in backends_under_test:
        if name.startswith(("dask", "strict:device1")):
            continue
        arguments = tmp_path / "certificate.json", model, certifier.problem
        dtype, arithmetic = (certifier.settings[n] for n in ("dtype", "arithmetic"))
        backend = dnn.get_backend(name, dtype=dtype, arithmetic=arithmetic)
        failures, steps = repeated(certificate, *arguments, backend)
        assert failures == []
        assert steps == sorted(map(int, certificate.checked))
        if path != "lbfgs":  # the line search is not repeated, nor is the last iterate
            last = f"b{model.network.L}"
            other = {
                last: np.nextafter(model.parameters[last], model.parameters[last].dtype.type(9))
            }
            other = dataclasses.replace(model, parameters=model.parameters | other)
            failures, _ = repeated(certificate, arguments[0], other, arguments[2], backend)
            ended = path == "early stopping"  # the best step is not the last
            assert ("the last step does not end with the certified weights" in failures) != ended


def test_other_steps_are_drawn_each_time():
    drawn = {tuple(certificate_of(epochs=300).checked) for _ in range(4)}
    assert len(drawn) == 4


def twice(patch):
    honest = portadnn.training.loop.make_step

    def make(*given, **options):
        step = honest(*given, **options)

        def wrong(state, inputs, shared):
            state, cost = step(state, inputs, shared)
            return step(state, inputs, shared)[0], cost

        return wrong

    patch.setattr(portadnn.training.loop, "make_step", make)


def data_in_place(patch):
    honest = portadnn.training.loop.Loop._descend

    def descend(self, *given):
        honest(self, *given)
        self.shared.X[0, 0] += 1

    patch.setattr(portadnn.training.loop.Loop, "_descend", descend)


def corrections_off_by_one(patch):
    honest = Adam.scalars
    patch.setattr(Adam, "scalars", lambda self, rate, t: honest(self, rate, t + 1))


def wrong_way_back(patch):
    honest = SampleSpace._product
    patch.setattr(SampleSpace, "_product", lambda self, K: honest(self, K) * np.float32(1 + 1e-5))


def other_initial_weights(patch):
    honest = portadnn.training.train.fit

    def fit(parameters, *given, **settings):
        changed = {name: np.nextafter(p, 1) for name, p in parameters.items()}
        return honest(changed, *given, **settings)

    patch.setattr(portadnn.training.train, "fit", fit)


def wrong_validation(patch):
    honest = Validation.score
    calls = []

    def score(self, *given):
        calls.append(1)
        cost, found = honest(self, *given)
        return (cost * (1 + 1e-6) if len(calls) == 1 else cost), found

    patch.setattr(Validation, "score", score)


def wrong_score(patch):
    honest = Validation.score

    def score(self, *given):
        cost, found = honest(self, *given)
        return cost, found - 1e-8

    patch.setattr(Validation, "score", score)


def another_split(patch):
    honest = portadnn.training.problem.split_validation
    patch.setattr(
        portadnn.training.problem,
        "split_validation",
        lambda data, f, seed: honest(data, f, seed + 1),
    )


def wider_draw(patch):
    honest = Initializer.variance
    patch.setattr(Initializer, "variance", lambda self, *n: honest(self, *n) * (1 + 1e-8))


def impatient(patch):
    honest = EarlyStopping.__post_init__

    def shorter(self):
        honest(self)
        self.patience -= 1

    patch.setattr(EarlyStopping, "__post_init__", shorter)


def not_the_best(patch):
    patch.setattr(EarlyStopping, "on_train_end", lambda self, state: None)


def lbfgs_without_penalty(patch):
    honest = portadnn.training.lbfgs.final_gradients

    def plain(parameters, found, *, recipe, xp):
        return honest(parameters, found, recipe=dataclasses.replace(recipe, l2=0.0), xp=xp)

    patch.setattr(portadnn.training.lbfgs, "final_gradients", plain)


@pytest.mark.parametrize(
    ("fault", "settings", "said"),
    [
        (twice, {}, "the program that trains, DIVERGED step 0, layer 1, W1+"),
        (twice, {"float64": True}, "the program that trains, DIVERGED step 0, layer 1, W1+"),
        (data_in_place, {}, "the data that the backend holds changed"),
        (corrections_off_by_one, {"optimizer": "adam"}, "step 0, layer 0, correction1"),
        (wrong_way_back, WIDE, "sample space, DIVERGED step 39, layer 1, W1"),
        (other_initial_weights, WIDE | {"float64": True}, "the declared initial weights"),
        (wrong_validation, {"validation": 0.3}, "validation in epoch 1 has the cost"),
        (wrong_score, {"validation": 0.3}, "and the score 0."),
        (another_split, {"validation": 0.3}, "validation are not the ones that seed draws"),
        (wider_draw, {}, "the initial W1 is not what init and rng draw"),
        (wider_draw, {"init": "xavier_uniform", "rng": "randomstate:4"}, "the initial W2 is not"),
        (wider_draw, {"init": ["lecun", "normal:0.1", "he_uniform:3"]}, "the initial W3 is not"),
        (impatient, {"validation": 0.3, "early_stopping": 3, "report_every": 1, "epochs": 900,
                     "learning_rate": 0.5}, "early stopping ended the run after report"),
        (not_the_best, PATHS["early stopping"] | {"learning_rate": 0.5}, "the weights are not"),
        (lbfgs_without_penalty, PATHS["lbfgs"], "the program that trains, DIVERGED step 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_run_itself_is_found(fault, settings, said, monkeypatch):
    assert certificate_of(**settings).outcome == "PARITY"
    tape._TAPES.clear()  # a step that was recorded would be repeated without the fault
    fault(monkeypatch)
    certificate = certificate_of(**settings)
    tape._TAPES.clear()
    assert certificate.outcome == "DIVERGED"
    assert any(said in failure for failure in certificate.content["failures"])


def test_the_last_step_is_checked_also_if_nobody_knew_that_it_would_be_the_last():
    class Interrupting:
        def on_progress(self, state):
            if state.steps_done >= 20:
                raise KeyboardInterrupt

    certifier = Certifier()
    with pytest.raises(TrainingInterrupted) as stopped:
        made(certifier, callbacks=[Interrupting()])
    certificate = certifier.certificate
    assert certificate.outcome == "PARITY"
    done = certificate.content["steps"]["made"]
    assert done >= 20
    assert str(done - 1) in certificate.checked
    assert certificate.content["weights"] == fingerprint(stopped.value.model)


class Interrupt:
    """Raises what Ctrl-C raises, in one call of a method."""

    def __init__(self, method, call=1):
        self.calls = call
        setattr(self, method, self.count)

    def count(self, state):
        self.calls -= 1
        if self.calls == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("path", ["plain", "early stopping", "lbfgs"])
def test_an_interrupt_before_the_first_step_leaves_no_certificate(path):
    certifier = Certifier()
    with pytest.raises(TrainingInterrupted) as caught:
        made(certifier, **PATHS[path] | {"callbacks": [Interrupt("on_train_begin")]})
    assert caught.value.model is not None
    assert certifier.certificate is None


@pytest.mark.parametrize(
    ("path", "call"), [("plain", 1), ("early stopping", 1), ("early stopping", 9), ("lbfgs", 3)]
)
def test_an_interrupt_before_a_report_is_no_failure(path, call):
    certifier = Certifier()
    with pytest.raises(TrainingInterrupted):
        made(certifier, **PATHS[path] | {"callbacks": [Interrupt("on_progress", call)]})
    assert certifier.certificate.outcome == "PARITY", certifier.certificate.content["failures"]


def test_an_interrupt_of_the_checks_keeps_what_was_learnt(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Certifier, "_last_step", interrupted)
    with pytest.raises(TrainingInterrupted, match="after 40 iterations") as caught:
        made(Certifier())
    assert fingerprint(caught.value.model) == fingerprint(made())


def test_a_certificate_that_was_never_a_file_fits_its_model():
    certifier = Certifier()
    assert certifier.certificate is None
    model = made(certifier)
    assert certifier.certificate.check_model(model) == []


def test_the_states_of_a_certificate_replace_no_model(tmp_path):
    certifier = Certifier()
    model = made(certifier)
    for _ in range(2):
        certifier.certificate.save(tmp_path / "mine.json")
    model.save(tmp_path / "model.h5")
    before = (tmp_path / "model.h5").read_bytes()
    with pytest.raises(InputError, match="model.h5 is not a portadnn part"):
        certifier.certificate.save(tmp_path / "model.json")
    assert (tmp_path / "model.h5").read_bytes() == before
