"""Softmax and its backward: the activation that mixes the numbers of a row, a register of them at a time."""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit
from .elementary import exp, log1p
from .simd import Lanes, where

_I64 = ir.IntType(64)


class _Row:
    """A row while a kernel is compiled, a register of its numbers at a time: passes over them, and sums over them."""

    def __init__(self, builder, k, spans):
        self.builder, self.k, self.spans = builder, k, spans
        self.count = emit.lanes_of(spans[0].type.pointee)
        self.vector = ir.VectorType(spans[0].type.pointee, self.count)

    def total(self, start):
        """A running value for each lane, which `start` is filled with."""
        return cgutils.alloca_once_value(self.builder, ir.Constant(self.vector, [start] * self.count))

    def each(self, function, *totals):
        """``*results, *totals = function(*numbers, *totals)`` for a register of each span at a time.

        A result is written over the span at its place, unless it is None.
        """
        builder = self.builder
        with emit.steps(builder, self.k, self.count) as j:
            tail = emit.Tail(builder, builder.sub(self.k, j), self.count)
            places = [builder.gep(span, [j]) for span in self.spans]
            numbers = [Lanes(builder, emit.load(builder, place, self.count, tail)) for place in places]
            before = [Lanes(builder, builder.load(total)) for total in totals]
            results = function(*numbers, *before)
            for place, result in zip(places, results[: len(places)], strict=True):
                if result is not None:
                    emit.store(builder, result.value, place, tail)
            for total, old, new in zip(totals, before, results[len(places) :], strict=True):
                builder.store(builder.select(tail.mask, new.value, old.value), total)

    def across(self, operation, total):
        """The sum ("add") or the maximum ("max") over the numbers of a row of a running value, in every lane."""
        number = emit.reduce(self.builder, operation, self.builder.load(total))
        return Lanes(self.builder, emit.splat(self.builder, number, self.count))


class _Columns(_Row):
    """As many rows as a register has lanes, a lane for each: spans have k registers, each `pitch` after the one before.

    No sum crosses lanes, and what is needed once in a row (a division, a logarithm) is computed for all rows at once.
    """

    def __init__(self, builder, k, spans, pitch):
        super().__init__(builder, k, spans)
        self.pitch = pitch

    def _column(self, i, j):
        return self.builder.gep(self.spans[i], [self.builder.mul(j, self.pitch)])

    def each(self, function, *totals):
        builder = self.builder
        with cgutils.for_range(builder, self.k) as loop:
            places = [self._column(i, loop.index) for i in range(len(self.spans))]
            numbers = [Lanes(builder, emit.load(builder, place, self.count)) for place in places]
            results = function(*numbers, *(Lanes(builder, builder.load(total)) for total in totals))
            for place, result in zip(places, results[: len(places)], strict=True):
                if result is not None:
                    emit.store(builder, result.value, place)
            for total, new in zip(totals, results[len(places) :], strict=True):
                builder.store(new.value, total)

    def across(self, operation, total):
        return Lanes(self.builder, self.builder.load(total))


class _ShortRows(_Columns):
    """The same for rows that lie one after the other, none longer than a register: they are turned round on the way."""

    def __init__(self, builder, k, spans, rows, inputs, outputs):
        """`rows` of the lanes are in use. The spans at `inputs` are read; `store` writes those at `outputs`."""
        super().__init__(builder, k, spans, None)
        self.rows, self.outputs = rows, outputs
        self.tail = emit.Tail(builder, k, self.count)
        self.columns = [cgutils.alloca_once(builder, ir.ArrayType(self.vector, self.count)) for _ in spans]
        for i in inputs:
            lanes = [emit.load(builder, self._row(spans[i], lane), self.count, self.tail) for lane in range(self.count)]
            for j, column in enumerate(emit.transpose(builder, lanes)):
                emit.store(builder, column, self._column(i, _I64(j)))

    def _row(self, span, lane):
        """Where the row of a lane starts; beyond the last, which is computed several times, that."""
        row = emit.clamped_row(self.builder, lane, self.rows)
        return self.builder.gep(span, [self.builder.mul(row, self.k)])

    def _column(self, i, j):
        register = self.builder.gep(self.columns[i], [_I64(0), j])
        return self.builder.bitcast(register, self.vector.element.as_pointer())

    def store(self):
        builder = self.builder
        for i in self.outputs:
            places = [self._column(i, _I64(j)) for j in range(self.count)]
            columns = [emit.load(builder, place, self.count) for place in places]
            rows = [self._row(self.spans[i], lane) for lane in range(self.count)]
            emit.store_rows(builder, emit.transpose(builder, columns), rows, self.tail)


def _emit_softmax(row):
    largest = row.total(-math.inf)
    row.each(lambda z, log_a, a, m: (None, None, None, where(z > m, z, m)), largest)
    m, rest, tops = row.across("max", largest), row.total(0.0), row.total(0.0)

    def exponentials(z, log_a, a, rest, tops):
        d = z - m
        e = exp(d)
        top = d >= 0.0
        return None, d, e, where(top, rest, rest + e), where(top, tops + 1.0, tops)

    row.each(exponentials, rest, tops)
    others = row.across("add", rest) + (row.across("add", tops) - 1.0)
    scale, log_sum = 1.0 / (1.0 + others), log1p(others)
    row.each(lambda z, log_a, a: (None, log_a - log_sum, a * scale))


