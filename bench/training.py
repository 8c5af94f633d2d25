"""Who trains: for each rival a class that has its network, its data and its own best way through an epoch.

All start from the same parameters and use the same conventions: mean over rows, sum over outputs, 1/2 in squared error.
"""

import warnings
from functools import partial

import numpy as np

from fastmlp.reference import layer_views

from .contest import Contestant


def _flat(weights, biases):
    layers = zip(weights, biases, strict=True)
    return np.concatenate([np.ravel(part) for layer in layers for part in layer])


def _prepare(trainer, case):
    small = case.checked()
    checked = trainer(small, *small.data())
    checked.fit(2, shuffle=False)
    timed = trainer(case, *case.data())
    return checked.parameters(), partial(timed.fit, shuffle=case.shuffled)


class FastMLP:
    def __init__(self, case, X, y, n_threads=None):
        from fastmlp import MLP

        self.case, self.X, self.y = case, X, y
        self.model = MLP(
            case.layer_sizes, case.activation, case.output, case.learning_rate,
            optimizer=case.optimizer, dtype=case.dtype, random_state=0, n_threads=n_threads,
        )  # fmt: skip
        self.model.parameters = case.start()

    def fit(self, epochs, shuffle):
        self.model.fit(self.X, self.y, epochs=epochs, batch_size=self.case.batch_size, shuffle=shuffle)

    def parameters(self):
        return self.model.parameters.copy()


def _python_loop(model, case, X, y, epochs, shuffle):
    """The guide's own loop."""
    rng = np.random.default_rng()
    for _ in range(epochs):
        order = rng.permutation(len(X)) if shuffle else np.arange(len(X))
        for start in range(0, len(X), case.batch_size):
            rows = order[start : start + case.batch_size]
            output = model.forward(X[rows])
            model.update_parameters(*model.backward(X[rows], y[rows], output))


class FastMLPLoop(FastMLP):
    def fit(self, epochs, shuffle):
        _python_loop(self.model, self.case, self.X, self.y, epochs, shuffle)


class NumPyLoop:
    def __init__(self, case, X, y):
        self.case, self.X, self.y, self.model = case, X.astype(np.float64), y, case.reference()

    def fit(self, epochs, shuffle):
        _python_loop(self.model, self.case, self.X, self.y, epochs, shuffle)

    def parameters(self):
        return self.model.parameters


class ScikitLearn:
    """Several epochs a call, as fastmlp has them. Its Adam adds epsilon before the correction of the moments."""

    def __init__(self, case, X, y):
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        activations = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}
        solvers = {"sgd": ("sgd", 0.0), "momentum": ("sgd", 0.9), "adam": ("adam", 0.0)}
        if case.activation not in activations:
            raise NotImplementedError(case.activation)
        kind = MLPRegressor if case.output == "linear" else MLPClassifier
        solver, momentum = solvers[case.optimizer]
        self.X, self.y = X, y.ravel() if y.shape[-1] == 1 else y
        self.model = kind(
            hidden_layer_sizes=case.layer_sizes[1:-1], activation=activations[case.activation], solver=solver,
            alpha=0.0,
            learning_rate_init=case.learning_rate, momentum=momentum, nesterovs_momentum=False,
            max_iter=1, n_iter_no_change=10**9, warm_start=True,
        )  # fmt: skip
        self._fit(self.X[:64], self.y[:64])  # builds the network
        for mine, its in zip(
            layer_views(case.start(), case.layer_sizes), (self.model.coefs_, self.model.intercepts_), strict=True
        ):
            for start, parameter in zip(mine, its, strict=True):
                parameter[...] = start.reshape(parameter.shape)
        self.model.set_params(batch_size=case.batch_size)

    def _fit(self, X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged, it says after so few epochs
            self.model.fit(X, y)

    def fit(self, epochs, shuffle):
        self.model.set_params(max_iter=epochs, shuffle=shuffle)
        self._fit(self.X, self.y)

    def parameters(self):
        return _flat(self.model.coefs_, self.model.intercepts_)


class PyTorch:
    """Eager, fused optimiser; the rows are put in order once an epoch, so that a batch is a view."""

    def __init__(self, case, X, y):
        import torch
        from torch.nn import GELU, Linear, ReLU, Sequential, Sigmoid, Tanh
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

        activation = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "gelu": GELU}[case.activation]
        layers = []
        for W, b in zip(*layer_views(case.start(), case.layer_sizes), strict=True):
            linear = Linear(*W.shape, dtype=getattr(torch, case.dtype))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W.T.copy()))
                linear.bias.copy_(torch.from_numpy(b[0]))
            layers += [linear, activation()]
        self.torch, self.case, self.network = torch, case, Sequential(*layers[:-1])
        if case.output == "sigmoid":
            y = y.astype(X.dtype).reshape(-1, 1)
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        self.loss = {
            "linear": lambda z, t: mse_loss(z, t, reduction="sum") / (2 * len(z)),
            "sigmoid": lambda z, t: binary_cross_entropy_with_logits(z, t, reduction="sum") / len(z),
            "softmax": cross_entropy,
        }[case.output]
        make = {
            "sgd": partial(torch.optim.SGD),
            "momentum": partial(torch.optim.SGD, momentum=0.9),
            "adam": torch.optim.Adam,
        }[case.optimizer]
        self.optimizer = make(self.network.parameters(), lr=case.learning_rate, fused=True)

    def fit(self, epochs, shuffle):
        for _ in range(epochs):
            X, y = self.X, self.y
            if shuffle:
                order = self.torch.randperm(len(X))
                X, y = X[order], y[order]
            for x, t in zip(X.split(self.case.batch_size), y.split(self.case.batch_size), strict=True):
                self.optimizer.zero_grad()
                self.loss(self.network(x), t).backward()
                self.optimizer.step()

    def parameters(self):
        linear = [layer for layer in self.network if hasattr(layer, "weight")]
        return _flat([l.weight.detach().numpy().T for l in linear], [l.bias.detach().numpy() for l in linear])


