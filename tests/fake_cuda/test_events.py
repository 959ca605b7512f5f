"""The list of events: its counts, and its refusal outside the stand-in."""

import pytest
from fake_cuda.events import Event, Events, on_stand_in, recorded
from hypothesis import given
from hypothesis import strategies as st

LINES = """\
malloc 512
module
launch cupy_add__float64_float64_float64 1x6
launch cupy_add__float64_float64_float64 1x6
product gemmEx float64 2x2x3 x1
copy h2d 48 async
copy d2h 8 sync
memset 48
sync stream
sync device
capture begin
capture end 4
graph 4
host
pinned 200""".splitlines()


def test_counts():
    events = Events(map(Event.parse, LINES))
    assert events.launches == 2
    assert events.products == 1
    assert events.copies == 2
    assert events.memsets == 1
    assert events.operations == 7
    assert events.synchronisations == 3
    assert events.summary().splitlines()[:2] == [
        "     2 launch cupy_add__float64_float64_float64 1x6",
        "     1 malloc 512",
    ]


def test_lines():
    assert Event.parse("copy h2d 48 async") == ("copy", "h2d", ("48", "async"))
    assert Event.parse("malloc 512") == ("malloc", "", ("512",))
    assert Event.parse("module") == ("module", "", ())
    assert [str(Event.parse(line)) for line in LINES] == LINES


@given(
    st.sampled_from(["launch", "product", "copy", "sync", "memset", "graph", "host"]),
    st.lists(st.from_regex(r"[\w.]+", fullmatch=True), max_size=4),
)
def test_an_event_prints_as_its_line(kind, words):
    line = " ".join([kind, *words])
    assert str(Event.parse(line)) == line


def test_nothing_is_recorded_elsewhere():
    if on_stand_in():
        pytest.skip("this process is on the stand-in; checks.py records events")
    with pytest.raises(RuntimeError, match="tests/fake_cuda/run PYTHON"), recorded():
        pass