def _emit_softmax_backward(row):
    largest, total = row.total(-math.inf), row.total(0.0)
    row.each(lambda a, g, m, t: (None, None, where(a > m, a, m), t + g), largest, total)
    m, t, rest, tops = row.across("max", largest), row.across("add", total), row.total(0.0), row.total(0.0)

    def subtract(a, g, rest, tops):
        g = g - a * t
        top = a >= m
        return None, g, where(top, rest, rest + g), where(top, tops + 1.0, tops)

    row.each(subtract, rest, tops)
    others, alone = row.across("add", rest), row.across("add", tops) <= 1.0
    row.each(lambda a, g: (None, where((a >= m) & alone, -others, g)))


def _row_kernel(emit_row, inputs, outputs):
    """A kernel (rows, k, spans) that does to each row what `emit_row` does: which spans that reads, which it writes."""

    @intrinsic
    def apply(typing_context, rows, k, spans):
        def generate(context, builder, signature, arguments):
            rows, k, spans = arguments
            starts = [builder.extract_value(spans, i) for i in range(len(signature.args[2].types))]
            count = emit.lanes_of(starts[0].type.pointee)

            def spans_from(row):
                return [builder.gep(start, [builder.mul(row, k)]) for start in starts]

            with builder.if_else(builder.icmp_signed("<=", k, _I64(count))) as (short, long):
                with short, emit.steps(builder, rows, count) as row:
                    group = _ShortRows(builder, k, spans_from(row), builder.sub(rows, row), inputs, outputs)
                    emit_row(group)
                    group.store()
                with long, cgutils.for_range(builder, rows) as loop:
                    emit_row(_Row(builder, k, spans_from(loop.index)))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, spans), generate

    return apply


def _columns_kernel(emit_row):
    """A kernel (columns, k, pitch, spans) that does the same to k numbers in each of `columns`, whole registers."""

    @intrinsic
    def apply(typing_context, columns, k, pitch, spans):
        def generate(context, builder, signature, arguments):
            columns, k, pitch, spans = arguments
            starts = [builder.extract_value(spans, i) for i in range(len(signature.args[3].types))]
            with emit.steps(builder, columns, emit.lanes_of(starts[0].type.pointee)) as column:
                emit_row(_Columns(builder, k, [builder.gep(start, [column]) for start in starts], pitch))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, spans), generate

    return apply


def _softmax_plain(rows, k, spans):
    """``a = exp(z) / sum(exp(z))`` and its logarithm for `rows` rows of k scores; spans: z, log_a (may be z), a.

    The largest score of a row gets ``log a = -log1p(sum of the others)``, which keeps its digits where a is nearly 1.
    """
    z, log_a, a = (span[: rows * k].reshape(rows, k) for span in spans)
    with np.errstate(all="ignore"):
        log_a[...] = z - z.max(axis=1, keepdims=True)
        a[...] = exp(log_a)
        top = log_a >= 0
        rest = np.where(top, 0, a).sum(axis=1, keepdims=True) + (top.sum(axis=1, keepdims=True) - 1)
        rest = rest.astype(a.dtype)
        a *= 1 / (1 + rest)
        log_a -= log1p(rest)


def _softmax_backward_plain(rows, k, spans):
    """``g = dL/dz`` in place of ``g = dL/d log a``: ``g - a * sum(g)``, row by row; spans: a, g.

    The numbers of a row of dL/dz sum to zero, which gives the one of the largest output where its own formula cancels.
    """
    a, g = (span[: rows * k].reshape(rows, k) for span in spans)
    with np.errstate(all="ignore"):
        g -= a * g.sum(axis=1, keepdims=True)
        top = a >= a.max(axis=1, keepdims=True)
        others = -np.where(top, 0, g).sum(axis=1, keepdims=True)
        g[...] = np.where(top & (top.sum(axis=1, keepdims=True) == 1), others, g)


def _columns_plain(function):
    """From a function of rows one of columns: (columns, k, pitch, spans), k numbers in each column, `pitch` apart."""

    def apply(columns, k, pitch, spans):
        """The function of rows, on columns."""
        blocks = [span[: k * pitch].reshape(k, pitch)[:, :columns] for span in spans]
        rows = [block.T.copy().ravel() for block in blocks]
        function(columns, k, rows)
        for block, numbers in zip(blocks, rows, strict=True):
            block[...] = numbers.reshape(columns, k).T

    return apply


if config.DISABLE_JIT:
    softmax, softmax_backward = _softmax_plain, _softmax_backward_plain
    softmax_columns, softmax_backward_columns = (_columns_plain(f) for f in (softmax, softmax_backward))
else:
    softmax_columns = _columns_kernel(_emit_softmax)
    softmax_backward_columns = _columns_kernel(_emit_softmax_backward)
    softmax = _row_kernel(_emit_softmax, inputs=(0,), outputs=(1, 2))
    softmax_backward = _row_kernel(_emit_softmax_backward, inputs=(0, 1), outputs=(1,))
