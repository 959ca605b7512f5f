"""The work of ``daily.py``: each function does it once in its process and returns what it took."""

from __future__ import annotations

import functools
import gzip
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contest.worker import memory

FASHION = Path("/usr/share/datasets/fashion-mnist")
DIMS, BATCH, RATE = (784, 256, 128, 10), 128, 0.001
OPTIONS = {"layers": DIMS[1:-1], "optimizer": "adam", "batch_size": BATCH, "rng": 1}


class Absent(Exception):
    """Data that are not on this machine."""


class Work(NamedTuple):
    """``asked`` has (ours, against whom or how much, at least how many times)."""

    title: str
    unit: str
    asked: tuple
    entrants: dict[str, Callable]
    process: bool = False  # whether the time is that of the whole process


def fashion(quick, part="train"):
    """Images (m, 784) in float32 and labels."""
    found = []
    for what, start in (("images-idx3", 16), ("labels-idx1", 8)):
        path = FASHION / f"{part}-{what}-ubyte.gz"
        if not path.exists():
            raise Absent(f"{path} is not here: apt install dataset-fashion-mnist")
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start))
    m = len(found[1]) // (10 if quick else 1)
    X, y = found[0].reshape(-1, 784)[:m], found[1][:m]
    return X / np.float32(255), y.astype(np.int64)


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def steady(work, seconds=1.0):
    """The median time of a call, after one that warms up."""

    def several(n):
        started = time.perf_counter()
        for _ in range(n):
            work()
        return time.perf_counter() - started

    n = 1
    several(1)
    while (taken := several(n)) < 0.01:
        n *= 4
    times = max(5, min(100, int(seconds / taken)))
    return {"value": statistics.median(several(n) / n for _ in range(times))}


# training with scores: ``begin(X, y, validation)`` returns a function that makes epochs


def ours(backend):
    def begin(X, y, validation):
        import portadnn as dnn

        return lambda epochs: dnn.train(
            X, y, epochs=epochs, backend=backend, learning_rate=RATE, validation=validation,
            **OPTIONS,
        )  # fmt: skip

    return begin


def pytorch(fused):
    def begin(X, y, validation):
        import torch
        from torch.nn.functional import cross_entropy

        torch.manual_seed(1)
        X, y, X_val, y_val = map(torch.from_numpy, (X, y, *validation))
        layers = []
        for n, k in itertools.pairwise(DIMS):
            layers += [torch.nn.Linear(n, k), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused or None)

        def epochs(n):
            for _ in range(n):
                total = torch.zeros(())
                for batch in torch.randperm(len(X)).split(BATCH):
                    optimizer.zero_grad()
                    cost = cross_entropy(model(X[batch]), y[batch])
                    cost.backward()
                    optimizer.step()
                    total += cost.detach()
                with torch.inference_mode():
                    Z = model(X_val)
                    float(cross_entropy(Z, y_val)), float((Z.argmax(1) == y_val).float().mean())
                float(total)
            return model

        return epochs

    return begin


def jax_scan(columns):
    """One jitted scan over the whole batches, one step for the rest, one jitted score."""

    def begin(X, y, validation):
        import jax
        import jax.numpy as jnp

        rng = np.random.default_rng(1)
        # columns: W @ X; rows: X @ W
        product = (lambda W, A: W @ A) if columns else (lambda W, A: A @ W)
        parameters = []
        for n, k in itertools.pairwise(DIMS):
            W = rng.standard_normal((n, k), dtype=np.float32) * np.float32((2 / n) ** 0.5)
            shape = (k, 1) if columns else (k,)
            parameters.append((jnp.asarray(W.T if columns else W), jnp.zeros(shape)))
        X, y, X_val, y_val = map(jnp.asarray, (X, y, *validation))

        def logits(parameters, A):
            A = A.T if columns else A
            for W, b in parameters[:-1]:
                A = jax.nn.relu(product(W, A) + b)
            W, b = parameters[-1]
            Z = product(W, A) + b
            return Z.T if columns else Z

        def cost(parameters, A, labels):
            picked = jnp.take_along_axis(
                jax.nn.log_softmax(logits(parameters, A)), labels[:, None], 1
            )
            return -picked.mean()

        def step(state, batch, X, y):
            parameters, v, s, t = state
            value, g = jax.value_and_grad(cost)(parameters, X[batch], y[batch])
            t = t + 1
            v = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g, v, g)
            s = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, s, g)
            c1, c2 = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
            parameters = jax.tree.map(
                lambda p, v, s: p - RATE * (v * c1) / (jnp.sqrt(s * c2) + 1e-8), parameters, v, s
            )
            return (parameters, v, s, t), value

        # the data are arguments: constants of a program would be compiled with it, for seconds
        @functools.partial(jax.jit, donate_argnums=0)
        def scan(state, order, X, y):
            return jax.lax.scan(lambda state, batch: step(state, batch, X, y), state, order)

        rest = jax.jit(step, donate_argnums=0)

        @jax.jit
        def score(parameters, X_val, y_val):
            Z = logits(parameters, X_val)
            return cost(parameters, X_val, y_val), jnp.mean(Z.argmax(1) == y_val)

        zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in "vs"]
        state = [(parameters, *zeros, jnp.zeros(()))]

        def epochs(n):
            whole = len(y) // BATCH * BATCH
            for _ in range(n):
                order = rng.permutation(len(y))
                state[0], costs = scan(state[0], order[:whole].reshape(-1, BATCH), X, y)
                if whole < len(y):
                    state[0], _ = rest(state[0], order[whole:], X, y)
                float(costs.mean()), [float(x) for x in score(state[0][0], X_val, y_val)]
            return state[0][0]

        return epochs

    return begin


