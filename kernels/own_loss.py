"""A loss of the user's own: the address of a C function, which kernels call whatever it is, so that none recompiles."""

import ctypes
import functools
import math

from llvmlite import ir
from numba import types
from numba.core import config
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from ._jit import c_function

# (rows, k, a, y, value, delta): reads rows x k outputs `a` and targets `y`; writes the loss `value` and dL/da `delta`
# of each, or NaN where there is none.
SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 4)


@intrinsic
def _evaluate_lowered(typing_context, address, rows, k, a, y, value, delta):
    def generate(context, builder, signature, arguments):
        address, *others = arguments
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in others])
        builder.call(builder.inttoptr(address, kind.as_pointer()), others)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, a, y, value, delta), generate


def _evaluate_plain(address, rows, k, *spans):
    """Calls the function at `address`."""
    SIGNATURE(int(address))(rows, k, *(span.ctypes.data for span in spans))


evaluate = _evaluate_plain if config.DISABLE_JIT else _evaluate_lowered


@functools.lru_cache(maxsize=64)
def compiled_pair(loss, gradient, dtype):
    """The C function that maps two ``@njit`` functions of (y_true, y_pred) over numbers of `dtype`; or TypeError."""

    def own_loss(rows, k, a, y, value, delta):
        for i in range(rows * k):  # what is left where one of them raises
            value[i] = math.nan
        for i in range(rows * k):
            value[i] = loss(y[i], a[i])
            delta[i] = gradient(y[i], a[i])

    span = types.CPointer(types.float32 if dtype.itemsize == 4 else types.float64)
    try:
        return c_function(types.void(types.int64, types.int64, span, span, span, span))(own_loss)
    except NumbaError as error:
        message = "loss: two compiled functions must take two numbers, (y_true, y_pred), and give one; Numba says:"
        raise TypeError(f"{message} {error}") from error
