"""The class MLP(Network): a network that checks what it is given."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation as validation
from . import fitting, persistence
from . import losses as parametric
from ._layout import Views, aligned_empty
from ._network import ForwardPass, Network
from ._trainer import Data, Options
from .initializers import INITIALIZERS, Initializer
from .kernels import activations, losses, training
from .kernels.network import A, Z
from .optimizers import Optimizer, resolve

Array = NDArray[Any]

_HIDDEN = [row.name for row in activations.TABLE if row.hidden]
_OUTPUT = [row.name for row in activations.TABLE if row.output] + ["softmax"]
_ALL = [row.name for row in activations.TABLE] + ["softmax"]
_AUTO_LOSS = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}


class MLP(Network):
    """A multi-layer perceptron, trained and evaluated by compiled kernels.

    Parameters
    ----------
    layer_sizes : sequence of int
        Numbers of inputs, of units in each hidden layer, and of outputs. ``[4, 3]`` has no hidden layer.
    activation : str or sequence of str, default 'relu'
        Of the hidden layers: one name, or one for each. relu, leaky_relu (slope 0.01), elu, selu, gelu (exact), silu,
        mish, softplus, sigmoid, tanh, linear.
    output_activation : str, default 'sigmoid'
        linear, sigmoid, tanh, softmax or exp.
    learning_rate : float, default 0.01
        May be changed between calls and by callbacks.
    weight_init : str or callable, default 'xavier'
        xavier, he, lecun (normal; with ``_uniform`` uniform), random (standard deviation 0.01), zeros, orthogonal; or a
        function of (fan_in, fan_out, rng) that returns W. Biases start at zero.
    loss : str or Loss, default 'auto'
        squared_error, absolute_error, huber, quantile, binary_cross_entropy, cross_entropy, poisson or gamma; or an
        instance of `fastmlp.Huber` or `fastmlp.Quantile`. 'auto': binary_cross_entropy for sigmoid outputs,
        cross_entropy for softmax, squared_error for the others.
    optimizer : str or Optimizer, default 'sgd'
        sgd, momentum, nesterov, rmsprop, adam, adamw, or an instance from `fastmlp.optimizers`.
    dtype : float32 or float64, default float32
        Of parameters and arithmetic.
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        Fixes initial weights and shuffling. None draws from NumPy's global state (``numpy.random.seed``).
    n_threads : None or int
        The most threads that `fit` and `predict` may use; None: as many as there are cores (those that the process may
        run on, within its quota and OMP_NUM_THREADS or NUMBA_NUM_THREADS if they are set). Fewer are used where the
        work is not worth more. The result is the same to the bit for any number.
    alpha : float, default 0
        ``alpha / 2 * sum(W**2)`` over all weights (not biases) is added to the objective.

    Attributes
    ----------
    weights, biases : list of ndarray
        W, (fan_in, fan_out), and b, (1, fan_out), of each layer: views into `parameters`. Assigning copies numbers.
    parameters : ndarray of shape (n_parameters,)
        All of them in one vector: W (C order) and b of the first layer, of the second, ...
    activations, pre_activations : list of ndarray
        After `forward`: X and each layer's output; each layer's z = x @ W + b.
    layer_sizes, num_layers
        num_layers counts the input, as layer_sizes does.

    Notes
    -----
    The objective is the mean over rows of the loss summed over outputs, plus the L2 penalty; squared_error has the
    usual factor 1/2 there, so that its gradient is ``(a - y) * f'(z)``. `compute_loss` reports plain means instead.

    Examples
    --------
    >>> from fastmlp import MLP
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> xor = MLP([2, 8, 1], activation="tanh", learning_rate=0.05, optimizer="adam", random_state=0)
    >>> history = xor.fit(X, [0, 1, 1, 0], epochs=200, batch_size=4)
    >>> xor.predict_classes(X).ravel()
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        output_activation: str = "sigmoid",
        learning_rate: float = 0.01,
        weight_init: str | Initializer = "xavier",
        *,
        loss: str | parametric.Loss = "auto",
        optimizer: str | Optimizer = "sgd",
        dtype: Any = np.float32,
        random_state: Any = None,
        n_threads: int | None = None,
        alpha: float = 0.0,
    ):
        sizes = validation.layer_sizes(layer_sizes)
        hidden = _checked_activation(activation, len(sizes) - 2)
        validation.choice("output_activation", output_activation, _OUTPUT)
        if output_activation == "softmax" and sizes[-1] == 1:
            raise ValueError("a softmax of one output is always 1; for two classes use sigmoid, or two outputs")
        loss = parametric.resolve(loss, ["auto", *losses.NAMES])
        if loss == "auto":
            loss = _AUTO_LOSS.get(output_activation, "squared_error")
        self.learning_rate = validation.real("learning_rate", learning_rate, above=0.0)
        self.alpha = validation.real("alpha", alpha, least=0.0)
        if not callable(weight_init):
            validation.choice("weight_init", weight_init, INITIALIZERS)
        self.weight_init = weight_init
        self.random_state = random_state
        self.n_threads = n_threads if n_threads is None else validation.integer("n_threads", n_threads, 1)
        kind, rng = validation.float_dtype(dtype), validation.random_source(random_state)
        method = resolve(optimizer)
        epsilon, least = getattr(method, "epsilon", 1.0), np.finfo(kind).tiny
        if epsilon < least:
            raise ValueError(f"the optimizer's epsilon must be at least {least:g} for {kind}, got {epsilon:g}")
        super().__init__(sizes, hidden, output_activation, loss, method, kind, rng)
        self.initialize_parameters()

    def initialize_parameters(self) -> None:
        """Draws new weights by `weight_init`, sets biases to zero and forgets the optimiser's state.

        Examples
        --------
        >>> mlp = MLP([2, 3, 1])
        >>> mlp.initialize_parameters()
        >>> mlp.biases[0].tolist()
        [[0.0, 0.0, 0.0]]
        """
        draw: Any = self.weight_init
        if not callable(draw):
            draw = INITIALIZERS[validation.choice("weight_init", draw, INITIALIZERS)]
        rng = np.random if self._rng is None else self._rng
        drawn = [draw(*w.shape, rng) for w in self._weights]
        drawn = [
            validation.like("the result of weight_init", new, w.shape, self._dtype)
            for new, w in zip(drawn, self._weights, strict=True)
        ]
        for new in drawn:
            validation.scan("the result of weight_init", new)
        self._parameters[:] = 0
        self._weights[:] = drawn
        self._reset_optimizer()

    # --- the pieces of a training step, as the guide has them -----------------------------------------------------

    def activation_function(self, x: ArrayLike, activation_type: str) -> Array:
        """f(x) for each number of x (for 'softmax': each row), in float32 if x is float32, else in float64.

        Examples
        --------
        >>> MLP([2, 1]).activation_function([-1.0, 0.0, 2.0], "relu").tolist()
        [0.0, 0.0, 2.0]
        """
        code = self._activation_code(activation_type)
        z = validation.pointwise_input("x", x)
        if code == activations.SOFTMAX:
            if z.ndim == 0:
                raise ValueError(f"x must have rows for softmax to run over, got the number {x!r}")
            rows = z.size // max(1, z.shape[-1])
            ws = np.concatenate([z.reshape(-1), np.empty(z.size, z.dtype)])
            activations.apply_softmax(rows, z.shape[-1], ws)
            return ws[: z.size].reshape(z.shape)
        activations.apply(code, z.reshape(-1))
        return z

    def activation_derivative(self, x: ArrayLike, activation_type: str) -> Array:
        """f'(x) for each number of x, in the precision of `activation_function`. relu'(0) is 0.

        Examples
        --------
        >>> MLP([2, 1]).activation_derivative([-1.0, 0.0, 2.0], "relu").tolist()
        [0.0, 0.0, 1.0]
        """
        code = self._activation_code(activation_type)
        if code == activations.SOFTMAX:
            raise ValueError("softmax mixes the numbers of a row: it has no pointwise derivative")
        z = validation.pointwise_input("x", x)
        ws = np.stack([np.ones_like(z), z, self.activation_function(z, activation_type)])
        activations.apply_backward(code, ws.reshape(-1))
        derivative: Array = ws[0]
        return derivative

    @staticmethod
    def _activation_code(name: str) -> int:
        return activations.CODES.get(validation.choice("activation_type", name, _ALL), activations.SOFTMAX)

    def forward(self, X: ArrayLike) -> Array:
        """Output for each row of X; keeps what `backward` needs.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])

        Returns
        -------
        ndarray of shape (n, layer_sizes[-1])

        Raises
        ------
        ValueError, TypeError
            X is not a 2-D array of finite real numbers with the right number of columns.

        Examples
        --------
        >>> MLP([2, 3, 1]).forward([[0, 1], [1, 1]]).shape
        (2, 1)
        """
        self._forward = self._pass(X)
        return self._forward.output

    def _pass(self, X: ArrayLike) -> ForwardPass:
        x = self._features(X)
        tables = self._layout.tables(len(x), keep_z=True)
        ws = self._ready(np.empty(tables.size, self._dtype), tables)
        self._infer(x, tables, ws, self._no_output)
        return ForwardPass(X, x, ws, tables)

    @property
    def activations(self) -> list[Array]:
        """X and the output of each layer for the last `forward`; empty before."""
        f = self._forward
        return [] if f is None else [f.x] + [f.tables.block(f.ws, l, A) for l in range(self.num_layers - 1)]

    @property
    def pre_activations(self) -> list[Array]:
        """z = x @ W + b of each layer for the last `forward`; empty before."""
        f = self._forward
        return [] if f is None else [f.tables.block(f.ws, l, Z) for l in range(self.num_layers - 1)]

    def backward(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        output: ArrayLike | None = None,
        *,
        output_gradient: ArrayLike | None = None,
        return_input_gradient: bool = False,
    ) -> Any:
        """The gradient of the objective at the last `forward`; at X, if that was given another one.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])
            What `forward` was given.
        y : array-like of shape (n, layer_sizes[-1]) or (n,)
            Targets; class indices if 1-D after a softmax.
        output : array-like of shape (n, layer_sizes[-1]), optional
            What `forward` returned.
        output_gradient : array-like of shape (n, layer_sizes[-1]), optional
            Instead of y: dL/d output for a loss of your own. It is taken as it is, without a division by n.
        return_input_gradient : bool, default False
            Also return dL/dX, (n, layer_sizes[0]).

        Returns
        -------
        dW, db : list of ndarray
            Shaped like `weights` and `biases`. With `return_input_gradient`, a third item.

        Raises
        ------
        RuntimeError
            `forward` has not been called.
        ValueError, TypeError
            Shapes or values that do not fit the last forward pass; both or neither of y and output_gradient.

        Examples
        --------
        >>> mlp, X = MLP([2, 3, 1]), [[0, 1], [1, 1]]
        >>> dW, db = mlp.backward(X, [0, 1], mlp.forward(X))
        >>> [g.shape for g in dW]
        [(2, 3), (3, 1)]
        """
        f = self._forward
        if f is None:
            raise RuntimeError("backward needs the values of a forward pass: call forward(X) first")
        # its own output says where forward has been; otherwise the numbers of X do
        known = X is f.given or (output is f.output and getattr(X, "shape", None) == f.x.shape)
        if not known and not validation.same(self._features(X), f.x):
            f = self._pass(X)
        n, k = len(f.x), self._layout.sizes[-1]
        validation.flag("return_input_gradient", return_input_gradient)
        if (y is None) == (output_gradient is None):
            raise ValueError("backward wants either y or output_gradient")
        kept = a = f.output
        if output is not None and output is not f.output:
            given_output = validation.like("output", output, (n, k), self._dtype)
            validation.scan("output", given_output)
            kept, a = a.copy(), given_output
        targets, given = self._empty, self._empty
        if y is not None:
            targets = self._targets("y", y, n, look=False)
        else:
            given = validation.like("output_gradient", output_gradient, (n, k), self._dtype).reshape(-1)
            validation.scan("output_gradient", given.reshape(n, k))
        dx = np.empty(f.x.size, self._dtype) if return_input_gradient else self._empty
        vector = self._gradient(f.tables, f.ws, targets, a, given, dx)
        if vector is None:
            self._targets("y", y, n)  # raises: says what the kernel has seen, and where
        assert vector is not None
        if kept is not a:  # the kernel has put what it was given in the place of the output
            f.output[:] = kept
        dW, db = self._layout.views(vector, ("dW", "db"))
        return (dW, db, dx.reshape(f.x.shape)) if return_input_gradient else (dW, db)

    def update_parameters(self, dW: Sequence[ArrayLike], db: Sequence[ArrayLike]) -> None:
        """One update by the optimiser, with the gradient that `backward` gave or one of the same shapes.

        Raises
        ------
        ValueError, TypeError
            Wrong shapes or not real numbers.
        FloatingPointError
            The gradient is not finite: nothing has changed. Or an update overflows: such parameters keep their values,
            and the optimiser starts anew.

        Examples
        --------
        >>> mlp = MLP([1, 1], learning_rate=0.5, weight_init="zeros")
        >>> mlp.update_parameters([[[1]]], [[[2]]])
        >>> mlp.parameters.tolist()
        [-0.5, -1.0]
        """
        failure = self._update(self._flat_gradient(dW, db))
        if failure == training.GRADIENT_NOT_FINITE:
            raise FloatingPointError("the gradient is not finite: dW or db holds NaN or infinity; nothing has changed")
        if failure == training.UPDATE_NOT_FINITE:
            self._reset_optimizer()
            raise FloatingPointError(
                f"the update is not finite: the gradient is too large. Lower learning_rate (now {self.learning_rate:g})"
                " or scale the inputs; the affected parameters keep their values, and the optimiser starts anew"
            )

    def _flat_gradient(self, dW: Sequence[ArrayLike], db: Sequence[ArrayLike]) -> Array:
        if isinstance(dW, Views) and isinstance(db, Views):
            ours = dW.layout is self._layout and dW.vector is db.vector
            if ours and (dW.name, db.name) == ("dW", "db"):
                return dW.vector
        vector = np.empty_like(self._parameters)
        for views, given in zip(self._layout.views(vector, ("dW", "db")), (dW, db), strict=True):
            views[:] = given
        return vector

    def compute_loss(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """The loss of predictions as a plain mean, in the guide's numbers.

        squared_error: mean of (y_true - y_pred)**2 over all entries, without the factor 1/2. absolute_error: mean of
        ``|y_true - y_pred|``. binary_cross_entropy: mean over all entries, predictions kept 1e-15 away from 0 and 1.
        cross_entropy: mean over rows of ``-sum(y_true * log(y_pred))``; y_true may be class indices. poisson and gamma:
        mean over all entries of half the deviance, ``y_true * log(y_true / y_pred) - y_true + y_pred`` and ``y_true /
        y_pred - log(y_true / y_pred) - 1``. huber and quantile: mean over all entries. Computed in float64.

        Examples
        --------
        >>> MLP([3, 1], output_activation="linear").compute_loss([1, 2], [1, 4])
        2.0
        """
        loss = parametric.name_of(self._loss)
        p = validation.numeric("y_pred", y_pred).astype(np.float64)
        y = validation.numeric("y_true", y_true).astype(np.float64)
        if y.ndim == 1 and p.ndim == 2 and self._output_activation == "softmax":
            k = p.shape[1]
            y = np.eye(k)[validation.targets("y_true", y, len(p), k, "softmax", loss, np.int64, "y_pred")]
        if y.ndim == 1 and p.shape == (len(y), 1):
            y = y[:, None]
        if y.shape != p.shape or p.size == 0:
            raise ValueError(
                f"y_true and y_pred must have the same shape and not be empty, got {y.shape} and {p.shape}"
            )
        return parametric.plain_mean(self._loss, y, p)

    def loss_and_gradients(self, X: ArrayLike, y: ArrayLike) -> tuple[float, Views, Views]:
        """The objective and its gradient, without touching the network's state.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])
        y : array-like of shape (n, layer_sizes[-1]) or (n,)

        Returns
        -------
        loss : float
            Mean over rows of the loss summed over outputs, plus ``alpha / 2 * sum(W**2)``.
        dW, db : list of ndarray

        Examples
        --------
        >>> mlp = MLP([1, 1], output_activation="linear", weight_init="zeros")
        >>> loss, dW, db = mlp.loss_and_gradients([[1], [3]], [2, 2])
        >>> loss, dW[0].tolist(), db[0].tolist()
        (2.0, [[-4.0]], [[-2.0]])
        """
        x = self._features(X)
        loss, vector = self._loss_and_gradient(x, self._targets("y", y, len(x)))
        penalty = self.alpha / 2 * sum(float(np.vdot(w, w)) for w in self._weights)
        return loss / len(x) + penalty, *self._layout.views(vector, ("dW", "db"))

    # --- training and prediction ----------------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 100,
        batch_size: int = 32,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        shuffle: bool = True,
        progress: bool = False,
        callbacks: Sequence[Callable[["MLP", int, dict[str, Any]], Any]] = (),
        track_gradients: bool = False,
        dropout: float | Sequence[float] = 0.0,
    ) -> fitting.History:
        """Trains for `epochs` passes over the data. A second call goes on where the first one ended.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])
            Read in place if it is C-ordered and of the network's dtype (a memory map stays on disk), else copied once.
        y : array-like of shape (n, layer_sizes[-1]) or (n,)
            Targets; class indices if 1-D after a softmax.
        epochs, batch_size : int, default 100, 32
            The last batch of an epoch takes what is left.
        validation_data : (X, y), optional
            Its loss is computed after every epoch.
        shuffle : bool, default True
            A new order of rows for every epoch of several batches, from `random_state`.
        progress, track_gradients : bool, default False
            Show a progress bar; record the norm of each layer's gradient.
        callbacks : sequence of callable
            Each gets (mlp, epoch, logs) after every epoch, counted from 0, where logs holds the epoch's entries of the
            History. Returning True stops.
        dropout : float or sequence of float, default 0
            The share of the hidden layers' outputs, of all or of each, that is left out at random in every step; the
            others are scaled up by ``1 / (1 - dropout)``. `History.loss` is that of such steps.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            An argument does not fit; nothing has changed.
        FloatingPointError (fastmlp.fitting.DivergenceError)
            A loss or an update is not finite. The last finite parameters stay, and the optimiser starts anew.

        Examples
        --------
        >>> len(MLP([2, 3, 1]).fit([[0, 1], [1, 1]], [0, 1], epochs=5).loss)
        5
        """
        x = self._features(X, scan=True)
        data = Data.whole(x, self._targets("y", y, len(x)))
        held_out = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise TypeError(f"validation_data must be a pair (X, y), got {_outline(validation_data)}")
            x_held = self._features(validation_data[0], name="validation_data[0]", scan=True)
            y_held = self._targets("validation_data[1]", validation_data[1], len(x_held), "validation_data[0]")
            held_out = x_held, y_held
        options = Options(
            batch_size=min(validation.integer("batch_size", batch_size, 1), len(x)),
            shuffle=validation.flag("shuffle", shuffle),
            track_gradients=validation.flag("track_gradients", track_gradients),
            dropout=validation.dropout(dropout, self.num_layers - 2),
        )
        self._settings()
        return fitting.fit(
            self, data, held_out, options,
            epochs=validation.integer("epochs", epochs, 1),
            progress=validation.flag("progress", progress),
            callbacks=validation.callables("callbacks", callbacks),
        )  # fmt: skip

    def predict(self, X: ArrayLike) -> Array:
        """Output for each row of X, (n, layer_sizes[-1]). Keeps nothing; may be called from several threads.

        Examples
        --------
        >>> MLP([2, 3, 1]).predict([[0, 1], [1, 1]]).shape
        (2, 1)
        """
        return self._outputs(self._features(X))

    def predict_classes(self, X: ArrayLike) -> Array:
        """Classes: for sigmoid outputs (n, k) of 0 and 1 (1 above 0.5), else (n,) indices of the largest output.

        Examples
        --------
        >>> MLP([2, 3, 4], output_activation="softmax").predict_classes([[0, 1], [1, 1]]).shape
        (2,)
        """
        outputs = self.predict(X)
        return (outputs > 0.5).astype(int) if self._output_activation == "sigmoid" else np.argmax(outputs, axis=1)

    def compiled_arguments(self, rows: int = 1) -> tuple[Any, ...]:
        """What `fastmlp.kernels.backprop.infer` needs of this network, for calls from your own ``@njit`` code.

        Parameters
        ----------
        rows : int, default 1
            How many rows go through all layers together; `infer` takes any number of them, this many at a time.

        Returns
        -------
        tuple
            Pass it on whole, between x and out: ``infer(x, *arguments, out)``. x, (n * layer_sizes[0],), and out,
            (n * layer_sizes[-1],), are 1-D, C-ordered and of the network's dtype; `infer` returns False if a number of
            x is not finite, else True, and raises if x or out is of another dtype, order or size. The tuple's types are
            the same for every network of one dtype, so that compiled code serves them all; code of yours with
            ``cache=True`` keeps the kernels it was compiled with: empty its cache after an upgrade. The tuple holds
            `parameters` itself, so that training shows at once, and a workspace of its
            own: get one for each thread.

        Raises
        ------
        ValueError, TypeError
            rows is not a positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from numba import njit
        >>> from fastmlp.kernels.backprop import infer
        >>> @njit
        ... def iterate(network, x, steps):
        ...     for _ in range(steps):
        ...         infer(x, *network, x)
        >>> mlp = MLP([2, 8, 2], output_activation="tanh", random_state=0)
        >>> x = np.ones(2, np.float32)
        >>> iterate(mlp.compiled_arguments(), x, 2)
        >>> bool(np.all(x == mlp.predict(mlp.predict(np.ones((1, 2), np.float32)))[0]))
        True
        """
        rows = validation.integer("rows", rows, 1)
        tables = self._layout.tables(rows)
        workspace = self._ready(aligned_empty(tables.size, self._dtype), tables)
        layers, blocks = tables.layers.copy(), tables.blocks.copy()
        return self._parameters, layers, blocks, workspace, rows

    def _features(self, X: ArrayLike, name: str = "X", scan: bool = False) -> Array:
        return validation.features(name, X, self._layout.sizes[0], self._dtype, scan=scan)

    def _targets(self, name: str, y: ArrayLike | None, n: int, rows_of: str = "X", look: bool = True) -> Array:
        k, output = self._layout.sizes[-1], self._output_activation
        loss = parametric.name_of(self._loss)
        return validation.targets(name, y, n, k, output, loss, self._dtype, rows_of, look=look)

    # --- copies and files -----------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Writes the network, its optimiser and its shuffling state to one safetensors file; see `fastmlp.load`.

        Examples
        --------
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     MLP([2, 3, 1]).save(f"{folder}/net.safetensors")
        ...     os.listdir(folder)
        ['net.safetensors']
        """
        persistence.save(self, path)

    def __repr__(self) -> str:
        return (
            f"MLP({self.layer_sizes}, activation={self._activation!r}, output_activation={self._output_activation!r},"
            f" loss={self._loss!r}, optimizer={self._optimizer!r}, dtype={self._dtype.name})"
        )


def _checked_activation(activation: Any, n_hidden: int) -> str | tuple[str, ...]:
    if isinstance(activation, str):
        return validation.choice("activation", activation, _HIDDEN)
    if not isinstance(activation, Sequence):
        raise TypeError(f"activation must be a name or a sequence of names, got {activation!r}")
    if len(activation) != n_hidden:
        raise ValueError(f"activation must be one name or {n_hidden}, one for each hidden layer; got {activation!r}")
    return tuple(validation.choice(f"activation[{i}]", name, _HIDDEN) for i, name in enumerate(activation))


def _outline(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else kind
