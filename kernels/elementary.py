"""Elementary functions as straight-line arithmetic, for SIMD lanes and for NumPy arrays alike (see `simd`).

Two cores do the work: `_exp_core` (exp, expm1, sigmoid, softplus, normal_cdf) and `_log_core` (log, log1p,
softplus); tanh has its own, as its last bit is not to be had from exp. Nothing branches: both sides of a `where` are
computed, arguments that would overflow or trap are clamped first, and special values are put in at the end. No
function relies on a fused `fma`: where it is a separate multiply and add, the products that must be exact are so
because a constant has trailing zero bits (W. J. Cody, W. Waite: Software Manual for the Elementary Functions, 1980).

The polynomials are minimax fits (Remez exchange in 45-digit arithmetic, relative error of the finished function)
made for this file. ULP bounds are distances to the exact value in spacings of the result's type, measured with and
without fused fma: on float32 numbers (exp and tanh: all; sigmoid, softplus: all between 2**-25 and 105; otherwise, and
partly where fma is not fused, every 257th at least) and on 2.1 million float64 numbers of all exponents (normal_cdf:
5500 between -38 and 9).
"""

from itertools import pairwise

import numpy as np
from numpy.polynomial.polynomial import polyfit

from .simd import absolute, copysign, fma, has_lookup, is_float64, lookup, pow2, rint, split, where

_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # for float64: 32 bits, and the rest
_LN2_HIGH_32, _LN2_LOW_32 = 0.693359375, -2.1219444005469057e-4  # for float32: 9 bits, and the rest

_NEGLIGIBLE = 2.0**-60  # numbers whose square does not count beside them

# Coefficients from the highest power down.
# (exp(r) - 1 - r - r**2/2) / r**3 for |r| <= ln 2; errors 2**-60 and 2**-29 of expm1(r)
_EXP_64 = (
    1.1472917906453989e-11, 1.6185106662867117e-10, 2.0877407967384268e-09, 2.5051300535151257e-08,
    2.7557314201784485e-07, 2.7557321756123913e-06, 2.4801587316704966e-05, 1.9841269837291985e-04,
    1.3888888888869246e-03, 8.3333333333361600e-03, 4.1666666666666755e-02, 1.6666666666666660e-01,
)  # fmt: skip
_EXP_32 = (2.4825145e-05, 2.0090675e-04, 1.3889862e-03, 8.332665e-03, 4.166664e-02, 1.6666672e-01)
# (log((1 + s)/(1 - s))/s - 2) / s**2 as a polynomial in s**2 for |s| <= 1/3; errors 2**-59 and 2**-33 of the logarithm
_LOG_64 = (
    0.17018578345968136, 0.08340100519486594, 0.12106086229975671, 0.13300973640180883,
    0.15386559912825268, 0.1818174392585377, 0.22222223969685267, 0.285714285478551,
    0.40000000000157226, 0.6666666666666631,
)  # fmt: skip
_LOG_32 = (0.24300902, 0.21427667, 0.28616884, 0.39998877, 0.66666675)
# (tanh(r)/r - 1) / r**2 as a polynomial in r**2 for |r| <= 0.8 ln 2; errors 2**-60 and 2**-29 of tanh(r)
_TANH_64 = (
    -1.9298650280215184e-05, 8.3006208806063e-05, -0.00023317042621365372, 0.0005883636792850823,
    -0.0014555237563929288, 0.0035920891551523477, -0.00886323232604012, 0.02186948836963901,
    -0.05396825396321579, 0.13333333333325723, -0.3333333333333329,
)  # fmt: skip
_TANH_32 = (-0.0062472327, 0.021054247, -0.053848524, 0.13332555, -0.33333316)
# Phi(-a) exp(a**2/2) (a + 5) as a polynomial in q = (a - 5)/(a + 5); errors 2**-56 for a <= 39, 2**-26 for a <= 15
_CDF_64 = (
    2.0144167000254308e-09, 7.182953200328914e-09, -1.0212016664422055e-08, -6.532283013843102e-08,
    4.3613211422071474e-08, 4.326903607282689e-07, -3.3774330291946524e-07, -2.769058089360152e-06,
    3.9814911196229965e-06, 1.668114612545201e-05, -4.976301016570883e-05, -5.937571164009004e-05,
    0.0005448991058558457, -0.0007978694014202955, -0.0029933767756960368, 0.020795066800236957,
    -0.06911863870595178, 0.16502036617036175, -0.31353315667131576, 0.495305615969977,
    -0.6653825028900566, 0.769193049750063,
)  # fmt: skip
_CDF_32 = (
    0.0004098025, -0.0009597536, -0.0029541235, 0.020874072, -0.069119215,
    0.16500658, -0.31353357, 0.49530643, -0.6653825, 0.76919305,
)  # fmt: skip


