import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks_support import ThreadCommunicator, Threads, on_ranks

from portadnn.errors import InputError
from portadnn.parallel import MPI, Ranks, RanksError, as_ranks


@given(st.integers(0, 5000), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_shares_are_all_examples_and_none_twice(n, shares):
    threads = Threads(len(shares))
    ranks = [Ranks(ThreadCommunicator(threads, i), shares) for i in range(len(shares))]
    found = [i for one in ranks for i in range(n)[one.own(n)]]
    assert found == list(range(n))
    sizes = [len(range(n)[one.own(n)]) for one in ranks]
    assert all(
        abs(size - n * share / sum(shares)) <= 1 for size, share in zip(sizes, shares, strict=True)
    )


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ("1/2/3", "3 shares were given for 2 ranks: one for each"),
        ("1/x", "a rank's share is 'x': expected a number"),
        ("1/-1", "a rank's share is -1: expected a finite number 0 or more"),
        ("0/0", "the shares of the ranks are '0/0': expected some above 0"),
    ],
)
def test_wrong_shares_are_named(shares, message):
    with pytest.raises(InputError, match=message):
        Ranks(ThreadCommunicator(Threads(2), 0), shares)


def test_what_one_rank_says_all_know():
    assert (
        on_ranks(3, lambda ranks: ranks.all({"rank": ranks.rank}))
        == [[{"rank": 0}, {"rank": 1}, {"rank": 2}]] * 3
    )
    assert on_ranks(2, lambda ranks: ranks.told("a" * (ranks.rank + 1))) == ["a", "a"]


def test_nan_is_the_largest():
    def largest(ranks):
        return ranks.largest(np.asarray([[1.0, 2.0], [-np.nan, 0.0]][ranks.rank]))

    for found in on_ranks(2, largest):
        np.testing.assert_array_equal(found, [np.nan, 2.0])


def test_parts_are_finished_by_their_owners():
    def finish(ranks):
        first, second = np.full((2, 3), 1.0 + ranks.rank), np.arange(6.0).reshape(2, 3)
        made = ranks.finished([first, second], lambda a, b: np.float32(a * 10 + b))
        return made, ranks.bytes

    for made, sent in on_ranks(4, finish):
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, 100 + 4 * np.arange(6.0).reshape(2, 3))
        # a part is 6 entries, and 2 of padding: half of 2 parts of float64, and of one of float32
        assert sent == (2 * 8 * 8 + 8 * 4) // 2


def test_an_error_on_one_rank_is_raised_on_all():
    def work(ranks):
        def fail():
            if ranks.rank == 1:
                raise InputError("no such file")

        with pytest.raises(RanksError) as caught, ranks.together():
            fail()
        return str(caught.value), caught.value.elsewhere

    assert on_ranks(3, work) == [
        ("rank 1 of 3: no such file", False),
        ("rank 1 of 3: no such file", True),
        ("rank 1 of 3: no such file", True),
    ]


def test_the_same_error_on_all_ranks_names_none():
    def work(ranks):
        with pytest.raises(RanksError, match="^no such file$"), ranks.together():
            raise InputError("no such file")

    on_ranks(2, work)


def test_ranks_that_are_not_alike_are_named():
    def work(ranks):
        with pytest.raises(RanksError) as caught:
            ranks.check_same({"dtype": "float32", "epochs": 5 + (ranks.rank == 2)})
        return str(caught.value)

    message = "epochs is 5 on rank 0, but 6 on rank 2: expected the same on all 3 ranks"
    assert on_ranks(3, work) == [message] * 3


def test_another_error_ends_all_ranks(capsys):
    ranks = Ranks(ThreadCommunicator(Threads(1), 0))
    with pytest.raises(RuntimeError), ranks.ending_all(ArithmeticError):
        raise RuntimeError("a fault")
    assert ranks.communicator.aborted == 1
    assert "rank 0 of 1: RuntimeError: a fault. All ranks end" in capsys.readouterr().err
    with pytest.raises(SystemExit), ranks.ending_all():
        raise SystemExit(3)
    assert ranks.communicator.aborted == 3
    ranks.communicator.aborted = None
    with pytest.raises(ZeroDivisionError), ranks.ending_all(ArithmeticError):
        raise ZeroDivisionError
    assert ranks.communicator.aborted is None


