"""The bits of reproducible training, against those that the checkout ships."""

import json
import subprocess
import sys
from pathlib import Path

from gpu.work import Skip

SCRIPT = Path(__file__).resolve().parents[2] / "fingerprints"


def fingerprints(work):
    """Only the backend under test trains; scripts/fingerprints.json has the expected values."""
    _compare(work, [work.connect().name])


def libraries(work):
    """The same on the same card through PyTorch and JAX, if they are there."""
    from portadnn.backends import BackendUnavailableError

    found = []
    for name in ("torch:cuda", "jax:gpu"):
        try:
            work.connect(name=name)
            found.append(name)
        except (BackendUnavailableError, ValueError) as error:
            work.say(f"* {name} was left out: {error}".splitlines()[0])
    if not found:
        raise Skip("neither PyTorch nor JAX has a GPU here")
    _compare(work, found)


def _compare(work, backends):
    steps = 5 if work.small else 200
    found = work.path.with_name(f"{work.name}.found.json")
    command = [
        sys.executable, str(SCRIPT), "--expect", "--first", "--steps", str(steps),
        "--backends", ",".join(backends), "--json", str(found),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    work.figures.update(steps=steps, exit_code=done.returncode)
    if found.exists():
        work.figures["sha256"] = json.loads(found.read_text(encoding="utf-8"))
    work.say(*(f"* {line}" for line in done.stdout.splitlines()))
    if done.returncode == 1:
        work.fail("the weights have other bits")
    elif done.returncode:
        work.fail("the training could not run")
