"""Softmax and its backward: digits of every number, however near to 1 or to 0, at every length of a row."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import simd, softmax
from fastmlp.kernels.spans import span

EXTENDED = np.finfo(np.longdouble).nmant >= 63
NEEDS_EXTENDED = pytest.mark.skipif(not EXTENDED, reason="np.longdouble is no wider than float64 on this platform")
FLOATS = [np.float32, np.float64]
PRECISION = [np.float32, pytest.param(np.float64, marks=NEEDS_EXTENDED)]
CANARY = 77.0
WIDE = np.longdouble


def lengths(dtype):
    """Rows that fit into a register, that just do not, and longer ones."""
    return range(2, 2 * simd.REGISTER_BYTES // np.dtype(dtype).itemsize + 4)


@numba.njit
def run_softmax(rows, k, z, log_a, a, at):
    n = rows * k
    softmax.softmax(rows, k, (span(z, at, n), span(log_a, at, n), span(a, at, n)))


@numba.njit
def run_backward(rows, k, a, g, at):
    n = rows * k
    softmax.softmax_backward(rows, k, (span(a, at, n), span(g, at, n)))


def placed(matrix):
    """The numbers of a matrix with canaries before and after them; a register before, an odd number after."""
    return np.concatenate([np.full(16, CANARY), matrix.ravel(), np.full(67, CANARY)]).astype(matrix.dtype)


def taken(vector, shape):
    """The matrix in a vector that `placed` made, after a look at the canaries."""
    n = shape[0] * shape[1]
    assert (vector[:16] == CANARY).all()
    assert (vector[16 + n :] == CANARY).all()
    return vector[16 : 16 + n].reshape(shape)


# Which of z, log_a and a are one place in memory: in training none, else as the signature allows.
PLACES = {"three places": (0, 1, 2), "log_a is z": (0, 0, 1), "a is z": (0, 1, 0)}
EVERY_PLACE = pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)


def forward(z, places=(0, 1, 2)):
    """(a, log_a) by the kernel."""
    vectors = [placed(z), *(placed(np.full_like(z, np.nan)) for _ in range(max(places)))]
    before = vectors[0].copy()
    run_softmax(*z.shape, *(vectors[i] for i in places), 16)
    if places.count(0) == 1:
        assert_array_equal(vectors[0], before)
    return taken(vectors[places[2]], z.shape), taken(vectors[places[1]], z.shape)


def backward(a, g):
    """dL/dz by the kernel, from dL/d log a."""
    va, vg = placed(a), placed(g)
    before = va.copy()
    run_backward(*a.shape, va, vg, 16)
    assert_array_equal(va, before)
    return taken(vg, a.shape)


# Rows of scores: (random generator, rows, k) -> z. A row of "sure" has one output whose rest is tiny.
SCORES = {
    "ordinary": lambda rng, rows, k: rng.normal(0, 2, (rows, k)),
    "ties": lambda rng, rows, k: rng.integers(-1, 2, (rows, k)),
    "all equal": lambda rng, rows, k: np.full((rows, k), rng.normal()),
    "tiny differences": lambda rng, rows, k: 3 + rng.normal(0, 1e-6, (rows, k)),
    "sure": lambda rng, rows, k: rng.uniform(-60, -20, (rows, k)) * (np.arange(k) != rng.integers(0, k, (rows, 1))),
    "huge differences": lambda rng, rows, k: rng.choice([-1e30, -1e4, 0, 50, 1e4], (rows, k)),
    "huge numbers": lambda rng, rows, k: 1e30 * rng.choice([-1, 1], (rows, k)),
}
EVERY_SCORE = pytest.mark.parametrize("kind", SCORES)


def scores(kind, rows, k, dtype):
    return SCORES[kind](np.random.default_rng(k), rows, k).astype(dtype)


def exact(z):
    """(a, log_a, rest), the last as a share of the largest e**z; in extended precision.

    The largest score (one of them) counts as 1: what is left is small where it is sure, and keeps its digits.
    """
    z = z.astype(WIDE)
    d = z - z.max(axis=1, keepdims=True)
    e = np.exp(d)
    others = e.copy()
    np.put_along_axis(others, d.argmax(axis=1)[:, None], 0, axis=1)
    rest = others.sum(axis=1, keepdims=True)
    return e / (1 + rest), d - np.log1p(rest), rest, others


@pytest.mark.parametrize("dtype", PRECISION)
@EVERY_PLACE
@EVERY_SCORE
def test_softmax_and_its_logarithm_to_the_last_digits(kind, places, dtype):
    """Relative errors: of a small a, of the log a of a sure output, which is a small number itself."""
    info = np.finfo(dtype)
    for k in lengths(dtype):
        z = scores(kind, 3, k, dtype)
        a, log_a = forward(z, places)
        expected_a, expected_log, rest, others = exact(z)
        d = np.abs(z.astype(WIDE) - z.max(axis=1, keepdims=True))
        # a difference of scores is rounded once, by d * eps / 2, which is the relative error of its exponential; what
        # the rest is off by is the mean of those of its numbers, and a rounding for each
        of_rest = np.divide((others * d).sum(axis=1, keepdims=True), rest, out=np.zeros_like(rest), where=rest > 0) + k
        bound_a = info.eps * (8 + d + of_rest * rest / (1 + rest)) * expected_a + 4 * info.smallest_subnormal
        bound_log = info.eps * (d + (8 + of_rest) * np.log1p(rest)) + k * info.smallest_subnormal
        assert (np.abs(a - expected_a) <= bound_a).all(), k
        assert (np.abs(log_a - expected_log) <= bound_log).all(), k


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_SCORE
def test_the_same_bits_wherever_the_results_go(kind, dtype):
    for k in lengths(dtype):
        z = scores(kind, 3, k, dtype)
        apart = forward(z)
        for places in PLACES.values():
            for ours, expected in zip(forward(z, places), apart, strict=True):
                assert_array_equal(ours, expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_equal_scores_share_the_probability(dtype):
    for k in lengths(dtype):
        a, log_a = forward(np.full((2, k), -3e4, dtype))
        assert_array_equal(a, np.full((2, k), 1 / dtype(k)))
        np.testing.assert_allclose(log_a, np.full((2, k), -np.log(k)), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinite_scores(dtype):
    """No chance for a score of minus infinity; no value where the largest is infinite."""
    for k in lengths(dtype):
        z = scores("ordinary", 5, k, dtype)
        z[1, k - 1], z[2, 0], z[3] = -np.inf, np.inf, -np.inf
        a, log_a = forward(z)
        without_a, without_log = forward(np.ascontiguousarray(z[1:2, : k - 1])) if k > 2 else (1, 0)
        np.testing.assert_allclose(a[1, : k - 1], np.ravel(without_a), rtol=8 * k * np.finfo(dtype).eps)
        np.testing.assert_allclose(log_a[1, : k - 1], np.ravel(without_log), rtol=8 * k * np.finfo(dtype).eps)
        assert (a[1, -1], log_a[1, -1]) == (0, -np.inf)
        assert np.isnan(a[2:4]).all()
        assert np.isfinite(a[[0, 4]]).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_stays_in_its_row(dtype):
    for k in lengths(dtype):
        z = scores("ordinary", 3, k, dtype)
        g = np.random.default_rng(k).standard_normal((3, k)).astype(dtype)
        expected = (*forward(z), backward(forward(z)[0], g))
        a = expected[0].copy()
        for at in {0, k // 2, k - 1}:
            wrong_z, wrong_a, wrong_g = z.copy(), a.copy(), g.copy()
            wrong_z[1, at] = wrong_a[1, at] = wrong_g[1, at] = np.nan
            results = *forward(wrong_z), backward(wrong_a, g), backward(a, wrong_g)
            for ours, others in zip(results, (*expected, expected[2]), strict=True):
                assert np.isnan(ours[1]).any()
                assert_array_equal(ours[[0, 2]], others[[0, 2]])
            assert np.isnan(results[0][1]).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_do_not_change_each_other(dtype):
    for k in lengths(dtype):
        z = scores("ordinary", 4, k, dtype)
        g = np.random.default_rng(k).standard_normal((4, k)).astype(dtype)
        a, log_a = forward(z)
        delta = backward(a, g)
        for i in range(4):
            alone = forward(z[i : i + 1])
            assert_array_equal(alone[0], a[i : i + 1])
            assert_array_equal(alone[1], log_a[i : i + 1])
            assert_array_equal(backward(alone[0], g[i : i + 1]), delta[i : i + 1])


@pytest.mark.parametrize("dtype", PRECISION)
@EVERY_SCORE
def test_backward_is_the_product_with_the_jacobian(kind, dtype):
    """``dz_j = sum_i g_i * d log a_i / dz_j = g_j - a_j * sum(g)``."""
    info = np.finfo(dtype)
    for k in lengths(dtype):
        z = scores(kind, 3, k, dtype)
        a = exact(z)[0]
        g = np.random.default_rng(k + 1).standard_normal(z.shape).astype(dtype)
        wide = g.astype(WIDE)
        expected = wide - a * wide.sum(axis=1, keepdims=True)
        magnitudes = np.abs(g).sum(axis=1, keepdims=True)
        # of each number: the roundings of a and of the sum of g; the largest is minus the sum of the others'
        bound = info.eps * (np.abs(g) + a * (k + 2) * magnitudes) + info.tiny
        bound = np.maximum(bound, (a >= a.max(axis=1, keepdims=True)) * (bound.sum(axis=1, keepdims=True) * k))
        assert (np.abs(backward(a.astype(dtype), g) - expected) <= bound).all(), k


@pytest.mark.parametrize("dtype", PRECISION)
def test_backward_of_a_sure_output_keeps_its_digits(dtype):
    """Where the label is the largest output, ``dz = a - 1`` there: minus the sum of the tiny others."""
    info = np.finfo(dtype)
    for k in lengths(dtype):
        z = scores("sure", 3, k, dtype)
        a, _, rest, _ = exact(z)
        top = z.argmax(axis=1)
        delta = backward(a.astype(dtype), -np.eye(k, dtype=dtype)[top])
        expected = a.copy()
        expected[np.arange(3), top] = -(rest / (1 + rest)).ravel()
        assert (rest < 1e-6).all()
        assert (np.abs(delta - expected) <= info.eps * k * np.abs(expected)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_backward_sums_to_zero_and_ties_are_treated_alike(dtype):
    for k in lengths(dtype):
        a = np.full((2, k), 1 / dtype(k))
        g = np.zeros((2, k), dtype)
        g[0], g[1, 0] = -1, -1
        delta = backward(a, g)
        exact_delta = np.full((2, k), 1 / k) + g * np.array([[k / k], [1]])
        exact_delta[0] = 0
        np.testing.assert_allclose(delta, exact_delta, atol=k * np.finfo(dtype).eps)
        assert len(set(delta[1, 1:])) <= 1
