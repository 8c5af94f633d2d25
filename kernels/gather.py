"""The rows of a batch, picked by their indices: inputs and targets, one after the other or as columns."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit, simd
from ._jit import inlined, routine
from .pointwise import copy, emit_run
from .spans import span

_I64 = ir.IntType(64)
_SIDE = 4  # of the small matrices that are turned round together: many rows have no more numbers


@intrinsic
def _gather_rows_lowered(typing_context, rows, n, indices, source, target):
    def generate(context, builder, signature, arguments):
        rows, n, indices, source, target = arguments
        with cgutils.for_range(builder, rows) as loop:
            row = builder.gep(source, [builder.mul(builder.load(builder.gep(indices, [loop.index])), n)])
            place = builder.gep(target, [builder.mul(loop.index, n)])
            emit_run(builder, n, lambda x: x, [row], [place], [], None)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, indices, source, target), generate


def _gather_rows_plain(rows, n, indices, source, target):
    """``target[r] = source[indices[r]]`` for `rows` rows of n numbers; `indices`, `source` and `target` are spans."""
    target[: rows * n] = source[(indices[:rows, None] * n + np.arange(n)).ravel()]


def _emit_columns(builder, lines, n, target, pitch):
    """``target[j, i] = lines[i][j]`` for a pointer to a row for each lane, and up to _SIDE numbers of each.

    Rows of the target are whole registers. A register takes _SIDE numbers of every _SIDE-th row; then the small
    matrices that lie side by side in so many registers are transposed.
    """
    count = len(lines)
    side = min(_SIDE, count)
    tail = emit.Tail(builder, n, side)
    registers = []
    for first in range(side):
        pieces = [emit.load(builder, line, side, tail) for line in lines[first::side]]
        while len(pieces) > 1:
            n_lanes = 2 * pieces[0].type.count
            both = ir.Constant(ir.VectorType(ir.IntType(32), n_lanes), list(range(n_lanes)))
            pieces = [builder.shuffle_vector(a, b, both) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        registers += pieces
    registers = emit.transpose(builder, registers)
    for j in reversed(range(side)):  # downwards, so that the last of the repeated rows to be stored is the true one
        row = builder.mul(emit.clamped_row(builder, j, n), pitch)
        emit.store(builder, registers[j], builder.gep(target, [row]))


@intrinsic
def _gather_columns_lowered(typing_context, rows, n, indices, source, target, pitch):
    def generate(context, builder, signature, arguments):
        rows, n, indices, source, target, pitch = arguments
        count = emit.lanes_of(source.type.pointee)
        columns = builder.and_(builder.add(rows, _I64(count - 1)), _I64(-count))
        with emit.steps(builder, columns, count) as r:
            lines = []
            for lane in range(count):
                row = builder.add(r, emit.clamped_row(builder, lane, builder.sub(rows, r)))
                index = builder.load(builder.gep(indices, [row]))
                lines.append(builder.gep(source, [builder.mul(index, n)]))
            with emit.steps(builder, n, min(_SIDE, count)) as j:
                place = builder.gep(target, [builder.add(builder.mul(j, pitch), r)])
                _emit_columns(builder, [builder.gep(line, [j]) for line in lines], builder.sub(n, j), place, pitch)
        return columns

    i = types.int64
    return types.int64(i, i, indices, source, target, i), generate


def _gather_columns_plain(rows, n, indices, source, target, pitch):
    """`gather_columns`, by NumPy."""
    lanes = simd.REGISTER_BYTES // source.itemsize
    columns = -(-rows // lanes) * lanes
    picked = indices[np.minimum(np.arange(columns), rows - 1)]
    target[: n * pitch].reshape(n, pitch)[:, :columns] = source[picked * n + np.arange(n)[:, None]]
    return columns


gather_rows = _gather_rows_plain if config.DISABLE_JIT else _gather_rows_lowered
_gather_columns = _gather_columns_plain if config.DISABLE_JIT else _gather_columns_lowered


@routine
def gather_columns(rows, n, indices, source, target, pitch):
    """``target[:, r] = source[indices[r]]`` for `rows` rows of n numbers, to rows of `pitch` numbers.

    Whole registers are written; the columns beyond the last are like that. Returns how many columns there are.
    """
    return _gather_columns(rows, n, indices, source, target, pitch)


@routine
def gather_target_columns(rows, k, indices, y, width, target, pitch):
    """The k targets of each of the rows `indices`, as columns: of k numbers of y, or of one (`width`), a class."""
    if width == k:
        gather_columns(rows, k, indices, span(y, 0, y.size), target, pitch)
        return
    for i in range(k * pitch):
        target[i] = 0
    for r in range(rows):
        target[int(y[indices[r]]) * pitch + r] = 1


@routine
def gather_targets(rows, k, indices, y, width, target):
    """The k targets of each of the rows `indices` to `target`: from k numbers of y, or from one (`width`), a class."""
    if width == k:
        gather_rows(rows, k, indices, span(y, 0, y.size), target)
        return
    for i in range(rows * k):
        target[i] = 0
    for r in range(rows):
        target[r * k + int(y[indices[r]])] = 1


@inlined
def copy_targets(rows, k, y, start, width, target):
    """Targets of `rows` rows to the span `target`: `k` numbers each from y[start:], or one-hot from a class index each.

    `width` is the numbers a row has in y: k, or 1 for class indices.
    """
    if width == k:
        copy(0, 1, rows * k, 0, (span(y, start, rows * k), target))
        return
    for i in range(rows * k):
        target[i] = 0
    for r in range(rows):
        target[r * k + int(y[start + r])] = 1
