"""Sums over the rows or the columns of a matrix, always in the same order."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit, simd
from ._jit import routine
from .spans import span

_I64 = ir.IntType(64)
_CHAINS = 4  # running sums: one alone would wait for each addition to end


def _emit_column_sums(builder, rows, cols, x, pitch, out):
    count = emit.lanes_of(x.type.pointee)
    whole = builder.and_(rows, _I64(-_CHAINS))
    with emit.steps(builder, cols, count) as j:
        tail = emit.Tail(builder, builder.sub(cols, j), count)
        sums = [emit.accumulator(builder, x.type.pointee) for _ in range(_CHAINS)]
        start = builder.gep(x, [j])

        def add(row, total, start=start, tail=tail):
            number = emit.load(builder, builder.gep(start, [builder.mul(row, pitch)]), count, tail)
            builder.store(builder.fadd(builder.load(total), number), total)

        with emit.steps(builder, whole, _CHAINS) as row:
            for i, total in enumerate(sums):
                add(builder.add(row, _I64(i)), total)
        with cgutils.for_range(builder, builder.sub(rows, whole)) as loop:
            add(builder.add(whole, loop.index), sums[0])
        while len(sums) > 1:
            half = len(sums) // 2
            for low, high in zip(sums[:half], sums[half:], strict=True):
                builder.store(builder.fadd(builder.load(low), builder.load(high)), low)
            sums = sums[:half]
        emit.store(builder, builder.load(sums[0]), builder.gep(out, [j]), tail)


@intrinsic
def _column_sums_lowered(typing_context, rows, cols, x, pitch, out):
    def generate(context, builder, signature, arguments):
        _emit_column_sums(builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, x, types.int64, out), generate


def _column_sums_plain(rows, cols, x, pitch, out):
    """``out = sum(x)`` over the rows of x (rows, cols), which are `pitch` apart, both spans."""
    with np.errstate(all="ignore"):
        out[:cols] = x[: rows * pitch].reshape(rows, pitch)[:, :cols].sum(axis=0)


def _emit_row_sums(builder, rows, cols, x, pitch, out, weights=None, start=None):
    """``out = sum(x, axis=1)``, or ``out = start + x @ weights``: as many rows as there are lanes together, or one."""
    count = emit.lanes_of(x.type.pointee)
    zero = emit.zeros(x.type.pointee)
    total = cgutils.alloca_once(builder, zero.type)
    totals = cgutils.alloca_once(builder, zero.type, size=count)
    whole_cols = builder.and_(cols, _I64(-count))
    rest = emit.Tail(builder, builder.sub(cols, whole_cols), count)

    def numbers(source, j, tail):
        return simd.Lanes(builder, emit.load(builder, builder.gep(source, [j]), count, tail))

    def add(row, j, tail):
        number, before = numbers(row, j, tail), simd.Lanes(builder, builder.load(total))
        after = before + number if weights is None else simd.fma(number, numbers(weights, j, tail), before)
        builder.store(after.value, total)

    def total_of(index):
        row = builder.gep(x, [builder.mul(index, pitch)])
        builder.store(zero, total)
        with emit.steps(builder, whole_cols, count) as j:
            add(row, j, None)
        with builder.if_then(builder.icmp_signed("<", whole_cols, cols)):
            add(row, whole_cols, rest)
        return builder.load(total)

    whole = builder.and_(rows, _I64(-count))
    with emit.steps(builder, whole, count) as first:
        with cgutils.for_range(builder, _I64(count)) as loop:
            builder.store(total_of(builder.add(first, loop.index)), builder.gep(totals, [loop.index]))
        registers = [builder.load(builder.gep(totals, [_I64(i)])) for i in range(count)]
        result = emit.sums_of_lanes(builder, registers)
        if start is not None:
            result = builder.fadd(emit.splat(builder, builder.load(start), count), result)
        emit.store(builder, result, builder.gep(out, [first]))
    with cgutils.for_range(builder, builder.sub(rows, whole)) as loop:
        index = builder.add(whole, loop.index)
        result = emit.reduce(builder, "add", total_of(index))
        if start is not None:
            result = builder.fadd(builder.load(start), result)
        builder.store(result, builder.gep(out, [index]))


@intrinsic
def _row_sums_lowered(typing_context, rows, cols, x, out):
    def generate(context, builder, signature, arguments):
        rows, cols, x, out = arguments
        _emit_row_sums(builder, rows, cols, x, cols, out)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, x, out), generate


def _row_sums_plain(rows, cols, x, out):
    """``out = sum(x)`` over the columns of x (rows, cols), both spans."""
    with np.errstate(all="ignore"):
        out[:rows] = x[: rows * cols].reshape(rows, cols).sum(axis=1)


@intrinsic
def _row_dots_lowered(typing_context, rows, cols, x, pitch, weights, start, out):
    def generate(context, builder, signature, arguments):
        rows, cols, x, pitch, weights, start, out = arguments
        _emit_row_sums(builder, rows, cols, x, pitch, out, weights, start)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, x, types.int64, weights, start, out), generate


def _row_dots_plain(rows, cols, x, pitch, weights, start, out):
    """``out = start + x @ weights`` for spans x (rows, cols), its rows `pitch` apart, weights (cols,), start (1,)."""
    with np.errstate(all="ignore"):
        out[:rows] = start[0] + x[: rows * pitch].reshape(rows, pitch)[:, :cols] @ weights[:cols]


@intrinsic
def _sum_of_squares_lowered(typing_context, n, x):
    def generate(context, builder, signature, arguments):
        n, x = arguments
        double = ir.DoubleType()
        count = emit.lanes_of(double)
        wide = ir.VectorType(double, count)
        totals = [emit.accumulator(builder, double) for _ in range(_CHAINS)]
        with emit.steps(builder, n, _CHAINS * count) as j:
            for i, total in enumerate(totals):
                at = builder.add(j, _I64(i * count))
                tail = emit.Tail(builder, builder.sub(n, at), count)
                value = emit.load(builder, builder.gep(x, [at]), count, tail)
                number = value if value.type == wide else builder.fpext(value, wide)
                emit.accumulate(builder, number, number, total)
        a, b, c, d = (builder.load(total) for total in totals)
        return emit.reduce(builder, "add", builder.fadd(builder.fadd(a, b), builder.fadd(c, d)))

    return types.float64(types.int64, x), generate


def _sum_of_squares_plain(n, x):
    """Sum of the squares of the first n numbers of a span, in float64."""
    wide = x[:n].astype(np.float64)
    with np.errstate(all="ignore"):
        return float(np.dot(wide, wide))


sum_of_squares = _sum_of_squares_plain if config.DISABLE_JIT else _sum_of_squares_lowered
row_dots = _row_dots_plain if config.DISABLE_JIT else _row_dots_lowered
row_sums = _row_sums_plain if config.DISABLE_JIT else _row_sums_lowered
column_sums = _column_sums_plain if config.DISABLE_JIT else _column_sums_lowered


@routine
def sum_of_losses(n, vector, at):
    """Sum of n losses, from position `at` of a vector on, in float64.

    Four running sums, since one is a chain of dependent additions.
    """
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for i in range(at, at + n - 3, 4):
        s0, s1, s2, s3 = s0 + vector[i], s1 + vector[i + 1], s2 + vector[i + 2], s3 + vector[i + 3]
    for i in range(at + n - n % 4, at + n):
        s0 += vector[i]
    return (s0 + s1) + (s2 + s3)


@routine
def squared_norm(vector, first, stop):
    """Sum of the squares of ``vector[first:stop]`` in float64."""
    return sum_of_squares(stop - first, span(vector, first, stop - first))
