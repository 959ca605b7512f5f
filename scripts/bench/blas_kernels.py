#!/usr/bin/env python3
"""How fast NumPy multiplies under each BLAS kernel, and what the program sets here.

    scripts/bench/blas_kernels.py [--kernels Haswell,SkylakeX] [--threads 1] [--rounds 5]

Every kernel runs in processes of its own, in turns; the best of all rounds counts, and on one
thread the processor's time, so that other work on the machine disturbs little. Ratios are to the
first kernel named; "stock" is what NumPy takes where OPENBLAS_CORETYPE is not set.
"""

import argparse

from portadnn.backends import environment, get_backend
from portadnn.backends.kernels import compare, mean_ratio
from portadnn.blas import AVX512_KERNEL, NEEDED_FLAGS, kernel_for, this_processor

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default=None, help="default: stock, Haswell and SkylakeX")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="for a product in a round")
    arguments = parser.parse_args()
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
