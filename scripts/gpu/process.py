"""The process of one stage: call its function and write what it found.

    python -m gpu.process MODULE:FUNCTION RESULT CONTEXT

RESULT is the JSON file to write, CONTEXT the JSON of what ``gpu.work.Work`` takes.
"""

import importlib
import json
import sys

from gpu.work import Work


def main():
    name, path, context = sys.argv[1:]
    module, _, function = name.partition(":")
    work = Work(path, **json.loads(context))
    work.run(lambda work: getattr(importlib.import_module(module), function)(work))


if __name__ == "__main__":
    main()
