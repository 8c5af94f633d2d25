"""The compiled steps of a fit, called a stretch at a time by a team of threads where the work is worth it."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _threads
from . import _validation as validation
from ._layout import aligned_empty
from .kernels import losses as loss_kernels
from .kernels import optimizers as optimizer_kernels
from .kernels import team, training
from .kernels.batch import Samples
from .kernels.network import Net
from .kernels.simd import REGISTER_BYTES
from .kernels.updates import OptimizerState

if TYPE_CHECKING:
    from ._network import Network

Array = NDArray[Any]

# At most so many rows have a gradient of their own, since what they leave in all layers is to stay in a cache; a part
# costs as much as so many rows more. A network of _TINY parameters goes in parts, whose gradient stays in the first
# cache, from so many rows on.
_PART_ROWS, _COST_OF_A_PART = 128, 8
_TINY, _ROWS_OF_TINY = 1024, 4


@dataclass(frozen=True)
class Data:
    """What to train on, checked.

    Attributes
    ----------
    x : ndarray of shape (n, features) in C order, or scipy.sparse CSR
        Of the network's dtype.
    y : ndarray of shape (n * outputs,) or (n,)
        Targets, or class indices, of the network's dtype.
    rows : ndarray of int64, or range
        The rows to train on; a range, from 0 on, is all of them.
    row_weights : ndarray of float64 of shape (n,) or (0,)
        How much each row counts, more than 0; empty: all the same.
    """

    x: Any
    y: Array
    rows: Array | range
    row_weights: Array

    @classmethod
    def whole(cls, x: Any, y: Array) -> "Data":
        """All rows, all the same."""
        return cls(x, y, range(x.shape[0]), np.empty(0))

    @property
    def weight(self) -> float:
        """Sum of the weights of the rows to train on: their number if there are no weights."""
        if self.row_weights.size == 0:
            return float(len(self.rows))
        weights = self.row_weights if isinstance(self.rows, range) else self.row_weights[self.rows]
        return float(weights.sum())


class DivergenceError(FloatingPointError):
    """A loss or an update was not finite.

    Attributes
    ----------
    epoch, batch : int
        Of the step that was not done; both count from 1.

    Examples
    --------
    >>> from fastmlp import MLP
    >>> from fastmlp import DivergenceError
    >>> try:
    ...     MLP([1, 1], output_activation="linear").fit([[0], [1]], [0, 1e30], batch_size=1, shuffle=False)
    ... except DivergenceError as error:
    ...     print(error.epoch, error.batch)
    1 2
    """

    __module__ = "fastmlp.fitting"  # where users find it
    epoch: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """How steps are made; checked."""

    batch_size: int
    shuffle: bool
    track_gradients: bool = False
    shared_penalty: bool = False  # alpha is divided by the weight of the batch
    clip_norm: float = 0.0  # of a step's gradient; 0: as it comes
    dropout: tuple[float, ...] = ()  # the share of each hidden layer; empty: nothing


def _rows_of_a_part(rows: int, lanes: int, shared: bool) -> int:
    """Rows with a gradient of their own: whole registers of them, and even shares for two threads if there may be."""

    def time(part: int) -> int:
        """Of a thread, in rows."""
        parts = math.ceil(math.ceil(rows / part) / (2 if shared else 1))
        return min(parts * part, math.ceil(rows / lanes) * lanes) + parts * _COST_OF_A_PART

    return min(range(lanes, _PART_ROWS + 1, lanes), key=time)


def _samples(data: Data, shuffles: bool) -> Samples:
    """The data as kernels take them."""
    x, none = data.x, np.empty(0, np.int64)
    if isinstance(x, np.ndarray):
        inputs = x.reshape(-1), none, none
    else:
        if not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
        inputs = x.data, *(validation.kernel_array(array, np.int64) for array in (x.indices, x.indptr))
    if isinstance(data.rows, range):  # they need no list beside their order
        rows, order = none, np.arange(len(data.rows))
    else:
        rows, order = data.rows, data.rows.copy() if shuffles else data.rows
    return Samples(*inputs, data.y, data.row_weights, rows, order)


def _part_pitch(rows: int, dtype: Any) -> int:
    """Numbers from one row of a part's blocks to the next: an odd number of cache lines, or many would share a set."""
    line = 64 // int(np.dtype(dtype).itemsize)
    return (math.ceil(rows / line) | 1) * line


