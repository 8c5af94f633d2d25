"""Matrix products: the micro-kernel, and the driver that cuts a product into tiles for it.

All three products of a dense layer are ``C = S + A @ B``, with C's rows contiguous and A and B addressed by strides::

    forward    z  = b + x @ W           A = x        (strides fan_in, 1)    B = W      (fan_out, 1)
    gradient   dW = 0 + x.T @ delta     A = x.T      (strides 1, fan_in)    B = delta  (fan_out, 1)
    recursion  dx = 0 + delta @ W.T     A = delta    (strides fan_out, 1)   B = W.T    (1, fan_out)

The micro-kernel keeps MR rows x NV registers of C in accumulators. Each step of k loads NV registers of one row of B,
broadcasts MR numbers of one column of A, and issues MR * NV multiply-adds. Every element of C is made of the same
chains of multiply-adds over k, wherever its tile lies: results do not depend on how rows or columns are divided. A
chain has KC terms; the sums of the chains are added up, which loses far fewer digits than a single long chain.

The first tile of a panel of B, up to KC rows of NV registers, reads it in place and packs it on its way, for the rows
of tiles below to read: there it lies in one piece, in whole registers. (B that is stored transposed, or is large, is
packed before: packing.py.) Where B is large, A that is stored transposed is packed, too: in strips of MR columns, one
for each row of tiles.

Names are the literature's (Goto & van de Geijn 2008, BLIS): MR the rows of a tile, KC the depth of a panel.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit, simd, spans
from ._jit import inlined, routine
from .packing import pack_panels, pack_strips, pack_transposed
from .spans import advance

_I64 = ir.IntType(64)

# 24 accumulators of 32 registers leave room for a row of B and a broadcast. Of 16 registers AVX2 needs one for the
# mask, and SSE2, which has no fused multiply-add, one for the product. Larger tiles spill to the stack.
MR, NV = (8, 3) if simd.REGISTERS == 32 else (6, 2) if simd.REGISTER_BYTES == 32 else (4, 2)
KC_BYTES = 2048  # of a row of A: KC is 512 numbers of float32, 256 of float64
# So many panels of B are multiplied together, 48 columns or more: then B is read in runs of several cache lines, and
# MR rows of A serve all of them while the first cache holds these.
_PANELS = {64: 1, 32: 4, 16: 8}[simd.REGISTER_BYTES]
# Narrow panels of a B of more numbers are packed before the first tile, which would wait for each of their cache lines.
_COPY_SIZE = 32768
# Packing A pays from so many rows, and where B outgrows what stays in the first cache by itself.
_PACK_ROWS, _PACK_SIZE = 48, 4096
_STRIP = 1 << (MR - 1).bit_length()  # numbers from one column of a strip of A to the next
# Where a tile finds B: in place, all of it; in place, and it leaves in the panel what it has seen; in the panel; in one
# of NV registers that the first cache does not hold; or in either panel, as the last tile, with fewer than MR rows. The
# three between always have MR.
_IN_PLACE, _PACKING, _PANEL, _DEEP_PANEL, _REST = range(5)
# Rows of B that are asked for before they are read: as many as the third cache, or the second, needs time for.
_AHEAD = {_PACKING: 10, _DEEP_PANEL: 4}
_HELD = 24576  # bytes of a panel that stay in the first cache (of 32 KiB or more) beside the rows of A
_SINGLE_ROW = 8, 4, 2, 1  # registers of columns at a time where C is a single row
_STRIP_GAP = 16  # numbers between strips of A, lest their rows share one place of the first cache
# Rows of A that are packed together, more where k < KC: they are to stay in the second cache, of which CPUs with
# AVX-512 have 1 MiB or more. A block of dW has as many (updates.py).
MC = {64: 128, 32: 72, 16: 64}[simd.REGISTER_BYTES]
# Bytes: the panels of B, and those rows of A.
_B_PANELS = KC_BYTES // 4 * NV * simd.REGISTER_BYTES * _PANELS
_A_PANEL = MC // MR * (_STRIP * KC_BYTES + 8 * _STRIP_GAP)


def _emit_tile(builder, mr, nv, source, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc, panel):
    """The micro-kernel for `mr` rows and `nv` registers of columns, the last of them masked.

    Where `source` allows for fewer rows, those beyond the last repeat it: they compute and store the same numbers
    again. S that is C itself is added at the end. Rows of the panel are NV registers apart, and whole: what is beyond
    the last column is of no account.
    """
    count = emit.lanes_of(b.type.pointee)
    tail = emit.Tail(builder, builder.sub(cols, _I64((nv - 1) * count)), count)
    columns = [_I64(v * count) for v in range(nv)]
    edges = [None] * (nv - 1) + [tail]
    pitch = _I64(NV * count)
    in_panel, all_rows = source not in (_IN_PLACE, _PACKING), source not in (_IN_PLACE, _REST)
    if in_panel:
        b, ldb = panel, pitch

    def rows_of(first, stride):
        return emit.row_pointers(builder, first, stride, mr, None if all_rows else rows)

    def load(row, tails):
        pairs = zip(columns, tails, strict=True)
        return [emit.load(builder, builder.gep(row, [column]), count, tail) for column, tail in pairs]

    a_rows, c_rows = rows_of(a, sai), rows_of(c, ldc)
    accumulators = [[emit.accumulator(builder, b.type.pointee) for _ in columns] for _ in range(mr)]
    adds = builder.icmp_unsigned("==", builder.ptrtoint(s, _I64), builder.ptrtoint(c, _I64))
    with builder.if_then(builder.not_(adds)):
        for row, sums in zip(rows_of(s, lds), accumulators, strict=True):
            for start, total in zip(load(row, edges), sums, strict=True):
                builder.store(start, total)
    b_row, packed = cgutils.alloca_once_value(builder, b), cgutils.alloca_once_value(builder, panel)
    step = cgutils.alloca_once_value(builder, _I64(0))
    with cgutils.for_range(builder, k):
        row = builder.load(b_row)
        registers = load(row, [None] * nv if in_panel else edges)
        position = emit.opaque(builder, builder.load(step))  # or there would be a moving pointer for each row of A
        for a_row, sums in zip(a_rows, accumulators, strict=True):
            broadcast = emit.splat(builder, builder.load(builder.gep(a_row, [position])), count)
            for register, total in zip(registers, sums, strict=True):
                emit.accumulate(builder, broadcast, register, total)
        if source in _AHEAD:
            ahead = builder.gep(row, [builder.mul(ldb, _I64(_AHEAD[source]))])
            for column in columns:
                emit.prefetch(builder, builder.gep(ahead, [column]))
        if source == _PACKING:
            for column, register in zip(columns, registers, strict=True):
                emit.store(builder, register, builder.gep(builder.load(packed), [column]))
            builder.store(builder.gep(builder.load(packed), [pitch]), packed)
        builder.store(builder.gep(row, [ldb]), b_row)
        builder.store(builder.add(position, sak), step)
    with builder.if_then(adds):
        for row, sums in zip(c_rows, accumulators, strict=True):
            for before, total in zip(load(row, edges), sums, strict=True):
                builder.store(builder.fadd(before, builder.load(total)), total)
    for column, edge, totals in zip(columns, edges, zip(*accumulators, strict=True), strict=True):
        places = [builder.gep(c_row, [column]) for c_row in c_rows]
        emit.store_rows(builder, [builder.load(total) for total in totals], places, edge)


@intrinsic(prefer_literal=True)
def _tile(typing_context, mr, nv, source, rows, cols, k, a, sai, sak, b, ldb, s, lds, c, ldc, panel):
    """The micro-kernel for 1 or MR rows, a literal; nv and source are looked at where it runs."""
    if mr.literal_value == 1:
        kernels = [(registers, _IN_PLACE) for registers in _SINGLE_ROW]
    else:
        sources = _IN_PLACE, _PACKING, _PANEL, _DEEP_PANEL, _REST
        kernels = [(registers, source) for registers in range(1, NV + 1) for source in sources]
        kernels = [kernel for kernel in kernels if kernel[1] != _DEEP_PANEL or kernel[0] == NV]

    def generate(context, builder, signature, arguments):
        _, nv, source, *operands = arguments
        table = {registers << 3 | known: (registers, known) for registers, known in kernels}
        for registers, known in emit.cases(builder, builder.add(builder.shl(nv, nv.type(3)), source), table):
            _emit_tile(builder, mr.literal_value, registers, known, *operands)
        return context.get_dummy_value()

    i = types.int64
    return types.void(mr, i, i, i, i, i, a, i, i, b, i, s, i, c, i, panel), generate


@intrinsic(prefer_literal=True)
def _stack_memory(typing_context, like, size):
    """So many bytes of uninitialised memory on the stack of the caller, as a span of the type of `like`."""

    def generate(context, builder, signature, arguments):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
            memory.align = simd.REGISTER_BYTES
        return builder.bitcast(memory, arguments[0].type)

    return like(like, size), generate


@inlined
def _single_row(n, k, depth, lanes, a, sak, b, sbk, sbj, s, c, panel):
    """``c = s + a @ B`` for one row: there is nothing to share a panel with, so B passes by once in long strips.

    B that is stored transposed passes through the panel, two registers of columns at a time.
    """
    p = 0
    while p < k or p == 0:
        kc, ap, bp = min(depth, k - p), advance(a, p * sak), advance(b, p * sbk)
        j = 0
        while j < n:
            left, bj, ldb = (n - j + lanes - 1) // lanes, advance(bp, j * sbj), sbk
            nv = 8 if left > 7 else 4 if left > 3 else 2 if left > 1 else 1
            if sbj != 1:
                nv, ldb = min(nv, 2), 2 * lanes
                pack_transposed(kc, min(n - j, ldb), bj, sbj, panel, ldb)
                bj = panel
            sj, cj = advance(s, j), advance(c, j)
            _tile(1, nv, _IN_PLACE, 1, min(n - j, nv * lanes), kc, ap, 0, sak, bj, ldb, sj, 0, cj, 0, c)
            j += nv * lanes
        s = c
        p += depth


@inlined
def _registers(left):
    """Registers of columns that are multiplied together, of `left`: some panels of NV, or one that is narrower.

    One register more than a panel becomes two equal panels, not a wide and a narrow one.
    """
    if left <= NV:
        return left
    if left == NV + 1:
        return (left + 1) // 2
    rest = left % NV + (NV if NV > 2 and left % NV == 1 else 0)
    return min(left - rest, _PANELS * NV)


@inlined
def _tiles(source, m, n, nv, lanes, k, a, next_a, sai, sak, b, ldb, s, lds, c, ldc, panels):
    """``C = S + A @ B`` for one or more panels of `nv` registers: row of tiles under row of tiles.

    A's rows for one start `next_a` after another's.
    """
    panel_source = _DEEP_PANEL if nv == NV and k * NV * simd.REGISTER_BYTES > _HELD else _PANEL
    for i in range(0, m, MR):
        rows, s_row, c_row = min(MR, m - i), advance(s, i * lds), advance(c, i * ldc)
        if source == _PANEL:
            source = panel_source if rows == MR else _REST
        j = 0
        while j < n:
            bj, sj, cj, panel = advance(b, j), advance(s_row, j), advance(c_row, j), advance(panels, k * j)
            _tile(MR, nv, source, rows, min(nv * lanes, n - j), k, a, sai, sak, bj, ldb, sj, lds, cj, ldc, panel)
            j += NV * lanes
        source, a = _PANEL, advance(a, next_a)


def _gemm_plain(m, n, k, a, sai, sak, b, sbk, sbj, s, lds, c, ldc):
    """``C = S + A @ B`` by NumPy's product, on spans: see `_gemm_lowered`."""

    def matrix(span, rows, cols, *strides):
        return np.lib.stride_tricks.as_strided(span, (rows, cols), [stride * span.itemsize for stride in strides])

    with np.errstate(all="ignore"):
        matrix(c, m, n, ldc, 1)[...] = matrix(s, m, n, lds, 1) + matrix(a, m, k, sai, sak) @ matrix(b, k, n, sbk, sbj)


