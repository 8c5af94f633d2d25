"""Compilation ahead of time: for container images, and for processes whose first call must be quick."""

from typing import Any

import numpy as np

from . import _validation as validation
from .mlp import MLP


def warmup(dtype: Any = np.float32) -> None:
    """Compiles every kernel for one precision and puts the machine code into the disk cache.

    Kernels are compiled when first used, which takes some seconds, and kept on disk: in the user's cache folder, or
    where ``NUMBA_CACHE_DIR`` says. Run this when a container image is built, with the CPU and the settings that the
    container will run with; later processes then load what is there. Where all is in the cache, it costs a fraction of
    a second.

    Parameters
    ----------
    dtype : float32 or float64, default float32

    Raises
    ------
    ValueError
        Another dtype.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.warmup()
    """
    dtype = validation.float_dtype(dtype)
    # One network serves: the kernels are the same for every depth, width, activation, loss and optimiser.
    mlp = MLP([2, 3, 2], output_activation="softmax", dtype=dtype, random_state=0)
    X, y = np.eye(2, dtype=dtype), np.array([0, 1])
    mlp.fit(X, y, epochs=1, validation_data=(X, y))
    mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X)))
    mlp.predict(X)
    for name in ("tanh", "softmax"):
        mlp.activation_function(X, name)
    mlp.activation_derivative(X, "tanh")
