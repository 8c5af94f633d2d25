"""The pieces of a training step, for loops of the user's own: a network that checks what these are given."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation as validation
from ._layout import Gradient
from ._network import ForwardPass, Network
from .kernels import activations, training
from .kernels.network import A, Z
from .losses import plain_mean

Array = NDArray[Any]

_ALL = [row.name for row in activations.TABLE] + ["softmax"]


class Steps(Network):
    """What `MLP` has beside `fit` and `predict`."""

    def activation_function(self, x: ArrayLike, activation_type: str) -> Array:
        """f(x) for each number of x (for 'softmax': each row), in float32 if x is float32, else in float64.

        Parameters
        ----------
        x : array-like of any shape
        activation_type : str
            Any activation, hidden or of outputs.

        Returns
        -------
        ndarray of the shape of x

        Raises
        ------
        ValueError, TypeError
            Not numbers; an unknown name; a softmax of a single number.

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

        Parameters
        ----------
        x : array-like of any shape
        activation_type : str
            Any activation but softmax.

        Returns
        -------
        ndarray of the shape of x

        Raises
        ------
        ValueError, TypeError
            Not numbers; an unknown name; softmax, which has no derivative of single numbers.

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
            Read-only, so that `backward` knows what it holds.

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
        x, dtype = self._features(X), self._dtype
        tables = self._layout.tables(len(x), keep_z=True)
        ws = self._ready(np.empty(tables.size, dtype), tables)
        output = np.empty((len(x), self._layout.sizes[-1]), dtype)
        self._infer(x, tables, ws, output)
        output.setflags(write=False)
        return ForwardPass(X, x, tables, ws, output.view())  # which nobody can make writable

    @property
    def activations(self) -> list[Array]:
        """X and the output of each layer for the last `forward`: read-only views; empty before."""
        return self._kept(A, [] if self._forward is None else [self._forward.x])

    @property
    def pre_activations(self) -> list[Array]:
        """z = x @ W + b of each layer for the last `forward`: read-only views; empty before."""
        return self._kept(Z, [])

    def _kept(self, kind: SupportsIndex, first: list[Array]) -> list[Array]:
        """`first`, and each layer's block of a kind."""
        f = self._forward
        blocks = [] if f is None else [f.tables.block(f.ws, l, kind) for l in range(self.num_layers - 1)]
        return [_read_only(array) for array in first + blocks]

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
            What `forward` returned for X.
        output_gradient : array-like of shape (n, layer_sizes[-1]), optional
            Instead of y: dL/d output for a loss of your own. It is taken as it is, without a division by n.
        return_input_gradient : bool, default False
            Also return dL/dX, (n, layer_sizes[0]).

        Returns
        -------
        dW, db : sequence of ndarray
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
            raise ValueError(f"backward wants either y or output_gradient, got {'neither' if y is None else 'both'}")
        a = self._no_output
        if output is not None and output is not f.output:
            a = validation.like("output", output, (n, k), self._dtype)
            validation.check_finite("output", a)
        targets, given = self._empty, self._empty
        if y is not None:
            targets = self._targets("y", y, n, look=False)
        else:
            given = validation.like("output_gradient", output_gradient, (n, k), self._dtype).reshape(-1)
            validation.check_finite("output_gradient", given.reshape(n, k))
        dx = np.empty(f.x.size, self._dtype) if return_input_gradient else self._empty
        vector = self._gradient(f.tables, f.ws, targets, a, given, dx)
        if a.size > 0:  # the kernel has put what it was given in the place of the output
            f.tables.block(f.ws, -1, A)[:] = f.output
        if vector is None:
            self._targets("y", y, n)  # raises: says what the kernel has seen, and where
            raise ValueError("y has changed while backward was reading it")
        dW, db = self._layout.gradient(vector)
        return (dW, db, dx.reshape(f.x.shape)) if return_input_gradient else (dW, db)

    def update_parameters(self, dW: Sequence[ArrayLike], db: Sequence[ArrayLike]) -> None:
        """One update by the optimiser, with the gradient that `backward` gave or one of the same shapes.

        Parameters
        ----------
        dW, db : sequence of array-like
            Shaped like `weights` and `biases`.

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
        layout = self._layout
        if isinstance(dW, Gradient) and isinstance(db, Gradient):
            ours = dW.places is layout.weights and db.places is layout.biases
            if ours and dW.vector is db.vector:
                return dW.vector
        vector = np.empty_like(self._parameters)
        for views, given in zip(layout.views(vector, ("dW", "db")), (dW, db), strict=True):
            views[:] = given
        return vector

    def compute_loss(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """The loss of predictions as a plain mean, in the guide's numbers.

        squared_error: mean of (y_true - y_pred)**2 over all entries, without the factor 1/2. absolute_error: mean of
        ``|y_true - y_pred|``. binary_cross_entropy: mean over all entries, predictions kept 1e-15 away from 0 and 1.
        cross_entropy: mean over rows of ``-sum(y_true * log(y_pred))``; y_true may be class indices. poisson and gamma:
        mean over all entries of half the deviance, ``y_true * log(y_true / y_pred) - y_true + y_pred`` and ``y_true /
        y_pred - log(y_true / y_pred) - 1``. huber and quantile: mean over all entries. Computed in float64.

        Parameters
        ----------
        y_true, y_pred : array-like of one shape, (n, k) or (n,)

        Returns
        -------
        float

        Raises
        ------
        ValueError, TypeError
            Different shapes, no entries, not numbers, or class indices out of range.

        Examples
        --------
        >>> MLP([3, 1], output_activation="linear").compute_loss([1, 2], [1, 4])
        2.0
        """
        p = validation.numeric("y_pred", y_pred).astype(np.float64)
        y = validation.numeric("y_true", y_true).astype(np.float64)
        if y.ndim == 1 and p.ndim == 2 and self._output_activation == "softmax":
            k = p.shape[1]
            y = np.eye(k)[validation.targets("y_true", y, len(p), k, "softmax", self._loss_name, np.int64, "y_pred")]
        if y.ndim == 1 and p.shape == (len(y), 1):
            y = y[:, None]
        if y.shape != p.shape or p.size == 0:
            raise ValueError(
                f"y_true and y_pred must have the same shape and not be empty, got {y.shape} and {p.shape}"
            )
        return plain_mean(self._loss, y, p)

    def loss_and_gradients(self, X: ArrayLike, y: ArrayLike) -> tuple[float, Gradient, Gradient]:
        """The objective and its gradient, without touching the network's state.

        Parameters
        ----------
        X : array-like of shape (n, layer_sizes[0])
        y : array-like of shape (n, layer_sizes[-1]) or (n,)

        Returns
        -------
        loss : float
            Mean over rows of the loss summed over outputs, plus ``alpha / 2 * sum(W**2)``.
        dW, db : sequence of ndarray

        Raises
        ------
        ValueError, TypeError
            X or y does not fit the network.

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
        return loss / len(x) + penalty, *self._layout.gradient(vector)

    def _features(self, X: ArrayLike, name: str = "X", scan: bool = False) -> Array:
        return validation.features(name, X, self._layout.sizes[0], self._dtype, scan=scan)

    def _targets(self, name: str, y: ArrayLike | None, n: int, rows_of: str = "X", look: bool = True) -> Array:
        k, output = self._layout.sizes[-1], self._output_activation
        # a batch as `backward` mostly gets it: the other way takes twice as long
        if not look and output != "softmax" and validation.is_ready(y, k, self._dtype) and len(y) == n:
            return y.reshape(-1)
        return validation.targets(name, y, n, k, output, self._loss_name, self._dtype, rows_of, look=look)


def _read_only(array: Array) -> Array:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
