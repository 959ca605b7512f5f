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

# where each public name lives; nothing is imported before it is used (PEP 562)
_HOMES = {
    "network.spec": ["Network"],
    "network.initializers": ["Initializer", "initialize_parameters_deep"],
    "network.layers": [
        "linear_forward",
        "linear_activation_forward",
        "linear_backward",
        "linear_activation_backward",
    ],
    "network.model": ["L_model_forward", "compute_cost", "L_model_backward"],
    "network.optimizers": [
        "Adam",
        "AdamW",
        "GradientDescent",
        "Momentum",
        "Nesterov",
        "RMSProp",
        "update_parameters",
    ],
    "backends": ["Backend", "BackendUnavailableError", "get_backend", "list_backends"],
    "data.dataset": ["Dataset"],
    "data.hdf5": ["load_digits"],
    "data.images": ["load_images"],
    "data.load": ["load_dataset"],
    "arithmetic.namespace": ["reproducible"],
    "training.models": ["Model", "fingerprint", "load_model", "save_model"],
    "training.callbacks": [
        "BestModel",
        "CSVLog",
        "EarlyStopping",
        "History",
        "ProgressBar",
        "TensorBoard",
    ],
    "training.checkpoints": ["Checkpoints"],
    "training.lbfgs": ["LBFGS"],
    "training.stops": ["DivergenceError", "TrainingInterrupted"],
    "training.train": ["L_layer_model", "train"],
    "training.inference": ["evaluate", "predict"],
    "export.onnx": ["save_onnx"],
    "export.safetensors": ["load_safetensors", "save_safetensors"],
    "export.sklearn": ["from_sklearn", "to_sklearn"],
    "export.torch": ["from_torch", "to_torch"],
    "diagnostics.gradients": ["check_gradients"],
    "diagnostics.lives": ["UnitLives"],
    "parity.certificate": ["Certificate"],
    "parity.certifier": ["Certifier"],
    "errors": ["InputError"],
    "estimator": ["PortaDNNClassifier", "PortaDNNRegressor"],  # need scikit-learn
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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
