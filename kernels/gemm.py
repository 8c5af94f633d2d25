"""Matrix products: the micro-kernel, and the driver that cuts a product into tiles for it.

All three products of a dense layer are ``C = S + A @ B``, with C's rows contiguous and A and B addressed by strides::

    forward    z  = b + x @ W           A = x        (strides fan_in, 1)    B = W      (fan_out, 1)
    gradient   dW = 0 + x.T @ delta     A = x.T      (strides 1, fan_in)    B = delta  (fan_out, 1)
    recursion  dx = 0 + delta @ W.T     A = delta    (strides fan_out, 1)   B = W.T    (1, fan_out)

The micro-kernel keeps MR rows x NV registers of C in accumulators. Each step of k loads NV registers of one row of B,
broadcasts MR numbers of one column of A, and issues MR * NV multiply-adds. Every element of C is one chain of
multiply-adds over k in order, wherever its tile lies: results do not depend on how rows or columns are divided.

Where B is large, KC x (NV registers) of it are packed at a time (packing.py) for all rows of A to pass by.

Names are the literature's (Goto & van de Geijn 2008, BLIS): MR the rows of a tile, KC the depth of a panel.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import simd
from ._jit import inlined, part
from .packing import pack

# 24 accumulators of 32 registers leave room for a row of B and a broadcast. Of 16 registers AVX2 needs one for the
# mask, and SSE2, which has no fused multiply-add, one for the product. Larger tiles spill to the stack.
MR, NV = (8, 3) if simd.REGISTERS == 32 else (5, 2) if simd.REGISTER_BYTES == 32 else (4, 2)
KC = 256
# Packing pays where a panel serves this many rows, and B outgrows what stays in the first cache by itself.
_PACK_ROWS, _PACK_SIZE = 48, 4096
_A_REGISTERS = 8  # the rows of A that are packed together: so many registers full


def _emit_tile(builder, mr, nv, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc):
    """The micro-kernel for up to `mr` rows and exactly `nv` registers of columns, the last of them masked."""
    i64 = ir.IntType(64)
    count = simd.lanes_of(b.type.pointee)
    vector = ir.VectorType(b.type.pointee, count)
    mask = simd.tail_mask(builder, builder.sub(cols, ir.Constant(i64, (nv - 1) * count)), count)
    columns = [(ir.Constant(i64, v * count), mask if v == nv - 1 else None) for v in range(nv)]

    def rows_of(first, stride):
        # Rows beyond the last repeat it: they compute and store the same numbers again.
        pointers = [first]
        for i in range(1, mr):
            there = builder.icmp_signed("<", ir.Constant(i64, i), rows)
            pointers.append(builder.gep(pointers[-1], [builder.select(there, stride, ir.Constant(i64, 0))]))
        return pointers

    def load(row):
        return [simd.load(builder, builder.gep(row, [column]), count, mask) for column, mask in columns]

    a_rows, c_rows = rows_of(a, sai), rows_of(c, ldc)
    accumulators = [[cgutils.alloca_once_value(builder, start) for start in load(row)] for row in rows_of(s, lds)]
    fma = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}",
    )
    b_row, step = cgutils.alloca_once_value(builder, b), cgutils.alloca_once_value(builder, ir.Constant(i64, 0))
    with cgutils.for_range(builder, k):
        registers, position = load(builder.load(b_row)), builder.load(step)
        for a_row, sums in zip(a_rows, accumulators, strict=True):
            broadcast = simd.splat(builder, builder.load(builder.gep(a_row, [position])), count)
            for register, total in zip(registers, sums, strict=True):
                builder.store(builder.call(fma, [broadcast, register, builder.load(total)]), total)
        builder.store(builder.gep(builder.load(b_row), [ldb]), b_row)
        builder.store(builder.add(position, sak), step)
    for c_row, sums in zip(c_rows, accumulators, strict=True):
        for (column, mask), total in zip(columns, sums, strict=True):
            simd.store(builder, builder.load(total), builder.gep(c_row, [column]), mask)


@intrinsic(prefer_literal=True)
def _tile(typing_context, mr, nv, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc):
    def generate(context, builder, signature, arguments):
        _emit_tile(builder, mr.literal_value, nv.literal_value, *arguments[2:])
        return context.get_dummy_value()

    i = types.int64
    return types.void(mr, nv, i, i, i, a, i, i, b, i, s, i, c, i), generate


@intrinsic(prefer_literal=True)
def _panel(typing_context, like, registers):
    """Uninitialised memory for KC rows of so many registers, on the stack of the caller."""

    def generate(context, builder, signature, arguments):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), KC * registers.literal_value * simd.REGISTER_BYTES))
            memory.align = simd.REGISTER_BYTES
        return builder.bitcast(memory, arguments[0].type)

    return like(like, registers), generate


@inlined
def _single_row(n, k, lanes, a, sak, b, ldb, s, c):
    """``c = s + a @ B`` for one row: there is nothing to share a panel with, so B passes by once in long strips."""
    j = 0
    while j < n:
        left, bj, sj, cj = n - j, simd.advance(b, j), simd.advance(s, j), simd.advance(c, j)
        if left > 7 * lanes:
            _tile(1, 8, 1, min(left, 8 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0)
            j += 8 * lanes
        elif left > 3 * lanes:
            _tile(1, 4, 1, min(left, 4 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0)
            j += 4 * lanes
        elif left > lanes:
            _tile(1, 2, 1, min(left, 2 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0)
            j += 2 * lanes
        else:
            _tile(1, 1, 1, left, k, a, 0, sak, bj, ldb, sj, 0, cj, 0)
            j += lanes


@inlined
def _tiles(m, cols, nv, k, a, sai, sak, b, ldb, s, lds, c, ldc):
    """``C = S + A @ B`` for `nv` registers of columns: tile under tile."""
    for i in range(0, m, MR):
        rows = min(MR, m - i)
        ai, si, ci = simd.advance(a, i * sai), simd.advance(s, i * lds), simd.advance(c, i * ldc)
        if nv == NV:
            _tile(MR, NV, rows, cols, k, ai, sai, sak, b, ldb, si, lds, ci, ldc)
        elif nv == 2:
            _tile(MR, 2, rows, cols, k, ai, sai, sak, b, ldb, si, lds, ci, ldc)
        else:
            _tile(MR, 1, rows, cols, k, ai, sai, sak, b, ldb, si, lds, ci, ldc)


def _gemm_plain(m, n, k, a, sai, sak, b, sbk, sbj, s, lds, c, ldc):
    """``C = S + A @ B`` by NumPy's product, on spans: see `_gemm_lowered`."""

    def matrix(span, rows, cols, *strides):
        return np.lib.stride_tricks.as_strided(span, (rows, cols), [stride * span.itemsize for stride in strides])

    with np.errstate(all="ignore"):
        matrix(c, m, n, ldc, 1)[...] = matrix(s, m, n, lds, 1) + matrix(a, m, k, sai, sak) @ matrix(b, k, n, sbk, sbj)


