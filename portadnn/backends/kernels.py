"""NumPy's BLAS kernels on this machine: which run, how fast, and what to do about it.

OpenBLAS picks its kernel while it is loaded, so every kernel is timed in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portadnn.blas import AVX512_KERNELS, VARIABLE, kernel_for, this_processor

Product = tuple[int, int, int, str]  # (m, k) times (k, n) in a dtype
TYPICAL: tuple[Product, ...] = (
    (1024, 1024, 1024, "float32"),
    (1024, 1024, 1024, "float64"),
    (512, 784, 256, "float32"),
    (20, 209, 209, "float64"),  # a step of a small network, where kernels differ most
)
WORTH = 1.05  # a ratio below is the noise of a short measurement


@dataclass(frozen=True)
class Rates:
    """How fast NumPy multiplied under one kernel.

    Attributes
    ----------
    kernel : str
        The kernel that ran, in OpenBLAS's own name.
    gflops : tuple of float
        10^9 operations a second, one for each product.
    """

    kernel: str
    gflops: tuple[float, ...]


@dataclass(frozen=True)
class KernelAdvice:
    """What ``portadnn backends`` says of NumPy's BLAS kernel.

    Attributes
    ----------
    running : str or None
        The kernel in this process; None for a BLAS that is not OpenBLAS.
    default : str or None
        What NumPy takes here where ``OPENBLAS_CORETYPE`` is not set.
    faster : str or None
        The kernel that is faster than ``running`` or than ``default``.
    ratio : float or None
        How much faster: the geometric mean of measured ratios.
    line : str
        The line for the shell, or "".
    text : str
        All of it in words.
    """

    running: str | None
    default: str | None
    faster: str | None
    ratio: float | None
    line: str
    text: str


def running_kernel() -> str | None:
    """The kernel of NumPy's OpenBLAS in this process, or None if its BLAS is another."""
    from portadnn.backends.numpy import blas_pool

    pool = blas_pool()
    if pool is None or pool["internal_api"] != "openblas":
        return None
    return pool.get("architecture")


def time_products(
    products: Sequence[Product], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, ...]:
    """The best rate of each product in this process, in 10^9 operations a second.

    Parameters
    ----------
    products : sequence of (m, k, n, dtype)
    seconds : float
        For each product; it runs three times at least.
    clock : callable, optional
        ``time.process_time`` leaves out what other processes take, and is right for one thread.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    rates = []
    for m, k, n, dtype in products:
        A = rng.standard_normal((m, k)).astype(dtype)
        B = rng.standard_normal((k, n)).astype(dtype)
        out = np.matmul(A, B)
        best, runs, until = float("inf"), 0, clock() + seconds
        while runs < 3 or clock() < until:
            started = clock()
            np.matmul(A, B, out=out)
            best = min(best, clock() - started)
            runs += 1
        rates.append(2e-9 * m * k * n / best)
    return tuple(rates)


def measure(
    kernel: str | None,
    products: Sequence[Product] = TYPICAL,
    *,
    seconds: float = 0.05,
    threads: int | None = None,
) -> Rates | None:
    """Time products under a kernel in a process of its own.

    Parameters
    ----------
    kernel : str, optional
        For ``OPENBLAS_CORETYPE``; None leaves the choice to OpenBLAS.
    products, seconds
        See ``time_products``.
    threads : int, optional
        For ``OPENBLAS_NUM_THREADS``. With 1 the processor's time counts, else the wall's.

    Returns
    -------
    Rates or None
        None where the process failed, or NumPy's BLAS is not OpenBLAS.
    """
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if kernel is not None:
        environment[VARIABLE] = kernel
    if threads is not None:
        environment["OPENBLAS_NUM_THREADS"] = str(threads)
    # -P: the current directory is not searched, but the package that runs is found
    paths = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-P", "-m", __name__, json.dumps([list(products), seconds, threads])]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=True
        )
        ran, gflops = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return None if ran is None else Rates(ran, tuple(gflops))


def compare(
    kernels: Sequence[str | None],
    products: Sequence[Product] = TYPICAL,
    *,
    rounds: int = 3,
    seconds: float = 0.05,
    threads: int | None = 1,
) -> list[Rates | None]:
    """Time products under several kernels, in turns, so that other work on the machine hits all.

    Parameters
    ----------
    kernels, products, seconds, threads
        See ``measure``. On one thread a busy neighbour disturbs least.
    rounds : int
        Processes for each kernel; the best rate of all counts.

    Returns
    -------
    list of Rates or None
        One for each kernel.
    """
    best: list[Rates | None] = [None] * len(kernels)
    for _ in range(rounds):
        for i, kernel in enumerate(kernels):
            rates, before = measure(kernel, products, seconds=seconds, threads=threads), best[i]
            if rates is not None and before is not None:
                pairs = zip(rates.gflops, before.gflops, strict=True)
                rates = Rates(rates.kernel, tuple(max(pair) for pair in pairs))
            best[i] = rates or before
    return best


def mean_ratio(first: Rates, second: Rates) -> float:
    """How much faster the first is: the geometric mean over the products."""
    product = 1.0
    for a, b in zip(first.gflops, second.gflops, strict=True):
        product *= a / b
    return product ** (1 / len(first.gflops))


def kernel_advice() -> KernelAdvice:
    """What runs, what would be faster here and the line that does it; measured where in doubt."""
    running = running_kernel()
    if running is None:
        return KernelAdvice(None, None, None, None, "", "NumPy's BLAS is not OpenBLAS")
    candidate = kernel_for(this_processor())
    if candidate is None:
        text = "OpenBLAS picks the kernel for this processor by itself"
        return KernelAdvice(running, None, None, None, "", text)
    stock = measure(None, ())
    default = stock.kernel if stock else None
    slower = next((k for k in (running, default) if k and k not in AVX512_KERNELS), None)
    if slower is None:
        text = "NumPy takes a kernel with AVX-512 by itself: nothing to set"
        return KernelAdvice(running, default, None, None, "", text)
    rates, slow = compare([candidate, slower])
    if rates is None or slow is None or rates.kernel != candidate:
        text = f"{candidate} could not be measured"
        return KernelAdvice(running, default, None, None, "", text)
    ratio = mean_ratio(rates, slow)
    measured = f"products ran at {ratio:.2f} times the rate of {slower} here, just now"
    if ratio < WORTH:
        text = f"with {candidate} {measured}: not worth a change"
        return KernelAdvice(running, default, None, ratio, "", text)
    line = f"export {VARIABLE}={candidate}"
    where = "for your own programs, before Python starts" if running != slower else "instead"
    text = f"with {candidate} {measured}; {where}: {line}"
    return KernelAdvice(running, default, candidate, ratio, line, text)


if __name__ == "__main__":
    _products, _seconds, _threads = json.loads(sys.argv[1])
    _clock = time.process_time if _threads == 1 else time.perf_counter
    _gflops = time_products([tuple(p) for p in _products], _seconds, _clock)
    print(json.dumps([running_kernel(), _gflops]))
