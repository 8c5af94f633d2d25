"""fastmlp: multi-layer perceptrons on CPUs, trained and served by Numba kernels.

Names are loaded when first used, so that ``import fastmlp`` costs next to nothing.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if not os.path.isdir(os.path.join(__path__[0], "kernels")):  # the sources as they are have it beside this folder
    __path__.append(os.path.dirname(__path__[0]))

_HOMES = {
    "MLP": "mlp",
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "History": "fitting",
    "DivergenceError": "fitting",
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

if TYPE_CHECKING:  # what editors and type checkers see of _HOMES
    from ._warmup import warmup as warmup
    from .classifier import MLPClassifier as MLPClassifier
    from .fitting import DivergenceError as DivergenceError
    from .fitting import History as History
    from .losses import Huber as Huber
    from .losses import Quantile as Quantile
    from .mlp import MLP as MLP
    from .optimizers import SGD as SGD
    from .optimizers import Adam as Adam
    from .optimizers import AdamW as AdamW
    from .optimizers import Momentum as Momentum
    from .optimizers import Nesterov as Nesterov
    from .optimizers import RMSprop as RMSprop
    from .persistence import load as load
    from .regressor import MLPRegressor as MLPRegressor


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
