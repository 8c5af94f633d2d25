"""Products of matrices that have a row for each feature and a lane for each row of a batch.

Where layers are narrow, a register that is filled along a layer is half empty, stored under a mask, and read back
before it has reached the cache. A register with one feature of sixteen rows of the batch is full whatever the widths.

Such a matrix is a span (`spans.span`) of rows of `pitch` numbers, whole registers, so that nothing is masked. W and dW
are as ever: fan_in rows of fan_out numbers.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit, simd, spans
from ._jit import routine
from .spans import advance

_I32, _I64 = ir.IntType(32), ir.IntType(64)
# So many rows of C are computed together, and registers of each: as many sums as there are registers for.
_TALL, _BROAD = (8, 3) if simd.REGISTERS == 32 else (6, 2) if simd.REGISTER_BYTES == 32 else (5, 2)
# So many dot products are computed together: 4 rows with _WITH_FOUR others, or what is left, 2 or 1, with more.
_DOTS = 16 if simd.REGISTERS == 32 else 8
_WITH_FOUR, _WITH_TWO, _WITH_ONE = _DOTS // 4, _DOTS // 2, _DOTS


def _emit_combination(builder, rows, registers, k, a, sai, sak, b, c, pitch):
    """``C = A @ B`` for `rows` rows and so many registers of C, from `c` on; those of B are from `b` on."""
    count = emit.lanes_of(b.type.pointee)
    columns = [_I64(v * count) for v in range(registers)]
    a_rows, c_rows = emit.row_pointers(builder, a, sai, rows), emit.row_pointers(builder, c, pitch, rows)
    sums = [[emit.accumulator(builder, b.type.pointee) for _ in columns] for _ in range(rows)]
    b_row, step = cgutils.alloca_once_value(builder, b), cgutils.alloca_once_value(builder, _I64(0))
    with cgutils.for_range(builder, k):
        row, position = builder.load(b_row), emit.opaque(builder, builder.load(step))
        vectors = [emit.load(builder, builder.gep(row, [column]), count) for column in columns]
        for a_row, totals in zip(a_rows, sums, strict=True):
            number = emit.splat(builder, builder.load(builder.gep(a_row, [position])), count)
            for vector, total in zip(vectors, totals, strict=True):
                emit.accumulate(builder, number, vector, total)
        builder.store(builder.gep(row, [pitch]), b_row)
        builder.store(builder.add(position, sak), step)
    for c_row, totals in zip(c_rows, sums, strict=True):
        for column, total in zip(columns, totals, strict=True):
            emit.store(builder, builder.load(total), builder.gep(c_row, [column]))


@intrinsic
def _combinations(typing_context, rows, registers, k, a, sai, sak, b, c, pitch):
    """`combine` for up to _TALL rows of C and _BROAD registers of columns."""

    def generate(context, builder, signature, arguments):
        rows, registers, *operands = arguments
        table = {tall << 2 | broad: (tall, broad) for tall in range(1, _TALL + 1) for broad in range(1, _BROAD + 1)}
        for tall, broad in emit.cases(builder, builder.add(builder.shl(rows, _I64(2)), registers), table):
            _emit_combination(builder, tall, broad, *operands)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, a, i, i, b, c, i), generate


@routine
def _combine_lowered(m, columns, k, a, sai, sak, b, c, pitch):
    """``C = A @ B``: row i of C is the sum over p of the rows of B, each times A's number at ``i * sai + p * sak``.

    `columns` of C (m, pitch) are written, whole registers; B is (k, pitch).
    """
    lanes, pieces = spans.lanes(c), (m + _TALL - 1) // _TALL
    tall = (m + pieces - 1) // pieces  # 10 rows are 5 and 5, not 8 and 2
    j = 0
    while j < columns:  # a strip of B stays in the first cache
        left = (columns - j) // lanes
        registers = 2 if left == _BROAD + 1 else min(_BROAD, left)
        i, b_strip = 0, advance(b, j)
        while i < m:  # not range: it would divide by its step, for longer than a small piece takes
            a_rows, c_rows = advance(a, i * sai), advance(c, i * pitch + j)
            _combinations(min(tall, m - i), registers, k, a_rows, sai, sak, b_strip, c_rows, pitch)
            i += tall
        j += registers * lanes


def _combine_plain(m, columns, k, a, sai, sak, b, c, pitch):
    """Rows of C as sums of rows of B by NumPy's product: see `_combine_lowered`."""
    factors = np.lib.stride_tricks.as_strided(a, (m, k), (sai * a.itemsize, sak * a.itemsize))
    with np.errstate(all="ignore"):
        c[: m * pitch].reshape(m, pitch)[:, :columns] = factors @ b[: k * pitch].reshape(k, pitch)[:, :columns]


