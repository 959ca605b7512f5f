"""The ranks of a run: their shares of a batch, their sums, their agreement, and their end."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from portadnn.choice import check_number
from portadnn.errors import InputError

if TYPE_CHECKING:
    from portadnn.parallel.communicator import Communicator

CHECKED = "PORTADNN_CHECK_RANKS"  # if it is set, every call is compared between the ranks
EXACT_EXAMPLES = 2**19  # a larger batch has sums of float64 that do not fit in 64 bits


class RanksError(InputError):
    """An error on one rank that ends all ranks: all raise it, with the same message.

    Attributes
    ----------
    elsewhere : bool
        Whether another rank prints it.
    """

    elsewhere = False


class Late(Exception):
    """Some ranks did not take part in a call within the timeout."""

    def __init__(self, ranks: Sequence[int], seconds: float) -> None:
        super().__init__(ranks, seconds)
        self.ranks, self.seconds = ranks, seconds


class Ranks:
    """The processes that train together. All make the same calls in the same order.

    Parameters
    ----------
    communicator : Communicator
    shares : str or sequence of numbers
        How a batch is divided, such as "1/6/2"; evenly if it is empty.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    calls, bytes : int
        The number of collective calls, and their bytes. A sum over all ranks counts in full. A sum
        of which each rank gets a part counts half, and the exchange of these parts the other half.
    """

    def __init__(self, communicator: Communicator, shares: str | Sequence[float] = "") -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.calls = self.bytes = 0
        self._checked = bool(os.environ.get(CHECKED))
        given = shares.split("/") if isinstance(shares, str) and shares else list(shares)
        parts = given or ["1"] * self.size
        if len(parts) != self.size:
            raise InputError(f"{len(parts)} shares were given for {self.size} ranks: one for each")
        self._shares = [check_number("a rank's share", _number(part), 0.0) for part in parts]
        if not sum(self._shares):
            raise InputError(f"the shares of the ranks are {shares!r}: expected some above 0")

    @property
    def first(self) -> bool:
        """Whether this rank is the one that prints and writes."""
        return self.rank == 0

    @property
    def text(self) -> str:
        """The number of the ranks, and their shares if they are not even."""
        uneven = len(set(self._shares)) > 1
        return f"{self.size}" + (f" ({'/'.join(f'{x:g}' for x in self._shares)})" if uneven else "")

    def own(self, n: int) -> slice:
        """Which of n examples are this rank's."""
        bounds = self._bounds(n)
        return slice(bounds[self.rank], bounds[self.rank + 1])

    def _bounds(self, n: int) -> list[int]:
        total, sums = sum(self._shares), np.cumsum([0.0, *self._shares])
        return [round(n * float(x) / total) for x in sums]

    def sum(self, x: np.ndarray) -> np.ndarray:
        """The sum of all ranks' arrays, entry by entry."""
        return self._call("sum", x, x.nbytes).reshape(x.shape)

    def largest(self, x: np.ndarray) -> np.ndarray:
        """The entrywise maximum over all ranks, of float64 >= 0; NaN counts as the largest.

        The bits are compared as integers, which have the same order: MPI leaves NaN undefined.
        """
        bits = np.ascontiguousarray(np.abs(x)).view(np.int64)
        return self._call("largest", bits, bits.nbytes).view(np.float64)

    def finished(
        self, parts: Sequence[np.ndarray], finish: Callable[..., np.ndarray]
    ) -> np.ndarray:
        """``finish`` of the sums of the parts, entry by entry; each rank finishes some entries."""
        shape, n = parts[0].shape, parts[0].size
        size = -(-n // self.size)
        rows = np.zeros((self.size, len(parts), size), parts[0].dtype)
        for k, part in enumerate(parts):
            flat = part.ravel()
            for rank in range(self.size):
                piece = flat[rank * size : (rank + 1) * size]
                rows[rank, k, : len(piece)] = piece
        own = np.ascontiguousarray(finish(*self._call("own_sum", rows, rows.nbytes // 2)))
        return self._gather(own, [size] * self.size)[:n].reshape(shape)

    def columns(self, A: np.ndarray, n: int) -> np.ndarray:
        """The n columns of all ranks, in order; A has those of this rank."""
        bounds, rows = self._bounds(n), len(A)
        sizes = [(bounds[i + 1] - bounds[i]) * rows for i in range(self.size)]
        return self._gather(np.ascontiguousarray(A.T).ravel(), sizes).reshape(n, rows).T

    def all(self, value: Any) -> list[Any]:
        """The values of all ranks, in order, on every rank."""
        raw = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self._gather(np.asarray([len(raw)]), [1] * self.size).tolist()
        whole = self._gather(raw, sizes).tobytes()
        ends = np.cumsum(sizes)
        return [pickle.loads(whole[end - n : end]) for end, n in zip(ends, sizes, strict=True)]

    def told(self, value: Any) -> Any:
        """The value of the first rank, on every rank."""
        return self.all(value if self.first else None)[0]

    def _gather(self, x: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
        return self._call("gather", x, sum(sizes) * x.itemsize // 2, sizes)

    def _call(self, name: str, x: np.ndarray, size: int, *more: Any) -> np.ndarray:
        self.calls += 1
        self.bytes += size
        function = getattr(self.communicator, name)
        try:
            if self._checked:
                self._compare(name, x)
            return function(np.ascontiguousarray(x), *more)
        except Late as late:
            who = ", ".join(map(str, late.ranks)) or "unknown"
            self.end(
                f"rank {who} of {self.size} did not take part within {late.seconds:.0f} s in call "
                f"{self.calls}, {name} of {x.shape}: it hangs, or it is cut off. All ranks end"
            )
            raise

    def _compare(self, name: str, x: np.ndarray) -> None:
        """Raise RanksError unless all ranks make the same call."""
        varies = name == "gather"  # each rank gathers an array of another size
        what = f"{name} {x.dtype} {() if varies else x.shape}"
        own = np.asarray([self.calls, zlib.crc32(what.encode())])
        found = self.communicator.gather(own, [2] * self.size).reshape(-1, 2)
        if (found != own).any():
            raise RanksError(
                f"rank {self.rank} makes call {self.calls}, {what}, and others make another: "
                f"{found.tolist()}"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A scope without collective calls. If one rank raises in it, all raise at its end.

        Raises
        ------
        RanksError
            With the number of the rank and its message.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        texts = self.all(None if error is None else (str(error) or type(error).__name__))
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if failed and len({texts[rank] for rank in failed}) == 1 and len(failed) == self.size:
            raise self.error(texts[0]) from error
        if failed:
            which = f"rank {failed[0]} of {self.size}"
            raise self.error(f"{which}: {texts[failed[0]]}") from error

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Raise RanksError unless all ranks have the same values of these names."""
        found = self.all(dict(facts))
        for name, value in found[0].items():
            for rank, others in enumerate(found):
                if others.get(name) != value:
                    raise self.error(
                        f"{name} is {value} on rank 0, but {others.get(name)} on rank {rank}: "
                        f"expected the same on all {self.size} ranks"
                    )

    def error(self, text: str) -> RanksError:
        """An error that all ranks raise, and only the first one prints."""
        error = RanksError(text)
        error.elsewhere = not self.first
        return error

    @contextlib.contextmanager
    def ending_all(self, *agreed: type[BaseException]) -> Iterator[None]:
        """A scope whose errors end all ranks, except those that all ranks raise (``agreed``)."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, (RanksError, *agreed)):
                raise
            if isinstance(error, SystemExit):
                text, code = f"it ended by itself (exit code {error.code})", error.code
            else:
                text, code = f"{type(error).__name__}: {error}", 1
            if not isinstance(error, InputError | SystemExit | KeyboardInterrupt):
                traceback.print_exc()
            self.end(f"rank {self.rank} of {self.size}: {text}. All ranks end", code)
            raise

    def end(self, text: str, code: Any = 1) -> None:
        """Print the reason, and end all ranks."""
        print(f"portadnn: error: {text}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        self.communicator.abort(code if isinstance(code, int) and 0 < code < 256 else 1)


def _number(text: Any) -> Any:
    """The text as a number, or the text itself if it is none."""
    try:
        return float(text)
    except ValueError:
        return text