def estimator(ours):
    def begin(X, y, validation):
        if ours:
            from portadnn.estimator import PortaDNNClassifier as Classifier
        else:
            from sklearn.neural_network import MLPClassifier as Classifier
        warnings.simplefilter("ignore")
        return lambda epochs: Classifier(
            DIMS[1:-1], batch_size=BATCH, max_iter=epochs, random_state=1, alpha=0.0
        ).fit(X, y)

    return begin


def epoch(begin, quick):
    """The seconds of an epoch, from two lengths of one call, so that its start is not in it."""
    run = begin(*fashion(quick), fashion(quick, "t10k"))
    run(1)
    one, four = timed(lambda: run(1)), timed(lambda: run(4))
    return {"value": max(four - one, 1e-9) / 3}


def three_epochs(begin, quick):
    begin(*fashion(quick), fashion(quick, "t10k"))(3)
    return {"value": 0.0}  # the process is timed from outside


def first_call(begin, quick):
    """The seconds from host arrays to the end of the first epoch: compiled, but imported before."""
    import jax

    import portadnn as dnn

    jax.block_until_ready(jax.numpy.zeros(1))
    dnn.get_backend("jax"), dnn.train  # the names load what the call needs
    data = *fashion(quick), fashion(quick, "t10k")
    return {"value": timed(lambda: begin(*data)(1))}


TRAINED = {
    "portadnn numpy": ours("numpy"), "portadnn jax": ours("jax"), "portadnn torch": ours("torch"),
    "JAX scan, rows": jax_scan(False), "JAX scan, columns": jax_scan(True),
    "PyTorch eager": pytorch(False), "PyTorch fused": pytorch(True),
    "scikit-learn MLPClassifier, no scores": estimator(False),
}  # fmt: skip


def of(function, entrants):
    return {name: functools.partial(function, begin) for name, begin in entrants.items()}


# one unit over many rows, the whole call of 20 steps


def tall_data(quick):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000 if quick else 1_000_000, 100), dtype=np.float32)
    return X, (X[:, 0] + rng.standard_normal(len(X), dtype=np.float32) > 0).astype(np.int64)


def tall(begin, quick):
    run = begin(*tall_data(quick))
    run()
    return {"value": statistics.median(timed(run) for _ in range(3))}


def tall_ours(backend):
    def begin(X, y):
        import portadnn as dnn

        return lambda: dnn.train(
            X, y, layers=[], learning_rate=0.1, epochs=20, backend=backend, rng=1
        )

    return begin


def tall_numpy(X, y):
    def run():
        W, b = np.full((1, X.shape[1]), 0.01, np.float32), np.zeros((1, 1), np.float32)
        Y = y[None].astype(np.float32)
        for _ in range(20):
            Z = W @ X.T + b
            t = np.exp(-np.abs(Z))
            float(np.mean(np.maximum(Z, 0) - Y * Z + np.log1p(t)))
            dZ = np.where(Z >= 0, 1, t) / (1 + t) - Y
            W, b = W - 0.1 * (dZ @ X / X.shape[0]), b - 0.1 * dZ.mean()
        return W

    return run


