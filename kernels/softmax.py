"""Softmax and its backward: the activation that mixes the numbers of a row, a register of them at a time."""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import simd
from .elementary import exp, log1p
from .simd import Lanes, where

_I64 = ir.IntType(64)


class _Row:
    """One row of a matrix while a kernel is compiled: passes over its numbers, and sums over them.

    A row that fits into a register stays there from pass to pass (`short`): memory sees each number once.
    """

    def __init__(self, builder, k, spans, short):
        self.builder, self.k, self.spans = builder, k, spans
        self.count = simd.lanes_of(spans[0].type.pointee)
        self.vector = ir.VectorType(spans[0].type.pointee, self.count)
        self.short, self.kept = short, None

    def total(self, start):
        """A running value for each lane, which `start` is filled with."""
        return cgutils.alloca_once_value(self.builder, ir.Constant(self.vector, [start] * self.count))

    def each(self, function, *totals):
        """``*results, *totals = function(*numbers, *totals)`` for a register of each span at a time.

        A result is written over the span at its place, unless it is None.
        """
        if self.short:
            mask = simd.tail_mask(self.builder, self.k, self.count)
            if self.kept is None:
                self.kept = [self._load(span, mask) for span in self.spans]
            results = self._step(function, self.kept, totals, mask)
            self.kept = [old if new is None else new for old, new in zip(self.kept, results, strict=True)]
            for span, result in zip(self.spans, results, strict=True):
                self._store(result, span, mask)
            return
        builder, zero, step = self.builder, ir.Constant(_I64, 0), ir.Constant(_I64, self.count)
        with cgutils.for_range_slice(builder, zero, self.k, step, inc=True) as (j, _):
            mask = simd.tail_mask(builder, builder.sub(self.k, j), self.count)
            places = [builder.gep(span, [j]) for span in self.spans]
            results = self._step(function, [self._load(place, mask) for place in places], totals, mask)
            for place, result in zip(places, results, strict=True):
                self._store(result, place, mask)

    def _step(self, function, numbers, totals, mask):
        before = [Lanes(self.builder, self.builder.load(total)) for total in totals]
        results = function(*numbers, *before)
        for total, old, new in zip(totals, before, results[len(numbers) :], strict=True):
            self.builder.store(self.builder.select(mask, new.value, old.value), total)
        return results[: len(numbers)]

    def _load(self, place, mask):
        return Lanes(self.builder, simd.load(self.builder, place, self.count, mask))

    def _store(self, result, place, mask):
        if result is not None:
            simd.store(self.builder, result.value, place, mask)

    def across(self, operation, total):
        """The sum ("add") or the maximum ("max") over the lanes of a running value, in every lane."""
        number = simd.reduce(self.builder, operation, self.builder.load(total))
        return Lanes(self.builder, simd.splat(self.builder, number, self.count))


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


def _row_kernel(emit):
    """A kernel (rows, k, spans) that does what `emit` does to each row."""

    @intrinsic
    def apply(typing_context, rows, k, spans):
        def generate(context, builder, signature, arguments):
            rows, k, spans = arguments
            starts = [builder.extract_value(spans, i) for i in range(len(signature.args[2].types))]
            fits = builder.icmp_signed("<=", k, ir.Constant(_I64, simd.lanes_of(starts[0].type.pointee)))
            with builder.if_else(fits) as branches:
                for branch, short in zip(branches, (True, False), strict=True):
                    with branch, cgutils.for_range(builder, rows) as loop:
                        offset = builder.mul(loop.index, k)
                        emit(_Row(builder, k, [builder.gep(start, [offset]) for start in starts], short))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, spans), generate

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


if config.DISABLE_JIT:
    softmax, softmax_backward = _softmax_plain, _softmax_backward_plain
else:
    softmax, softmax_backward = _row_kernel(_emit_softmax), _row_kernel(_emit_softmax_backward)
