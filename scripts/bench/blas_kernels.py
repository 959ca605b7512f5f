#!/usr/bin/env python3
"""How fast NumPy multiplies under each BLAS kernel, and what the program sets here.

    scripts/bench/blas_kernels.py [--kernels Haswell,SkylakeX] [--threads 1] [--rounds 5]

Every kernel runs in processes of its own, in turns; the best of all rounds counts, and on one
thread the processor's time, so that other work on the machine disturbs little. Ratios are to the
first kernel named; "stock" is what NumPy takes where OPENBLAS_CORETYPE is not set.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from portadnn.backends import environment, get_backend
from portadnn.backends.numpy import running_kernel
from portadnn.blas import AVX512_KERNEL, NEEDED_FLAGS, VARIABLE, kernel_for, this_processor

Product = tuple[int, int, int, str]  # (m, k) times (k, n) in a dtype
SHAPES = (
    (2048, 2048, 2048),
    (1024, 1024, 1024),
    (2048, 784, 1024),  # the layers of [784, 2048, 2048, 10] on 1,024 examples
    (512, 784, 256),  # and of [784, 512, 512, 10] on 256
    (512, 512, 256),
    (10, 512, 256),
    (20, 12288, 209),  # the course's first layer, forward
    (209, 12288, 209),  # the Gram matrix of its data
    (20, 209, 209),  # a step in sample space
    (64, 64, 32),  # digits
)


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
    products: Sequence[Product],
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
        None if the process failed, or NumPy's BLAS is not OpenBLAS.
    """
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if kernel is not None:
        environment[VARIABLE] = kernel
    if threads is not None:
        environment["OPENBLAS_NUM_THREADS"] = str(threads)
    work = json.dumps([list(products), seconds, threads])
    command = [sys.executable, __file__, "--child", work]
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
    products: Sequence[Product],
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default=None, help="default: stock, Haswell and SkylakeX")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="for a product in a round")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        products, seconds, threads = json.loads(arguments.child)
        clock = time.process_time if threads == 1 else time.perf_counter
        print(json.dumps([running_kernel(), time_products(products, seconds, clock)]))
        return
    cpuinfo = this_processor()
    able = all(
        set(line.split()) >= NEEDED_FLAGS
        for line in cpuinfo.splitlines()
        if line.startswith("flags")
    )
    default = ["Haswell", "stock"] + [AVX512_KERNEL] * bool(cpuinfo and able)
    kernels = arguments.kernels.split(",") if arguments.kernels else default
    if AVX512_KERNEL in kernels and AVX512_KERNEL not in default:
        parser.error(f"this processor lacks what {AVX512_KERNEL} needs")
    products = [(*shape, dtype) for shape in SHAPES for dtype in ("float32", "float64")]
    found = compare(
        [None if kernel == "stock" else kernel for kernel in kernels],
        products,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        threads=arguments.threads,
    )
    if None in found:
        parser.error("NumPy's BLAS is not OpenBLAS here, or a process failed")

    here = environment(get_backend("numpy"))
    print(f"{here['processor']}; {here['library']}, {here['details']}")
    print(f"measured on {arguments.threads} thread{'s' * (arguments.threads > 1)}")
    print(f"the program sets: {kernel_for(cpuinfo) or 'nothing'}\n")
    names = [
        kernel if kernel == rates.kernel else f"{kernel} ({rates.kernel})"
        for kernel, rates in zip(kernels, found, strict=True)
    ]
    print("| product | dtype | " + " | ".join(f"{name}, GFLOP/s" for name in names), end="")
    print(" | " + " | ".join(f"{name} / {names[0]}" for name in names[1:]) + " |")
    print("|---" * (2 * len(names) + 1) + "|")
    for i, (m, k, n, dtype) in enumerate(products):
        rates = [kernel.gflops[i] for kernel in found]
        cells = [f"{m} x {k} x {n}", dtype, *(f"{rate:.1f}" for rate in rates)]
        print("| " + " | ".join(cells + [f"{rate / rates[0]:.2f}" for rate in rates[1:]]) + " |")
    print()
    for name, rates in zip(names[1:], found[1:], strict=True):
        print(f"{name} / {names[0]}, geometric mean: {mean_ratio(rates, found[0]):.2f}")


if __name__ == "__main__":
    main()
