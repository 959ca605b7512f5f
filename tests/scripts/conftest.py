"""What the tests of scripts/gpu_check share."""

import importlib
import os
import sys
from pathlib import Path

import pytest
from support import SCRIPTS


@pytest.fixture
def gpu(monkeypatch):
    """Load a module of the check; its processes also find fake_stages.py."""
    folders = [Path(__file__).parent, SCRIPTS.parent, SCRIPTS, SCRIPTS / "bench"]
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*map(str, folders), *inherited]))
    for folder in folders[2:]:
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in list(sys.modules):
        if name.partition(".")[0] in ("gpu", "contest", "cats"):
            del sys.modules[name]
