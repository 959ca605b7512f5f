"""Ranks that are threads of this process, so that a test needs no MPI."""

import threading

import numpy as np

from portadnn.parallel import Ranks


class Threads:
    """The place where threads leave what they send."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size, timeout=60)
        self.held = [None] * size


class ThreadCommunicator:
    """A communicator between threads; sums are added in the order of the ranks."""

    def __init__(self, threads, rank):
        self.threads, self.rank, self.size = threads, rank, len(threads.held)
        self.aborted = None

    def _all(self, x):
        self.threads.held[self.rank] = np.array(x)
        self.threads.barrier.wait()
        found = list(self.threads.held)
        self.threads.barrier.wait()
        return found

    def sum(self, x):
        found = self._all(x)
        return sum(found[1:], start=found[0])

    def largest(self, x):
        return np.max(self._all(x), axis=0)

    def own_sum(self, x):
        return sum(part[self.rank] for part in self._all(x))

    def gather(self, x, sizes):
        found = np.concatenate(self._all(x))
        assert len(found) == sum(sizes)
        return found

    def abort(self, code):
        self.aborted = code
        self.threads.barrier.abort()


def on_ranks(size, function, shares=""):
    """What ``function(ranks)`` returns on each of so many ranks; the first error is raised."""
    threads = Threads(size)
    found, errors = [None] * size, [None] * size

    def run(rank):
        try:
            found[rank] = function(Ranks(ThreadCommunicator(threads, rank), shares))
        except BaseException as error:
            errors[rank] = error
            threads.barrier.abort()

    running = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    real = [e for e in errors if e is not None and not isinstance(e, threading.BrokenBarrierError)]
    if real or any(errors):
        raise (real or [e for e in errors if e])[0]
    return found