def tall_torch(X, y):
    import torch

    def run():
        A, Y = torch.from_numpy(X), torch.from_numpy(y[:, None].astype(np.float32))
        model = torch.nn.Linear(X.shape[1], 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(model(A), Y).backward()
            optimizer.step()

    return run


# predictions


def predicted(begin, quick, rows=None):
    X, y = fashion(quick)
    predict, X = begin(X[:2000], y[:2000]), X[:rows]
    return steady(lambda: predict(X))


def predict_ours(backend):
    def begin(X, y):
        import portadnn as dnn

        model = dnn.train(X, y, epochs=1, backend="numpy", **OPTIONS)
        if backend is None:
            return model.predict
        return lambda X: dnn.predict(model, X, backend=backend).labels

    return begin


def predict_estimator(ours):
    def begin(X, y):
        return estimator(ours)(X, y, None)(1).predict

    return begin


def predict_torch(X, y):
    import torch

    model = pytorch(True)(X, y, (X, y))(1)

    def predict(X):
        with torch.inference_mode():
            return model(torch.from_numpy(X)).argmax(1).numpy()

    return predict


def predict_numpy(X, y):
    weights = estimator(False)(X, y, None)(1)
    layers = list(zip(weights.coefs_, weights.intercepts_, strict=True))

    def predict(X):
        found = []
        for start in range(0, len(X), 1024):
            A = X[start : start + 1024]
            for W, b in layers[:-1]:
                A = A @ W
                A += b
                np.maximum(A, 0, out=A)
            found.append((A @ layers[-1][0] + layers[-1][1]).argmax(1))
        return np.concatenate(found)

    return predict


def predict_jax(X, y):
    import jax

    weights = estimator(False)(X, y, None)(1)
    layers = [jax.device_put(x) for x in zip(weights.coefs_, weights.intercepts_, strict=True)]

    @jax.jit
    def labels(layers, A):
        for W, b in layers[:-1]:
            A = jax.nn.relu(A @ W + b)
        return (A @ layers[-1][0] + layers[-1][1]).argmax(1)

    return lambda X: np.asarray(labels(layers, X))


PREDICTING = {
    "portadnn numpy": predict_ours(None), "portadnn jax": predict_ours("jax"),
    "portadnn estimator": predict_estimator(True), "scikit-learn": predict_estimator(False),
    "PyTorch": predict_torch, "JAX jit": predict_jax, "plain NumPy": predict_numpy,
}  # fmt: skip


# memory


def taken(what):
    """The peak over the data's own bytes, of what follows when data and imports are there."""

    def run(quick):
        import portadnn as dnn

        if what == "jax":
            dnn.get_backend("jax").asarray(np.zeros(1))
        rng = np.random.default_rng(0)
        m = 40_000 if quick else 400_000
        X, y = rng.random((m, 200), dtype=np.float32), np.arange(m) % 10
        train = functools.partial(dnn.train, layers=[8], epochs=1, batch_size=4096, rng=1)
        model = train(X[:8192], y[:8192], backend=what if what == "jax" else "numpy")
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the last peak
        if what == "load":
            dnn.Dataset(X, y, tuple("0123456789"))
        elif what == "predict":
            model.predict(X)
        else:
            train(X, y, backend=what)
        return {"value": 1 + (memory("VmHWM") - before) / X.nbytes}

    return run


# a regressor


def regressor(ours):
    def run(quick):
        if ours:
            from portadnn.estimator import PortaDNNRegressor as Regressor
        else:
            from sklearn.neural_network import MLPRegressor as Regressor
        warnings.simplefilter("ignore")
        rng = np.random.default_rng(0)
        X = rng.standard_normal((2000 if quick else 20_000, 8)).astype(np.float32)
        y = X[:, 0] * X[:, 1] + np.sin(X[:, 2])
        options = {"backend": ours} if ours else {}
        model = Regressor(hidden_layer_sizes=(100,), max_iter=10, random_state=0, **options)
        model.fit(X, y)
        return {"value": statistics.median(timed(lambda: model.fit(X, y)) for _ in range(3))}

    return run


WORK = {
    "epoch": Work(
        "Fashion-MNIST, an epoch with scores", "time",
        (("portadnn", "peers", 1.0), ("portadnn numpy", "PyTorch fused", 1.2),
         ("portadnn numpy", "scikit-learn", 1.6)),
        of(epoch, TRAINED),
    ),
    "process": Work(
        "Fashion-MNIST, the whole process of 3 epochs", "time", (("portadnn", "peers", 1.2),),
        of(three_epochs, TRAINED), process=True,
    ),
    "first": Work(
        "Fashion-MNIST, the first call on JAX with validation", "time",
        (("portadnn jax", "JAX scan", 1.0),),
        of(first_call, {name: b for name, b in TRAINED.items() if "jax" in name.lower()}),
    ),
    "classifier": Work(
        "Fashion-MNIST, an epoch of the estimators", "time", (("portadnn", "peers", 1.4),),
        of(epoch, {"portadnn PortaDNNClassifier": estimator(True),
                   "scikit-learn MLPClassifier": estimator(False)}),
    ),
    "tall": Work(
        "[100, 1], 1,000,000 rows, 20 steps", "time", (("portadnn", "plain NumPy", 1.0),),
        of(tall, {"portadnn numpy": tall_ours("numpy"), "portadnn jax": tall_ours("jax"),
                  "plain NumPy": tall_numpy, "PyTorch": tall_torch}),
    ),
    "predict": Work(
        "Predict 60,000 rows", "time",
        (("portadnn numpy", "scikit-learn", 1.15), ("portadnn estimator", "scikit-learn", 1.15)),
        of(predicted, PREDICTING),
    ),
    "row": Work(
        "Predict one row", "time",
        (("portadnn numpy", "PyTorch", 1.0), ("portadnn jax", "PyTorch", 1.0)),
        of(functools.partial(predicted, rows=1), PREDICTING),
    ),
    "memory": Work(
        "Memory over data", "times the data",
        (("portadnn load", 1.05, 1.0), ("portadnn numpy", 1.1, 1.0), ("portadnn jax", 2.2, 1.0)),
        {f"portadnn {what}": taken(what) for what in ("load", "predict", "numpy", "jax")},
    ),
    "regressor": Work(
        "A regressor (100,), 20,000 x 8, 10 epochs", "time", (("portadnn", "peers", 1.0),),
        {"portadnn numpy": regressor("numpy"), "portadnn jax": regressor("jax"),
         "scikit-learn MLPRegressor": regressor(None)},
    ),
}  # fmt: skip