class Trainer:
    """Calls the compiled steps, with a team of threads where the work is worth it.

    `epochs` is how many of them one `run` will be asked for.
    """

    def __init__(self, network: "Network", data: Data, options: Options, epochs: int):
        self.network, self.options, self.data = network, options, data
        rows, layout = options.batch_size, network._layout
        shuffles = options.shuffle and rows < len(data.rows)  # a batch of all rows is the same in any order
        self.samples = _samples(data, shuffles)
        self.steps_per_epoch = math.ceil(len(data.rows) / rows)
        steps = self.steps_per_epoch * epochs
        guess = _threads.seconds(6.0 * layout.n_parameters * rows, rows * sum(network.layer_sizes))
        self.pace = _threads.Pace(_threads.team_size(network.n_threads, guess * steps, guess), guess)
        part_rows = self._part_rows(guess) if isinstance(data.x, np.ndarray) else 0
        self.in_parts = part_rows > 0
        room = _part_pitch(part_rows, network.dtype) if self.in_parts else rows
        self.tables = layout.tables(room, dropped=options.dropout, part=self.in_parts)
        self.workspace = aligned_empty(0, network.dtype)
        parts = math.ceil(rows / part_rows) if part_rows else 1
        self.part_losses = np.empty(parts)
        self.gradient_vector = aligned_empty(parts * layout.n_parameters, network.dtype)
        self.constants = np.empty(2 * optimizer_kernels.N_CONSTANTS, network.dtype)
        self.settings = np.append(network._settings(), options.clip_norm)
        self.choices = training.Choices(
            batch_size=rows, loss=network._loss_codes[0], gradient_of=network._loss_codes[1], shuffle=shuffles,
            track=options.track_gradients or options.clip_norm > 0, shared_penalty=options.shared_penalty,
            part_rows=part_rows, workspace=self.tables.size if self.in_parts else 0,
        )  # fmt: skip

    def _part_rows(self, step: float) -> int:
        """Rows of the parts that a batch goes in, or 0; `step` is a guess at the seconds that a step takes.

        They pay where rows fill several registers (the products of a single output are quick without them) and leave
        more in all layers than the gradients of the parts are, which are written and read once more.
        """
        rows, network = self.options.batch_size, self.network
        if network._loss_codes[1] in (loss_kernels.ROW, loss_kernels.OWN):
            return 0
        layout, lanes = network._layout, REGISTER_BYTES // network.dtype.itemsize
        part = _rows_of_a_part(rows, lanes, _threads.may_share(step))
        if layout.n_parameters <= _TINY:
            return part if rows >= _ROWS_OF_TINY else 0
        many = rows >= (2 if layout.sizes[-1] > 1 else 4) * lanes
        few = 1.5 * math.ceil(rows / part) * layout.n_parameters < layout.tables(rows).size
        return part if many and few else 0

    def gradient(self) -> tuple[float, float, Array]:
        """The sum of the losses of a batch of all rows, NaN if it is not finite; the penalty; the gradient, if tracked.

        The network's optimizer must be the one that stands still.
        """
        losses, norms = np.zeros((1, 2)), np.zeros((1, self.network._layout.n_layers))
        size, _ = self.pace.next_call()
        start = time.perf_counter()
        done = self._call(size, 0, 1, losses, norms, np.empty(0))
        self.pace.record(size, 1, time.perf_counter() - start)
        gradient = self.gradient_vector[: self.network._layout.n_parameters].copy()
        return (float(losses[0, 0]) if done else math.nan), float(losses[0, 1]), gradient

    def run(self, first: int, last: int, rates: Array = np.empty(0)) -> tuple[Array, Array]:  # noqa: B008
        """Steps `first` to `last`, whole epochs: sums of losses and penalties, (epochs, 2), of norms, (epochs, layers).

        `rates` are the learning rates of the steps; empty: all are the network's.
        """
        losses = np.zeros(((last - first) // self.steps_per_epoch, 2))
        norms = np.zeros((len(losses), self.network._layout.n_layers))
        step = first
        while step < last:
            size, steps = self.pace.next_call()
            end = min(step + steps, last)
            done_epochs = (step - first) // self.steps_per_epoch
            start = time.perf_counter()
            rates_now = rates[step - first : end - first]
            done = self._call(size, step, end, losses[done_epochs:], norms[done_epochs:], rates_now)
            self.pace.record(size, end - step, time.perf_counter() - start)
            if done < end - step:
                self._diverged(step + done)
            step = end
        return losses, norms

    def _call(self, size: int, first: int, last: int, losses: Array, norms: Array, rates: Array) -> int:
        """Steps `first` to `last` by `size` threads, or by those that can be started; how many steps were done."""
        network = self.network
        self._provide(size if self.in_parts else 1)
        self.settings[:-1] = network._settings()
        shared = np.zeros(team.SHARED_SIZE, np.int64)
        net = Net(network._parameters, self.tables.layers, self.tables.blocks, self.workspace)
        code = optimizer_kernels.CODES[network.optimizer.kernel]
        state = OptimizerState(code, network._slots, self.constants, self.gradient_vector)
        arguments: tuple[Any, ...] = (
            np.array([first, last]), tuple(self.samples), tuple(net), tuple(state), tuple(self.choices), self.settings,
            rates, self.part_losses, network._updates, network._shuffling(), losses, norms, shared,
        )  # fmt: skip

        def abandon() -> None:
            shared[team.ABANDONED] = 1

        done = int(network._together(lambda member, size: training.train(*arguments, member, size), size, abandon))
        network._look()
        return done

    def _provide(self, members: int) -> None:
        """A workspace with room for so many, each with one of its own."""
        if self.workspace.size < members * self.tables.size:
            self.workspace = aligned_empty(members * self.tables.size, self.network.dtype)
            for own in self.workspace.reshape(members, -1):
                self.network._ready(own, self.tables, self.in_parts)

    def _diverged(self, step: int) -> None:
        self.network._reset_optimizer()
        epoch, batch = divmod(step, self.steps_per_epoch)
        error = DivergenceError(
            f"training diverged: the loss or an update is not finite in epoch {epoch + 1}, batch {batch + 1}. Lower"
            f" learning_rate (now {self.network.learning_rate:g}), scale inputs and targets, or choose another"
            " weight_init; the network keeps its last finite parameters"
        )
        error.epoch, error.batch = epoch + 1, batch + 1
        raise error