def _polynomial(x, square, coefficients):
    """The polynomial in `x`, highest power first, by Horner's rule; a long one as two chains in ``square = x*x``.

    Two chains are as many operations as one but half as deep: waiting instructions would fill the CPU's scheduler.
    """
    if len(coefficients) <= 5:
        value = coefficients[0]
        for coefficient in coefficients[1:]:
            value = fma(value, x, coefficient)
        return value
    other, last = coefficients[0], coefficients[1]
    for coefficient in coefficients[2:]:
        other, last = last, fma(other, square, coefficient)
    return fma(other, x, last)


def _clamp(x, low, high):
    """`x` limited to [low, high]; NaN stays NaN."""
    x = where(x < low, low, x)
    return where(x > high, high, x)


def _reduce(x, step, tail=None, shift=None):
    """``(r, j)`` such that ``x == r + j * step*ln(2)`` with `r` within half a step; `step` is 1 or 2.

    The first of the two subtractions is exact (Cody and Waite). `tail` is a small number that belongs to `x`;
    `shift` (in steps) moves the interval of `r` up by its negative.
    """
    high, low = (_LN2_HIGH, _LN2_LOW) if is_float64(x) else (_LN2_HIGH_32, _LN2_LOW_32)
    steps = 1.4426950408889634 / step
    j = rint(x * steps if shift is None else fma(x, steps, shift))
    r = fma(j, -step * low, fma(j, -step * high, x))
    return (r if tail is None else r + tail), j


def _exp_core(x, tail=None):
    """``(p, j)`` such that ``exp(x + tail) == (1 + p) * 2**j * 2**j`` with p = expm1(r), ``|r| <= ln 2``.

    Even powers of two, since ``2**j`` twice is how a result that is subnormal gets rounded only once, and since
    expm1 then needs no reduction until ``|x|`` passes ln 2, where it has no cancellation left. The caller keeps `x`
    within the range of the exponents.
    """
    r, j = _reduce(x, 2.0, tail)
    square = r * r
    cubic = _polynomial(r, square, _EXP_64 if is_float64(x) else _EXP_32)
    return fma(square, fma(r, cubic, 0.5), r), j


def _exp_limits(x):
    """Where exp underflows to 0, and the largest number whose exp is finite."""
    return (-746.0, 709.782712893384) if is_float64(x) else (-104.0, 88.72283172607422)


def exp(x):
    """e**x to 1.5 ULP; subnormal results are rounded once."""
    low, high = _exp_limits(x)
    p, j = _exp_core(_clamp(x, low, high))
    s = pow2(j)
    return where(x > high, float("inf"), fma(s, p, s) * s)


def _exp_negative(x):
    """exp(x) for ``x <= 0``."""
    low = _exp_limits(x)[0]
    p, j = _exp_core(where(x < low, low, x))
    s = pow2(j)
    return fma(s, p, s) * s


