"""Certificates as files: any changed byte is refused, and what does not fit is named."""

import contextlib
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.errors import InputError
from portadnn.parity.certificate import Certificate

CONTENT = {
    "outcome": "PARITY",
    "failures": [],
    "weights": "0123",
    "initial": "cdef",
    "held": "0145",
    "declaration": {"data": "digits", "seed": 3},
    "network": {},
    "model": {},
    "data": {"train": {"X": "4567"}},
    "environment": {"arithmetic": "fast"},
    "steps": {
        "made": 5,
        "kept": False,
        "checked": {
            "0": {"cost": 0.5, "cost_within": 1e-6, "before": "89ab"},
            "4": {"cost": 0.25},
        },
    },
    "tensors": {"W1+": {"largest_ratio": 0.9}, "Z1": {"largest_ratio": float("inf")}},
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    path = tmp_path_factory.mktemp("certificate") / "certificate.json"
    Certificate(CONTENT).save(path)
    return path, path.read_bytes()


def test_it_is_read_as_it_was_written(sealed):
    read = Certificate.read(sealed[0])
    assert read.content["steps"] == CONTENT["steps"]
    assert read.content["tensors"]["Z1"]["largest_ratio"] == "inf"
    assert str(read) == "PARITY over 2 of 5 steps, largest ratio inf (Z1)"


@given(st.data())
@settings(max_examples=300)
def test_any_changed_byte_is_refused(sealed, data):
    path, whole = sealed
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["change", "leave out", "add"]))
    byte = data.draw(st.integers(0, 255).filter(lambda b: kind == "add" or b != whole[at]))
    changed = {
        "change": whole[:at] + bytes([byte]) + whole[at + 1 :],
        "leave out": whole[:at] + whole[at + 1 :],
        "add": whole[:at] + bytes([byte]) + whole[at:],
    }[kind]
    other = path.with_name("changed.json")
    other.write_bytes(changed)
    with pytest.raises(InputError, match=r"was changed|is not a certificate"):
        Certificate.read(other)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_other_files_are_refused(sealed, content):
    other = sealed[0].with_name("other.json")
    other.write_bytes(content)
    with pytest.raises(InputError):
        Certificate.read(other)


def test_a_forged_content_needs_a_digest_of_its_own(sealed):
    content = json.loads(sealed[1])
    content["outcome"] = "DIVERGED"
    forged = sealed[0].with_name("forged.json")
    forged.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    with pytest.raises(InputError, match="its SHA-256 is not the one"):
        Certificate.read(forged)


@pytest.mark.parametrize("other", [None, 3, "x", [], {}, "left out"], ids=repr)
@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in CONTENT),
        *((name, key) for name in ("steps", "tensors", "data") for key in CONTENT[name]),
        ("environment", "arithmetic"),
        *(("steps", "checked", "0", key) for key in ("cost", "cost_within", "before")),
    ],
    ids=".".join,
)
def test_a_content_that_somebody_else_made_is_refused_or_used(path, other, tmp_path):
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    if other != "left out":
        inner[path[-1]] = other
    file = tmp_path / "certificate.json"
    Certificate(content).save(file)
    with contextlib.suppress(InputError):
        read = Certificate.read(file)
        str(read), read.declaration()
        read.check_data("train", {})
        read.check_replay(Certificate(CONTENT))


def test_a_setting_that_is_none_is_refused(tmp_path):
    file = tmp_path / "certificate.json"
    Certificate(CONTENT | {"declaration": {"data": "digits", "speed": 3}}).save(file)
    with pytest.raises(InputError, match="is not a certificate"):
        Certificate.read(file)
