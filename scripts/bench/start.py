#!/usr/bin/env python3
"""How long it takes to begin: imports, and `portadnn train` on the digits to its first step.

    scripts/bench/start.py [--repeats 9]

Each in a process of its own, from its start on the parent's clock; the first step is made when its
report is in the log. The files are in the page cache and the bytecode is compiled. The exit code is
1 where the first step takes a second or more.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    measured = {
        "python -c pass": lambda: imports("pass"),
        "import numpy": lambda: imports("import numpy"),
        "import portadnn": lambda: imports("import portadnn"),
        "from portadnn import L_layer_model": lambda: imports("from portadnn import L_layer_model"),
        "portadnn train, first step": first_step,
    }
    times = {name: [] for name in measured}
    for i in range(arguments.repeats + 1):
        for name, work in measured.items():
            seconds = work()
            if i:  # the first compiles bytecode and fills caches
                times[name].append(seconds)
    print("| what | median | least | most |\n|---|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {statistics.median(seconds):.3f} s | {min(seconds):.3f} s | "
              f"{max(seconds):.3f} s |")  # fmt: skip
    return int(statistics.median(times["portadnn train, first step"]) >= LIMIT)


def imports(code):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    return time.perf_counter() - started


def first_step():
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        command = [sys.executable, "-m", "portadnn", "train", "--epochs", "1", "--quiet",
                   "--out", str(Path(folder) / "run"), "--log", str(log)]  # fmt: skip
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment())
        while process.poll() is None:
            if (
                log.exists() and log.read_text(encoding="utf-8").count("\n") > 1
            ):  # a row below the names
                seconds = time.perf_counter() - started
                if process.wait() == 0:
                    return seconds
            time.sleep(0.001)
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())
