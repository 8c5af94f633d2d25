"""Networks in files: one safetensors file, the configuration in its metadata."""

import errno
import json
import os
import secrets
import shutil
import zlib
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _validation as validation

if TYPE_CHECKING:
    from .mlp import MLP

_FORMAT = "fastmlp 1"
_TENSORS = ("parameters", "slots", "shuffling")
_CONFIGURATION = {
    "layer_sizes", "activation", "output_activation", "learning_rate", "weight_init", "loss", "optimizer", "dtype",
    "n_threads", "alpha", "updates",
}  # fmt: skip
_MOST_UPDATES = 2**53


def save(mlp: "MLP", path: Any) -> None:
    """Writes beside `path` and renames, so that a reader never sees half a file and a failure leaves the old one."""
    from safetensors.numpy import save as serialize

    from .initializers import INITIALIZERS
    from .losses import LOSSES
    from .optimizers import OPTIMIZERS

    validation.check_finite("parameters", mlp._parameters)  # what `load` would refuse is not written
    weight_init = None if callable(mlp.weight_init) else mlp.weight_init
    if weight_init is not None:
        validation.choice("weight_init", weight_init, INITIALIZERS)
    configuration = {
        "layer_sizes": list(mlp._layout.sizes),
        "activation": mlp.activation,
        "output_activation": mlp.output_activation,
        "learning_rate": mlp.learning_rate,
        "weight_init": weight_init,
        "loss": mlp.loss if isinstance(mlp.loss, str) else _described("loss", mlp.loss, LOSSES),
        "optimizer": _described("optimizer", mlp.optimizer, OPTIMIZERS),
        "dtype": mlp.dtype.name,
        "n_threads": None if mlp.n_threads is None else validation.integer("n_threads", mlp.n_threads, 1),
        "alpha": mlp.alpha,
        "updates": int(mlp._updates[0]),
    }
    text = json.dumps(configuration)
    tensors = {"parameters": mlp._parameters, "slots": mlp._slots, "shuffling": mlp._shuffling()}
    metadata = {"format": _FORMAT, "configuration": text, "checksum": _checksum(text, tensors)}
    content = serialize(tensors, metadata)
    path = Path(os.path.realpath(_file_name(path)))  # the file that a link leads to
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder for the file", str(path.parent))
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.is_file():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _file_name(path: Any) -> str:
    """`path` as a string, if it can be a file's."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path must be a string or path-like, got {path!r}") from None
    if os.path.isdir(name):
        raise IsADirectoryError(errno.EISDIR, "path must be a file's, not a folder's", name)
    return name


def _described(what: str, settings: Any, kinds: dict[str, Any]) -> dict[str, Any]:
    """The name of an optimiser or of a loss, and its hyperparameters."""
    if type(settings) is not kinds.get(settings.name):
        raise TypeError(f"{what} cannot be saved: {settings!r} is of a class of your own, which `load` cannot make")
    return {"name": settings.name, **asdict(settings)}


def _made(kinds: dict[str, Any], described: dict[str, Any]) -> Any:
    """The optimiser or the loss that `_described` described."""
    settings = dict(described)
    kind = kinds[settings.pop("name")]
    if set(settings) != {field.name for field in fields(kind)}:
        raise ValueError(f"{sorted(settings)} are not the hyperparameters of {kind.name}")
    return kind(**settings)


def _checksum(configuration: str, tensors: dict[str, Any]) -> str:
    """CRC-32 of the configuration and of the numbers, one after the other."""
    value = zlib.crc32(configuration.encode())
    for name in _TENSORS:
        value = zlib.crc32(tensors[name], value)
    return f"{value:08x}"


def load(path: Any) -> "MLP":
    """The network that `MLP.save` wrote: it predicts, and trains on, with the same bits.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    MLP
        Its `random_state` is None, `weight_init` None if that was a function: neither is in the file. The state of the
        shuffling generator is.

    Raises
    ------
    ValueError
        The file is damaged, or not one of ours.
    OSError
        It cannot be read.

    Examples
    --------
    >>> import tempfile, fastmlp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastmlp.MLP([2, 3, 1]).save(f"{folder}/net.safetensors")
    ...     fastmlp.load(f"{folder}/net.safetensors").layer_sizes
    [2, 3, 1]
    """
    name = _file_name(path)
    try:
        return _read(name)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a hostile file provokes
        raise ValueError(f"{name!r} is not a network saved by fastmlp, or is damaged: {error}") from error


def _read(path: str) -> "MLP":
    from safetensors import safe_open

    from .initializers import INITIALIZERS
    from .losses import LOSSES
    from .mlp import MLP
    from .optimizers import OPTIMIZERS

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
        text = metadata["configuration"]
        configuration = json.loads(text)
        if set(configuration) != _CONFIGURATION:
            raise ValueError(f"its configuration has the entries {sorted(configuration)}, not {sorted(_CONFIGURATION)}")
        sizes = validation.layer_sizes(configuration["layer_sizes"])
        n = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
        if file.get_slice("parameters").get_shape() != [n]:
            raise ValueError(f"it does not hold the {n} parameters of a network of sizes {sizes}")
        # only now is anything as large as the network claims to be
        tensors = {name: file.get_tensor(name) for name in _TENSORS}
    if metadata["checksum"] != _checksum(text, tensors):
        raise ValueError("its checksum does not fit its content")
    configuration["optimizer"] = _made(OPTIMIZERS, configuration["optimizer"])
    if isinstance(configuration["loss"], dict):
        configuration["loss"] = _made(LOSSES, configuration["loss"])
    updates, weight_init = configuration.pop("updates"), configuration.pop("weight_init")
    if weight_init is not None:
        validation.choice("weight_init", weight_init, INITIALIZERS)
    mlp = MLP(**configuration, weight_init="zeros")
    _restore(mlp, tensors, updates)
    mlp.weight_init = weight_init
    return mlp


def _restore(mlp: "MLP", tensors: dict[str, Any], updates: int) -> None:
    expected = {"parameters": mlp._parameters, "slots": mlp._slots, "shuffling": np.empty(4, np.int64)}
    for name, array in expected.items():
        tensor = tensors[name]
        if tensor.shape != array.shape or tensor.dtype != array.dtype or not np.isfinite(tensor).all():
            raise ValueError(f"{name} must be {array.dtype} numbers of shape {array.shape}, all finite")
    state = tensors["shuffling"]
    if not state.any() or state.min() < 0 or state.max() >= 2**32:
        raise ValueError("shuffling is not a state of the generator: four numbers from 0 to 2**32 - 1, not all 0")
    if validation.integer("updates", updates, 0) > _MOST_UPDATES:
        raise ValueError(f"updates must be at most {_MOST_UPDATES}, got {updates}")
    mlp._parameters[:], mlp._slots[:] = tensors["parameters"], tensors["slots"]
    mlp._updates[0], mlp._shuffle_state = updates, state.copy()
