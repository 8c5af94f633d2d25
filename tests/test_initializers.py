"""Initial weights: moments, bounds and orthonormality of large draws against closed forms."""

import math

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.initializers import INITIALIZERS

FAN_IN, FAN_OUT = 300, 200
SHAPES = [(FAN_IN, FAN_OUT), (FAN_OUT, FAN_IN), (1, 1), (1, 7), (7, 1)]
# name: variance by (fan_in, fan_out); of the uniform ones the bound is sqrt(3 * variance)
VARIANCES = {
    "xavier": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
}
NORMAL = {name + suffix: v for name, v in VARIANCES.items() for suffix in ("", "_normal")} | {
    "random": lambda i, o: 1e-4
}
UNIFORM = {f"{name}_uniform": v for name, v in VARIANCES.items()}
RANDOM = [*NORMAL, *UNIFORM, "orthogonal"]
SOURCES = [np.random.RandomState, np.random.default_rng]


def draw(name, shape=(FAN_IN, FAN_OUT), source=np.random.default_rng, seed=0):
    return INITIALIZERS[name](*shape, source(seed))


def assert_moments(values, variance, kurtosis):
    """Mean 0, the variance and the kurtosis of the distribution, within five standard errors (the seed is fixed)."""
    n = values.size
    z = values.ravel() / math.sqrt(variance)
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs((z**2).mean() - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    assert abs((z**4).mean() - kurtosis) < 5 * z.std() ** 4 * math.sqrt(105 / n)
    assert abs((z**3).mean()) < 5 * math.sqrt(15 / n)


def test_the_table_is_the_documented_one():
    assert set(INITIALIZERS) == {*NORMAL, *UNIFORM, "zeros", "orthogonal"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("name", NORMAL)
def test_normal(name, shape, source):
    w = draw(name, shape, source)
    assert_moments(w, NORMAL[name](*shape), kurtosis=3)
    assert (np.abs(w) > 3 * math.sqrt(NORMAL[name](*shape))).any(), "tails are cut off"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name, shape, source):
    w = draw(name, shape, source)
    variance = UNIFORM[name](*shape)
    assert_moments(w, variance, kurtosis=9 / 5)
    bound = math.sqrt(3 * variance)
    # of n numbers the largest misses the bound by more than 20 / n of the width with probability exp(-20)
    assert bound * (1 - 40 / w.size) < w.max() < bound
    assert -bound < w.min() < -bound * (1 - 40 / w.size)


@pytest.mark.parametrize("name", ["he", "xavier_uniform"])
def test_the_moments_tell_one_scheme_from_another(name):
    kurtosis = 1.8 if name.endswith("uniform") else 3
    variance = {**NORMAL, **UNIFORM}[name](FAN_IN, FAN_OUT)
    for wrong in (variance * 1.1, variance / 1.1):
        with pytest.raises(AssertionError):
            assert_moments(draw(name), wrong, kurtosis)
    with pytest.raises(AssertionError):
        assert_moments(draw(name), variance, 4.8 - kurtosis)


def test_random_is_the_code_of_the_guide():
    """Standard deviation 0.01: its formula's variance of 0.01 would be ten times as wide."""
    assert draw("random").std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", [(60, 60), (60, 40), (40, 60), (1, 5), (5, 1), (1, 1)], ids=str)
def test_orthogonal(shape, source):
    w = draw("orthogonal", shape, source)
    assert w.shape == shape
    short = min(shape)
    product = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(product, np.eye(short), atol=1e-13)


def test_orthogonal_prefers_no_sign():
    """The first entry of a uniformly distributed orthogonal matrix is as often positive as negative."""
    rng = np.random.default_rng(0)
    draws = np.array([INITIALIZERS["orthogonal"](3, 3, rng) for _ in range(2000)])
    five_errors = 5 * 0.5 / math.sqrt(len(draws))
    assert (abs((draws > 0).mean(axis=0) - 0.5) < five_errors).all()
    assert abs((np.linalg.det(draws) > 0).mean() - 0.5) < five_errors
    # each entry of a random unit vector in three dimensions is uniform on [-1, 1]: variance 1/3
    np.testing.assert_allclose(draws.var(axis=0), 1 / 3, atol=0.03)


def test_zeros():
    np.testing.assert_array_equal(draw("zeros"), np.zeros((FAN_IN, FAN_OUT)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_shape_and_reproducibility(name, shape):
    w = draw(name, shape)
    assert w.shape == shape
    assert w.dtype == np.float64
    assert w.flags.c_contiguous
    np.testing.assert_array_equal(draw(name, shape), w)
    if name in RANDOM and max(shape) > 1:
        assert (draw(name, shape, seed=1) != w).any()


# --- in a network ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_networks_draw_layer_by_layer(name, dtype):
    """W of the first layer, of the second, ... from one generator, rounded once; biases are zero."""
    sizes = [5, 7, 3, 2]
    mlp = MLP(sizes, weight_init=name, dtype=dtype, random_state=4)
    rng = np.random.RandomState(4)
    for i, w in enumerate(mlp.weights):
        np.testing.assert_array_equal(w, INITIALIZERS[name](sizes[i], sizes[i + 1], rng).astype(dtype))
        assert w.dtype == dtype
        assert not mlp.biases[i].any()


@pytest.mark.parametrize("name", RANDOM)
def test_initialising_again_draws_anew(name):
    mlp = MLP([4, 6, 2], weight_init=name, optimizer="adam", random_state=0)
    first = mlp.parameters.copy()
    mlp.fit(np.eye(4), np.eye(4)[:, :2], epochs=2)
    mlp.biases[0] += 1
    mlp.initialize_parameters()
    assert all((w != v).any() for w, v in zip(mlp.weights, mlp._layout.views(first)[0], strict=True))
    assert not any(b.any() for b in mlp.biases)
    assert not mlp._slots.any()
    assert mlp._updates[0] == 0


def test_a_function_gets_sizes_and_the_generator():
    calls = []
    rng = np.random.default_rng(3)

    def diagonal(fan_in, fan_out, generator):
        calls.append((fan_in, fan_out, generator is rng))
        return np.eye(fan_in, fan_out, dtype=int)

    mlp = MLP([3, 4, 2], weight_init=diagonal, random_state=rng)
    assert calls == [(3, 4, True), (4, 2, True)]
    np.testing.assert_array_equal(mlp.weights[0], np.eye(3, 4))
    np.testing.assert_array_equal(mlp.weights[1], np.eye(4, 2))


def test_a_function_gets_the_global_generator_without_a_seed():
    seen = []

    def spy(fan_in, fan_out, generator):
        seen.append(generator)
        return [[0.5] * fan_out] * fan_in  # a list is as good as an array

    mlp = MLP([3, 2], weight_init=spy)
    assert seen == [np.random]
    assert (mlp.weights[0] == 0.5).all()


@pytest.mark.parametrize("source", SOURCES)
def test_functions_may_draw_by_any_name(source):
    """What NumPy's three generators have in common."""

    def draw(fan_in, fan_out, rng):
        return rng.normal(size=(fan_in, fan_out)) + rng.uniform(size=(fan_in, fan_out)) + rng.permutation(fan_out)

    a, b = (MLP([3, 2], weight_init=draw, random_state=source(0)) for _ in range(2))
    assert a.parameters.tobytes() == b.parameters.tobytes()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            lambda i, o, rng: np.zeros((o, i)),
            ValueError,
            r"result of weight_init must have shape \(3, 2\), got \(2, 3\)",
        ),
        (lambda i, o, rng: np.zeros(i * o), ValueError, r"result of weight_init must have shape \(3, 2\), got \(6,\)"),
        (lambda i, o, rng: 0.0, ValueError, r"result of weight_init must have shape \(3, 2\), got \(\)"),
        (lambda i, o, rng: None, TypeError, r"result of weight_init must hold real numbers, got None"),
        (
            lambda i, o, rng: np.zeros((i, o), complex),
            TypeError,
            r"weight_init must hold real numbers, got dtype complex",
        ),
        (lambda i, o, rng: [["a"] * o] * i, TypeError, r"weight_init must hold real numbers, got dtype <U1"),
    ],
)
def test_wrong_functions(wrong, error, message):
    with pytest.raises(error, match=message):
        MLP([3, 2], weight_init=wrong)


def test_a_function_that_returns_what_it_keeps():
    """The network copies: later changes of the function's array do not reach the weights."""
    kept = np.ones((3, 2), np.float32)
    mlp = MLP([3, 2], weight_init=lambda *_: kept)
    kept[:] = 7
    assert (mlp.weights[0] == 1).all()
