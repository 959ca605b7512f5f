#!/usr/bin/env python3
"""What a step costs on ranks: portadnn over MPI, PyTorch's DDP over gloo, and JAX on two processes.

    scripts/bench/ranks.py [--ranks 1,2] [--repeats 3] [--steps 10] [--only TEXT] [--json FILE]

[784, 512, 512, 10], a whole batch of 8,192 examples, gradient descent, float32, one thread a rank.
The entrants run in turn; it prints the median of a step's seconds on the slowest rank, the ratio to
one rank, and for portadnn the bytes of all sums over the ranks as a multiple of the gradients.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from launcher import mpiexec  # noqa: E402

DIMS, M = (784, 512, 512, 10), 8192
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
OURS = (
    ("numpy", "fast", "float32"),
    ("numpy", "reproducible", "float32"),
    ("numpy", "reproducible", "float64"),
)
PEERS = ("torch.distributed", "jax")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="the entrants whose names have this text")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(json.loads(arguments.worker))
    entrants = [("portadnn", how) for how in OURS] + [(peer, ()) for peer in PEERS]
    jobs = [
        {"entrant": entrant, "how": how}
        for entrant, how in entrants
        if arguments.only in " ".join([entrant, *how])
    ]
    found = {}
    for _ in range(arguments.repeats):
        for job in jobs:
            for k in map(int, arguments.ranks.split(",")):
                made = launched(job | {"steps": arguments.steps, "size": k}, k)
                name = " ".join([job["entrant"], *job["how"]])
                found.setdefault(name, {}).setdefault(k, []).append(made)
    print(f"{'':44} ranks   ms a step   times as fast   sums / gradients")
    for name, runs in found.items():
        for k, made in runs.items():
            good = [m for m in made if m]
            if not good:
                print(f"{name:44} {k:5}   could not run")
                continue
            one = [m["seconds"] for m in runs[min(runs)] if m]
            ratios = [a / b["seconds"] for a, b in zip(one, good, strict=False)]
            ms = 1000 * statistics.median(m["seconds"] for m in good)
            size = good[0].get("ratio")
            print(
                f"{name:44} {k:5} {ms:11.1f} {statistics.median(ratios):11.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}) {'' if size is None else f'{size:.3f}'}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def launched(job, k):
    """The seconds of a step on the slowest rank; None if it could not run."""
    environment = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": str(ROOT)}
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    worker = [sys.executable, __file__, "--worker"]
    if job["entrant"] == "portadnn":
        commands = [[mpiexec(), "-n", str(k), *worker, json.dumps(job)]]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            job["port"] = free.getsockname()[1]
        commands = [[*worker, json.dumps(job | {"rank": rank})] for rank in range(k)]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
        for command in commands
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    lines = [line for out, _ in outputs for line in out.splitlines() if line.startswith("{")]
    if len(lines) < len(commands):
        print(outputs[0][1][-500:], file=sys.stderr)
        return None
    made = [json.loads(line) for line in lines]
    return max(made, key=lambda one: one["seconds"])


def work(job):
    """One rank of one entrant, which prints a line."""
    import numpy as np

    os.sched_setaffinity(0, {own_core(job)})
    rng = np.random.default_rng(0)
    X, labels = rng.random((M, DIMS[0]), np.float32), rng.integers(0, DIMS[-1], M)
    made = {"portadnn": ours, "torch.distributed": of_torch, "jax": of_jax}[job["entrant"]]
    if (result := made(job, X, labels)) is not None:
        print(json.dumps(result), flush=True)
    return 0


def own_core(job):
    """One core for each rank."""
    names = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
    rank = job.get("rank", next((int(os.environ[n]) for n in names if n in os.environ), 0))
    return sorted(os.sched_getaffinity(0))[rank % len(os.sched_getaffinity(0))]


def ours(job, X, labels):
    import numpy as np

    import portadnn
    from portadnn.parallel import as_ranks

    backend, arithmetic, dtype = job["how"]
    ranks = as_ranks("mpi") if job["size"] > 1 else None
    times, sums = [], []

    class Clock:
        def on_progress(self, state):
            times.append((state.steps_done, time.perf_counter()))
            sums.append(ranks.bytes if ranks else 0)

    class Quiet:
        def on_epoch_end(self, state):
            pass

    steps = job["steps"]
    model = portadnn.train(
        X.astype(dtype), labels.astype(str), layers=DIMS[1:-1], epochs=2 * steps + 1,
        learning_rate=0.01, report_every=10**6, backend=backend, arithmetic=arithmetic, dtype=dtype,
        callbacks=[Clock() if ranks is None or ranks.first else Quiet()], ranks=ranks,
    )  # fmt: skip
    if ranks is not None and not ranks.first:
        return None  # the first rank prints: mpiexec may join lines of two ranks
    half = [i for i, (done, _) in enumerate(times) if done >= steps // 2]
    (s0, t0), (s1, t1) = times[half[0]], times[-1]
    gradients = sum(p.nbytes for p in model.parameters.values())
    per_step = (sums[-1] - sums[half[0]]) / (s1 - s0)
    assert np.isfinite(model.history[-1].cost)
    return {"seconds": (t1 - t0) / (s1 - s0), "ratio": per_step / gradients}


def of_torch(job, X, labels):
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    rank, size = job["rank"], job["size"]
    address = f"tcp://127.0.0.1:{job['port']}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    layers = []
    for n_in, n_out in itertools.pairwise(DIMS):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    network = DistributedDataParallel(network) if size > 1 else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    own = slice(M * rank // size, M * (rank + 1) // size)
    x, y = torch.from_numpy(X[own]), torch.from_numpy(labels[own])

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return {"seconds": timed(step, job["steps"])}


def of_jax(job, X, labels):
    import jax

    rank, size = job["rank"], job["size"]
    if size > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{job['port']}", size, rank)
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.asarray(jax.devices()), ("examples",))
    split = NamedSharding(mesh, PartitionSpec(None, "examples"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    own = slice(M * rank // size, M * (rank + 1) // size)
    Y = np.eye(DIMS[-1], dtype=np.float32)[labels].T
    x, y = (
        jax.make_array_from_process_local_data(split, np.ascontiguousarray(a[:, own]), a.shape)
        for a in (X.T, Y)
    )
    rng = np.random.default_rng(1)
    weights = [
        jax.device_put((0.05 * rng.standard_normal((n_out, n_in))).astype(np.float32), everywhere)
        for n_in, n_out in itertools.pairwise(DIMS)
    ]

    def cost(weights, x, y):
        A = x
        for W in weights[:-1]:
            A = jax.nn.relu(W @ A)
        return -jnp.sum(y * jax.nn.log_softmax(weights[-1] @ A, axis=0)) / M

    @jax.jit
    def update(weights, x, y):
        gradients = jax.grad(cost)(weights, x, y)
        return [W - 0.01 * g for W, g in zip(weights, gradients, strict=True)]

    def step():
        nonlocal weights
        weights = jax.block_until_ready(update(weights, x, y))

    return {"seconds": timed(step, job["steps"])}


def timed(step, steps):
    """Seconds of a step after a few."""
    for _ in range(3):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


if __name__ == "__main__":
    sys.exit(main())
