"""Optimisers against closed forms and explicit weighted sums in Python: no recurrence is typed a second time."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from tolerances import assert_close

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from fastmlp.optimizers import OPTIMIZERS

DTYPES = [np.float32, np.float64]
RATE, STEPS = 0.01, 25
NAMES = {"sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}
GRADIENTS = np.random.default_rng(0).normal(size=STEPS)


def network(optimizer, dtype=np.float64, **options):
    """One weight, 0.5, and one bias, -0.25."""
    mlp = MLP([1, 1], optimizer=optimizer, learning_rate=RATE, dtype=dtype, random_state=0, **options)
    mlp.parameters = [0.5, -0.25]
    return mlp


def travelled(mlp, gradients):
    """How far weight and bias have come after an update by each of the gradients."""
    start = mlp.parameters.astype(float)
    for g in gradients:
        mlp.update_parameters([[[g]]], [[[g]]])
    return mlp.parameters.astype(float) - start


def geometric(ratio, n):
    """ratio + ratio**2 + ... + ratio**n."""
    return n if ratio == 1 else ratio * (1 - ratio**n) / (1 - ratio)


# --- a constant gradient: closed forms ---


def constant_sgd(o, g, t):
    return -RATE * g * t


def constant_momentum(o, g, t):
    """s_t = g (1 - mu**t) / (1 - mu), summed; in fractions, since for mu near 1 these differences lose all digits."""
    mu = Fraction(o.momentum)
    return -RATE * g * float((t - geometric(mu, t)) / (1 - mu))


def constant_nesterov(o, g, t):
    """g + mu s_t is s_{t+1}: momentum that looks one step ahead."""
    mu = Fraction(o.momentum)
    return -RATE * g * float((t - mu * geometric(mu, t)) / (1 - mu))


def constant_rmsprop(o, g, t):
    """s_i = g**2 (1 - rho**i)."""
    return -RATE * math.fsum(g / (abs(g) * math.sqrt(1 - o.rho**i) + o.epsilon) for i in range(1, t + 1))


def constant_adam(o, g, t):
    """Both corrected moments are exact, so every step is the same: rate * sign(g), shortened by epsilon."""
    return -RATE * math.copysign(1, g) / (1 + o.epsilon / abs(g)) * t


CONSTANT = [
    (SGD(), constant_sgd),
    *((Momentum(mu), constant_momentum) for mu in (0.0, 0.5, 0.9, 0.999)),
    *((Nesterov(mu), constant_nesterov) for mu in (0.0, 0.5, 0.9, 0.999)),
    *((RMSprop(rho, epsilon), constant_rmsprop) for rho in (0.0, 0.5, 0.9) for epsilon in (1e-8, 0.1)),
    *((Adam(b1, b2, e), constant_adam) for b1 in (0.0, 0.9) for b2 in (0.0, 0.5, 0.999) for e in (1e-8, 0.1)),
    (AdamW(weight_decay=0.0), constant_adam),
]


def shown(value):
    """In a test's name: a function by its own name, not by its address."""
    return getattr(value, "__name__", repr(value))[:60]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gradient", [1.0, -0.25, 3e-3, 40.0])
