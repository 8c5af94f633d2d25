"""Losses of the user's own, as C functions that kernels can call, and what they raise, which kernels cannot."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads
from .kernels import JIT, own_loss
from .losses import Loss

Array = NDArray[Any]


@dataclass(frozen=True)
class OwnLoss(Loss):
    """A function of arrays (y_true, y_pred) that gives (loss, gradient) of each; or a pair of ``@njit`` functions.

    The two of a pair take numbers: the first gives the loss, the second its derivative with respect to y_pred.
    """

    name = "own"
    function: Any

    def __post_init__(self) -> None:
        if not isinstance(self.function, tuple):
            return
        kinds = [hasattr(f, "py_func") or (not JIT and callable(f)) for f in self.function]
        if len(kinds) != 2 or not all(kinds):
            raise ValueError(
                "loss must be a name, a function, or two functions compiled by numba.njit, (loss, gradient); got"
                f" {self.function!r}"
            )


class Evaluation:
    """The C function of a loss for one precision.

    Attributes
    ----------
    address : int
    """

    def __init__(self, loss: OwnLoss, dtype: np.dtype[Any], k: int):
        self._dtype, self._k = dtype, k
        self._error: BaseException | None = None
        self._given_up = False
        self._function = loss.function
        self._in_python = not (isinstance(self._function, tuple) and JIT)
        if not self._in_python:
            self._c_function = own_loss.compiled_pair(*self._function, dtype)
            self.address = self._c_function.address
        else:
            self._c_function = own_loss.SIGNATURE(self._call)
            self.address = ctypes.cast(self._c_function, ctypes.c_void_p).value or 0

    def _call(self, rows: int, k: int, *addresses: int) -> None:
        number = ctypes.c_float if self._dtype.itemsize == 4 else ctypes.c_double
        a, y, value, delta = (np.ctypeslib.as_array((number * (rows * k)).from_address(at)) for at in addresses)
        value[:] = np.nan  # which makes the kernel stop, should there be an exception
        if self._given_up:
            return
        try:
            value[:], delta[:] = self._values(y.copy(), a.copy())  # theirs to keep: the memory is not
        except BaseException as error:  # an exception cannot pass through compiled code
            value[:] = np.nan
            self._error = self._error or error

    def _values(self, y: Array, a: Array) -> tuple[Array, Array]:
        if isinstance(self._function, tuple):
            pairs = list(zip(y, a, strict=True))
            loss, gradient = ([f(*pair) for pair in pairs] for f in self._function)
            return np.array(loss), np.array(gradient)
        shape = (len(a),) if self._k == 1 else (len(a) // self._k, self._k)
        result = self._function(y.reshape(shape), a.reshape(shape))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(f"a loss of your own must return (loss, gradient), got a {type(result).__name__}")
        arrays = [np.asarray(part) for part in result]
        for what, array in zip(("loss", "gradient"), arrays, strict=True):
            if array.shape != shape or array.dtype.kind not in "fiub":
                raise ValueError(
                    f"a loss of your own must return a {what} for each prediction, real numbers of shape {shape}; got"
                    f" shape {array.shape}, dtype {array.dtype}"
                )
            if not np.isfinite(array).all():
                at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                raise ValueError(
                    f"a loss of your own has returned a {what} that is not finite: {array[at]} for y_true ="
                    f" {y.reshape(shape)[at]}, y_pred = {a.reshape(shape)[at]}"
                )
        return arrays[0].reshape(-1), arrays[1].reshape(-1)

    def together(self, work: Callable[[int, int], Any], size: int, give_up: Callable[[], object]) -> Any:
        """`_threads.together` for work that may call the function, which after a failure is not called any more."""

        def stop() -> None:
            self._given_up = True
            give_up()

        self._given_up = False
        return _threads.together(work, size, stop, apart=self._in_python)

    def look(self) -> None:
        """Raises what the function has raised since the last look."""
        error, self._error = self._error, None
        if error is not None:
            raise error
