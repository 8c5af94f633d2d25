"""The state of a network, and its calls into the kernels: arrays that are known to be good, no defaults, no checks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _threads
from . import _validation as validation
from ._layout import Layout, Tables, Views, aligned_empty
from ._own_loss import Evaluation, OwnLoss
from .kernels import activations, backprop, training
from .kernels import losses as loss_kernels
from .kernels import optimizers as optimizer_kernels
from .kernels.backprop import ROWS_TOGETHER
from .kernels.network import PARAMETER, ROW_LOSS, A
from .losses import Loss, name_of
from .optimizers import Optimizer

Array = NDArray[Any]

_PIECE_ROWS = 128  # that a thread takes at least: fewer use the weights too seldom


@dataclass(slots=True)
class ForwardPass:
    """What a forward pass leaves for the backward pass."""

    given: Any  # x before it was checked
    x: Array
    tables: Tables
    ws: Array
    output: Array  # a copy for the user: read-only, since `backward` knows its numbers when it gets it back


class Network:
    """Parameters, optimiser state and shuffling state; what `MLP` is made of.

    Parameters
    ----------
    layer_sizes : list of int
    activation : str or tuple of str
        Of all hidden layers, or of each.
    output_activation : str
    loss : str or Loss
    optimizer : Optimizer
    dtype : numpy.dtype
    rng : object
        Draws as `numpy.random` does; None is NumPy's global state.
    """

    n_threads: int | None
    _learning_rate: float
    _alpha: float
    _settings_array: Array | None = None  # see `_settings`
    _evaluation: Evaluation | None = None  # of a loss of the user's own, made when first needed

    def __init__(
        self,
        layer_sizes: list[int],
        activation: str | tuple[str, ...],
        output_activation: str,
        loss: str | Loss,
        optimizer: Optimizer,
        dtype: np.dtype[Any],
        rng: Any,
    ):
        self.layer_sizes = layer_sizes
        self.num_layers = len(layer_sizes)
        self._activation, self._output_activation, self._loss = activation, output_activation, loss
        self._optimizer, self._dtype, self._rng = optimizer, dtype, rng
        hidden = (activation,) * (self.num_layers - 2) if isinstance(activation, str) else activation
        codes = [activations.CODES[name] for name in hidden]
        codes.append(activations.CODES.get(output_activation, activations.SOFTMAX))
        self._loss_parameter = np.array([] if isinstance(loss, str) else loss.of_outputs(layer_sizes[-1]), dtype)
        self._layout = Layout(layer_sizes, codes, self._loss_parameter.size > 0)
        if not isinstance(loss, OwnLoss):
            self._code: tuple[int, int] = loss_kernels.resolve(self._loss_name, output_activation)
        self._target_range = validation.target_range(self._loss_name, output_activation, dtype)
        self._empty = np.empty(0, dtype)  # for the arguments of kernels that a call does not have
        self._no_output = np.empty((0, 0), dtype)
        self._shuffle_state: Array | None = None  # drawn when first needed: constructing draws only weights
        self._parameters = aligned_empty(self._layout.n_parameters, dtype)
        self._weights, self._biases = self._layout.views(self._parameters)
        self._forward: ForwardPass | None = None
        self._reset_optimizer()

    # --- what cannot change without a new network -----------------------------------------------------------------

    @property
    def activation(self) -> str | tuple[str, ...]:
        """The hidden activation: one name, or one for each hidden layer."""
        return self._activation

    @property
    def output_activation(self) -> str:
        """The output layer's activation."""
        return self._output_activation

    @property
    def loss(self) -> str | Loss:
        """The loss in use ('auto' is resolved): its name, or, if it has a parameter, an instance."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """The optimiser with its hyperparameters, also where it was given by name."""
        return self._optimizer

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters and arithmetic."""
        return self._dtype

    # --- what can ----------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """Of the steps from now on; more than 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = validation.real("learning_rate", rate, above=0.0)
        self._settings_array = None

    @property
    def alpha(self) -> float:
        """Of the L2 penalty; at least 0."""
        return self._alpha

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        self._alpha = validation.real("alpha", alpha, least=0.0)
        self._settings_array = None

    # --- parameters -----------------------------------------------------------------------------------------------

    def _reset_optimizer(self) -> None:
        self._updates = np.zeros(1, np.int64)
        self._optimizer_code = optimizer_kernels.CODES[self._optimizer.kernel]
        self._constants = np.empty(2 * optimizer_kernels.N_CONSTANTS, self._dtype)  # scratch of `_update`
        n_slots = optimizer_kernels.N_SLOTS[self._optimizer.kernel]
        self._slots = np.zeros(n_slots * self._layout.n_parameters, self._dtype)

    @property
    def parameters(self) -> Array:
        """All of them in one vector: W (C order) and b of the first layer, of the second, ... Assigning copies."""
        return self._parameters

    @parameters.setter
    def parameters(self, vector: ArrayLike) -> None:
        checked = validation.like("parameters", vector, self._parameters.shape, self._dtype)
        validation.check_finite("parameters", checked)
        self._parameters[:] = checked

    @property
    def weights(self) -> Views:
        """W of each layer, (fan_in, fan_out): views into `parameters`. Assigning copies."""
        return self._weights

    @weights.setter
    def weights(self, arrays: Sequence[ArrayLike]) -> None:
        self._weights[:] = arrays

    @property
    def biases(self) -> Views:
        """b of each layer, (1, fan_out): views into `parameters`. Assigning copies."""
        return self._biases

    @biases.setter
    def biases(self, arrays: Sequence[ArrayLike]) -> None:
        self._biases[:] = arrays

    # --- kernels --------------------------------------------------------------------------------------------------

    def _shuffling(self) -> Array:
        """State of the shuffling generator, four words of 32 bits."""
        if self._shuffle_state is None:
            if isinstance(self._rng, np.random.Generator):
                self._shuffle_state = self._rng.integers(1, 2**32, 4)
            else:
                self._shuffle_state = (self._rng or np.random).randint(1, 2**32, 4, dtype=np.int64)
        return self._shuffle_state

    def _infer(self, x: Array, tables: Tables, ws: Array, out: Array) -> None:
        """Runs the network, as many rows at a time as the tables are for."""
        if not backprop.infer(x, self._parameters, tables.layers, tables.blocks, ws, tables.rows, out):
            validation.check_finite("X", x)

    def _outputs(self, x: Array) -> Array:
        """Output for each row of a ready x; ValueError if a number is not finite."""
        n, dtype = x.shape[0], self._dtype
        out = np.empty((n, self._layout.sizes[-1]), dtype)
        tables = self._layout.tables(min(n, ROWS_TOGETHER))
        if n <= ROWS_TOGETHER:
            self._infer(x, tables, np.empty(tables.size, dtype), out)
        else:
            self._infer_together(x, tables, out)
        return out

    def _infer_together(self, x: Array, tables: Tables, out: Array) -> None:
        """Writes the outputs of many rows to `out`: the same bits for any number of threads."""
        n, size = len(x), tables.size
        team = self._team(n)
        pieces = _threads.pieces(n, _PIECE_ROWS, team)
        finite = []

        def part(member: int, members: int) -> None:
            layers, ws = tables.layers, np.empty(size, self._dtype)
            for rows in pieces:
                arguments = x[rows], self._parameters, layers, tables.blocks, ws, tables.rows, out[rows]
                finite.append(backprop.infer(*arguments))

        _threads.together(part, team, lambda: list(pieces))
        if not all(finite):
            validation.check_finite("X", x)

    def _team(self, n: int) -> int:
        """How many threads a forward pass of n rows is worth now."""
        guess = _threads.seconds(2.0 * n * self._layout.n_parameters, n * sum(self.layer_sizes))
        return _threads.share(_threads.team_size(self.n_threads, guess))

    def _ready(self, ws: Array, tables: Tables, part: bool = False) -> Array:
        """A new workspace as the kernels that look at the loss want it: with the loss's parameter."""
        k = len(self._loss_parameter)
        if k:
            block = ws[tables.blocks[PARAMETER] :][: tables.rows * k]
            rows = block.reshape(k, -1).T if part else block.reshape(-1, k)
            rows[:] = self._loss_parameter
        return ws

    def _own_evaluation(self) -> Evaluation | None:
        """Of a loss of the user's own."""
        if self._evaluation is None and isinstance(self._loss, OwnLoss):
            # in several threads at once, perhaps: all must get the one that stays
            self.__dict__.setdefault("_evaluation", Evaluation(self._loss, self._dtype, self._layout.sizes[-1]))
        return self._evaluation

    @cached_property
    def _loss_name(self) -> str:
        return name_of(self._loss)

    @cached_property
    def _loss_codes(self) -> tuple[int, int]:
        """What the kernels take for the loss: its code and `gradient_of`, see kernels/losses.py."""
        evaluation = self._own_evaluation()
        return self._code if evaluation is None else (evaluation.address, loss_kernels.OWN)

    def _together(self, work: Callable[[int, int], Any], size: int, give_up: Callable[[], object]) -> Any:
        """`_threads.together` for work that needs the loss."""
        evaluation = self._own_evaluation()
        together = _threads.together if evaluation is None else evaluation.together
        return together(work, size, give_up)

    def _look(self) -> None:
        """Raises what a loss of the user's own has raised in the last call."""
        if self._evaluation is not None:
            self._evaluation.look()

    def _total_loss(self, x: Array, y: Array, tables: Tables, ws: Array) -> float:
        """The sum of the rows' losses."""
        layers, blocks, rows = tables.layers, tables.blocks, tables.rows
        total = float(backprop.total_loss(x, y, self._parameters, layers, blocks, ws, rows, *self._loss_codes))
        self._look()
        if total != total:
            validation.check_finite("X", x)
        return total

    def _row_losses(self, x: Array, y: Array, out: Array) -> Array:
        """The loss of each row of a ready x, in float64; `out` is given the outputs, (rows, outputs)."""
        n, width = len(x), y.size // len(x)
        tables, losses = self._layout.tables(min(n, ROWS_TOGETHER)), np.empty(n)
        row_loss = tables.blocks[ROW_LOSS]
        starts = iter(range(0, n, tables.rows))  # members take one after the other

        def part(member: int, members: int) -> None:
            ws = self._ready(np.empty(tables.size, self._dtype), tables)
            for first in starts:
                rows = slice(first, min(first + tables.rows, n))
                self._total_loss(x[rows], y[rows.start * width : rows.stop * width], tables, ws)
                size = rows.stop - rows.start
                losses[rows], out[rows] = ws[row_loss : row_loss + size], tables.block(ws, -1, A)[:size]

        self._together(part, self._team(n), lambda: list(starts))
        return losses

    def _gradient(
        self, tables: Tables, ws: Array, y: Array, output: Array, output_gradient: Array, dx: Array
    ) -> Array | None:
        """The gradient, one vector, after `_infer` has left all rows in `ws`; None if targets are out of range.

        An empty array stands for one that there is not; for the output, for what `_infer` has left.
        """
        vector = np.empty(self._layout.n_parameters, self._dtype)
        done = backprop.backward(
            tables.rows, y, output, output_gradient, self._parameters, tables.layers, tables.blocks, ws,
            *self._loss_codes, *self._target_range, self._alpha, vector, dx,
        )  # fmt: skip
        self._look()
        return vector if done else None

    def _loss_and_gradient(self, x: Array, y: Array) -> tuple[float, Array]:
        """The sum of the rows' losses, and the gradient of their mean and of the penalty, one vector."""
        tables = self._layout.tables(len(x))
        ws, empty = self._ready(np.empty(tables.size, self._dtype), tables), self._empty
        loss = self._total_loss(x, y, tables, ws)
        vector = self._gradient(tables, ws, y, self._no_output, empty, empty)
        assert vector is not None  # the targets have been checked
        return loss, vector

    def _update(self, gradient: Array) -> int:
        """One update by the optimiser; what `kernels.training.apply_update` returns."""
        failure = training.apply_update(
            self._parameters, gradient, self._slots, self._layout.layers, self._updates,
            self._optimizer_code, self._settings(), self._constants,
        )  # fmt: skip
        return int(failure)

    def _settings(self) -> Array:
        """The optimiser's numbers for the kernels."""
        if self._settings_array is None:
            self._settings_array = np.array(self._optimizer.settings(self.learning_rate, self.alpha))
        return self._settings_array

    # --- copies ---------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_weights", "_biases", "_forward"):
            del state[name]
        for name in ("_evaluation", "_loss_codes"):  # an address of this process
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            # joblib maps large arrays read-only, which kernels would write to
            read_only = isinstance(value, np.ndarray) and not value.flags.writeable
            self.__dict__[name] = np.array(value) if read_only else value
        self._weights, self._biases = self._layout.views(self._parameters)
        self._forward = None
