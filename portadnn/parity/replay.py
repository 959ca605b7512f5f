"""A certified run made again on another backend: the steps whose states are kept, or all of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from portadnn.backends import Backend
from portadnn.data.digest import digest
from portadnn.errors import InputError
from portadnn.parity.certificate import OTHER_START, Certificate
from portadnn.parity.certifier import Certifier
from portadnn.parity.evidence import Evidence
from portadnn.training.fit import make_loop
from portadnn.training.models import Model
from portadnn.training.problem import Problem
from portadnn.training.train import fit_settings, train_problem


def repeated(
    certificate: Certificate, path: Any, model: Model, problem: Problem, backend: Backend
) -> tuple[list[str], list[int]]:
    """Make the steps whose states lie beside a certificate on a backend, and say what differs.

    Returns
    -------
    failures : list of str
    steps : list of int
        The steps that were made.

    Raises
    ------
    InputError
        If there are no such states, or the backend cannot hold the same data.
    """
    certifier = Certifier()
    certifier.problem = problem
    with backend.scope():
        loop, start = make_loop(**fit_settings(problem), backend=backend, certify=certifier)
        certifier.begin(loop, start)
        if certifier.initial != certificate.content["initial"]:
            return [OTHER_START], []
        if certifier.held_digest != certificate.content["held"]:
            raise InputError(
                "the data in sample space have other bits on this machine: the whole run can be "
                "made again (--whole)"
            )
        states = certificate.read_states(path, certifier.start)
        earlier = certificate.content.get("earlier_environments")
        if earlier or certifier.environment != certificate.content["environment"]:
            certifier.moved = math.inf if backend.arithmetic == "fast" else 0
        evidence = Evidence(certifier)
        for watched in states:
            evidence.check(watched)
        last, ended = states[-1], certificate.content["steps"]
        reached = str(ended["made"] - 1) in certificate.checked and not certifier.lbfgs
        if reached and not ended["kept"]:
            given = {name: last.made[name] for name in model.parameters if name in last.made}
            if loop.space is not None:
                del given["W1"]
                K = backend.asarray(last.made["W1"])
                evidence.check_space(replace(start, parameters={"W1": K}), model.parameters)
            wanted = {name: model.parameters[name] for name in given}
            if last.step != ended["made"] - 1 or digest(given) != digest(wanted):
                evidence.failures.append("the last step does not end with the certified weights")
    return evidence.failures, [watched.step for watched in states]


def replayed(certificate: Certificate, problem: Problem, backend: Backend) -> Certificate:
    """The certificate of the same run on a backend, over the same steps."""
    certifier = Certifier(0.0, steps=[int(step) for step in certificate.checked])
    train_problem(problem, backend, certify=certifier)
    assert certifier.certificate is not None
    return certifier.certificate
