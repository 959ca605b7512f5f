#!/usr/bin/env python3
"""Reproducible arithmetic: the order of the terms changes no bit, and accuracy stays.

    scripts/experiments/reproducible_proofs.py bits [--products 3500]
    scripts/experiments/reproducible_proofs.py accuracy [--seeds 5]

``bits`` makes products of random operands whose terms are in another order, and products whose
terms are cut into parts, and then the gradient of 5,000 examples, permuted and in parts; all are
compared with the plain ones. Exit code 1 if a bit differs.

``accuracy`` trains [784, 256, 128, 10] on Fashion-MNIST (Debian's package dataset-fashion-mnist)
for 3 epochs by gradient descent and by Adam, in fast and in reproducible arithmetic from the same
seeds, and prints the accuracy on the test images, the mean of the differences and its standard
error.
"""

import argparse
import gzip
import math
import sys
from pathlib import Path

import array_api_compat.numpy as numpy_namespace
import numpy as np

import portadnn as dnn
from portadnn.arithmetic import reproducible
from portadnn.arithmetic.products import FEW
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.step import Shared, gradients

FASHION = Path("/usr/share/datasets/fashion-mnist")
RATES = {"gradient_descent": 0.1, "adam": 0.001}


class Divided:
    """NumPy, whose products and sums are sums of those of randomly cut parts of the terms."""

    def __init__(self, rng):
        self.rng = rng

    def __getattr__(self, name):
        return getattr(numpy_namespace, name)

    def parts(self, n):
        return np.split(np.arange(n), np.sort(self.rng.integers(0, n + 1, self.rng.integers(1, 6))))

    def matmul(self, x, y):
        return sum(x[:, part] @ y[part] for part in self.parts(x.shape[1]))

    def sum(self, x, axis=None, keepdims=False):
        if x.ndim != 2 or axis not in (0, 1) or not x.shape[axis]:
            return np.sum(x, axis=axis, keepdims=keepdims)
        pieces = (np.take(x, part, axis) for part in self.parts(x.shape[axis]))
        return sum(np.sum(piece, axis=axis, keepdims=keepdims) for piece in pieces)


def operand(rng, m, n, dtype):
    """Entries of one size, lognormal ones, or rows and columns that differ by powers of two."""
    x = rng.standard_normal((m, n))
    kind = rng.integers(4)
    if kind == 1:
        x *= np.exp(4 * rng.standard_normal((m, n)))
    elif kind == 2:
        x *= 2.0 ** rng.integers(-20, 20, (m, 1)) * 2.0 ** rng.integers(-20, 20, (1, n))
    elif kind == 3:
        x = np.maximum(x, 0)
    return x.astype(dtype)


def bits(arguments):
    rng, wrong, compared, ordinary = np.random.default_rng(0), 0, 0, 0
    whole, divided = reproducible(numpy_namespace), reproducible(Divided(rng))

    def compare(kind, expected, *others):
        nonlocal wrong, compared
        for found in others:
            compared += 1
            if not np.array_equal(found, expected):
                wrong += 1
                print(f"{kind}: other bits")

    for i in range(arguments.products):
        dtype = ("float32", "float64")[i % 2]
        n, (m, p) = int(2 ** rng.uniform(0, 13)), rng.integers(1, 30, 2)
        A, B = operand(rng, m, n, dtype), operand(rng, n, p, dtype)
        order = rng.permutation(n)
        kind = f"product {i}, {dtype}, {n} terms"
        pairs = [(whole.examples.matmul, divided.examples.matmul)]
        if n > FEW:  # fewer terms that are not examples are added in their order
            pairs.append((whole.matmul, divided.matmul))
        for one, other in pairs:
            compare(kind, one(A, B), one(A[:, order], B[order]), other(A, B))
        ordinary += not np.array_equal(A @ B, A[:, order] @ B[order])
    print(f"{arguments.products} products: {compared} compared, {wrong} with other bits "
          f"(of NumPy's own, {ordinary} in another order)")  # fmt: skip
    network, m = Network((30, 20, 10, 5), head="softmax"), 5000
    for dtype in ("float32", "float64"):
        drawn = initialize_parameters_deep(network.layer_dims, rng=np.random.default_rng(1))
        parameters = {name: x.astype(dtype) for name, x in drawn.items()}
        X = operand(rng, 30, m, dtype)
        Y = np.eye(5, dtype=dtype)[:, rng.integers(0, 5, m)]
        before = wrong
        for _ in range(arguments.gradients):
            order, found = rng.permutation(m), []
            for xp, columns in ((whole, slice(None)), (whole, order), (divided, slice(None))):
                data = Shared(X[:, columns], Y[:, columns])
                made, tensors = gradients(parameters, {}, data, network=network, xp=xp)
                found.append({**made, "cost": tensors["cost"]})
            for name in found[0]:
                compare(f"{name} of {m} examples, {dtype}", *(x[name] for x in found))
        print(f"{arguments.gradients} gradients of {m} examples in {dtype}: {wrong - before} "
              f"tensors with other bits")  # fmt: skip
    return int(wrong > 0)


def fashion(part):
    """Images (m, 784) in float32 and labels."""
    found = []
    for what, start in (("images-idx3", 16), ("labels-idx1", 8)):
        path = FASHION / f"{part}-{what}-ubyte.gz"
        if not path.exists():
            sys.exit(f"{path} is not here: apt install dataset-fashion-mnist")
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start))
    return found[0].reshape(-1, 784) / np.float32(255), found[1].astype(np.int64)


def accuracy(arguments):
    train, test = fashion("train"), fashion("t10k")
    options = {"layers": (256, 128), "epochs": 3, "batch_size": 128, "dtype": "float32"}
    print(
        "| optimizer | seed | fast | reproducible | difference |\n| --- | --- | --- | --- | --- |"
    )
    for optimizer, rate in RATES.items():
        apart = []
        for seed in range(arguments.seeds):
            found = []
            for arithmetic in ("fast", "reproducible"):
                model = dnn.train(
                    *train, **options, optimizer=optimizer, learning_rate=rate, rng=seed,
                    backend=arguments.backend, arithmetic=arithmetic,
                )  # fmt: skip
                found.append(100 * float(np.mean(np.asarray(model.predict(test[0])) == test[1])))
            apart.append(found[1] - found[0])
            each = " | ".join(f"{x:.2f} %" for x in found)
            print(f"| {optimizer} | {seed} | {each} | {apart[-1]:+.2f} |", flush=True)
        error = np.std(apart, ddof=1) / math.sqrt(len(apart))
        print(f"| {optimizer} | mean | | | {np.mean(apart):+.3f}, standard error {error:.3f} |")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("proof", choices=("bits", "accuracy"))
    parser.add_argument("--products", type=int, default=3500)
    parser.add_argument("--gradients", type=int, default=10, help="of each dtype")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backend", default="numpy")
    arguments = parser.parse_args()
    return (bits if arguments.proof == "bits" else accuracy)(arguments)


if __name__ == "__main__":
    sys.exit(main())
