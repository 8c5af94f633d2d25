"""How far a kernel may be from the reference: one function of precision and length, and the comparison that uses it."""

import numpy as np


def tolerance(dtype, length):
    """Relative error allowed after a chain of `length` operations, each of which rounds to within a few spacings."""
    return 4 * length * float(np.finfo(dtype).eps)


def chain_length(layer_sizes, rows):
    """Operations behind one number of a gradient: the sums of every layer there and back, and over the rows.

    An activation counts as 8: it is good to a few spacings, and so is its derivative.
    """
    return 2 * (sum(layer_sizes[:-1]) + 8 * (len(layer_sizes) - 1)) + rows


def assert_close(actual, expected, length, name="array"):
    """Fails unless `actual` has the shape of `expected` and every number lies within the tolerance of its own dtype.

    The error counts relative to the largest number of `expected`: a sum has the rounding errors of its largest terms,
    however small it turns out. Where all of `expected` is zero, only zeros pass. Neither may hold NaN or infinity.
    """
    limit = tolerance(np.asarray(actual).dtype, length)
    assert_within(actual, expected, limit, name)


def assert_within(actual, expected, limit, name="array"):
    """The same with the relative tolerance given."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    assert actual.size > 0, f"{name} is empty: nothing was compared"
    assert np.isfinite(expected).all(), f"{name}: the expected numbers are not finite"
    assert np.isfinite(actual).all(), f"{name}: not finite where the expected numbers are"
    error = np.abs(actual.astype(np.float64) - expected)
    allowed = limit * np.abs(expected).max()
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= allowed, (
        f"{name}{list(map(int, worst))} = {actual[worst]!r}, expected {expected[worst]!r}: off by {error[worst]:.3g},"
        f" allowed {allowed:.3g}"
    )


def assert_all_close(actual, expected, length, name="arrays"):
    """`assert_close` for each pair of two lists of equal length."""
    assert len(actual) == len(expected), f"{len(actual)} {name}, expected {len(expected)}"
    for i, pair in enumerate(zip(actual, expected, strict=True)):
        assert_close(*pair, length, f"{name}[{i}]")
