"""portadnn: one L-layer network on any array backend, with the same numbers everywhere.

>>> import portadnn as dnn
>>> train, test = dnn.load_digits()
>>> model = dnn.train(train, layers=[64, 32], learning_rate=0.5, epochs=1000, rng=3)
>>> dnn.evaluate(model, test).accuracy > 0.96
True
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# The room of each public name, from the stub's lines "from portadnn.room import name as name".
# Nothing is imported before it is used (PEP 562). The loader also reads from a zip archive.
_STUB = __loader__.get_data(__file__.removesuffix(".py") + ".pyi").decode()
_LINES = [line.split() for line in _STUB.splitlines() if line.startswith("from ")]
_HOME_OF = {words[3]: words[1].removeprefix("portadnn.") for words in _LINES}

# without scikit-learn `from portadnn import *` still works, so it leaves the estimators out
__all__ = [name for name, home in _HOME_OF.items() if home != "estimator"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