@routine
def _gemm_lowered(m, n, k, a, sai, sak, b, sbk, sbj, s, lds, c, ldc):
    """``C = S + A @ B`` for m x k numbers of A, k x n of B; S may be C itself, a row for all rows, or one zero row.

    `a`, `b`, `s`, `c` are spans (`spans.span`) of one float type. A's element (i, p) is at ``i * sai + p * sak``, B's
    element (p, j) at ``p * sbk + j * sbj``, where one of the two strides is 1; rows of S and C are contiguous, lds and
    ldc apart (``lds=0``: the same row for every row of C). Only C's m x n elements are written, and C must not overlap
    A or B.
    """
    lanes = spans.lanes(c)
    depth = min(max(k, 1), KC_BYTES * lanes // simd.REGISTER_BYTES)
    a_panel, b_panels = _stack_memory(c, _A_PANEL), _stack_memory(c, _B_PANELS)
    if m == 1:
        _single_row(n, k, depth, lanes, a, sak, b, sbk, sbj, s, c, b_panels)
        return
    # a row of A is spread over all rows of x
    packs_a = sai == 1 and sak != 1 and m >= _PACK_ROWS and k * n > _PACK_SIZE
    together = m
    if packs_a:
        together = _A_PANEL * lanes // (simd.REGISTER_BYTES * (_STRIP * depth + _STRIP_GAP)) * MR
    i = 0
    while i < m:  # not range: it would divide by its step, for longer than a small product takes
        rows = min(together, m - i)
        copied = _PANELS > 1 and sbj == 1 and rows > MR and k * sbk > _COPY_SIZE
        source = _PANEL if copied or sbj != 1 else _PACKING if rows > MR else _IN_PLACE
        block_s, s_stride = advance(s, i * lds), lds
        p = 0
        while p < k or p == 0:
            kc = min(depth, k - p)
            block_a, next_a, row_stride, col_stride = advance(a, i * sai + p * sak), MR * sai, sai, sak
            if packs_a:
                next_a = _STRIP * kc + _STRIP_GAP
                pack_strips(MR, _STRIP, kc, rows, block_a, sak, a_panel, next_a)
                block_a, col_stride = a_panel, _STRIP
            j = 0
            while j < n:
                registers = _registers((n - j + lanes - 1) // lanes)
                cols, block_b = min(registers * lanes, n - j), advance(b, p * sbk + j * sbj)
                if copied:
                    pack_panels(NV, kc, cols, block_b, sbk, b_panels)
                elif sbj != 1:
                    for q in range(0, cols, NV * lanes):
                        width, panel = min(NV * lanes, cols - q), advance(b_panels, kc * q)
                        pack_transposed(kc, width, advance(block_b, q * sbj), sbj, panel, NV * lanes)
                _tiles(
                    source, rows, cols, min(NV, registers), lanes, kc, block_a, next_a, row_stride, col_stride,
                    block_b, sbk, advance(block_s, j), s_stride, advance(c, i * ldc + j), ldc, b_panels,
                )  # fmt: skip
                j += cols
            block_s, s_stride = advance(c, i * ldc), ldc  # further blocks of k are added to the first one
            p += depth
        i += together


gemm = _gemm_plain if config.DISABLE_JIT else _gemm_lowered
