"""portadnn: one L-layer network on any array backend, with the same numbers everywhere.

>>> import portadnn as dnn
>>> train, test = dnn.load_digits()
>>> model = dnn.train(train, layers=[64, 32], learning_rate=0.5, epochs=1000, rng=3)
>>> dnn.evaluate(model, test).accuracy > 0.96
True
"""

import ast
from importlib import import_module
from pkgutil import get_data
from typing import Any

__version__ = "0.1.0"

# where each public name lives, from the stub; nothing is imported before it is used (PEP 562)
_HOME_OF = {
    alias.name: str(node.module).removeprefix("portadnn.")
    for node in ast.parse(get_data(__name__, "__init__.pyi") or b"").body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

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
