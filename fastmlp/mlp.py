"""The class MLP(Steps): a network that checks what it is given."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation as validation
from . import fitting, persistence
from ._layout import aligned_empty
from ._steps import Steps
from ._trainer import Data, Options
from .initializers import INITIALIZERS, Initializer
from .kernels import activations
from .kernels import losses as loss_kernels
from .losses import Loss
from .losses import resolve as resolve_loss
from .optimizers import Optimizer
from .optimizers import resolve as resolve_optimizer

Array = NDArray[Any]

_HIDDEN = [row.name for row in activations.TABLE if row.hidden]
_OUTPUT = [row.name for row in activations.TABLE if row.output] + ["softmax"]
_AUTO_LOSS = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}


class MLP(Steps):
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

    Raises
    ------
    ValueError, TypeError
        An argument is out of range, or of another kind.

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
        loss: str | Loss = "auto",
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
            raise ValueError(
                "output_activation='softmax' needs at least two outputs, got layer_sizes[-1]=1: a softmax of one output"
                " is always 1; for two classes use sigmoid, or two outputs"
            )
        loss = resolve_loss(loss, ["auto", *loss_kernels.NAMES])
        if loss == "auto":
            loss = _AUTO_LOSS.get(output_activation, "squared_error")
        self.learning_rate, self.alpha = learning_rate, alpha
        if not callable(weight_init):
            validation.choice("weight_init", weight_init, INITIALIZERS)
        self.weight_init = weight_init
        self.random_state = random_state
        self.n_threads = n_threads if n_threads is None else validation.integer("n_threads", n_threads, 1)
        kind, rng = validation.float_dtype(dtype), validation.random_source(random_state)
        method = resolve_optimizer(optimizer)
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
            validation.check_finite("the result of weight_init", new)
        self._parameters[:] = 0
        for w, new in zip(self._weights, drawn, strict=True):
            w[...] = new
        self._reset_optimizer()

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
        FloatingPointError (fastmlp.DivergenceError)
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
        return fitting.fit(
            self, data, held_out, options,
            epochs=validation.integer("epochs", epochs, 1),
            progress=validation.flag("progress", progress),
            callbacks=validation.callables("callbacks", callbacks),
        )  # fmt: skip

    def predict(self, X: ArrayLike) -> Array:
        """Output for each row of X. Keeps nothing; may be called from several threads.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])

        Returns
        -------
        ndarray of shape (n, layer_sizes[-1])
            Of the network's dtype.

        Raises
        ------
        ValueError, TypeError
            X is not a 2-D array of finite real numbers with the right number of columns.

        Examples
        --------
        >>> MLP([2, 3, 1]).predict([[0, 1], [1, 1]]).shape
        (2, 1)
        """
        return self._outputs(self._features(X))

    def predict_classes(self, X: ArrayLike) -> Array:
        """The class of each row of X.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])

        Returns
        -------
        ndarray of int
            For sigmoid outputs (n, layer_sizes[-1]) of 0 and 1 (1 above 0.5), else (n,) indices of the largest output.

        Raises
        ------
        ValueError, TypeError
            As `predict`; there is a single output, and it is not a sigmoid.

        Examples
        --------
        >>> MLP([2, 3, 4], output_activation="softmax").predict_classes([[0, 1], [1, 1]]).shape
        (2,)
        """
        if self._output_activation == "sigmoid":
            return (self.predict(X) > 0.5).astype(int)
        if self.layer_sizes[-1] == 1:
            raise ValueError(
                f"predict_classes needs several outputs or a sigmoid: this network has one, {self._output_activation}"
            )
        classes: Array = np.argmax(self.predict(X), axis=1)
        return classes

    def compiled_arguments(self, rows: int = 1) -> tuple[Any, ...]:
        """What `fastmlp.kernels.backprop.infer` needs of this network, for calls from your own ``@njit`` code.

        Parameters
        ----------
        rows : int, default 1
            How many rows go through all layers together; `infer` takes any number of them, this many at a time.

        Returns
        -------
        tuple
            The parameters, two tables, a workspace and `rows`. Pass it on whole, between x and out: ``infer(x,
            *arguments, out)``. x, (n * layer_sizes[0],), and out, (n * layer_sizes[-1],), are 1-D, C-ordered and of the
            network's dtype; `infer` returns False if a number of x is not finite, else True, and raises if x or out is
            of another dtype, order or size. The tuple's types are the same for every network of one dtype, so that
            compiled code serves them all; code of yours with ``cache=True`` keeps the kernels it was compiled with:
            empty its cache after an upgrade. The tuple holds `parameters` itself, so that training shows at once, and a
            workspace of its own: get one for each thread.

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

    # --- copies and files -----------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Writes the network, its optimiser and its shuffling state to one safetensors file; see `fastmlp.load`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError, TypeError
            The network could not be restored: parameters that are not finite, an optimiser or a loss of a class of
            your own, an attribute that was set to something invalid. A `weight_init` that is a function is not in the
            file, see `fastmlp.load`.
        OSError
            The file cannot be written.

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
