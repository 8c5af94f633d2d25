"""fastmlp: multi-layer perceptrons on CPUs, trained and served by Numba kernels.

Names are loaded when first used, so that ``import fastmlp`` costs next to nothing.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

if not os.path.isdir(os.path.join(__path__[0], "kernels")):  # the sources as they are have it beside this folder
    __path__.append(os.path.dirname(__path__[0]))

_HOMES = {
    "MLP": "mlp",
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "History": "fitting",
    "load": "persistence",
    "warmup": "_warmup",
    "SGD": "optimizers",
    "Momentum": "optimizers",
    "Nesterov": "optimizers",
    "RMSprop": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "Huber": "losses",
    "Quantile": "losses",
}
_MODULES = ("initializers", "kernels", "losses", "optimizers", "plotting", "schedules")
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])
