"""CuPy must do this on the stand-in. test_cupy.py runs this and reads the outcomes.

    PYTHONPATH=tests tests/fake_cuda/run PYTHON -m fake_cuda.checks [NAME...]

Each check prints a line of JSON: its name, and why it failed or null.
"""

import json
import sys
import traceback

from . import arrays, devices, kernels, streams


def main():
    functions = {
        name.removeprefix("check_"): function
        for module in (arrays, kernels, devices, streams)
        for name, function in vars(module).items()
        if name.startswith("check_")
    }
    for name in sys.argv[1:] or functions:
        failure = None
        try:
            functions[name]()
        except Exception:
            failure = traceback.format_exc()
        print(json.dumps([name, failure]), flush=True)


main()
