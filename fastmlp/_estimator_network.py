"""The network behind an estimator's `coefs_` and `intercepts_`."""

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._network import Network
from .kernels import activations, backprop
from .kernels.backprop import ROWS_TOGETHER
from .losses import Loss
from .optimizers import Optimizer

Array = NDArray[Any]

_ROWS_OF_A_PRODUCT = 4 * ROWS_TOGETHER  # whose first layer's outputs stay in a cache


class EstimatorNetwork(Network):
    """The network of an estimator; `coefs` and `intercepts` are views of its parameters."""

    named: Any = None  # the estimator's `activation`, for whoever wants to see whether it is another one now
    n_threads: int | None = None
    _learning_rate = 1.0
    _alpha = 0.0

    def __init__(
        self, sizes: list[int], hidden: tuple[str, ...], output: str, loss: str | Loss, method: Optimizer, dtype: Any
    ):
        super().__init__(sizes, hidden, output, loss, method, np.dtype(dtype), None)
        self._view()

    def _view(self) -> None:
        self.coefs: tuple[Array, ...] = tuple(self._weights)
        self.intercepts: tuple[Array, ...] = tuple(b[0] for b in self._biases)

    def holds(self, coefs: list[Array], intercepts: list[Array]) -> bool:
        """Whether these are the views."""
        if len(coefs) != len(self.coefs) or len(intercepts) != len(self.intercepts):
            return False
        return all(map(operator.is_, coefs, self.coefs)) and all(map(operator.is_, intercepts, self.intercepts))

    def use(self, method: Optimizer) -> None:
        """Goes on with this optimiser: with the state of the last one, if it was of the same kind."""
        same = method.kernel == self._optimizer.kernel
        self._optimizer, self._settings_array = method, None
        if not same:
            self._reset_optimizer()

    def sparse_outputs(self, x: Any) -> Array | None:
        """Output for each row of a sparse x: SciPy's product, then the kernels from the second layer on.

        None if there is no second layer, or if the first one's output is not finite.
        """
        if self.num_layers == 2:
            return None
        tables = self._layout.tables(min(x.shape[0], ROWS_TOGETHER))
        ws, out = np.empty(tables.size, self._dtype), np.empty((x.shape[0], self.layer_sizes[-1]), self._dtype)
        network = tables.layers[1:], tables.blocks, ws, tables.rows
        for start in range(0, len(out), _ROWS_OF_A_PRODUCT):
            rows = slice(start, start + _ROWS_OF_A_PRODUCT)
            a = np.ascontiguousarray(x[rows].astype(self._dtype, copy=False) @ self._weights[0])
            a += self._biases[0]
            activations.apply(self._layout.codes[0], a.reshape(-1))
            if not backprop.infer(a, self._parameters, *network, out[rows]):
                return None
        return out

    def draw_order_from(self, rng: Any) -> None:
        """Seeds the shuffling, unless it goes on from earlier."""
        if self._shuffle_state is None:
            self._rng = rng
            self._shuffling()
            self._rng = None

    def changed(self, hidden: tuple[str, ...], dtype: Any) -> "EstimatorNetwork":
        """The same parameters and states of the solver and of shuffling, with other activations or in another dtype."""
        other = EstimatorNetwork(
            self.layer_sizes, hidden, self.output_activation, self.loss, self.optimizer, np.dtype(dtype)
        )
        other._parameters[:], other._slots[:], other._updates[:] = self._parameters, self._slots, self._updates
        other._shuffle_state = None if self._shuffle_state is None else self._shuffle_state.copy()
        return other

    def twin(self) -> "EstimatorNetwork":
        """A copy that shares nothing."""
        copy = EstimatorNetwork.__new__(EstimatorNetwork)
        copy.__setstate__(
            {name: v.copy() if isinstance(v, np.ndarray) else v for name, v in self.__getstate__().items()}
        )
        return copy

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["coefs"], state["intercepts"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._view()