def expm1(x):
    """e**x - 1 to 1.7 ULP: ``s*(s*p + (s - 1/s))`` with ``s*s`` the power of two taken out of e**x."""
    low, high = _exp_limits(x)
    p, j = _exp_core(_clamp(x, low, high))
    s = pow2(j)
    y = where(x > high, float("inf"), fma(s, p, s - pow2(-j)) * s)
    return where(absolute(x) < _NEGLIGIBLE, x, y)  # a zero keeps its sign


def _tanh_table():
    """For each quarter octave from 2**-4 to 16, the first from 0 on: a centre c, and coefficients of d = x - c.

    tanh(c) is nearly a float32 itself (the idea of S. Gal, B. Bachelis, ACM TOMS 17, 1991), and the first coefficient.
    The others are a fit of degree 5 at Chebyshev's points, to a tenth of an ULP; around 0 an odd one, to half an ULP.
    """
    edges = (np.arange(123 * 4, 131 * 4 + 1, dtype=np.int32) << 21).view(np.float32)
    waves = np.cos((np.arange(16) + 0.5) * np.pi / 16)
    rows = []
    for low, high in pairwise(edges):
        near = np.float32((low + high) / 2) * (1 + np.arange(-300, 301) * np.finfo(np.float32).eps).astype(np.float32)
        values = np.tanh(near.astype(float))
        c = near[np.argmin(np.abs(values.astype(np.float32) / values - 1))]
        value = np.float32(np.tanh(float(c)))
        d = low + (high - low) * (waves + 1) / 2 - float(c)
        rows.append([c, value, *polyfit(d, (np.tanh(c + d) - value) / d, 4)])
    d = waves[:8] * float(edges[1])
    third, fifth = polyfit(d * d, (np.tanh(d) / d - 1) / (d * d), 1)
    rows[0] = [0, 0, 1, 0, third, 0, fifth]
    return np.transpose(rows)


def _tanh_by_table(x):
    """tanh to 1.1 ULP, without a division, where shuffles of a register find the entries of a table."""
    a = absolute(x)
    a = where(a > 15.5, 15.5, a)  # tanh rounds to 1 beyond 9.02
    centre, *coefficients = lookup(_tanh_table(), a, -4)
    d = a - centre
    value = coefficients.pop()
    for coefficient in reversed(coefficients):
        value = fma(value, d, coefficient)
    return copysign(value, x)


def tanh(x):
    """tanh to 1.7 ULP, odd, with one division; for AVX-512's float32 to 1.1 ULP, without one.

    ``|x| = r + j ln 2`` and T = tanh(r), an odd polynomial. For j = 0 (up to 0.8 ln 2) that is the result; otherwise
    the result is above 1/2, and as ``1 - 2/(exp(2|x|) + 1)`` with ``exp(2|x|) = 4**j (1 + T)/(1 - T)`` the quotient's
    rounding errors no longer count.
    """
    if has_lookup(x):
        return _tanh_by_table(x)
    a = absolute(x)
    r, j = _reduce(where(a > 20.0, 20.0, a), 1.0, shift=-0.3)  # tanh rounds to 1 beyond 19.1 (float32: 9.02)
    z = r * r
    t = fma(r * z, _polynomial(z, z * z, _TANH_64 if is_float64(x) else _TANH_32), r)
    s = pow2(j + j)
    y = where(j > 0.0, 1.0 - fma(t, -2.0, 2.0) / fma(t, s - 1.0, s + 1.0), t)
    return where(x > 0.0, y, where(x < 0.0, -y, x))  # a zero keeps its sign


def sigmoid(x):
    """1/(1 + e**-x) to 2.5 ULP, from ``e = exp(-|x|)`` and ``q = e/(1 + e)``: 1 - q, or e - e*q where x < 0.

    The latter is q itself, but keeps the rounding errors of the quotient out of the far tail.
    """
    e = _exp_negative(-absolute(x))
    base = where(x < 0.0, e, 1.0)
    return fma(-base, e / (e + 1.0), base)


