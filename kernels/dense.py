"""The dense layer ``z = x @ W + b``, and beside it its backward."""

from numpy import int64

from ._jit import inlined
from .gemm import gemm

# A literal is a type of its own to Numba, for which it would compile gemm again; int64(1) is not.


@inlined
def dense(rows, fan_in, fan_out, x, xo, params, wo, bo, z, zo):
    """``z = x @ W + b`` for `rows` rows of x.

    x (rows, fan_in) at x[xo:], W (fan_in, fan_out) at params[wo:], b (fan_out,) at params[bo:] and z (rows, fan_out) at
    z[zo:], all C order; only z is written.
    """
    gemm(rows, fan_out, fan_in, x, xo, fan_in, int64(1), params, wo, fan_out, params, bo, int64(0), z, zo, fan_out)


@inlined
def dense_input_gradient(rows, fan_in, fan_out, delta, do, transposed, to, ws, zero, dx, dxo):
    """``dx = delta @ W.T``, the gradient of `dense` with respect to x.

    delta (rows, fan_out) at delta[do:], W.T (fan_out, fan_in) at transposed[to:], dx (rows, fan_in) at dx[dxo:]
    (written); ws[zero:] holds at least fan_in zeros.
    """
    w = transposed
    gemm(rows, fan_in, fan_out, delta, do, fan_out, int64(1), w, to, fan_in, ws, zero, int64(0), dx, dxo, fan_in)


@inlined
def dense_weight_gradient(first, last, rows, fan_in, fan_out, x, xo, delta, do, ws, zero, grads, wo):
    """Rows `first` to `last` of ``dW = x.T @ delta``, the gradient of `dense` with respect to W.

    x (rows, fan_in) at x[xo:], delta (rows, fan_out) at delta[do:], dW (fan_in, fan_out) at grads[wo:] (written);
    ws[zero:] holds at least fan_out zeros.
    """
    m, n, xo, wo = last - first, fan_out, xo + first, wo + first * fan_out
    gemm(m, n, rows, x, xo, int64(1), fan_in, delta, do, n, ws, zero, int64(0), grads, wo, n)


@inlined
def dense_bias_gradient(rows, fan_out, delta, do, ws, zero, one, grads, bo):
    """``db = ones @ delta``, the gradient of `dense` with respect to b: column sums as one more row of x.T @ delta.

    delta (rows, fan_out) at delta[do:], db (fan_out,) at grads[bo:] (written); ws[one] is 1.
    """
    n, nil = fan_out, int64(0)
    gemm(int64(1), n, rows, ws, one, nil, nil, delta, do, n, ws, zero, nil, grads, bo, n)
