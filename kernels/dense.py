"""The dense layer ``z = x @ W + b``, and beside it its backward."""

import numpy as np

from ._jit import inlined
from .gemm import gemm

# A literal 0 is a type of its own to Numba, for which it would compile gemm again; these are not.


@inlined
def dense(rows, fan_in, fan_out, x, xo, params, wo, bo, z, zo):
    """``z = x @ W + b`` for `rows` rows of x.

    x (rows, fan_in) at x[xo:], W (fan_in, fan_out) at params[wo:], b (fan_out,) at params[bo:] and z (rows, fan_out) at
    z[zo:], all C order; only z is written.
    """
    gemm(rows, fan_out, fan_in, x, xo, fan_in, np.int64(1), params, wo, fan_out, params, bo, np.int64(0), z, zo, fan_out)


@inlined
def dense_input_gradient(rows, fan_in, fan_out, delta, do, transposed, to, ws, zero, dx, dxo):
    """``dx = delta @ W.T``, the gradient of `dense` with respect to x.

    delta (rows, fan_out) at delta[do:], W.T (fan_out, fan_in) at transposed[to:], dx (rows, fan_in) at dx[dxo:]
    (written); ws[zero:] holds at least fan_in zeros.
    """
    gemm(rows, fan_in, fan_out, delta, do, fan_out, np.int64(1), transposed, to, fan_in, ws, zero, np.int64(0), dx, dxo, fan_in)


@inlined
def dense_weight_gradient(first, last, rows, fan_in, fan_out, x, xo, delta, do, ws, zero, grads, wo):
    """Rows `first` to `last` of ``dW = x.T @ delta``, the gradient of `dense` with respect to W.

    x (rows, fan_in) at x[xo:], delta (rows, fan_out) at delta[do:], dW (fan_in, fan_out) at grads[wo:] (written);
    ws[zero:] holds at least fan_out zeros.
    """
    at = wo + first * fan_out
    gemm(last - first, fan_out, rows, x, xo + first, np.int64(1), fan_in, delta, do, fan_out, ws, zero, np.int64(0), grads, at, fan_out)


@inlined
def dense_bias_gradient(rows, fan_out, delta, do, ws, zero, one, grads, bo):
    """``db = ones @ delta``, the gradient of `dense` with respect to b: column sums as one more row of x.T @ delta.

    delta (rows, fan_out) at delta[do:], db (fan_out,) at grads[bo:] (written); ws[one] is 1.
    """
    gemm(np.int64(1), fan_out, rows, ws, one, np.int64(0), np.int64(0), delta, do, fan_out, ws, zero, np.int64(0), grads, bo, fan_out)
