"""The bits of reproducible training, against those that the checkout ships."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "fingerprints"


def fingerprints(work):
    """Only the backend under test trains; scripts/fingerprints.json has the expected values."""
    steps = 5 if work.small else 200
    found = work.path.with_name("fingerprints.found.json")
    command = [
        sys.executable, str(SCRIPT), "--expect", "--steps", str(steps),
        "--backends", work.connect().name, "--json", str(found),
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
