"""``portadnn train --certify`` and ``portadnn verify``: what does not belong together is named."""

import dataclasses
import json
import re
import shutil

import h5py
import numpy as np
import pytest

from portadnn.cli.main import main
from portadnn.data.preprocess import Column, Preprocess
from portadnn.parity import evidence
from portadnn.parity.certificate import Certificate
from portadnn.training.checkpoint_file import packed_part, read_part, write_part
from portadnn.training.models import load_model, save_model

OPTIONS = ["--layers", "5", "--epochs", "60", "--learning-rate", "0.05", "--batch-size", "8"]


def write_data(path, change=lambda x, y: None):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    y = (x[:, 0, 0, 0] > 127).astype(np.int64)
    change(x, y)
    with h5py.File(path, "w") as file:
        file["train_set_x"], file["train_set_y"] = x, y
        file["list_classes"] = np.asarray([b"non-cat", b"cat"])


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certified")
    write_data(folder / "data.h5")
    train = ["train", str(folder / "data.h5"), *OPTIONS, "--quiet"]
    assert main([*train, "--out", str(folder / "run"), "--certify"]) == 0
    assert main([*train, "--out", str(folder / "plain")]) == 0
    return folder


@pytest.fixture
def run(certified, tmp_path):
    shutil.copytree(certified / "run", tmp_path / "run")
    return tmp_path / "run"


def verify(capsys, *arguments):
    capsys.readouterr()
    code = main(["verify", *map(str, arguments)])
    return code, capsys.readouterr().out.replace("\n", " ")


def test_the_bits_are_those_of_a_run_without_it(certified):
    names = [
        json.loads((certified / name / "history.json").read_text())["fingerprint"]
        for name in ("run", "plain")
    ]
    assert names[0] == names[1]
    assert not (certified / "plain" / "certificate.json").exists()


def test_what_belongs_together(run, capsys):
    code, text = verify(capsys, run / "model.h5")
    assert code == 0
    assert "belong together" in text
    assert "PARITY over" in text


@pytest.mark.parametrize("backend", ["numpy", "strict", "torch", "jax"])
@pytest.mark.parametrize("whole", [[], ["--whole"]])
def test_it_is_made_again_on_another_backend(backend, whole, run, capsys, require):
    require(backend)
    code, text = verify(capsys, run / "model.h5", "--replay", backend, *whole)
    assert code == 0, text
    found = re.search(f"its certificate belong together; (.*)made again on {backend}", text)
    assert found is not None
    if whole:
        assert found[1] == ""
    else:
        number = int(found[1].removesuffix(" of its steps "))
        assert number == len(Certificate.read(run / "certificate.json").checked)


def test_a_kill_between_the_renames_leaves_no_mixture(run, capsys):
    """Some new files are in place, the others, and those that they replace, are not yet."""
    (run / ".portadnn-ready").mkdir()
    for name in ("certificate.json", "config.toml", "model.h5"):
        (run / name).rename(run / ".portadnn-ready" / name)
        (run / name).write_bytes(b"of the run before")
        code, text = verify(capsys, run / "model.h5")
        assert code == 0, text


def test_a_tampered_model(run, capsys):
    model = load_model(run / "model.h5")
    b1 = model.parameters["b1"] = model.parameters["b1"].copy()
    b1[0, 0] = np.nextafter(b1[0, 0], np.float32(1))
    save_model(model, run / "model.h5")
    code, text = verify(capsys, run / "model.h5")
    assert code == 1
    assert "the weights of the model are not those that the certified run ended with" in text


def test_a_model_with_other_classes_or_other_preprocessing(run, capsys):
    model = load_model(run / "model.h5")
    columns = tuple(Column(f"x{i}", mean=1.0) for i in range(48))
    other = dataclasses.replace(
        model, classes=("cat", "non-cat"), preprocess=Preprocess(columns), scaled=False
    )
    save_model(other, run / "model.h5")
    code, text = verify(capsys, run / "model.h5")
    assert code == 1
    for said in ("classes", "preprocess", "scaled"):
        assert f"the {said} of the model is" in text
    assert "the weights" not in text


def one_pixel(x, y):
    x[3, 1, 2, 0] ^= 1


def one_label(x, y):
    y[3] ^= 1


@pytest.mark.parametrize(
    ("change", "said", "unsaid"),
    [(one_pixel, "examples", "labels"), (one_label, "labels", "examples")],
)
def test_changed_data(change, said, unsaid, run, tmp_path, capsys):
    write_data(tmp_path / "other.h5", change)
    code, text = verify(capsys, run / "model.h5", "--data", tmp_path / "other.h5")
    assert code == 1
    assert f"the {said} (train data) are not those of the certified run" in text
    assert f"the {unsaid} (train" not in text


def test_another_seed(certified, run, capsys):
    out = run.parent / "other"
    data = str(certified / "data.h5")
    assert main(["train", data, *OPTIONS, "--quiet", "--seed", "4", "--out", str(out)]) == 0
    shutil.copy(run / "certificate.json", out)
    code, text = verify(capsys, out / "model.h5")
    assert code == 1
    assert "seed is 4 in config.toml, but the run had 3" in text
    assert "the weights of the model are not" in text


