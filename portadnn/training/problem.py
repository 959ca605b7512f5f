"""The run that a declaration describes: its arrays, its network and its plan."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.backends.estimate import Size
from portadnn.data.dataset import Dataset
from portadnn.data.hdf5 import load_digits
from portadnn.data.labels import task_of
from portadnn.data.load import has_test, load_dataset
from portadnn.data.preprocess import (
    Plain,
    Preprocess,
    as_preprocess,
    preprocess_text,
    targets_of,
)
from portadnn.data.readers.formats import format_of
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.declaration import AUTO, DIGITS, Declaration
from portadnn.training.digests import digest_of
from portadnn.training.lbfgs import LBFGS
from portadnn.training.recipe import Plan
from portadnn.training.sample_space import choose_form
from portadnn.training.streams import check_seed
from portadnn.training.validation import split_validation
from portadnn.training.weights import example_weights

ORDER = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Problem:
    """A declared run over its data: ``train`` hands it to ``fit``, and parity to its ``Run``.

    Attributes
    ----------
    declaration : Declaration
        With every default filled in.
    examples : dict of Dataset
        Under "train", and under "validation" and "test" if there are any.
    network : Network
    plan : Plan
    weights : array, shape (1, m), or None
        Weights of the examples, of mean 1.
    preprocess : Preprocess or None
        The preprocessing that made numbers of the examples.
    split : tuple of arrays, optional
        If a share is held back for validation: the labels of all examples, of the training part and
        of the validation part.
    """

    declaration: Declaration
    examples: dict[str, Dataset]
    network: Network
    plan: Plan
    weights: np.ndarray | None
    preprocess: Preprocess | None = None
    split: tuple[Any, ...] | None = None

    @functools.cached_property  # a generator draws once
    def parameters(self) -> dict[str, np.ndarray]:
        """The initial ones, float64 on the host."""
        return self.declaration.parameters(self.network)

    @property
    def solver(self) -> LBFGS | None:
        """L-BFGS, if it takes the place of the plan's steps."""
        solver = self.declaration.solver
        return solver if isinstance(solver, LBFGS) else None

    @property
    def size(self) -> Size:
        """The sizes from which the time of a step is estimated."""
        run, dims, m = self.declaration, self.network.layer_dims, self.plan.batches.m
        if choose_form(run.first_layer, self.network, self.plan) == "sample":
            dims = (dims[1] + m, *dims[1:])
        slots = len(self.plan.recipe.slots)
        return Size(dims, self.plan.batches.batch_size or m, slots, self.plan.steps)

    def arrays(self, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
        """X (n_x, m) and Y (n_L, m) of a part of the examples, in the dtype of the run."""
        dtype = self.declaration.dtype
        data = self.examples[part]
        return data.columns(dtype), targets_of(data, dtype, self.preprocess)

    def learnt(self, part: str = "train") -> tuple[Any, np.ndarray]:
        """X and Y of a part as ``fit`` takes them: X is the Dataset if it stays in a file."""
        data, dtype = self.examples[part], self.declaration.dtype
        scaled = self.preprocess is not None and self.preprocess.scaling
        Y = targets_of(data, dtype, self.preprocess) if scaled else data.learnt(dtype)
        return data if data.stored else data.columns(dtype), Y


def make_problem(
    declared: Declaration,
    *,
    test: bool = True,
    isolated: bool = False,
    stream: bool | None = False,
    **known: Any,
) -> Problem:
    """Load the data of a declaration, check everything, and put it together.

    Parameters
    ----------
    declared : Declaration
    test : bool
        Whether to load the examples to test on.
    isolated : bool
        As for ``load_dataset``.
    stream : bool, optional
        Whether examples stay in their files, as for ``load_dataset``.
    **known
        Settings that were found out since, as for ``Declaration.complete``.

    Raises
    ------
    InputError, TypeError
        If anything cannot be used.
    """
    for name in ("labels", "target", "task", "size"):
        if declared.data == DIGITS and getattr(declared, name):
            raise InputError(f"{name} is for your own data, but no file was given: name a file")
    how: dict[str, Any] = {"isolated": isolated, "stream": stream}
    learnt = _dataset(declared.given("data"), "train", declared, how)
    examples = {"train": learnt}
    test_file = declared.test
    if test_file == AUTO:
        data = declared.data
        given = isinstance(data, str) and (data == DIGITS or has_test(data, isolated=isolated))
        test_file = data if given else None
    if test and test_file is not None:
        # a file of test data may have no parts
        of_two = "test" if declared.test in (AUTO, DIGITS) else None
        examples["test"] = _dataset(test_file, of_two, declared, how, learnt)
    validation = declared.given("validation")
    held_back, split = isinstance(validation, int | float), None
    if validation is not None and not held_back:
        examples["validation"] = _dataset(validation, None, declared, how, learnt)
    if learnt.labels is None:
        raise InputError(f"{learnt.source} has no labels")
    for name, part in examples.items():
        learnt.check_alike(part, name)
    if isinstance(declared.data, str):
        known["data_sha256"] = _check_digest(declared, examples)
    if held_back:
        if declared.sample_weight is not None:
            raise InputError(
                "sample_weight is for all examples, but a share of them is to be held back for "
                "validation: split the data yourself, and give the validation data"
            )
        seed = check_seed(declared.seeds[1])
        whole = learnt.labels
        learnt, examples["validation"] = split_validation(learnt, validation, seed)
        examples["train"] = learnt
        split = whole, learnt.labels, examples["validation"].labels
    chosen = declared.given("preprocess") or ("standardise" if learnt.table else "none")
    # a model that is trained on has its own
    preprocess = chosen if isinstance(chosen, Preprocess) else None
    if preprocess is None:
        chosen = as_preprocess(chosen)
        known["preprocess"] = preprocess_text(chosen)
        if learnt.table or not isinstance(chosen, Plain):
            preprocess = Preprocess.fitted(learnt, chosen, declared.target)
    if preprocess is not None:
        examples = {name: preprocess(part) for name, part in examples.items()}
        learnt = examples["train"]
    examples = {part: examples[part] for part in ORDER if part in examples}
    for part in examples.values():
        part.check_range(declared.dtype)
    m = len(learnt)
    known |= {"test": test_file} if test else {}
    full = declared.complete(m, table=preprocess is not None, **known)
    network = full.network(learnt.n_x, learnt.outputs, str(learnt.head))
    plan = full.plan(network, m)
    weights = example_weights(
        learnt.labels, learnt.classes, full.class_weight, full.given("sample_weight")
    )
    return Problem(full, examples, network, plan, weights, preprocess, split)


def _dataset(
    given: Any,
    part: str | None,
    declared: Declaration,
    how: dict[str, Any],
    like: Dataset | None = None,
) -> Dataset:
    """The data themselves, or those of a path, or the embedded digits."""
    if isinstance(given, str):
        if given == DIGITS:
            return load_digits()[part == "test"]
        if part is None and has_test(given, isolated=how["isolated"]):
            part = "test"
        if like is None:
            found = format_of(given)
            for name in ("target", "labels", "size"):
                if getattr(declared, name) and name != found.takes:
                    raise InputError(
                        f"{given} is {found.title}, which does not use {name}: leave it out"
                    )
            known = {"labels": declared.labels, "size": declared.size, "task": declared.task}
        else:
            known = {"classes": like.classes, "task": task_of(str(like.head), like.outputs)}
            known["texts"] = [n for n in like.table or () if like.examples.dtype[n].kind == "U"]
            known["size"] = like.input_shape[:2] if len(like.input_shape) in (2, 3) else None
        return load_dataset(given, part, target=declared.target, **how, **known)
    if not isinstance(given, Dataset):
        raise TypeError(f"the data are {given!r}: expected a Dataset or the path of a file")
    return given


def _check_digest(declared: Declaration, examples: dict[str, Dataset]) -> str:
    """The SHA-256 of the examples that decide the run; it must be the declared one, if any."""
    found = digest_of([examples["train"], examples.get("validation")])
    if declared.data_sha256 not in (None, found):
        also = " and the validation data" if "validation" in examples else ""
        raise InputError(
            f"{examples['train'].source}{also} are not those of the declared run: their SHA-256 is "
            f"{found[:12]}..., expected {str(declared.data_sha256)[:12]}.... A run goes on with "
            f"the data that it began with; for a new run over other data, leave data_sha256 out"
        )
    return found
