#!/usr/bin/env python3
"""What it costs to leave data in their file: time and memory of a run, beside the run in memory.

    scripts/bench/streams.py [--megabytes 600] [--epochs 3] [--rounds 5]
                              [--backends numpy,torch,jax]

It writes an NPY file of float32 with 784 values in a row, and trains [784, 256, 128, 10] on it by
Adam in batches of 128, then predicts. Each run has a process of its own, and the two
kinds take turns. The file is in the page cache, since it was just written and read. Memory is the
peak of RssAnon over that of a small run before: pages of files do not count. Ratios are those of
stream to memory, as medians over the rounds. Exit code 1 if the fingerprints differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

COLUMNS, CLASSES = 784, 10


def anonymous():
    """The anonymous memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """The largest anonymous memory while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            self.most = max(self.most, anonymous())


def one_run(folder, backend, stream, epochs):
    """Train and predict, and print what it took as JSON."""
    import numpy as np

    import portadnn as dnn

    options = {"layers": [256, 128], "optimizer": "adam", "batch_size": 128, "rng": 0}
    options |= {"backend": backend, "epochs": 1}
    rng = np.random.default_rng(0)
    small = dnn.Dataset(
        rng.random((1024, COLUMNS), np.float32), np.arange(1024) % CLASSES,
        tuple(map(str, range(CLASSES))),
    )  # fmt: skip
    dnn.train(small, **options)
    peak, before = Peak(), anonymous()
    peak.start()
    data = dnn.load_dataset(folder / "x.npy", labels=folder / "y.npy", stream=stream)
    started = time.perf_counter(), time.process_time()
    model = dnn.train(data, **options | {"epochs": epochs})
    wall, processor = time.perf_counter() - started[0], time.process_time() - started[1]
    dnn.predict(model, data, backend=backend)
    peak.over.set()
    peak.join()
    found = {"wall": wall, "processor": processor, "memory": peak.most - before}
    print(json.dumps(found | {"fingerprint": dnn.fingerprint(model)}))


def write_data(folder, size):
    """The files, a block at a time."""
    import numpy as np

    rng, m = np.random.default_rng(1), size // (4 * COLUMNS)
    examples = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (m, COLUMNS))
    for start in range(0, m, 10_000):
        part = examples[start : start + 10_000]
        part[:] = rng.random(part.shape, np.float32)
    examples.flush()
    np.save(folder / "y.npy", rng.integers(0, CLASSES, m))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default="numpy,torch,jax")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        folder, backend, kind = given.one
        one_run(Path(folder), backend, kind == "stream", given.epochs)
        return 0
    code = 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        write_data(Path(folder), given.megabytes * 10**6)
        print("backend   wall ratio   processor ratio   memory: in memory   stream   bits")
        for backend in given.backends.split(","):
            runs = {"memory": [], "stream": []}
            for _ in range(given.rounds):
                for kind, found in runs.items():
                    command = [sys.executable, __file__, "--one", folder, backend, kind]
                    command += ["--epochs", str(given.epochs)]
                    output = subprocess.run(command, check=True, capture_output=True, text=True)
                    found.append(json.loads(output.stdout.splitlines()[-1]))
            pairs = list(zip(*runs.values(), strict=True))
            ratios = [
                statistics.median(s[what] / m[what] for m, s in pairs)
                for what in ("wall", "processor")
            ]
            memory = [max(run["memory"] for run in found) / 1e6 for found in runs.values()]
            same = len({run["fingerprint"] for found in runs.values() for run in found}) == 1
            code |= not same
            bits = "equal" if same else "DIFFERENT"
            print(
                f"{backend:9} {ratios[0]:10.2f} {ratios[1]:17.2f} {memory[0]:16.0f} MB "
                f"{memory[1]:5.0f} MB   {bits}",
                flush=True,
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