class Jax:
    """An epoch is one jitted scan over its batches, which gives the memory of the old parameters to the new ones."""

    def __init__(self, case, X, y):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", case.dtype == "float64")
        activation = {
            "relu": jax.nn.relu,
            "tanh": jnp.tanh,
            "sigmoid": jax.nn.sigmoid,
            "gelu": partial(jax.nn.gelu, approximate=False),
        }[case.activation]
        losses = {
            "linear": lambda z, t: jnp.sum((z - t) ** 2) / (2 * len(z)),
            "sigmoid": lambda z, t: jnp.sum(jax.nn.softplus(z) - z * t) / len(z),
            "softmax": lambda z, t: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], 1)),
        }
        rate = case.learning_rate
        on_leaves = jax.tree.map

        def objective(layers, x, t):
            for W, b in layers[:-1]:
                x = activation(x @ W + b)
            W, b = layers[-1]
            return losses[case.output](x @ W + b, t)

        def sgd(layers, g, state):
            return on_leaves(lambda p, g: p - rate * g, layers, g), state

        def momentum(layers, g, s):
            s = on_leaves(lambda s, g: 0.9 * s + g, s, g)
            return on_leaves(lambda p, s: p - rate * s, layers, s), s

        def adam(layers, g, state):
            m, v, t = state
            t += 1
            m = on_leaves(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = on_leaves(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            m_scale, v_scale = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
            update = lambda p, m, v: p - rate * (m * m_scale) / (jnp.sqrt(v * v_scale) + 1e-8)  # noqa: E731
            return on_leaves(update, layers, m, v), (m, v, t)

        def step(carry, x, t):
            layers, state = carry
            g = jax.grad(objective)(layers, x, t)
            return {"sgd": sgd, "momentum": momentum, "adam": adam}[case.optimizer](layers, g, state)

        n, batch = case.rows, case.batch_size
        whole = n // batch * batch

        def epoch(carry, X, y, key, shuffle):
            if batch == n:
                return step(carry, X, y)
            order = jax.random.permutation(key, n) if shuffle else jnp.arange(n)
            rows = order[:whole].reshape(-1, batch)
            carry, _ = jax.lax.scan(lambda c, r: (step(c, X[r], y[r]), None), carry, rows)
            return step(carry, X[order[whole:]], y[order[whole:]]) if whole < n else carry

        self.jax, self.epoch = jax, jax.jit(epoch, donate_argnums=0, static_argnums=4)
        layers = [
            (jnp.asarray(W), jnp.asarray(b)) for W, b in zip(*layer_views(case.start(), case.layer_sizes), strict=True)
        ]
        zeros = partial(on_leaves, jnp.zeros_like, layers)
        states = {"sgd": tuple, "momentum": zeros, "adam": lambda: (zeros(), zeros(), jnp.zeros((), case.dtype))}
        self.carry = layers, states[case.optimizer]()
        self.key = jax.random.key(0)
        y = y.astype(X.dtype).reshape(-1, 1) if case.output == "sigmoid" else y
        self.X, self.y = jnp.asarray(X), jnp.asarray(y)

    def fit(self, epochs, shuffle):
        for _ in range(epochs):
            self.key, key = self.jax.random.split(self.key)
            self.carry = self.epoch(self.carry, self.X, self.y, key, shuffle)
        self.jax.block_until_ready(self.carry)

    def parameters(self):
        layers = self.carry[0]
        return _flat([W for W, _ in layers], [b for _, b in layers])


FASTMLP = Contestant("fastmlp", partial(_prepare, FastMLP), "fastmlp")
ONE_THREAD = Contestant("fastmlp, 1 thread", partial(_prepare, partial(FastMLP, n_threads=1)), "fastmlp")
FASTMLP_LOOP = Contestant("fastmlp's Python loop", partial(_prepare, FastMLPLoop), "fastmlp")
NUMPY_LOOP = Contestant("NumPy reference", partial(_prepare, NumPyLoop), "numpy", limit=3e10)
SCIKIT_LEARN = Contestant("scikit-learn", partial(_prepare, ScikitLearn), "sklearn", difference=2e-2)
PYTORCH = Contestant("PyTorch", partial(_prepare, PyTorch), "torch")
PYTORCH_ONE_CORE = Contestant("PyTorch", partial(_prepare, PyTorch), "torch", setting="1 core", cores=1, limit=1e10)
JAX = Contestant("JAX", partial(_prepare, Jax), "jax")
CONTESTANTS = (FASTMLP, ONE_THREAD, JAX, PYTORCH, PYTORCH_ONE_CORE, SCIKIT_LEARN, FASTMLP_LOOP, NUMPY_LOOP)
