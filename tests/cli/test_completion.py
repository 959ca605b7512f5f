"""What the help says of the kind of a value, and what a shell completes."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from typing import get_args

import pytest

from portadnn.backends import ARITHMETICS, DTYPES, MATMULS
from portadnn.backends.registry import CLASSES
from portadnn.cli import run_options
from portadnn.data.labels import TASKS
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import _VARIANCES
from portadnn.network.optimizers import OPTIMIZERS
from portadnn.training.sample_space import CHOICES
from portadnn.training.schedules import SCHEDULES

NAMES = {
    "task": TASKS,
    "activation": ACTIVATIONS,
    "init": _VARIANCES,
    "optimizer": [*OPTIMIZERS, "lbfgs"],
    "schedule": SCHEDULES,
    "first_layer": CHOICES,
    "backend": [*CLASSES, "auto"],
    "dtype": DTYPES,
    "arithmetic": ARITHMETICS,
    "matmul": MATMULS,
}
KINDS = {
    "FLOAT": {"learning_rate", "clip_norm", "l2", "l1", "dropout", "label_smoothing"},
    "INT": {"layers", "size", "epochs", "batch_size", "report_every", "early_stopping", "seed"},
    "PATH": {"test"},
    "FLOAT|PATH": {"validation"},
    "INT|STR": {"rng"},
    "STR": {"class_weight", "target", "preprocess"},
    "CHOICE": set(NAMES),
}


def test_the_names_are_those_of_the_library():
    names = {name: list(get_args(kind)) for name, kind in run_options._NAMES.items()}
    assert names == {name: list(known) for name, known in NAMES.items()}


def test_the_help_says_the_kind_of_every_value():
    wide = {**os.environ, "COLUMNS": "200"}  # no name is apart from its kind
    assert set().union(*KINDS.values()) == {field.name for field in fields(run_options.RunOptions)}
    for command in (["train"], ["parity"], ["parity", "record"]):
        program = [sys.executable, "-m", "portadnn", *command, "--help"]
        out = subprocess.run(program, env=wide, check=True, capture_output=True, text=True).stdout
        said = dict(re.findall(r"--([\w-]+)(?: --[a-z]+)? ([A-Z|.]+) ", out))
        for kind, options in KINDS.items():
            for option in options - ({"backend"} if command == ["parity"] else set()):
                found = said[option.replace("_", "-")]  # typing keeps no order of a union
                assert sorted(found.split("|")) == sorted(kind.split("|")), option


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_names_and_files(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path)}
    install = [sys.executable, "-m", "portadnn", "--install-completion", "--shell", "bash"]
    subprocess.run(install, env=environment, check=True, capture_output=True)
    (tmp_path / "there.toml").touch()
    lines = {
        "portadnn gradc": "gradcheck",
        "portadnn train --batch": "--batch-size",
        "portadnn train --optimizer mo": "momentum",
        "portadnn train --activation ": "sigmoid relu leaky_relu tanh identity softmax",
        "portadnn evaluate model.h5 --backend j": "jax",
        "portadnn parity record --dtype float3": "float32",
        f"portadnn train --config {tmp_path}/the": f"{tmp_path}/there.toml",
        f"portadnn train {tmp_path}/the": f"{tmp_path}/there.toml",
    }
    script = '. "$HOME/.bashrc"\n'  # which loads what was installed
    for line in lines:
        words = " ".join(f'"{word}"' for word in line.split(" "))
        script += f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()\n"
        script += '_portadnn; echo "${COMPREPLY[*]}"\n'
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True
    )
    assert dict(zip(lines, done.stdout.splitlines(), strict=True)) == lines, done.stderr
