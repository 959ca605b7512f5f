"""The communication that ranks need, and how MPI provides it."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from portadnn.choice import as_text, check_number, choose
from portadnn.errors import InputError
from portadnn.parallel.ranks import Late, Ranks

GRACE = 2.0  # seconds in which a waiting rank answers if it is asked whether it waits
SPIN = 0.001  # seconds of waiting without a pause
PAUSE = 0.0002  # seconds of a pause
READ = 0.5  # seconds in which mpiexec reads the last words; MPICH's drops what it has not read
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")


class Communicator(Protocol):
    """Moves arrays of NumPy, in C's order, between processes that all make the same calls.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    """

    rank: int
    size: int

    def sum(self, x: np.ndarray) -> np.ndarray:
        """The entrywise sum over all processes."""
        ...

    def largest(self, x: np.ndarray) -> np.ndarray:
        """The entrywise maximum of integers."""
        ...

    def own_sum(self, x: np.ndarray) -> np.ndarray:
        """The entrywise sum over all processes of ``x[rank]``; x has a row for each process."""
        ...

    def gather(self, x: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
        """The entries of all processes, one after the other; ``sizes`` says how many each has."""
        ...

    def abort(self, code: int) -> None:
        """End all processes."""
        ...


@functools.cache  # an MPI library has about 2,000 communicators: one pair serves all calls
def _own() -> tuple[Any, Any]:
    """Two communicators of all processes, which nobody else uses."""
    from mpi4py import MPI as mpi

    return mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()


class MPICommunicator:
    """A communicator over mpi4py. It polls, so a signal is heard and a lost rank is noticed."""

    def __init__(self, timeout: float) -> None:
        from mpi4py import MPI as mpi

        self._mpi, self.timeout = mpi, timeout
        self._comm, self._side = _own()
        self.rank, self.size = self._comm.rank, self._comm.size

    def sum(self, x: np.ndarray) -> np.ndarray:
        return self._reduced(x, self._mpi.SUM)

    def largest(self, x: np.ndarray) -> np.ndarray:
        return self._reduced(x, self._mpi.MAX)

    def _reduced(self, x: np.ndarray, operation: Any) -> np.ndarray:
        made = np.empty_like(x)
        self._wait(self._comm.Iallreduce(x, made, operation))
        return made

    def own_sum(self, x: np.ndarray) -> np.ndarray:
        made = np.empty_like(x[0])
        self._wait(self._comm.Ireduce_scatter_block(x, made, self._mpi.SUM))
        return made

    def gather(self, x: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
        made = np.empty(sum(sizes), x.dtype)
        if len(set(sizes)) == 1:
            self._wait(self._comm.Iallgather(x, made))
        else:
            self._wait(self._comm.Iallgatherv(x, [made, sizes]))
        return made

    def abort(self, code: int) -> None:
        time.sleep(READ)
        self._mpi.COMM_WORLD.Abort(code)

    def _wait(self, request: Any) -> None:
        started = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - started
            if waited < SPIN:
                continue
            time.sleep(PAUSE)
            if waited > GRACE / 2:
                self._answer()
            if self.timeout and waited > self.timeout:
                raise Late(self._silent(), waited)

    def _answer(self) -> None:
        """Tell whoever asks that this rank waits, too."""
        status = self._mpi.Status()
        while self._side.Iprobe(tag=QUESTION, status=status):
            asking = status.Get_source()
            self._side.recv(source=asking, tag=QUESTION)
            self._side.isend(None, asking, tag=ANSWER).Free()

    def _silent(self) -> list[int]:
        """Ask all ranks whether they wait; return those that do not answer."""
        silent = set(range(self.size)) - {self.rank}
        for rank in silent:
            self._side.isend(None, rank, tag=QUESTION).Free()
        asked = time.monotonic()
        while time.monotonic() - asked < GRACE:
            self._answer()
            status = self._mpi.Status()
            while self._side.Iprobe(tag=ANSWER, status=status):
                self._side.recv(source=status.Get_source(), tag=ANSWER)
                silent.discard(status.Get_source())
            time.sleep(PAUSE)
        return sorted(silent)


QUESTION, ANSWER = 1, 2  # tags


@dataclass(frozen=True)
class MPI:
    """The processes that ``mpiexec`` or ``srun`` started.

    Parameters
    ----------
    timeout : float
        Seconds that a rank waits for the others before it names those that are late and ends the
        run; 0 waits for ever.
    shares : str
        How a batch is divided among the ranks, such as "1/6/2"; evenly if it is empty.
    """

    timeout: float = 300.0
    shares: str = ""

    def __post_init__(self) -> None:
        check_number("timeout of mpi", self.timeout, 0.0)

    def __str__(self) -> str:
        return as_text("mpi", self)

    def connect(self) -> Ranks:
        """The ranks.

        Raises
        ------
        InputError
            If there is no MPI, or another MPI started the processes.
        """
        try:
            from mpi4py import MPI as mpi
        except (ImportError, RuntimeError) as error:  # the latter if it finds no MPI library
            raise InputError(
                f"mpi needs mpi4py and an MPI library ({str(error).splitlines()[0]}): pip install "
                f"'portadnn[mpi]', and the cluster's own MPI, or pip install mpich"
            ) from error
        world = mpi.COMM_WORLD
        started = max(int(os.environ.get(name, "1") or 1) for name in LAUNCHED)
        if world.size == 1 and started > 1:
            raise InputError(
                f"{started} processes were started, but each sees itself alone, because mpi4py "
                f"runs on another MPI ({mpi.get_vendor()[0]}) than mpiexec: install mpi4py for the "
                f"MPI of mpiexec, or take the mpiexec of {mpi.get_vendor()[0]}"
            )
        return Ranks(MPICommunicator(float(self.timeout)), self.shares)


def as_ranks(given: Any) -> Ranks | None:
    """The ranks themselves, or those that a text such as ``mpi:timeout=60`` names; None for None.

    Raises
    ------
    InputError
        If the text names no ranks, or they cannot connect.
    """
    if given is None or isinstance(given, Ranks):
        return given
    return choose("ranks", given, {"mpi": MPI}, MPI).connect()


@contextlib.contextmanager
def working(given: Any, *agreed: type[BaseException]) -> Iterator[Ranks | None]:
    """The ranks that are given, as for ``as_ranks``, in a scope of ``Ranks.ending_all``."""
    ranks = as_ranks(given)
    with contextlib.nullcontext() if ranks is None else ranks.ending_all(*agreed):
        yield ranks


def together(ranks: Ranks | None) -> contextlib.AbstractContextManager[None]:
    """The scope ``Ranks.together``, or an empty one if there are no ranks."""
    return contextlib.nullcontext() if ranks is None else ranks.together()
