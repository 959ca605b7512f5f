"""What the tests of several commands share."""

import sys

import numpy as np

from portadnn.cli.main import main
from portadnn.training.models import load_model

QUICK = ["--epochs", "3", "--layers", "4", "--backend", "numpy"]


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def program(*arguments):
    return [sys.executable, "-m", "portadnn", *map(str, arguments)]


def weights(directory):
    return load_model(directory / "model.h5").parameters


def assert_equal_bits(first, second):
    assert first.keys() == second.keys()
    for name, p in first.items():
        assert p.dtype == second[name].dtype
        np.testing.assert_array_equal(p, second[name])
