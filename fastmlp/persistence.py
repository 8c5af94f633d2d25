"""Networks in files: one safetensors file, the configuration in its metadata."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .mlp import MLP

_FORMAT = "fastmlp 1"


def save(mlp: "MLP", path: Any) -> None:
    """Writes beside `path` and renames, so that a reader never sees half a file and a failure leaves the old one."""
    from safetensors.numpy import save as serialize

    configuration = {
        "layer_sizes": mlp.layer_sizes,
        "activation": mlp.activation,
        "output_activation": mlp.output_activation,
        "learning_rate": float(mlp.learning_rate),
        "weight_init": mlp.weight_init if isinstance(mlp.weight_init, str) else None,
        "loss": mlp.loss,
        "optimizer": {"name": mlp.optimizer.name, **asdict(mlp.optimizer)},
        "dtype": mlp.dtype.name,
        "n_threads": mlp.n_threads,
        "alpha": float(mlp.alpha),
        "updates": mlp._updates,
    }
    tensors = {"parameters": mlp._parameters, "slots": mlp._slots, "shuffling": mlp._shuffling()}
    content = serialize(tensors, {"format": _FORMAT, "configuration": json.dumps(configuration)})
    path = Path(path)
    descriptor, beside = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
    >>> import tempfile, pathlib, fastmlp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> fastmlp.MLP([2, 3, 1]).save(file)
    >>> fastmlp.load(file).layer_sizes
    [2, 3, 1]
    """
    from safetensors import SafetensorError, safe_open

    from .mlp import MLP
    from .optimizers import OPTIMIZERS

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
            configuration = json.loads(metadata["configuration"])
            updates = int(configuration.pop("updates"))
            kind = OPTIMIZERS[configuration["optimizer"].pop("name")]
            configuration["optimizer"] = kind(**configuration["optimizer"])
            weight_init = configuration.pop("weight_init")
            sizes = configuration["layer_sizes"]
            n = sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True))
            if file.get_slice("parameters").get_shape() != [n]:
                raise ValueError(f"it does not hold the {n} parameters of a network of sizes {sizes}")
            # only now is anything as large as the network claims to be
            mlp = MLP(**configuration, weight_init="zeros")
            _restore(mlp, {name: file.get_tensor(name) for name in ("parameters", "slots", "shuffling")}, updates)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a network saved by fastmlp, or is damaged: {error}") from error
    mlp.weight_init = weight_init
    return mlp


def _restore(mlp: "MLP", tensors: dict[str, Any], updates: int) -> None:
    expected = {"parameters": mlp._parameters, "slots": mlp._slots, "shuffling": np.empty(4, np.int64)}
    for name, array in expected.items():
        tensor = tensors[name]
        if tensor.shape != array.shape or tensor.dtype != array.dtype or not np.isfinite(tensor).all():
            raise ValueError(f"{name} must be {array.dtype} numbers of shape {array.shape}, all finite")
    state = tensors["shuffling"]
    if updates < 0 or not state.any() or state.min() < 0 or state.max() >= 2**32:
        raise ValueError("the state of the optimiser or of the shuffling generator is not one")
    mlp._parameters[:], mlp._slots[:] = tensors["parameters"], tensors["slots"]
    mlp._updates, mlp._shuffle_state = updates, state.copy()
