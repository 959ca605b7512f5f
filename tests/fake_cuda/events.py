"""The calls that CuPy made to the stand-in for CUDA, as a list that a test can count.

>>> from fake_cuda.events import on_stand_in, recorded  # doctest: +SKIP
>>> with recorded() as events:  # doctest: +SKIP
...     step()
>>> events.launches, events.synchronisations  # doctest: +SKIP
(12, 0)
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# each puts a piece of work on the device
OPERATIONS = ("launch", "product", "copy", "memset", "graph")
NAMED = ("launch", "product", "copy", "sync", "capture")  # the second word of their lines is a name


class Event(NamedTuple):
    """A line of the log: ``copy h2d 48 async`` has kind copy, name h2d, details ("48", "async").

    README.md lists the kinds. The name of ``malloc 512`` is "", its details are ("512",).
    """

    kind: str
    name: str
    details: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Event:
        kind, *rest = line.split()
        name = rest.pop(0) if rest and kind in NAMED else ""
        return cls(kind, name, tuple(rest))

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.name, *self.details)))


class Events(list[Event]):
    """The events in the order in which the host issued them, and how many of a kind there are."""

    @property
    def launches(self) -> int:
        """Kernels, those within the replay of a graph not counted."""
        return self._count("launch")

    @property
    def products(self) -> int:
        """Calls of cuBLAS; a batch of products is one."""
        return self._count("product")

    @property
    def copies(self) -> int:
        return self._count("copy")

    @property
    def memsets(self) -> int:
        return self._count("memset")

    @property
    def operations(self) -> int:
        """Everything that puts work on the device: launches, products, copies, memsets, graphs."""
        return sum(self._count(kind) for kind in OPERATIONS)

    @property
    def synchronisations(self) -> int:
        """Waits of the host: for a device, a stream or an event, and copies that wait."""
        return self._count("sync") + sum(e.kind == "copy" and "sync" in e.details for e in self)

    def _count(self, kind: str) -> int:
        return sum(event.kind == kind for event in self)

    def summary(self) -> str:
        """A line for each different event with the number of times, the most frequent first."""
        counts = Counter(map(str, self)).most_common()
        return "\n".join(f"{count:6} {event}" for event, count in counts)


def on_stand_in() -> bool:
    """Whether this process was started by ``run``, so that its CuPy is on the stand-in."""
    return getattr(sys.modules.get("sitecustomize"), "cuda_is_a_stand_in", False)


@contextlib.contextmanager
def recorded() -> Iterator[Events]:
    """Record the events of this process, all threads; the list is filled when the block ends.

    Meanwhile nothing goes to the file of ``FAKE_CUDA_LOG``. A recording within a recording has its
    events to itself.

    Raises
    ------
    RuntimeError
        If this process is not on the stand-in.
    """
    if not on_stand_in():
        raise RuntimeError(
            "events can be recorded on the stand-in only: tests/fake_cuda/run PYTHON"
        )
    import cupy  # noqa: F401  # loads the stand-in's libcuda.so.1

    swap = ctypes.CDLL("libcuda.so.1").fake_cuda_log_swap
    events = Events()
    with tempfile.TemporaryFile("w+") as log:
        before = swap(log.fileno())
        try:
            yield events
        finally:
            swap(before)
        log.seek(0)
        events.extend(map(Event.parse, log))
