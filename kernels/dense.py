"""The dense layer ``z = x @ W + b``, and beside it its backward.

Matrices are spans (`spans.span`), the rows of x, z and delta ldx, ldz and ldd numbers apart, those of W one after the
other.
"""

from numpy import int64

from ._jit import inlined
from .gemm import gemm
from .sums import column_sums, row_dots

# A layer with one output has no columns to fill a register with: its products run along the rows of x instead.
# A literal is a type of its own to Numba, for which it would compile gemm again; int64(1) is not.


@inlined
def dense(rows, fan_in, fan_out, x, ldx, w, b, z, ldz):
    """``z = x @ W + b`` for x (rows, fan_in), W (fan_in, fan_out), b (fan_out,), z (rows, fan_out); z is written.

    Of a single output the numbers of z follow one another.
    """
    if fan_out == 1:
        row_dots(rows, fan_in, x, ldx, w, b, z)
        return
    gemm(rows, fan_out, fan_in, x, ldx, int64(1), w, fan_out, int64(1), b, int64(0), z, ldz)


@inlined
def dense_input_gradient(rows, fan_in, fan_out, delta, ldd, w, zeros, dx, ldx):
    """``dx = delta @ W.T``, the gradient of `dense` with respect to x.

    delta (rows, fan_out), W (fan_in, fan_out), fan_in `zeros`, dx (rows, fan_in); dx is written.
    """
    gemm(rows, fan_in, fan_out, delta, ldd, int64(1), w, int64(1), fan_out, zeros, int64(0), dx, ldx)


@inlined
def dense_weight_gradient(m, n, rows, fan_out, x, ldx, delta, ldd, zeros, dw):
    """A block of ``dW = x.T @ delta``, the gradient of `dense` with respect to W.

    m x n numbers of dW, from those on that `x`, `delta` and `dw` start with: x (rows, fan_in) at its first column of
    the block, delta (rows, fan_out) likewise, dW (fan_in, fan_out) at the block's first number, which is written. There
    are max(m, n) `zeros`.
    """
    if fan_out == 1:
        gemm(int64(1), m, rows, delta, int64(0), ldd, x, ldx, int64(1), zeros, int64(0), dw, int64(0))
        return
    gemm(m, n, rows, x, int64(1), ldx, delta, ldd, int64(1), zeros, int64(0), dw, fan_out)


@inlined
def dense_bias_gradient(rows, fan_out, delta, ldd, db):
    """``db = sum(delta)`` over rows, the gradient of `dense` with respect to b.

    delta (rows, fan_out), db (fan_out,); db is written.
    """
    column_sums(rows, fan_out, delta, ldd, db)
