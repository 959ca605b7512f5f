"""The tests on the backend under test, in parallel, with JUnit output."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
TESTS = ("tests/arithmetic", "tests/backends", "tests/network", "tests/parity", "tests/training")
FEW_TESTS = ("tests/network/test_losses.py", "tests/network/test_penalties.py")  # with small sizes
OPTIONS = ("--backend-tests",)  # the tests that use no backend have run elsewhere
MEMORY = 2**30  # bytes of the card for each process: CUDA's context, cuBLAS and the data
MOST_NAMES = 50  # failures that the report names


def suite(work):
    """Run the tests, keep their JUnit file, and count."""
    count = processes(work.connect())
    has_xdist = importlib.util.find_spec("xdist") is not None
    how = f"{count} processes, {'pytest-xdist' if has_xdist else 'a file at a time each'}"
    work.figures.update(processes=count, xdist=has_xdist)
    run = run_with_xdist if has_xdist else run_by_file
    junit = work.keep / "junit.xml"
    complete, codes = run(work, FEW_TESTS if work.small else TESTS, count, junit)
    counts, failures = read_junit(junit)
    work.figures.update(counts, failures=failures, complete=complete, exit_codes=codes)
    numbers = ", ".join(f"{n} {what}" for what, n in counts.items())
    work.say(f"* {numbers} ({how})", *(f"* failed: `{name}`" for name in failures[:MOST_NAMES]))
    if len(failures) > MOST_NAMES:
        work.say(f"* and {len(failures) - MOST_NAMES} more, see junit.xml")
    if not complete:
        work.fail(f"the tests were stopped, for the stage's limit was near: {numbers} until then")
    if failures:
        work.fail(f"{len(failures)} tests failed")
    elif complete and (any(codes) or not counts["passed"]):
        work.fail(f"pytest ended with {codes}, {numbers}")


def processes(backend):
    """One for each core, as far as the memory of the card goes."""
    cores = len(os.sched_getaffinity(0))
    if backend.library != "cupy":
        return cores
    import cupy

    with backend.scope():
        free, _ = cupy.cuda.runtime.memGetInfo()
    return max(1, min(cores, free // MEMORY))


def command(backend, junit):
    """pytest without the plugins of this Python, whose warnings would be errors here."""
    plugins = ["-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-q", "--tb=short", *plugins, *OPTIONS,
            "--portadnn-backends", backend, f"--junitxml={junit}"]  # fmt: skip


def start(words, output=None):
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # without the options and the worker's name of a pytest that runs this check
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.Popen(
        words, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        env=inherited | threads | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip


def run_with_xdist(work, tests, count, junit):
    """Whether pytest came to its end, and its exit code."""
    words = [*command(work.backend, junit), "-p", "xdist", "-n", str(count)]
    pytest = start([*words, "--dist", "worksteal", *tests])
    with contextlib.suppress(subprocess.TimeoutExpired):
        pytest.wait(max(1.0, work.left - 10))
    complete = pytest.poll() is not None
    if not complete:
        pytest.send_signal(signal.SIGINT)  # then pytest writes its JUnit file
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.wait(10)
    return complete, [pytest.poll()]


def run_by_file(work, tests, count, junit):
    """Without pytest-xdist: so many processes, each with one test file, the largest first."""
    files = [path for test in tests for path in test_files(CHECKOUT / test)]
    files.sort(key=lambda path: path.stat().st_size, reverse=True)
    folder = work.path.with_name("junit")
    folder.mkdir()
    queue = [(path, folder / f"{i}.xml") for i, path in enumerate(files)]
    waiting, running, codes = list(queue), {}, []
    while (waiting or running) and work.left > 0:
        while waiting and len(running) < count:
            path, xml = waiting.pop(0)
            with open(xml.with_suffix(".txt"), "wb") as output:
                running[start([*command(work.backend, xml), str(path)], output)] = path, xml
        for process in [p for p in running if p.poll() is not None]:
            path, xml = running.pop(process)
            codes.append(0 if process.returncode == 5 else process.returncode)  # 5: no tests
            if codes[-1]:
                print(xml.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")[-3000:])
            print(f"{path.relative_to(CHECKOUT)}: exit code {process.returncode}", flush=True)
        time.sleep(0.05)
    complete = not (waiting or running)
    for process in running:
        process.kill()
        process.wait()
    merge([xml for _, xml in queue if xml.exists()], junit)
    return complete, codes


def test_files(path):
    return [path] if path.is_file() else sorted(path.glob("**/test_*.py"))


def merge(parts, junit):
    """One JUnit file out of several."""
    root = ElementTree.Element("testsuites")
    for part in parts:
        root.extend(ElementTree.parse(part).getroot().iter("testsuite"))
    ElementTree.ElementTree(root).write(junit, encoding="utf-8", xml_declaration=True)


def read_junit(junit):
    """The numbers of tests by outcome, and the names of those that failed."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    root = ElementTree.parse(junit).getroot() if junit.exists() else ElementTree.Element("nothing")
    for part in root.iter("testsuite"):  # a test that was stopped has an entry, but is not counted
        tests, skipped = int(part.get("tests")), int(part.get("skipped"))
        failed = int(part.get("failures")) + int(part.get("errors"))
        counts["passed"] += tests - failed - skipped
        counts["failed"] += failed
        counts["skipped"] += skipped
    failures = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in root.iter("testcase")
        if {"failure", "error"} & {child.tag for child in case}
    ]
    return counts, failures
