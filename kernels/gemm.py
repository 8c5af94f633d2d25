"""Matrix products: the micro-kernel, and the driver that cuts a product into tiles for it.

All three products of a dense layer are ``C = S + A @ B`` with B's and C's rows contiguous and A addressed by two
strides, so one micro-kernel serves them without packing or transposing A::

    forward    z  = b + x @ W           A = x        (strides fan_in, 1)
    gradient   dW = 0 + x.T @ delta     A = x.T      (strides 1, fan_in)
    recursion  dx = 0 + delta @ W.T     A = delta    (strides fan_out, 1), B = the transposed copy of W

The micro-kernel keeps MR rows x NV registers of C in accumulators. Each step of k loads NV registers of one row of B,
broadcasts MR numbers of one column of A, and issues MR * NV multiply-adds. Every element of C is one chain of
multiply-adds over k in order, wherever its tile lies: results do not depend on how rows or columns are divided.

Names are the literature's (Goto & van de Geijn 2008, BLIS): MR, NR the tile, KC, NC the blocks.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import simd
from ._jit import inlined, part

# 24 accumulators of 32 registers leave room for a row of B and a broadcast. Of 16 registers AVX2 needs one for the
# mask, and SSE2, which has no fused multiply-add, one for the product. Larger tiles spill to the stack.
MR, NV = (8, 3) if simd.REGISTERS == 32 else (5, 2) if simd.REGISTER_BYTES == 32 else (4, 2)
KC = 256  # a panel of KC x NR numbers of B stays in the first-level cache while the rows of A pass by


def _tile_plain(rows, cols, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc, nv):
    strided = np.lib.stride_tricks.as_strided
    size = a.itemsize
    tile_a = strided(a[ao:], (rows, k), (sai * size, sak * size))
    tile_b = strided(b[bo:], (k, cols), (ldb * size, size))
    start = strided(s[so:], (rows, cols), (lds * size, size))
    with np.errstate(all="ignore"):
        strided(c[co:], (rows, cols), (ldc * size, size))[...] = start + tile_a @ tile_b


def _emit_tile(builder, nv, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc):
    """The micro-kernel for up to MR rows and exactly `nv` registers of columns, the last of them masked."""
    i64 = ir.IntType(64)
    count = simd.lanes_of(b.type.pointee)
    vector = ir.VectorType(b.type.pointee, count)
    mask = simd.tail_mask(builder, builder.sub(cols, ir.Constant(i64, (nv - 1) * count)), count)
    masks = [None] * (nv - 1) + [mask]

    def at(base, *steps):
        for step in steps:
            base = builder.gep(base, [step])
        return base

    # Rows beyond the last repeat it: they compute and store the same numbers again, so no kernel for fewer rows exists.
    last = builder.sub(rows, ir.Constant(i64, 1))
    index = [ir.Constant(i64, 0)]
    for i in range(1, MR):
        row = ir.Constant(i64, i)
        index.append(builder.select(builder.icmp_signed("<", row, last), row, last))
    columns = [ir.Constant(i64, v * count) for v in range(nv)]
    accumulators = [[cgutils.alloca_once(builder, vector) for _ in range(nv)] for _ in range(MR)]
    for i in range(MR):
        for v in range(nv):
            start = simd.load(builder, at(s, builder.mul(index[i], lds), columns[v]), count, masks[v])
            builder.store(start, accumulators[i][v])
    row_of_a = [at(a, builder.mul(index[i], sai)) for i in range(MR)]
    fma = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}",
    )
    with cgutils.for_range(builder, k) as loop:
        row_of_b = at(b, builder.mul(loop.index, ldb))
        registers = [simd.load(builder, at(row_of_b, columns[v]), count, masks[v]) for v in range(nv)]
        step = builder.mul(loop.index, sak)
        for i in range(MR):
            broadcast = simd.splat(builder, builder.load(at(row_of_a[i], step)), count)
            for v in range(nv):
                total = builder.call(fma, [broadcast, registers[v], builder.load(accumulators[i][v])])
                builder.store(total, accumulators[i][v])
    for i in range(MR):
        for v in range(nv):
            target = at(c, builder.mul(index[i], ldc), columns[v])
            simd.store(builder, builder.load(accumulators[i][v]), target, masks[v])


@intrinsic(prefer_literal=True)
def _tile_lowered(typing_context, rows, cols, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc, nv):
    def generate(context, builder, signature, arguments):
        rows, cols, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc, _ = arguments

        def at(position, array, offset):
            pointer = simd.data_pointer(context, builder, signature.args[position], array)
            return builder.gep(pointer, [offset])

        operands = at(3, a, ao), sai, sak, at(7, b, bo), ldb, at(10, s, so), lds, at(13, c, co), ldc
        _emit_tile(builder, nv.literal_value, rows, cols, k, *operands)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, a, i, i, i, b, i, i, s, i, i, c, i, i, nv), generate


_tile = _tile_plain if config.DISABLE_JIT else _tile_lowered
_BOUNDSCHECK = bool(config.BOUNDSCHECK)


@inlined
def _check(array, offset, rows, cols, row_stride, col_stride):
    if rows > 0 and cols > 0:
        end = offset + (rows - 1) * row_stride + (cols - 1) * col_stride
        if offset < 0 or end >= array.size:
            raise IndexError("a matrix product reaches outside its array")


@part
def gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc):
    """``C = S + A @ B`` for m x k numbers of A, k x n of B; S may be C itself, a row for all rows, or one zero row.

    Arrays are 1-D, C order, of one float type; `ao`, `bo`, `so`, `co` are the positions of each matrix's first element.
    A's element (i, p) is at ``ao + i * sai + p * sak``; rows of B, S, C are contiguous and ldb, lds, ldc apart
    (``lds=0``: the same row for every row of C). Only C's m x n elements are written, and C must not overlap A or B.
    """
    if _BOUNDSCHECK:
        _check(a, ao, m, k, sai, sak)
        _check(b, bo, k, n, ldb, 1)
        _check(s, so, m, n, lds, 1)
        _check(c, co, m, n, ldc, 1)
    lanes = simd.REGISTER_BYTES // c.itemsize
    for p in range(0, max(k, 1), KC):
        kc = min(KC, k - p)
        for j in range(0, n, NV * lanes):
            cols = min(NV * lanes, n - j)
            for i in range(0, m, MR):
                rows = min(MR, m - i)
                ap, bp = ao + i * sai + p * sak, bo + p * ldb + j
                sp, cp = so + i * lds + j, co + i * ldc + j
                if cols > 2 * lanes:
                    _tile(rows, cols, kc, a, ap, sai, sak, b, bp, ldb, s, sp, lds, c, cp, ldc, NV)
                elif cols > lanes:
                    _tile(rows, cols, kc, a, ap, sai, sak, b, bp, ldb, s, sp, lds, c, cp, ldc, 2)
                else:
                    _tile(rows, cols, kc, a, ap, sai, sak, b, bp, ldb, s, sp, lds, c, cp, ldc, 1)
        s, so, lds = c, co, ldc  # further blocks of k add to what the first ones left