def test_a_certificate_with_another_seed_fails_when_the_run_is_made_again(run, capsys):
    rewrite(run, rng=4)
    assert verify(capsys, run / "model.h5")[0] == 0
    for whole in ([], ["--whole"]):
        code, text = verify(capsys, run / "model.h5", "--replay", "numpy", *whole)
        assert code == 1
        assert "the run did not start from these initial weights" in text


def rewrite(run, **settings):
    """Another declaration in a certificate whose SHA-256 fits."""
    path = run / "certificate.json"
    content = Certificate.read(path).content
    content["declaration"] |= settings
    Certificate(content).save(path)
    (run / "config.toml").unlink()


@pytest.mark.parametrize("backend", ["numpy", "strict"])
def test_another_rate_is_seen_in_the_steps(backend, run, capsys):
    rewrite(run, learning_rate=0.0502)
    assert verify(capsys, run / "model.h5")[0] == 0
    code, text = verify(capsys, run / "model.h5", "--replay", backend)
    assert code == 1
    assert "the program that trains, DIVERGED step 0, layer 1, W1+" in text


def change_states(run, change):
    path = run / "certificate.h5"
    steps = read_part(path)["steps"]
    change(steps)
    write_part(packed_part({"steps": steps}), path)


def nudge(step, name):
    step[name]["W1"] = np.nextafter(step[name]["W1"], np.float32(9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda steps: nudge(steps[3], "before"), "the states of step"),
        (lambda steps: nudge(steps[3], "made"), "the states of step"),
        (lambda steps: steps[3].update(cost=1.0), "the cost of step"),
        (lambda steps: steps[3].update(step=50), "does not fit its certificate"),
        (lambda steps: steps[3].update(before={}), "does not fit its certificate"),
        (lambda steps: steps[3].pop("factor"), "does not fit its certificate"),
        (lambda steps: steps.clear(), "it has no steps"),
    ],
)
def test_states_that_are_not_those_of_the_certificate(change, said, run, capsys):
    change_states(run, change)
    assert main(["verify", str(run / "model.h5"), "--replay", "numpy"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_states_of_which_the_last_is_left_out(run, capsys):
    change_states(run, lambda steps: steps.remove(max(steps, key=lambda step: step["step"])))
    code, text = verify(capsys, run / "model.h5", "--replay", "numpy")
    assert (code, "does not end with the certified weights" in text) == (1, True)


def test_without_states_the_whole_run_can_be_made_again(run, capsys, monkeypatch):
    (run / "certificate.h5").unlink()
    assert main(["verify", str(run / "model.h5"), "--replay", "numpy"]) == 2
    assert "certificate.h5 is missing" in capsys.readouterr().err
    assert main(["verify", str(run / "model.h5"), "--whole"]) == 2
    assert "--whole is for --replay BACKEND" in capsys.readouterr().err


@pytest.mark.parametrize(("room", "steps"), [(10**9, 13), (6000, 4), (2000, 0)])
def test_states_have_a_limit(room, steps, tmp_path, certified, monkeypatch):
    monkeypatch.setattr(evidence, "MOST_BYTES", room)
    out = tmp_path / "run"
    train = ["train", str(certified / "data.h5"), *OPTIONS, "--quiet", "--certify"]
    assert main([*train, "--out", str(out)]) == 0
    assert (out / "certificate.h5").exists() == (steps > 0)
    if steps:
        kept = [step["step"] for step in read_part(out / "certificate.h5")["steps"]]
        assert kept[:2] == [0, 239]
        assert len(kept) == steps if steps < 10 else len(kept) >= steps


def test_a_changed_certificate_is_bad_input(run, capsys):
    path = run / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"PARITY"', b'"PARITX"', 1))
    assert main(["verify", str(run / "model.h5")]) == 2
    assert "was changed" in capsys.readouterr().err


def test_a_run_that_fails_has_exit_code_1_and_keeps_its_certificate(
    certified, tmp_path, capsys, monkeypatch
):
    import portadnn.training.recipe

    honest = portadnn.training.recipe.dropout_mask
    monkeypatch.setattr(portadnn.training.recipe, "dropout_mask", lambda *given: ~honest(*given))
    out = tmp_path / "wrong"
    arguments = [*OPTIONS, "--dropout", "0.3", "--quiet", "--out", str(out), "--certify"]
    assert main(["train", str(certified / "data.h5"), *arguments]) == 1
    assert "DIVERGED step 0, layer 1, D1" in capsys.readouterr().err
    assert json.loads((out / "certificate.json").read_text())["outcome"] == "DIVERGED"


def test_an_older_certificate_does_not_stay_beside_a_new_model(certified, run):
    train = ["train", str(certified / "data.h5"), *OPTIONS, "--quiet", "--overwrite"]
    assert main([*train, "--out", str(run)]) == 0
    assert not (run / "certificate.json").exists()