def _emit_dots(builder, four, others, m, n, columns, left, right, pitch, out, ldo):
    """``out[i, j] = left[i] . right[j]`` for `four` x `others` rows; there are m and n, and beyond them the last again.

    Each register of sums becomes one number of `out`, as many together as a register has lanes.
    """
    count = emit.lanes_of(left.type.pointee)
    left_rows = emit.row_pointers(builder, left, pitch, four, m)
    right_rows = emit.row_pointers(builder, right, pitch, others, n)
    out_rows = emit.row_pointers(builder, out, ldo, four, m)
    sums = [emit.accumulator(builder, left.type.pointee) for _ in range(four * others)]
    with emit.steps(builder, columns, count) as j:
        position = emit.opaque(builder, j)  # or there would be a moving pointer for each row
        x = [emit.load(builder, builder.gep(row, [position]), count) for row in left_rows]
        y = [emit.load(builder, builder.gep(row, [position]), count) for row in right_rows]
        for i, total in enumerate(sums):
            emit.accumulate(builder, x[i // others], y[i % others], total)
    run = min(others, count)  # numbers side by side in `out` that come from one register
    for start in range(0, len(sums), count):
        dots = emit.sums_of_lanes(builder, [builder.load(total) for total in sums[start : start + count]])
        for lane in range(0, count, run):
            row, column = divmod(start + lane, others)
            lanes = ir.Constant(ir.VectorType(_I32, run), list(range(lane, lane + run)))
            side_by_side = builder.shuffle_vector(dots, dots, lanes)
            tail = emit.Tail(builder, builder.sub(n, _I64(column)), run)
            emit.store(builder, side_by_side, builder.gep(out_rows[row], [_I64(column)]), tail)


@intrinsic(prefer_literal=True)
def _dots(typing_context, four, m, n, columns, left, right, pitch, out, ldo):
    """`dots` for up to `four` rows of `left`: 4, 2 or 1, a literal."""

    def generate(context, builder, signature, arguments):
        rows = four.literal_value
        _emit_dots(builder, rows, _DOTS // rows, *arguments[1:])
        return context.get_dummy_value()

    i = types.int64
    return types.void(four, i, i, i, left, right, i, out, i), generate


@routine
def _dots_lowered(m, n, columns, left, right, pitch, out, ldo):
    """``out = left @ right.T`` over so many `columns`, whole registers: left (m, pitch), right (n, pitch).

    out (m, n), its rows `ldo` apart, is written.
    """
    if n == 1 and ldo == 1:  # a column of out is a row, too
        left, right, m, n, ldo = right, left, n, m, m
    rest = m % 4 if m % 4 < 3 else 0
    for j in range(0, n, _WITH_FOUR):
        y, cols = advance(right, j * pitch), min(_WITH_FOUR, n - j)
        for i in range(0, m - rest, 4):
            x, tile = advance(left, i * pitch), advance(out, i * ldo + j)
            _dots(4, min(4, m - i), cols, columns, x, y, pitch, tile, ldo)
    left, out = advance(left, (m - rest) * pitch), advance(out, (m - rest) * ldo)
    if rest == 2:
        for j in range(0, n, _WITH_TWO):
            y, tile = advance(right, j * pitch), advance(out, j)
            _dots(2, rest, min(_WITH_TWO, n - j), columns, left, y, pitch, tile, ldo)
    elif rest == 1:
        for j in range(0, n, _WITH_ONE):
            y, tile = advance(right, j * pitch), advance(out, j)
            _dots(1, rest, min(_WITH_ONE, n - j), columns, left, y, pitch, tile, ldo)


def _dots_plain(m, n, columns, left, right, pitch, out, ldo):
    """Dot products of rows by NumPy's product: see `_dots_lowered`."""
    with np.errstate(all="ignore"):
        x, y = (span[: rows * pitch].reshape(rows, pitch)[:, :columns] for span, rows in ((left, m), (right, n)))
        np.lib.stride_tricks.as_strided(out, (m, n), (ldo * out.itemsize, out.itemsize))[...] = x @ y.T


combine = _combine_plain if config.DISABLE_JIT else _combine_lowered
dots = _dots_plain if config.DISABLE_JIT else _dots_lowered
