"""Matrix products: the micro-kernel, and the driver that cuts a product into tiles for it.

All three products of a dense layer are ``C = S + A @ B``, with C's rows contiguous and A and B addressed by strides::

    forward    z  = b + x @ W           A = x        (strides fan_in, 1)    B = W      (fan_out, 1)
    gradient   dW = 0 + x.T @ delta     A = x.T      (strides 1, fan_in)    B = delta  (fan_out, 1)
    recursion  dx = 0 + delta @ W.T     A = delta    (strides fan_out, 1)   B = W.T    (1, fan_out)

The micro-kernel keeps MR rows x NV registers of C in accumulators. Each step of k loads NV registers of one row of B,
broadcasts MR numbers of one column of A, and issues MR * NV multiply-adds. Every element of C is one chain of
multiply-adds over k in order, wherever its tile lies: results do not depend on how rows or columns are divided.

Where B is large, a panel of it, up to KC rows of NV registers, is packed at a time (packing.py) for all rows of A to
pass by. A that is stored transposed is packed, too: in strips of MR columns, one for each row of tiles.

Names are the literature's (Goto & van de Geijn 2008, BLIS): MR the rows of a tile, KC the depth of a panel.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import simd
from ._jit import inlined, part
from .packing import pack_strips, pack_transposed

# 24 accumulators of 32 registers leave room for a row of B and a broadcast. Of 16 registers AVX2 needs one for the
# mask, and SSE2, which has no fused multiply-add, one for the product. Larger tiles spill to the stack.
MR, NV = (8, 3) if simd.REGISTERS == 32 else (5, 2) if simd.REGISTER_BYTES == 32 else (4, 2)
KC_BYTES = 2048  # of a row of A: KC is 512 numbers of float32, 256 of float64
# Packing pays where a panel serves this many rows, and B outgrows what stays in the first cache by itself.
_PACK_ROWS, _PACK_SIZE = 48, 4096
_AHEAD = 10  # rows of B that are asked for before they are packed: as many as the third cache needs time for
# Between strips of A, lest their rows share one place of the first cache; numbers.
_STRIP_GAP = 16
# Bytes: a panel of B, and what is packed of A, which is to stay in the second cache: 64 rows, or more where k < KC.
_B_PANEL, _A_PANEL = KC_BYTES // 4 * NV * simd.REGISTER_BYTES, 64 * (KC_BYTES + 8 * _STRIP_GAP)


def _emit_tile(builder, mr, nv, packs, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc, panel):
    """The micro-kernel for up to `mr` rows and exactly `nv` registers of columns, the last of them masked.

    If it `packs`, it leaves the rows of B that it has seen in `panel`, NV registers each.
    """
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
    packed = cgutils.alloca_once_value(builder, panel)
    with cgutils.for_range(builder, k):
        registers, position = load(builder.load(b_row)), builder.load(step)
        for a_row, sums in zip(a_rows, accumulators, strict=True):
            broadcast = simd.splat(builder, builder.load(builder.gep(a_row, [position])), count)
            for register, total in zip(registers, sums, strict=True):
                builder.store(builder.call(fma, [broadcast, register, builder.load(total)]), total)
        if packs:
            ahead = builder.gep(builder.load(b_row), [builder.mul(ldb, ir.Constant(i64, _AHEAD))])
            for column, _ in columns:
                simd.prefetch(builder, builder.gep(ahead, [column]))
            for (column, _), register in zip(columns, registers, strict=True):
                simd.store(builder, register, builder.gep(builder.load(packed), [column]))
            builder.store(builder.gep(builder.load(packed), [ir.Constant(i64, NV * count)]), packed)
        builder.store(builder.gep(builder.load(b_row), [ldb]), b_row)
        builder.store(builder.add(position, sak), step)
    for c_row, sums in zip(c_rows, accumulators, strict=True):
        for (column, mask), total in zip(columns, sums, strict=True):
            simd.store(builder, builder.load(total), builder.gep(c_row, [column]), mask)


@intrinsic(prefer_literal=True)
def _tile(typing_context, mr, nv, packs, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc, panel):
    def generate(context, builder, signature, arguments):
        _emit_tile(builder, mr.literal_value, nv.literal_value, packs.literal_value, *arguments[3:])
        return context.get_dummy_value()

    i = types.int64
    return types.void(mr, nv, packs, i, i, i, a, i, i, b, i, s, i, c, i, panel), generate


@intrinsic(prefer_literal=True)
def _panel(typing_context, like, size):
    """So many bytes of uninitialised memory on the stack of the caller, as a span of the type of `like`."""

    def generate(context, builder, signature, arguments):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
            memory.align = simd.REGISTER_BYTES
        return builder.bitcast(memory, arguments[0].type)

    return like(like, size), generate


@inlined
def _single_row(n, k, lanes, a, sak, b, ldb, s, c):
    """``c = s + a @ B`` for one row: there is nothing to share a panel with, so B passes by once in long strips."""
    j = 0
    while j < n:
        left, bj, sj, cj = n - j, simd.advance(b, j), simd.advance(s, j), simd.advance(c, j)
        if left > 7 * lanes:
            _tile(1, 8, 0, 1, min(left, 8 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0, c)
            j += 8 * lanes
        elif left > 3 * lanes:
            _tile(1, 4, 0, 1, min(left, 4 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0, c)
            j += 4 * lanes
        elif left > lanes:
            _tile(1, 2, 0, 1, min(left, 2 * lanes), k, a, 0, sak, bj, ldb, sj, 0, cj, 0, c)
            j += 2 * lanes
        else:
            _tile(1, 1, 0, 1, left, k, a, 0, sak, bj, ldb, sj, 0, cj, 0, c)
            j += lanes


@inlined
def _tiles(packs, m, cols, nv, k, a, next_a, sai, sak, b, ldb, s, lds, c, ldc, panel, pitch):
    """``C = S + A @ B`` for `nv` registers of columns: tile under tile, A's rows for one `next_a` after another's.

    If it `packs`, the first tile does so on its way, and the others read the panel.
    """
    for i in range(0, m, MR):
        rows = min(MR, m - i)
        si, ci = simd.advance(s, i * lds), simd.advance(c, i * ldc)
        if packs:
            if nv == NV:
                _tile(MR, NV, 1, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
            elif nv == 2:
                _tile(MR, 2, 1, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
            else:
                _tile(MR, 1, 1, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
            packs, b, ldb = False, panel, pitch
        elif nv == NV:
            _tile(MR, NV, 0, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
        elif nv == 2:
            _tile(MR, 2, 0, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
        else:
            _tile(MR, 1, 0, rows, cols, k, a, sai, sak, b, ldb, si, lds, ci, ldc, panel)
        a = simd.advance(a, next_a)


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
    packs_b = sbj != 1 or (m >= _PACK_ROWS and k * n > _PACK_SIZE)
    packs_a = packs_b and sai == 1 and sak != 1  # a row of A is spread over all rows of x
    a_panel, b_panel = _panel(c, _A_PANEL), _panel(c, _B_PANEL)
    depth = min(k, KC_BYTES * lanes // simd.REGISTER_BYTES)
    together = m
    if packs_a:
        together = _A_PANEL * lanes // (simd.REGISTER_BYTES * (MR * depth + _STRIP_GAP)) * MR
    i = 0
    while i < m:  # not range: it would divide by its step, for longer than a small product takes
        rows = min(together, m - i)
        start, pitch = simd.advance(s, i * lds), lds
        p = 0
        while p < k or p == 0:
            kc = min(depth, k - p)
            block_a, next_a, row_stride, col_stride = simd.advance(a, i * sai + p * sak), MR * sai, sai, sak
            if packs_a:
                next_a = MR * kc + _STRIP_GAP
                pack_strips(MR, kc, rows, block_a, sak, a_panel, next_a)
                block_a, col_stride = a_panel, MR
            j = 0
            while j < n:
                left = (n - j + lanes - 1) // lanes
                nv = (NV + 1) // 2 if left == NV + 1 else min(NV, left)  # two equal panels, not a wide and a narrow one
                cols = min(nv * lanes, n - j)
                block_b, ldb, packs = simd.advance(b, p * sbk + j * sbj), sbk, packs_b
                if sbj != 1:
                    pack_transposed(kc, cols, block_b, sbj, b_panel, NV * lanes)
                    block_b, ldb, packs = b_panel, NV * lanes, False
                _tiles(
                    packs, rows, cols, nv, kc, block_a, next_a, row_stride, col_stride, block_b, ldb,
                    simd.advance(start, j), pitch, simd.advance(c, i * ldc + j), ldc, b_panel, NV * lanes,
                )  # fmt: skip
                j += cols
            start, pitch = simd.advance(c, i * ldc), ldc  # further blocks of k add to what the first ones left
            p += max(kc, 1)
        i += together


gemm = _gemm_plain if config.DISABLE_JIT else _gemm_lowered
