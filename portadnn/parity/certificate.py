"""``certificate.json``: the checks of a run, with a SHA-256 of the file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portadnn.arithmetic import MARK
from portadnn.data.digest import digest
from portadnn.data.files import open_regular, whole_file
from portadnn.data.foreign import reading
from portadnn.errors import InputError
from portadnn.parity.watched import Watched
from portadnn.training.checkpoint_file import packed_part, read_part, write_part
from portadnn.training.declaration import SETTINGS, Declaration, parse_setting
from portadnn.training.digests import digest_of
from portadnn.training.models import Model, fingerprint
from portadnn.training.problem import Problem

FORMAT = "portadnn certificate 1"
# settings whose paths may differ on another machine
PATHS = ("data", "labels", "test", "validation")
STATES = ".h5"
OTHER_START = (
    "the run did not start from these initial weights: another seed, rng or init, or another form "
    "of the first layer"
)


@dataclass(frozen=True, eq=False)
class Certificate:
    """What a ``Certifier`` found; docs/certificates.md describes the content.

    Its SHA-256 shows any change of the file. It is no signature: anyone can write another one with
    its digest, so ``portadnn verify --replay`` makes steps again.

    Attributes
    ----------
    content : dict
    states : sequence of Watched
        Steps with the states before and after them, which ``save`` writes beside it.
    """

    content: dict[str, Any]
    states: Sequence[Watched] = ()

    @property
    def outcome(self) -> str:
        """PARITY, SUSPECT or DIVERGED."""
        return self.content["outcome"]

    @property
    def checked(self) -> dict[str, dict[str, Any]]:
        """The steps that were checked in full, by their numbers."""
        return self.content["steps"]["checked"]

    def __str__(self) -> str:
        tensors = self.content["tensors"]
        worst = max(tensors, key=lambda name: float(tensors[name]["largest_ratio"]))
        text = (
            f"{self.outcome} over {len(self.checked)} of {self.content['steps']['made']:,} steps, "
            f"largest ratio {float(tensors[worst]['largest_ratio']):.3g} ({worst})"
        )
        return f"{text}; {self._reason()}" if self.content["failures"] else text

    def declaration(self, data: str | None = None, labels: str | None = None) -> Declaration:
        """The declaration of the run, with data and labels from another place if given.

        Raises
        ------
        InputError
            If ``train`` did not make the run.
        """
        given = self.content["declaration"]
        if "data" not in given:
            raise InputError("the certificate is of an estimator: it does not name the data")
        if data is not None:
            given = {**given, "data": data, "labels": "none"}
        if labels is not None:
            given = {**given, "labels": labels}
        values = {name: parse_setting(name, x, name, parts=True) for name, x in given.items()}
        return Declaration(**values | {"data_sha256": None})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all, and the states to a file of HDF5 with the same stem.

        Raises
        ------
        InputError
            If a file cannot be written, or the HDF5 file exists and holds no states.
        """
        if self.states:
            parts = {"steps": [watched.part() for watched in self.states]}
            beside = Path(path).with_suffix(STATES)
            if beside.exists():
                read_part(beside)  # a model of the same stem is not replaced
            write_part(packed_part(parts), beside)
        with whole_file(path) as file:
            file.write(_sealed(_finite(self.content)))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a certificate that ``save`` wrote.

        Raises
        ------
        InputError
            If any byte of it has changed, or its content is not that of a certificate.
        """
        with open_regular(path) as file:
            raw = file.read()
        try:
            content = json.loads(raw)
            del content["sha256"], content["format"]
            same = _sealed(content) == raw
            if same:
                _check_form(content)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is not a certificate of portadnn: {error}") from error
        if not same:
            raise InputError(
                f"{path} was changed: its SHA-256 is not the one that it was written with"
            )
        return cls(content)

    def read_states(
        self, path: str | os.PathLike[str], like: Mapping[str, np.ndarray]
    ) -> list[Watched]:
        """The states that ``save`` wrote beside a certificate, with the shapes of ``like``.

        Raises
        ------
        InputError
            If there are none, or not those that the certificate names.
        """
        path = Path(path).with_suffix(STATES)
        if not path.exists():
            raise InputError(
                f"{path} is missing, so no step can be repeated from its states: the whole "
                f"run can be made again (--whole)"
            )
        parts = read_part(path)
        with reading(path, "does not fit its certificate"):
            found = [Watched.read(part, like) for part in parts["steps"]]
            if not found:
                raise InputError("it has no steps")
            for watched in found:
                named = self.checked[str(watched.step)]
                if watched.digests != (named["before"], named["after"]):
                    raise InputError(f"the states of step {watched.step} differ")
                if watched.cost != named["cost"]:
                    raise InputError(f"the cost of step {watched.step} differs")
        return sorted(found, key=lambda watched: watched.step)

    def check_model(self, model: Model, declared: dict[str, Any] | None = None) -> list[str]:
        """How a model and the settings beside it differ from those of the run, in sentences."""
        found = []
        if self.outcome != "PARITY":
            found.append(f"the certificate itself says {self.outcome}: {self._reason()}")
        if fingerprint(model) != self.content["weights"]:
            found.append(
                f"the weights of the model are not those that the certified run ended with: their "
                f"SHA-256 is {fingerprint(model)[:12]}..., expected "
                f"{self.content['weights'][:12]}..."
            )
        has = {"network": json.loads(json.dumps(asdict(model.network)))}
        has |= {name: getattr(model, name) for name in ("classes", "input_shape", "scaled")}
        has["preprocess"] = digest_of(model.preprocess)
        wanted = {"network": json.loads(json.dumps(self.content["network"]))}
        wanted |= self.content["model"]
        for name, value in wanted.items():
            given = list(has[name]) if isinstance(has[name], tuple) else has[name]
            if given != value:
                found.append(f"the {name} of the model is {given}, but the run had {value}")
        for name, value in json.loads(json.dumps(declared or {})).items():
            known = self.content["declaration"].get(name)
            if name not in PATHS and value != known:
                found.append(f"{name} is {value!r} in config.toml, but the run had {known!r}")
        return found

    def check_data(self, part: str, digests: dict[str, str]) -> list[str]:
        """How the data of a part differ from those of the run, in sentences."""
        names = {"X": "examples", "Y": "labels", "S": "weights of the examples"}
        wanted = self.content["data"].get(part, {})
        return [
            f"the {names[name]} ({part} data) are not those of the certified run: their SHA-256 is "
            f"{str(digests.get(name))[:12]}..., expected {str(wanted.get(name))[:12]}..."
            for name in names
            if wanted.get(name) != digests.get(name)
        ]

    def check_replay(self, again: Certificate) -> list[str]:
        """How the same run, made again, differs from this one, in sentences."""
        found = [f"the run that was made again fails: {again._reason()}"]
        found = found if again.outcome != "PARITY" else []
        ours, theirs = self.checked["0"], again.checked["0"]
        if self.content["initial"] != again.content["initial"]:
            found.append(OTHER_START)
        reach = float(ours["cost_within"]) + float(theirs["cost_within"])
        if abs(ours["cost"] - theirs["cost"]) > reach:
            found.append(
                f"the cost of the first step is {ours['cost']!r}, but {theirs['cost']!r} in the "
                f"run that was made again: they differ by more than the bound {reach:.3g}"
            )
        environments = [c.content["environment"] for c in (self, again)]
        earlier = self.content.get("earlier_environments", ())
        environments += [part["environment"] for part in earlier]
        marks = {e.get("bits", e["arithmetic"]) for e in environments}
        exactly = all(e == environments[0] for e in environments) or marks == {MARK}
        exactly &= self.content["steps"]["made"] == again.content["steps"]["made"]
        if exactly and self.content["weights"] != again.content["weights"]:
            found.append("the run that was made again ends with other weights")
        return found

    def _reason(self) -> str:
        return "; ".join(self.content["failures"][:3])


def data_digests(problem: Problem, part: str) -> dict[str, str]:
    """The SHA-256 of X, Y and S of a part of the examples, as a certificate has them."""
    X, Y = problem.arrays(part)
    found = {"X": digest({"X": X}), "Y": digest({"Y": Y})}
    if part == "train" and problem.weights is not None:
        S = problem.weights.astype(problem.declaration.dtype)
        found["S"] = digest({"S": S})
    return found


def model_of(problem: Problem) -> dict[str, Any]:
    """The parts of a model that are not weights."""
    data = problem.examples["train"]
    return {
        "classes": list(data.classes),
        "input_shape": list(data.input_shape),
        "scaled": data.scaled,
        "preprocess": digest_of(problem.preprocess),
    }


def _check_form(content: dict[str, Any]) -> None:
    """Raise LookupError, TypeError or ValueError if a content lacks what is read of it."""
    kinds: dict[str, Any] = dict.fromkeys(("outcome", "weights", "initial", "held"), str) | {
        "failures": list
    }
    kinds |= dict.fromkeys(
        ("declaration", "network", "model", "data", "environment", "steps", "tensors"), dict
    )
    steps, tensors, declared = (content[name] for name in ("steps", "tensors", "declaration"))
    first, own = steps["checked"]["0"], content["environment"]["arithmetic"]
    wrong = [name for name, kind in kinds.items() if not isinstance(content[name], kind)]
    texts = [*content["failures"], first["before"], own]
    texts += [part["environment"]["arithmetic"] for part in content.get("earlier_environments", ())]
    numbers = [steps["made"], steps["kept"], first["cost"], *map(int, steps["checked"])]
    if (
        wrong
        or not all(isinstance(x, str) for x in texts)
        or not all(isinstance(x, int | float) for x in numbers)
        or not all(isinstance(x, dict) for x in content["data"].values())
        or not min(float(tensor["largest_ratio"]) for tensor in tensors.values()) >= 0
        or not float(first["cost_within"]) >= 0
        or ("data" in declared and not declared.keys() <= SETTINGS.keys())
    ):
        raise ValueError(f"its {(wrong or ['content'])[0]} cannot be read")


def _sealed(content: dict[str, Any]) -> bytes:
    """The file's bytes: one text for one content."""
    content = {**content, "format": FORMAT}
    sha256 = hashlib.sha256(_text(content)).hexdigest()
    return _text({**content, "sha256": sha256})


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: their names stand for them."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
