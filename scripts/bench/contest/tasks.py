"""What is trained: network, data, initial weights and order of the examples, the same for all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from cats import cat_files

from portadnn.data.hdf5 import load_digits
from portadnn.data.load import load_dataset
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.streams import Batches

SCORED = 4096  # examples on which the referee computes the cost of what was learnt


@dataclass(frozen=True)
class Task:
    """One training; ``steps`` make the whole call, of which ``weights`` are the start."""

    title: str
    dims: tuple[int, ...]
    m: int
    steps: int
    dtype: str = "float32"
    optimizer: str = "sgd"  # or "adam", with its usual betas and epsilon
    rate: float = 0.1
    batch: int | None = None
    source: str = "synthetic"
    rows: np.ndarray = field(default=None, repr=False, compare=False)  # (m, n_x)
    labels: np.ndarray = field(default=None, repr=False, compare=False)  # (m,), int64
    weights: dict = field(default=None, repr=False, compare=False)  # W1 (n_1, n_x), b1 (n_1, 1) ...

    @property
    def binary(self):
        return self.dims[-1] == 1

    @property
    def L(self):
        return len(self.dims) - 1

    @property
    def compared(self):
        """The steps after which costs are compared: all, unless roundings grow too fast.

        In float32 the course's training is compared early. On its way down the cost of (a) leaps
        up time and again, and every leap multiplies what roundings have made of it: weights that
        differ in their last bit end 10 % apart in cost, after 100 steps 1e-7. In (e) 20 layers do
        the same: after 312 steps PyTorch with one thread and with two are 45 % apart.
        """
        if self.dtype == "float32" and self.L > 10:
            return min(5, self.steps)
        early = self.batch is None and self.dtype == "float32"
        return min(100, self.steps) if early else self.steps

    @property
    def network(self):
        return Network(self.dims, "relu", "sigmoid" if self.binary else "softmax")

    @property
    def batches(self):
        return Batches(self.m, self.batch, seed=3)

    def targets(self):
        """(m, n_L), of 0 and 1."""
        if self.binary:
            return self.labels[:, None].astype(self.dtype)
        return (self.labels[:, None] == np.arange(self.dims[-1])).astype(self.dtype)

    def order(self, start, n):
        """The examples of n steps, (n, batch)."""
        return np.stack([self.batches.indices(step) for step in range(start, start + n)])

    @property
    def flops(self):
        """Of the matrix products of one step in the direct form, without the gradient of X."""
        products = [a * b for a, b in zip(self.dims, self.dims[1:], strict=False)]
        return 2 * (self.batch or self.m) * (3 * sum(products) - products[0])

    def save(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True)
        arrays = {"rows": self.rows, "labels": self.labels, **self.weights}
        for name, x in arrays.items():
            np.save(folder / f"{name}.npy", x)
        plain = {k: v for k, v in asdict(self).items() if k not in ("rows", "labels", "weights")}
        (folder / "task.json").write_text(json.dumps(plain), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder):
        folder = Path(folder)
        plain = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        rows, labels = arrays.pop("rows"), arrays.pop("labels")
        return cls(**plain | {"dims": tuple(plain["dims"])}, rows=rows, labels=labels,
                   weights=arrays)  # fmt: skip


def make_task(title, dims, rows, labels, steps, **settings):
    dtype = settings.get("dtype", "float32")
    weights = {name: p.astype(dtype) for name, p in initialize_parameters_deep(dims, rng=1).items()}
    return Task(
        title, tuple(dims), len(rows), steps, **settings,
        rows=np.ascontiguousarray(rows, dtype=dtype), labels=np.asarray(labels, dtype=np.int64),
        weights=weights,
    )  # fmt: skip


def tasks_of(workload, quick=False):
    """The tasks of workload a, b, c, d, e or f; quick ones are for trying the program."""
    if workload == "a":
        dims, source, rows, labels = cats(quick)
        return [
            make_task(f"a, {dtype}", dims, rows, labels, 30 if quick else 3000, dtype=dtype,
                      rate=0.0075, source=source)
            for dtype in ("float64", "float32")
        ]  # fmt: skip
    if workload == "b":
        rows, labels = images(256 * (8 if quick else 234))
        dims, steps = [784, 512, 512, 10], len(rows) // 256
        return [
            make_task(f"b, {name}", dims, rows, labels, steps, optimizer=name, rate=rate, batch=256)
            for name, rate in (("sgd", 0.1), ("adam", 0.001))
        ]
    if workload == "c":
        rows, labels = digits()
        epochs = 2 if quick else 20
        return [
            make_task("c, sgd", [64, 64, 32, 10], rows, labels, epochs * len(rows) // 32,
                      rate=0.1, batch=32, source="digits")
        ]  # fmt: skip
    if workload in "ef":  # deep and narrow, and in float64
        batch, dims = (64, [64] * 21 + [10]) if workload == "e" else (128, [784, 256, 128, 10])
        rows, labels = images(batch * (8 if quick else 20_000 // batch))
        return [
            make_task(f"{workload}, adam", dims, rows[:, -dims[0] :], labels, len(rows) // batch,
                      optimizer="adam", rate=0.001, batch=batch,
                      dtype="float32" if workload == "e" else "float64")
        ]  # fmt: skip
    rows, labels = images(1024 * (2 if quick else 58))
    return [make_task("d, sgd", [784, 2048, 2048, 10], rows, labels, len(rows) // 1024, batch=1024)]


def cats(quick):
    """The course's network and images; drawn data of their shape if the files are absent."""
    if quick:
        rng = np.random.default_rng(0)
        return [768, 20, 7, 5, 1], "synthetic", rng.random((50, 768)), rng.integers(0, 2, 50)
    dims = [12288, 20, 7, 5, 1]
    if files := cat_files():
        data = load_dataset(files[0], "train")
        return dims, "cat images", data.columns("float64").T, data.labels
    rng = np.random.default_rng(0)
    return dims, "synthetic", rng.integers(0, 256, (209, 12288)) / 255, rng.integers(0, 2, 209)


def images(m):
    """Like handwritten digits of 28x28: strokes of ten classes, a fifth of the pixels lit."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, m)
    coarse = rng.random((10, 7, 7)) ** 3
    strokes = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2).reshape(10, 784)
    noise = rng.random((m, 784), dtype=np.float32)
    return np.clip(strokes[labels].astype(np.float32) + noise - 0.75, 0, 1), labels


def digits():
    """The embedded digits, as many as fill batches of 32, so that nobody compiles twice."""
    train, _ = load_digits()
    m = len(train) // 32 * 32
    return train.columns("float32").T[:m], train.labels[:m]
