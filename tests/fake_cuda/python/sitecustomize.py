"""Puts the stand-in for CUDA under CuPy when CuPy is imported.

Python imports a module of this name when it starts. ``run`` puts this folder on PYTHONPATH, so that
the processes that a test starts are also on the stand-in.
"""

import importlib.machinery
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class Finder:
    """Asked first for every module that is imported; two modules of CuPy concern it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cupy.cuda.thrust":
            file = os.path.join(HERE, "fake_cuda_thrust.py")
            return importlib.util.spec_from_file_location(name, file)
        if name == "cupy_backends.cuda.api.runtime":
            from fake_cuda_install import install

            install(importlib.machinery.PathFinder.find_spec(name, path).origin)
        return None  # and now the import as usual


cuda_is_a_stand_in = "FAKE_CUDA_BUILT" in os.environ  # asked by events.py
if cuda_is_a_stand_in:
    sys.meta_path.insert(0, Finder)
