"""What is packed: B, transposed or as it is, and A in strips, for every size; nothing beyond."""

from itertools import product

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, gemm, packing, simd
from fastmlp.kernels.spans import span

pytestmark = pytest.mark.skipif(not JIT, reason="panels are for compiled products: the plain one is NumPy's")

FLOATS = [np.float32, np.float64]
CANARY = 77.0
MR, NV, STRIP = gemm.MR, gemm.NV, gemm._STRIP


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


@numba.njit
def pack_transposed(k, cols, b, at, ldb, panel, first, pitch):
    source = span(b, at, (cols - 1) * ldb + k)
    packing.pack_transposed(k, cols, source, ldb, span(panel, first, panel.size - 2 * first), pitch)


@numba.njit
def pack_strips(k, cols, b, at, ldb, panel, first, pitch):
    source = span(b, at, (k - 1) * ldb + cols if k > 0 else 0)
    packing.pack_strips(MR, STRIP, k, cols, source, ldb, span(panel, first, panel.size - 2 * first), pitch)


@numba.njit
def pack_panels(k, cols, b, at, ldb, panels, first):
    source = span(b, at, (k - 1) * ldb + cols if k > 0 else 0)
    packing.pack_panels(NV, k, cols, source, ldb, span(panels, first, panels.size - 2 * first))


class Stored:
    """A matrix inside a vector, its rows a gap apart, with canaries around and between them."""

    def __init__(self, matrix):
        rows, columns = matrix.shape
        self.pitch = columns + 3
        padded = np.full((rows, self.pitch), CANARY, matrix.dtype)
        padded[:, :columns] = matrix
        self.vector = np.concatenate([np.full(2, CANARY, matrix.dtype), padded.ravel()])


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_panel_holds_the_transpose_and_ends_where_it_should(dtype):
    rng = np.random.default_rng(0)
    w = lanes(dtype)
    pitch, first = NV * w, 5
    columns = {1, 2, w - 1, w, w + 1, 2 * w - 1, pitch - w + 1, pitch - 1, pitch} & set(range(1, pitch + 1))
    for k, cols in product([0, 1, 2, w - 1, w, w + 1, 2 * w + 1, 300], sorted(columns)):
        block = rng.standard_normal((k, cols)).astype(dtype)
        b, panel = Stored(block.T), np.full(2 * first + k * pitch, CANARY, dtype)
        before = b.vector.copy()
        pack_transposed(k, cols, b.vector, 2, b.pitch, panel, first, pitch)
        inside = panel[first : first + k * pitch].reshape(k, pitch)
        assert_array_equal(inside[:, :cols], block, err_msg=f"k, cols = {k, cols}")
        assert_array_equal(b.vector, before)
        inside[...] = CANARY
        assert (panel == CANARY).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_strips_of_a_hold_its_columns_and_end_where_they_should(dtype):
    rng = np.random.default_rng(1)
    first, gap = 5, 2
    for k, cols in product([0, 1, 2, 7, 300], [*range(1, 2 * MR + 2), 5 * MR, 9 * MR - 1]):
        block = rng.standard_normal((k, cols)).astype(dtype)
        n_strips, pitch = -(-cols // MR), k * STRIP + gap
        a, panel = Stored(block), np.full(2 * first + n_strips * pitch, CANARY, dtype)
        before = a.vector.copy()
        pack_strips(k, cols, a.vector, 2, a.pitch, panel, first, pitch)
        for strip in range(n_strips):
            at, width = first + strip * pitch, min(MR, cols - strip * MR)
            inside = panel[at : at + k * STRIP].reshape(k, STRIP)
            expected = block[:, strip * MR : strip * MR + width]
            assert_array_equal(inside[:, :width], expected, err_msg=f"k, cols, strip = {k, cols, strip}")
            inside[...] = CANARY
        assert_array_equal(a.vector, before)
        assert (panel == CANARY).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_panels_hold_the_rows_of_b_and_end_where_they_should(dtype):
    rng = np.random.default_rng(2)
    width, first = NV * lanes(dtype), 5
    columns = sorted({c + d for c in (0, lanes(dtype), width, 3 * width) for d in (-1, 0, 1)} - {-1, 0})
    for k, cols in product([0, 1, 2, 7, 300], columns):
        block = rng.standard_normal((k, cols)).astype(dtype)
        n_panels = -(-cols // width)
        b, panels = Stored(block), np.full(2 * first + n_panels * k * width, CANARY, dtype)
        before = b.vector.copy()
        pack_panels(k, cols, b.vector, 2, b.pitch, panels, first)
        inside = panels[first : panels.size - first].reshape(n_panels, k, width)
        side_by_side = inside.transpose(1, 0, 2).reshape(k, n_panels * width)
        assert_array_equal(side_by_side[:, :cols], block, err_msg=f"k, cols = {k, cols}")
        assert_array_equal(b.vector, before)
        inside[...] = CANARY
        assert (panels == CANARY).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_bit_pattern_is_copied(dtype):
    """NaN with its payload, signs of zeros, subnormal numbers: numbers are moved, not computed with."""
    w = lanes(dtype)
    word = np.uint32 if dtype == np.float32 else np.uint64
    bits = np.random.default_rng(1).integers(0, np.iinfo(word).max, (w + 3, 2 * w), word)
    bits[0, :4] = np.array([0.0, -0.0, np.inf, np.finfo(dtype).smallest_subnormal], dtype).view(word)
    k, cols = bits.shape
    panel = np.zeros(k * NV * w, dtype)
    pack_transposed(k, cols, bits.T.copy().view(dtype).ravel(), 0, k, panel, 0, NV * w)
    assert_array_equal(panel.reshape(-1, NV * w)[:, :cols].view(word), bits)
    panels = np.zeros(-(-cols // (NV * w)) * k * NV * w, dtype)
    pack_panels(k, cols, bits.view(dtype).ravel(), 0, cols, panels, 0)
    for j in range(cols):
        panel = panels[j // (NV * w) * k * NV * w :][: k * NV * w].reshape(k, NV * w)
        assert_array_equal(panel[:, j % (NV * w)].view(word), bits[:, j])
    strips = np.zeros(-(-cols // MR) * k * STRIP, dtype)
    pack_strips(k, cols, bits.view(dtype).ravel(), 0, cols, strips, 0, k * STRIP)
    for i in range(cols):
        strip = strips[i // MR * k * STRIP :][: k * STRIP].reshape(k, STRIP)
        assert_array_equal(strip[:, i % MR].view(word), bits[:, i])
