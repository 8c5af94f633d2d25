"""The first layer of a network whose x are compressed sparse rows: only the numbers that are there are multiplied.

The matrix has its numbers in `x`, their columns, no two alike in a row, in `columns`, and its row i is
``starts[i]:starts[i + 1]`` of both. Additions come in the order of `gemm`, which adds zeros beside them: as long as
gemm's sums are single chains (KC terms), and those of the dense matrix do not go in parts (parts.py), the results are
the same to the bit.
"""

from ._jit import routine
from .pointwise import copy, fused_axpy
from .spans import advance


@routine
def sparse_dense(rows, fan_out, indices, x, columns, starts, w, b, z, ldz):
    """``z = x[indices] @ W + b`` for `rows` rows; W (fan_in, fan_out), b (fan_out,), z (rows, fan_out) are spans.

    The rows of z are ldz apart.
    """
    for r in range(rows):
        z_row = advance(z, r * ldz)
        copy(0, 1, fan_out, 0, (b, z_row))
        for i in range(starts[indices[r]], starts[indices[r] + 1]):
            fused_axpy(0, 1, fan_out, 0, (advance(w, columns[i] * fan_out), z_row), (x[i],))


@routine
def sparse_weight_gradient(first, stop, rows, fan_out, indices, x, columns, starts, delta, ldd, dw):
    """Rows ``first:stop`` of ``dW = x[indices].T @ delta``; spans delta (rows, fan_out), dW (fan_in, fan_out).

    The rows of delta are ldd apart.
    """
    for i in range(first * fan_out, stop * fan_out):
        dw[i] = 0
    for r in range(rows):
        for i in range(starts[indices[r]], starts[indices[r] + 1]):
            column = columns[i]
            if first <= column < stop:
                spans = advance(delta, r * ldd), advance(dw, column * fan_out)
                fused_axpy(0, 1, fan_out, 0, spans, (x[i],))
