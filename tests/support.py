"""What several test files share."""

import contextlib
import importlib.util
from pathlib import Path

import h5py
import numpy as np
from array_api_compat import array_namespace, device

from portadnn.data import container
from portadnn.data.heads import meaning_of

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script_module(path):
    """A Python file of scripts/ as a module; ``path`` is relative to that folder."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, SCRIPTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def resealed(path):
    """A model or a bundle to change, which then has the SHA-256 of the change."""
    with h5py.File(path, "a") as file:
        yield file
    image = path.read_bytes()[512:]
    path.write_bytes(container._block(image) + image)


def score_of(AL, Y, head, weights=None):
    """The score of a head's outputs, with weights of the examples."""
    meaning = meaning_of(head)
    return meaning.measures(AL, Y, weights)[meaning.score]


def assert_lives_on(x, backend):
    """The array is of the backend's namespace and dtype, and on its device."""
    assert array_namespace(x) is array_namespace(backend.asarray([0.0]))
    assert x.dtype == backend.dtype
    assert device(x) == backend.device


def assert_equal(x, expected, backend, *, rtol=0.0, atol=0.0):
    """Values, namespace, dtype and device; ``rtol`` is relative to the largest expected value."""
    assert_lives_on(x, backend)
    expected = np.asarray(expected)
    found = backend.to_numpy(x)
    assert found.shape == expected.shape
    scale = np.max(np.abs(expected), initial=np.finfo(float).tiny)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * scale + atol)


def eps(backend):
    """The spacing of the backend's numbers at 1."""
    return float(backend.xp.finfo(backend.dtype).eps)