@pytest.mark.parametrize(("optimizer", "closed_form"), CONSTANT, ids=shown)
def test_constant_gradients(optimizer, closed_form, gradient, dtype):
    for steps in (1, 2, STEPS):
        mlp = network(optimizer, dtype)
        start = np.array([0.5, -0.25])
        moved = travelled(mlp, [gradient] * steps)
        expected = closed_form(optimizer, gradient, steps)
        # rounding of p at every step counts against the distance
        assert_close((start + moved).astype(dtype), start + expected, 8 * (steps + 4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gradient", [1e-12, 1e-6, 1.0, -1e6])
def test_the_first_step_of_adam(gradient, dtype):
    """rate * sign(g) / (1 + epsilon / |g|), however small or large g is."""
    mlp = network(Adam(epsilon=1e-8), dtype)
    mlp.parameters = [0.0, 0.0]
    expected = -RATE * math.copysign(1, gradient) / (1 + 1e-8 / abs(gradient))
    assert_close(travelled(mlp, [gradient]).astype(dtype), np.full(2, expected), 16)


# --- any gradients: the state as an explicit weighted sum of all of them ---


def decaying(gradients, ratio, power=1):
    """sum of ratio**(t - i) * g_i**power over i = 1 .. t, for each t."""
    return [math.fsum(ratio ** (t - i) * gradients[i] ** power for i in range(t + 1)) for t in range(len(gradients))]


def path_sgd(o, gradients):
    return list(gradients)


def path_momentum(o, gradients):
    return decaying(gradients, o.momentum)


def path_nesterov(o, gradients):
    return [g + o.momentum * s for g, s in zip(gradients, decaying(gradients, o.momentum), strict=True)]


def path_rmsprop(o, gradients):
    second = [(1 - o.rho) * s for s in decaying(gradients, o.rho, 2)]
    return [g / (math.sqrt(s) + o.epsilon) for g, s in zip(gradients, second, strict=True)]


def path_adam(o, gradients):
    """Weighted means: the weights beta**(t - i) divided by their sum, so no correction is needed."""
    weights = [1 + geometric(o.beta1, t) for t in range(len(gradients))]
    squares = [1 + geometric(o.beta2, t) for t in range(len(gradients))]
    first = [s / w for s, w in zip(decaying(gradients, o.beta1), weights, strict=True)]
    second = [s / w for s, w in zip(decaying(gradients, o.beta2, 2), squares, strict=True)]
    return [m / (math.sqrt(v) + o.epsilon) for m, v in zip(first, second, strict=True)]


PATHS = [
    (SGD(), path_sgd), (Momentum(), path_momentum), (Momentum(0.3), path_momentum), (Nesterov(), path_nesterov),
    (Nesterov(0.3), path_nesterov), (RMSprop(), path_rmsprop), (RMSprop(0.5, 0.01), path_rmsprop), (Adam(), path_adam),
    (Adam(0.5, 0.6, 0.01), path_adam), (Adam(0.0, 0.9), path_adam), (AdamW(weight_decay=0.0), path_adam),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer", "path"), PATHS, ids=shown)
def test_changing_gradients(optimizer, path, dtype):
    mlp = network(optimizer, dtype)
    # float32 sees the rounded gradients, and so must the sums
    gradients = GRADIENTS.astype(dtype).astype(float).tolist()
    start = np.array([0.5, -0.25])
    moved = travelled(mlp, gradients)
    expected = start - RATE * math.fsum(path(optimizer, gradients))
    assert_close((start + moved).astype(dtype), expected, 16 * STEPS)


@pytest.mark.parametrize("other", [SGD(), Momentum(0.89), Nesterov(0.9), RMSprop(), Adam()], ids=repr)
def test_the_comparison_tells_optimisers_apart(other):
    start = np.array([0.5, -0.25])
    expected = start - RATE * math.fsum(path_momentum(Momentum(0.9), GRADIENTS.tolist()))
    with pytest.raises(AssertionError, match="allowed"):
        assert_close(start + travelled(network(other), GRADIENTS), expected, 16 * STEPS)


@pytest.mark.parametrize("optimizer", [Momentum(0.5), Nesterov(0.5), Adam()], ids=repr)
def test_a_new_learning_rate_counts_for_the_whole_step(optimizer):
    """The momentum keeps gradients, not steps: a new rate scales all of it (PyTorch's form)."""
    path = {Momentum: path_momentum, Nesterov: path_nesterov, Adam: path_adam}[type(optimizer)]
    mlp = network(optimizer)
    rates = [0.01 * (1 + i % 3) for i in range(STEPS)]
    for rate, g in zip(rates, GRADIENTS, strict=True):
        mlp.learning_rate = rate
        mlp.update_parameters([[[g]]], [[[g]]])
    distance = math.fsum(rate * step for rate, step in zip(rates, path(optimizer, GRADIENTS.tolist()), strict=True))
    assert_close(mlp.parameters, np.array([0.5, -0.25]) - distance, 16 * STEPS)


# --- weight decay ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("kind", NAMES.values())
def test_weights_decay_and_biases_do_not(kind, decay, dtype):
    """A gradient of zero leaves the decay alone: w (1 - rate * decay)**t."""
    mlp = network(kind(weight_decay=decay), dtype)
    travelled(mlp, [0.0] * STEPS)
    assert_close(mlp.weights[0], np.array([[0.5 * (1 - RATE * decay) ** STEPS]]), 4 * STEPS)
    assert mlp.biases[0][0, 0] == -0.25


@pytest.mark.parametrize("decay", [0.01, 0.5])
@pytest.mark.parametrize(("optimizer", "path"), PATHS, ids=shown)
def test_decay_beside_steps(optimizer, path, decay):
    """w <- w q - rate * step with q = 1 - rate * decay, the steps being those without decay; biases only step."""
    mlp = network(dataclasses.replace(optimizer, weight_decay=decay))
    travelled(mlp, GRADIENTS)
    q, steps = 1 - RATE * decay, path(optimizer, GRADIENTS.tolist())
    weight = 0.5 * q**STEPS - RATE * math.fsum(q ** (STEPS - 1 - i) * step for i, step in enumerate(steps))
    assert_close(mlp.parameters, [weight, -0.25 - RATE * math.fsum(steps)], 16 * STEPS)


def test_biases_of_every_layer_are_spared():
    mlp = MLP([3, 5, 4, 2], optimizer=AdamW(weight_decay=0.1), learning_rate=0.5, dtype=np.float64, random_state=0)
    for b in mlp.biases:
        b[...] = 1.0
    before = [w.copy() for w in mlp.weights]
    mlp.update_parameters([np.zeros_like(w) for w in mlp.weights], [np.zeros_like(b) for b in mlp.biases])
    for w, v in zip(mlp.weights, before, strict=True):
        assert_close(w, v * 0.95, 4)
    assert all((b == 1).all() for b in mlp.biases)


# --- state ---


@pytest.mark.parametrize(("name", "slots"), [("sgd", 0), ("momentum", 1), ("nesterov", 1), ("rmsprop", 1), ("adam", 2)])
def test_slots(name, slots):
    mlp = network(name)
    assert mlp._slots.shape == (2 * slots,)
    assert not mlp._slots.any()
    travelled(mlp, GRADIENTS)
    assert mlp._updates[0] == STEPS
    assert mlp._slots.all()
    mlp.initialize_parameters()
    assert mlp._updates[0] == 0
    assert not mlp._slots.any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_is_left_after_a_reset(name):
    """A network that starts anew takes the steps of a new one."""
    used = network(name)
    travelled(used, GRADIENTS)
    used.initialize_parameters()
    used.parameters = [0.5, -0.25]
    fresh = network(name)
    np.testing.assert_array_equal(travelled(used, GRADIENTS[::-1]), travelled(fresh, GRADIENTS[::-1]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_zero_moves_nothing(name):
    optimizer = AdamW(weight_decay=0.0) if name == "adamw" else name
    assert not travelled(network(optimizer), [0.0] * 3).any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_do_not_see_each_other(name):
    """Every number of a larger network goes where it would go alone."""
    rng = np.random.default_rng(1)
    mlp = MLP([4, 5, 3], optimizer=name, learning_rate=RATE, dtype=np.float64, random_state=0)
    start = mlp.parameters.copy()
    gradients = rng.normal(size=(3, start.size))
    is_weight = np.zeros(start.size)
    for w in mlp._layout.views(is_weight)[0]:
        w[...] = 1
    for g in gradients:
        mlp.update_parameters(*mlp._layout.views(g.copy(), ("dW", "db")))
    for i in range(start.size):
        alone = network(name)
        alone.parameters = [start[i], start[i]]
        travelled(alone, gradients[:, i])
        assert_close(mlp.parameters[i], alone.parameters[0 if is_weight[i] else 1], 4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_only_read(name):
    mlp = network(name)
    mlp.forward([[1.0]])
    dW, db = mlp.backward([[1.0]], [1.0])
    before = dW[0].copy(), db[0].copy()
    mlp.update_parameters(dW, db)
    np.testing.assert_array_equal(dW[0], before[0])
    np.testing.assert_array_equal(db[0], before[1])


# --- the dataclasses ---


def test_the_table_is_the_documented_one():
    assert OPTIMIZERS == NAMES
    assert all(getattr(fastmlp, kind.__name__) is kind for kind in NAMES.values())


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [
        (SGD, {"weight_decay": 0.0}),
        (Momentum, {"momentum": 0.9, "weight_decay": 0.0}),
        (Nesterov, {"momentum": 0.9, "weight_decay": 0.0}),
        (RMSprop, {"rho": 0.9, "epsilon": 1e-8, "weight_decay": 0.0}),
        (Adam, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}),
        (AdamW, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}),
    ],
)  # fmt: skip
def test_small_frozen_dataclasses(kind, defaults):
    optimizer = kind()
    assert dataclasses.asdict(optimizer) == defaults
    assert optimizer == kind(**defaults)
    assert hash(optimizer) == hash(kind(**defaults))
    assert repr(optimizer) == f"{kind.__name__}({', '.join(f'{k}={v!r}' for k, v in defaults.items())})"
    for name in [*defaults, "name"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(optimizer, name, 0.5)
    for name in defaults:
        assert dataclasses.replace(optimizer, **{name: 0.25}) != optimizer
    with pytest.raises(TypeError, match="unexpected keyword"):
        kind(learning_rate=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_an_instance_with_the_defaults(name):
    assert network(name).optimizer == NAMES[name]()
    by_name, by_instance = network(name), network(NAMES[name]())
    np.testing.assert_array_equal(travelled(by_name, GRADIENTS), travelled(by_instance, GRADIENTS))


@pytest.mark.parametrize(
    ("kind", "field", "good"),
    [
        (Momentum, "momentum", [0, 0.0, 0.999999, np.float32(0.5)]), (Nesterov, "momentum", [0, 0.5]),
        (RMSprop, "rho", [0, 0.5]), (RMSprop, "epsilon", [1, 1e-300]), (Adam, "beta1", [0, 0.5]),
        (Adam, "beta2", [0, 0.5]), (Adam, "epsilon", [1, 1e-300]), (AdamW, "weight_decay", [0, 5, 1e3]),
    ],
)  # fmt: skip
def test_hyperparameters_within_bounds(kind, field, good):
    for value in good:
        assert getattr(kind(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (SGD(), [0.1, 0, 0, 0, 0, 0, 0.2]),
        (Momentum(0.8), [0.1, 0, 0.8, 0, 0, 0, 0.2]),
        (Nesterov(0.8), [0.1, 0, 0.8, 0, 0, 0, 0.2]),
        (RMSprop(0.7, 1e-4), [0.1, 0, 0, 0.7, 1e-4, 0, 0.2]),
        (Adam(0.8, 0.7, 1e-4), [0.1, 0, 0.8, 0.7, 1e-4, 1, 0.2]),
        (AdamW(0.8, 0.7, 1e-4, 0.3), [0.1, 0.3, 0.8, 0.7, 1e-4, 1, 0.2]),
    ],
    ids=repr,
)
def test_settings(optimizer, settings):
    """Learning rate, weight decay, first, second, epsilon, corrections, alpha."""
    found = optimizer.settings(0.1, 0.2)
    assert found == settings
    assert len(found) == 7