@part
def _gemm_lowered(m, n, k, a, sai, sak, b, sbk, sbj, s, lds, c, ldc):
    """``C = S + A @ B`` for m x k numbers of A, k x n of B; S may be C itself, a row for all rows, or one zero row.

    `a`, `b`, `s`, `c` are spans (`simd.span`) of one float type. A's element (i, p) is at ``i * sai + p * sak``, B's
    element (p, j) at ``p * sbk + j * sbj``, where one of the two strides is 1; rows of S and C are contiguous, lds and
    ldc apart (``lds=0``: the same row for every row of C). Only C's m x n elements are written, and C must not overlap
    A or B.
    """
    lanes = simd.lanes(c)
    if m == 1 and sbj == 1:
        _single_row(n, k, lanes, a, sak, b, sbk, s, c)
        return
    packs = sbj != 1 or (m >= _PACK_ROWS and k * n > _PACK_SIZE)
    packs_a = packs and sai == 1 and sak != 1  # a row of A is spread over all rows of x
    a_panel, b_panel = _panel(c, _A_REGISTERS), _panel(c, NV)
    together = _A_REGISTERS * lanes if packs_a else max(m, 1)
    for i in range(0, m, together):
        rows = min(together, m - i)
        start, pitch = simd.advance(s, i * lds), lds
        for p in range(0, max(k, 1), KC):
            kc = min(KC, k - p)
            block_a, row_stride, col_stride = simd.advance(a, i * sai + p * sak), sai, sak
            if packs_a:
                pack(kc, rows, block_a, sak, sai, a_panel, _A_REGISTERS)
                block_a, col_stride = a_panel, together
            j = 0
            while j < n:
                left = (n - j + lanes - 1) // lanes
                nv = (NV + 1) // 2 if left == NV + 1 else min(NV, left)  # two equal panels, not a wide and a narrow one
                cols = min(nv * lanes, n - j)
                block_b, ldb = simd.advance(b, p * sbk + j * sbj), sbk
                if packs:
                    pack(kc, cols, block_b, sbk, sbj, b_panel, NV)
                    block_b, ldb = b_panel, NV * lanes
                sj, cj = simd.advance(start, j), simd.advance(c, i * ldc + j)
                _tiles(rows, cols, nv, kc, block_a, row_stride, col_stride, block_b, ldb, sj, pitch, cj, ldc)
                j += cols
            start, pitch = simd.advance(c, i * ldc), ldc  # further blocks of k add to what the first ones left


gemm = _gemm_plain if config.DISABLE_JIT else _gemm_lowered