def test_calls_that_differ_are_found(monkeypatch):
    monkeypatch.setenv("PORTADNN_CHECK_RANKS", "1")

    def work(ranks):
        with pytest.raises(RanksError, match=f"rank {ranks.rank} makes call 1, sum float64"):
            ranks.sum(np.ones(2 + ranks.rank))

    on_ranks(2, work)


def test_the_text_of_mpi_is_read_and_written():
    assert str(MPI(60, "1/2")) == "mpi:timeout=60,shares=1/2"
    assert as_ranks(None) is None
    with pytest.raises(InputError, match="unknown ranks 'mpo': did you mean 'mpi'"):
        as_ranks("mpo")
    with pytest.raises(InputError, match="timeout of mpi is -1"):
        as_ranks("mpi:timeout=-1")


def test_shares_may_be_an_array():
    ranks = Ranks(ThreadCommunicator(Threads(2), 0), np.asarray([1.0, 3.0]))
    assert ranks.own(8) == slice(0, 2)


def test_ranks_are_connected_any_number_of_times():
    pytest.importorskip("mpi4py")
    program = "from portadnn.parallel import MPI\nfor _ in range(3000): MPI().connect()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "MPI library" in done.stderr:
        pytest.skip("there is no MPI library")
    assert done.returncode == 0, done.stderr


def test_without_mpi4py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InputError, match=r"mpi needs mpi4py and an MPI library .*portadnn\[mpi\]"):
        MPI().connect()


def test_the_mpiexec_of_another_mpi_is_noticed(monkeypatch):
    pytest.importorskip("mpi4py")
    program = "from portadnn.parallel import MPI; MPI().connect()"
    environment = os.environ | {"OMPI_COMM_WORLD_SIZE": "4"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    if "cannot load MPI library" in done.stderr:
        pytest.skip("there is no MPI library")
    assert "4 processes were started, but each sees itself alone" in done.stderr


WAITS = """
import time
from types import SimpleNamespace
import numpy as np
from mpi4py import MPI as mpi
from portadnn.parallel import communicator
from portadnn.parallel.communicator import ANSWER, QUESTION, Late, MPICommunicator

made = MPICommunicator(0.2)
communicator.GRACE = 0.2
x = np.asarray([2.0, 3.0])
assert (made.sum(x) == x).all() and (made.own_sum(x[None]) == x).all()
assert (made.largest(np.asarray([1, 2])) == [1, 2]).all()
assert (made.gather(x, [2]) == x).all()

# the only process, taken for another one, asks itself, and answers while it waits
made.rank, never = 1, SimpleNamespace(Test=lambda: False)
try:
    made._wait(never)
except Late as late:
    assert late.args[0] == [], late.args
else:
    raise AssertionError("it waited for ever")
assert not made._side.Iprobe(tag=QUESTION) and not made._side.Iprobe(tag=ANSWER)

made._answer = lambda: None  # now it is silent
try:
    made._wait(never)
except Late as late:
    assert late.args[0] == [0], late.args
else:
    raise AssertionError("it waited for ever")

# MPICH's mpiexec loses the last words in 3 of 100 aborts that follow at once, in none after 0.1 s
ended = []
world = SimpleNamespace(Abort=lambda code: ended.append((code, time.monotonic())))
made._mpi = SimpleNamespace(COMM_WORLD=world)
asked = time.monotonic()
made.abort(3)
assert ended[0][0] == 3 and ended[0][1] - asked >= 0.1, ended
"""


def test_who_waits_and_who_is_silent_is_found_by_questions():
    pytest.importorskip("mpi4py")
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True)
    if "cannot load MPI library" in done.stderr:
        pytest.skip("there is no MPI library")
    assert done.returncode == 0, done.stderr
