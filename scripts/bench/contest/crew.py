"""The workers, from the side of the program that gives the orders."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

from contest.entrants import OURS
from portadnn.blas import VARIABLE, kernel_for, this_processor

BENCH = Path(__file__).resolve().parents[1]
STOCK = "@stock"  # after an entrant's name: with the BLAS kernel that NumPy picks by itself
ALONE = "@1"  # after a peer's name: with one thread, which is faster for small products


class Failed(Exception):
    """A worker could not do what it was told; it is ``absent`` where its library is."""

    def __init__(self, text, absent=False):
        super().__init__(text)
        self.absent = absent


class Worker:
    """A child process with one entrant.

    One that does not answer within ``patience`` seconds is killed. That is a fault of portadnn, and
    an absence of a peer, torch.compile for example, which may take minutes.
    """

    def __init__(self, name, threads, patience=None):
        self.name, self.patience = name, patience
        entrant, _, how = name.partition("@")
        threads = int(how) if how.isdigit() else threads
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(BENCH), str(BENCH.parents[1]), os.environ.get("PYTHONPATH")])
            ),
            "CONTEST_CORES": ",".join(map(str, cores()[:threads])),
        }
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        # JAX takes three quarters of the card otherwise, which the others need too
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        environment.pop(VARIABLE, None)
        if how != STOCK[1:] and (kernel := fastest_kernel()):
            environment[VARIABLE] = kernel
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contest.worker", entrant],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def ask(self, command, *arguments):
        self.tell(command, *arguments)
        return self.hear()

    def tell(self, command, *arguments):
        """Give an order without waiting: ``hear`` gets the answer."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([command, *arguments]), file=self.process.stdin, flush=True)

    def hear(self):
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            self.process.kill()
            ours = self.name.partition("@")[0] in OURS
            raise Failed(f"no answer within {self.patience:g} s", absent=not ours)
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the process ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"], answer["absent"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def cores():
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def fastest_kernel():
    """What the command-line program sets OPENBLAS_CORETYPE to here, or None."""
    return kernel_for(this_processor())
