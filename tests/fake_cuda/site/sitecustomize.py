"""Puts the stand-in for CUDA under CuPy at the moment when CuPy is imported."""

import importlib.machinery
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Before:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cupy.cuda.thrust":
            return importlib.util.spec_from_file_location(name, os.path.join(HERE, "thrust.py"))
        if name == "cupy_backends.cuda.api.runtime":
            spec = importlib.util.spec_from_file_location(
                "fake_cuda_tool", os.path.join(HERE, "fake_cuda.py")
            )
            tool = sys.modules["fake_cuda_tool"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(tool)
            tool.install(importlib.machinery.PathFinder.find_spec(name, path).origin)
        return None  # and now the import as usual


cuda_is_a_stand_in = "FAKE_CUDA_BUILT" in os.environ  # asked by events.py
if cuda_is_a_stand_in:
    sys.meta_path.insert(0, Before)
