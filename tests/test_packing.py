"""Panels: a block of B, or of its transpose, copied to rows of whole registers, for every size; nothing beyond."""

from itertools import product

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, gemm, packing, simd

pytestmark = pytest.mark.skipif(not JIT, reason="panels are for compiled products: the plain one is NumPy's")

FLOATS = [np.float32, np.float64]
CANARY = 77.0
NARROW, WIDE = gemm.NV, gemm._A_REGISTERS


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


@numba.njit
def pack_narrow(k, cols, b, at, sbk, sbj, panel, first):
    source = simd.span(b, at, (k - 1) * sbk + (cols - 1) * sbj + 1 if k > 0 else 0)
    packing.pack(k, cols, source, sbk, sbj, simd.span(panel, first, panel.size - 2 * first), NARROW)


@numba.njit
def pack_wide(k, cols, b, at, sbk, sbj, panel, first):
    source = simd.span(b, at, (k - 1) * sbk + (cols - 1) * sbj + 1 if k > 0 else 0)
    packing.pack(k, cols, source, sbk, sbj, simd.span(panel, first, panel.size - 2 * first), WIDE)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("transposed", [False, True], ids=["rows", "transposed"])
@pytest.mark.parametrize(("pack", "registers"), [(pack_narrow, NARROW), (pack_wide, WIDE)], ids=["B panel", "A panel"])
def test_a_panel_holds_its_block_and_ends_where_it_should(pack, registers, transposed, dtype):
    rng = np.random.default_rng(0)
    w = lanes(dtype)
    pitch, first, gap = registers * w, 5, 3
    columns = {1, 2, w - 1, w, w + 1, 2 * w - 1, pitch - w + 1, pitch - 1, pitch} & set(range(1, pitch + 1))
    for k, cols in product([0, 1, 2, w - 1, w, w + 1, 2 * w + 1, gemm.KC], sorted(columns)):
        block = rng.standard_normal((k, cols)).astype(dtype)
        stored = block.T if transposed else block
        matrix = np.full((stored.shape[0], stored.shape[1] + gap), CANARY, dtype)  # rows end before the next one starts
        matrix[:, : stored.shape[1]] = stored
        b = np.concatenate([[CANARY] * 2, matrix.ravel()]).astype(dtype)
        before, panel = b.copy(), np.full(2 * first + k * pitch, CANARY, dtype)
        strides = (1, matrix.shape[1]) if transposed else (matrix.shape[1], 1)
        pack(k, cols, b, 2, *strides, panel, first)
        packed = panel[first : first + k * pitch].reshape(k, pitch)
        assert_array_equal(packed[:, :cols], block, err_msg=f"k, cols = {k, cols}")
        assert_array_equal(b, before)
        assert (panel[:first] == CANARY).all()
        assert (panel[first + k * pitch :] == CANARY).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_bit_pattern_is_copied(dtype):
    """NaN with its payload, signs of zeros, subnormal numbers: numbers are moved, not computed with."""
    w = lanes(dtype)
    word = np.uint32 if dtype == np.float32 else np.uint64
    bits = np.random.default_rng(1).integers(0, np.iinfo(word).max, (w + 3, 2 * w), word)
    bits[0, :4] = np.array([0.0, -0.0, np.inf, np.finfo(dtype).smallest_subnormal], dtype).view(word)
    b = bits.view(dtype)
    for strides, matrix in (((2 * w, 1), b), ((1, w + 3), b.T)):
        panel = np.zeros(b.shape[0] * NARROW * w, dtype)
        pack_narrow(*b.shape, matrix.ravel(), 0, *strides, panel, 0)
        assert_array_equal(panel.reshape(-1, NARROW * w)[:, : 2 * w].view(word), bits)