def _log_core(f, low=None):
    """log(1 + f) + low for -1/2 <= f <= 1, to 1.3 ULP where `low` is absent.

    log(1 + f) = log((1 + s)/(1 - s)) with ``s = f/(2 + f)``; f and f**2/2 are split off the series in s, so that
    their rounding and that of s count for little (the arrangement is that of fdlibm's log, K. C. Ng, 1993).
    """
    s = f / (f + 2.0)
    z, half_square = s * s, (f * 0.5) * f
    inner = fma(z, _polynomial(z, z * z, _LOG_64 if is_float64(f) else _LOG_32), half_square) * s
    return f - (half_square - (inner if low is None else inner + low))


def _log_scaled(f, e):
    """log((1 + f) * 2**e); the product of e with the high part of ln 2 is exact."""
    high, low = (_LN2_HIGH, _LN2_LOW) if is_float64(f) else (_LN2_HIGH_32, _LN2_LOW_32)
    return fma(e, high, _log_core(f, e * low))


def log(x):
    """The natural logarithm to 1 ULP; -inf for 0, NaN for negative numbers."""
    smallest, shift = (2.2250738585072014e-308, 54.0) if is_float64(x) else (1.1754943508222875e-38, 25.0)
    regular = (x > 0.0) & (x < float("inf"))
    subnormal = regular & (x < smallest)
    m, e = split(where(regular, where(subnormal, where(subnormal, x, 0.0) * 2.0**shift, x), 1.0))
    special = where(x < 0.0, float("nan"), where(x < 1.0, float("-inf"), x))
    return where(regular, _log_scaled(m - 1.0, where(subnormal, e - shift, e)), special)


def log1p(x):
    """log(1 + x) to 1.6 ULP: directly for -1/2 <= x <= 1, elsewhere as the logarithm of the rounded 1 + x."""
    direct = (x >= -0.5) & (x <= 1.0)
    regular = (x > -1.0) & (x < float("inf"))
    m, e = split(where(direct, 1.0, where(regular, x + 1.0, 1.0)))
    value = _log_scaled(where(direct, x, m - 1.0), e)
    y = where(regular, value, where(x < -1.0, float("nan"), where(x < 0.0, float("-inf"), x)))
    return where(absolute(x) < _NEGLIGIBLE, x, y)  # a zero keeps its sign


def softplus(x):
    """log(1 + e**x) = max(x, 0) + log1p(exp(-|x|)) to 3 ULP."""
    return where(x < 0.0, 0.0, x) + _log_core(_exp_negative(-absolute(x)))


def normal_cdf(x):
    """The standard normal distribution function, Phi(x) = erfc(-x/sqrt(2))/2.

    ``Phi(-a) = exp(-a**2/2) * P(q)/(a + 5)`` with ``q = (a - 5)/(a + 5)``, which maps all of a >= 0 to [-1, 1) (the
    idea of M. Shepherd, J. Laframboise, Math. Comp. 36, 1981), and ``Phi(a) = 1 - Phi(-a)``. To 8 ULP, and so in the
    tail, since a fused fma gives the rounding error of a**2. Where fma is not fused that error stays: then float32 is
    good to 10 ULP for x >= -5 and 70 in the tail, float64 to a relative 4e-15 for x >= -8.
    """
    a, (limit, coefficients) = absolute(x), (39.0, _CDF_64) if is_float64(x) else (15.0, _CDF_32)
    a = where(a > limit, limit, a)  # Phi(-limit) rounds to 0
    t = 1.0 / (a + 5.0)
    q = (a - 5.0) * t
    ratio = _polynomial(q, q * q, coefficients) * t
    square = a * a
    p, j = _exp_core(square * -0.5, fma(a, a, -square) * -0.5)
    s = pow2(j)
    tail = fma(p, ratio, ratio) * s * s
    return where(x > 0.0, 1.0 - tail, tail)
