"""The versions that a fresh environment gets are those that were tested together."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
PINS = {
    canonicalize_name(pin.name): pin
    for pin in (Requirement(line) for line in LINES if not line.startswith("#"))
}


def test_each_constraint_is_one_version():
    for pin in PINS.values():
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version, "a build belongs to one machine"


def test_everything_that_is_installed_is_pinned_within_its_range():
    groups = PROJECT["dependency-groups"].values()
    wanted = [Requirement(text) for group in groups for text in group if isinstance(text, str)]
    wanted += [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    for requirement in wanted:
        pin = PINS[canonicalize_name(requirement.name)]
        (specifier,) = pin.specifier
        assert requirement.specifier.contains(specifier.version), requirement


def test_scripts_install_under_the_constraints():
    text = (ROOT / "scripts" / "environment.sh").read_text()
    assert "constraints=scripts/constraints.txt" in text
    assert '--constraint "$constraints" --editable .' in text


def test_the_lowest_versions_of_every_extra_are_tried():
    text = (ROOT / "scripts" / "test_lowest").read_text()
    (given,) = re.findall(r"--editable '\.\[(.*?)\]'", text)
    left_out = {"torch", "cuda12", "cuda13"}  # gigabytes, and no GPU
    assert {*given.split(","), *left_out} == set(PROJECT["project"]["optional-dependencies"])
