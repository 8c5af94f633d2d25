"""The loop of `MLP.fit`: Python sees epochs, the compiled kernel whole stretches of steps."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _threads
from ._layout import aligned_empty
from .kernels import optimizers as optimizer_kernels
from .kernels import team, training
from .kernels.backprop import ROWS_TOGETHER
from .kernels.gemm import MR

if TYPE_CHECKING:
    from ._network import Network
    from .mlp import MLP

Array = NDArray[Any]

_PART_ROWS = 128  # at most so many rows have a gradient of their own: as few as serve a panel well


@dataclass
class History:
    """What `MLP.fit` saw, an entry for each epoch.

    Attributes
    ----------
    loss : list of float
        Mean over the epoch's rows of the objective without the L2 penalty, each batch before its own update.
    validation_loss : list of float
        The same for validation_data after the epoch's last update; empty without validation_data.
    gradient_norm : list of list of float
        For each layer the Euclidean norm of dW, averaged over the epoch's steps; empty without track_gradients.

    Examples
    --------
    >>> from fastmlp import MLP
    >>> history = MLP([2, 3, 1]).fit([[0, 1], [1, 1]], [0, 1], epochs=5, track_gradients=True)
    >>> len(history.loss), history.validation_loss, len(history.gradient_norm[0])
    (5, [], 2)
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    gradient_norm: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Data:
    """What to train on, checked.

    Attributes
    ----------
    x : ndarray of shape (n, features) in C order, or scipy.sparse CSR
        Of the network's dtype.
    y : ndarray of shape (n * outputs,) or (n,)
        Targets, or class indices, of the network's dtype.
    rows : ndarray of int64
        The rows to train on.
    row_weights : ndarray of float64 of shape (n,) or (0,)
        How much each row counts, more than 0; empty: all the same.
    """

    x: Any
    y: Array
    rows: Array
    row_weights: Array

    @classmethod
    def whole(cls, x: Any, y: Array) -> "Data":
        """All rows, all the same."""
        return cls(x, y, np.arange(x.shape[0]), np.empty(0))

    @property
    def weight(self) -> float:
        """Sum of the weights of the rows to train on: their number if there are no weights."""
        return float(self.row_weights[self.rows].sum()) if self.row_weights.size else float(len(self.rows))


class DivergenceError(FloatingPointError):
    """A loss or an update was not finite.

    Attributes
    ----------
    epoch, batch : int
        Of the step that was not done; both count from 1.

    Examples
    --------
    >>> from fastmlp import MLP
    >>> from fastmlp.fitting import DivergenceError
    >>> try:
    ...     MLP([1, 1], output_activation="linear").fit([[0], [1]], [0, 1e30], batch_size=1, shuffle=False)
    ... except DivergenceError as error:
    ...     print(error.epoch, error.batch)
    1 2
    """

    epoch: int
    batch: int


@dataclass(frozen=True)
class Options:
    """The checked arguments of `MLP.fit`, and what only the estimators ask for."""

    epochs: int
    batch_size: int
    shuffle: bool
    progress: bool
    callbacks: tuple[Callable[..., Any], ...]
    track_gradients: bool
    shared_penalty: bool = False  # alpha is divided by the weight of the batch
    clip_norm: float = 0.0  # of a step's gradient; 0: as it comes
    dropout: tuple[float, ...] = ()  # the share of each hidden layer; empty: nothing


def fit(mlp: "MLP", data: Data, held_out: tuple[Array, Array] | None, options: Options) -> History:
    """Trains `mlp` on checked data; see `MLP.fit`."""
    steps_per_epoch = math.ceil(len(data.rows) / options.batch_size)
    history = History()
    watched = held_out is not None or options.progress or bool(options.callbacks)
    trainer = Trainer(mlp, data, options, 1 if watched else options.epochs)
    with _progress_bar(options) as bar:
        epoch = 0
        while epoch < options.epochs:
            until = epoch + 1 if watched else options.epochs
            losses, norms = trainer.run(epoch * steps_per_epoch, until * steps_per_epoch)
            history.loss += (losses[:, 0] / data.weight).tolist()
            if options.track_gradients:
                history.gradient_norm += (norms / steps_per_epoch).tolist()
            epoch = until
            if not watched:
                continue
            if held_out is not None:
                history.validation_loss.append(mean_loss(mlp, *held_out))
            logs = {name: values[-1] for name, values in vars(history).items() if values}
            bar.update(logs)
            # every callback runs, also after one that wants to stop
            answers = [callback(mlp, epoch - 1, dict(logs)) for callback in options.callbacks]
            if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
                break
    return history


def mean_loss(mlp: "MLP", x: Array, y: Array) -> float:
    """Mean over rows of the objective without the L2 penalty."""
    tables = mlp._layout.tables(min(len(x), ROWS_TOGETHER))
    workspace = mlp._ready(aligned_empty(tables.size, mlp.dtype), tables)
    return mlp._total_loss(x, y, tables, workspace) / len(x)


def _rows_of_a_part(rows: int) -> int:
    """Rows with a gradient of their own, if a batch goes in parts: an even number of them, for two threads to share."""
    parts = 1 if rows <= _PART_ROWS else 2 * math.ceil(rows / (2 * _PART_ROWS))
    return math.ceil(rows / parts / MR) * MR


class Trainer:
    """Calls the compiled steps, with a team of threads where the work is worth it.

    `epochs` is how many of them one `run` will be asked for.
    """

    def __init__(self, mlp: "Network", data: Data, options: Options, epochs: int):
        self.mlp, self.options, self.data = mlp, options, data
        x, none = data.x, np.empty(0, np.int64)
        dense = isinstance(x, np.ndarray)
        if not dense and not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
        self.x = (x.reshape(-1), none, none) if dense else (x.data, *map(np.int64, (x.indices, x.indptr)))
        rows = options.batch_size
        self.tables = mlp._layout.tables(rows, dropped=options.dropout)
        self.workspace = mlp._ready(aligned_empty(self.tables.size, mlp.dtype), self.tables)
        n = mlp._layout.n_parameters
        guess = _threads.seconds(6.0 * n * rows, rows * sum(mlp.layer_sizes))
        part_rows = _rows_of_a_part(rows)
        parts = math.ceil(rows / part_rows)
        in_parts = dense and parts > 1 and parts * n < self.tables.size and _threads.may_share(guess)
        self.gradient_vector = aligned_empty(parts * n if in_parts else n, mlp.dtype)
        self.constants = np.empty(2 * optimizer_kernels.N_CONSTANTS, mlp.dtype)
        self.settings = np.append(mlp._settings(), options.clip_norm)
        self.order = data.rows.copy()
        self.choices = np.zeros(training.N_CHOICES, np.int64)
        self.choices[[training.BATCH, training.SHUFFLE, training.TRACK, training.SHARED_PENALTY]] = (
            rows, options.shuffle, options.track_gradients or options.clip_norm > 0, options.shared_penalty,
        )  # fmt: skip
        self.choices[training.PART_ROWS] = part_rows if in_parts else 0
        self.choices[[training.LOSS, training.GRADIENT_OF]] = mlp._loss_codes
        self.choices[training.OPTIMIZER] = optimizer_kernels.CODES[mlp.optimizer.kernel]
        self.steps_per_epoch = math.ceil(len(self.order) / rows)
        steps = self.steps_per_epoch * epochs
        self.pace = _threads.Pace(_threads.team_size(mlp.n_threads, guess * steps, guess), guess)

    def gradient(self) -> tuple[float, float, Array]:
        """The sum of the losses of a batch of all rows, NaN if it is not finite; the penalty; the gradient, if tracked.

        The network's optimizer must be the one that stands still.
        """
        losses, norms = np.zeros((1, 2)), np.zeros((1, self.mlp._layout.n_layers))
        size, _ = self.pace.next_call()
        start = time.perf_counter()
        done = self._call(size, 0, 1, losses, norms, np.empty(0))
        self.pace.record(size, 1, time.perf_counter() - start)
        gradient = self.gradient_vector[: self.mlp._layout.n_parameters].copy()
        return (float(losses[0, 0]) if done else math.nan), float(losses[0, 1]), gradient

    def run(self, first: int, last: int, rates: Array = np.empty(0)) -> tuple[Array, Array]:  # noqa: B008
        """Steps `first` to `last`, whole epochs: sums of losses and penalties, (epochs, 2), of norms, (epochs, layers).

        `rates` are the learning rates of the steps; empty: all are the network's.
        """
        losses = np.zeros(((last - first) // self.steps_per_epoch, 2))
        norms = np.zeros((len(losses), self.mlp._layout.n_layers))
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
        mlp, data = self.mlp, self.data
        self.settings[:-1] = mlp._settings()
        shared = np.zeros(team.SHARED_SIZE, np.int64)
        arguments: tuple[Any, ...] = (
            np.array([first, last]), *self.x, data.y, data.row_weights, data.rows, self.order, mlp._parameters,
            self.gradient_vector, mlp._slots, self.tables.layers, self.tables.blocks, self.workspace, self.choices,
            self.settings, rates, mlp._updates, self.constants, mlp._shuffling(), losses, norms, shared,
        )  # fmt: skip

        def abandon() -> None:
            shared[team.ABANDONED] = 1

        done = int(mlp._together(lambda member, size: training.train(*arguments, member, size), size, abandon))
        mlp._look()
        return done

    def _diverged(self, step: int) -> None:
        self.mlp._reset_optimizer()
        epoch, batch = divmod(step, self.steps_per_epoch)
        error = DivergenceError(
            f"training diverged: the loss or an update is not finite in epoch {epoch + 1}, batch {batch + 1}. Lower"
            f" learning_rate (now {self.mlp.learning_rate:g}), scale inputs and targets, or choose another weight_init;"
            " the network keeps its last finite parameters"
        )
        error.epoch, error.batch = epoch + 1, batch + 1
        raise error


class _Bar:
    """A tqdm bar over epochs."""

    def __init__(self, epochs: int):
        from tqdm.auto import tqdm

        self.bar = tqdm(total=epochs, desc="fit", unit="epoch")

    def update(self, logs: dict[str, Any]) -> None:
        shown = {name: f"{value:.4g}" for name, value in logs.items() if isinstance(value, float)}
        self.bar.set_postfix(shown, refresh=False)  # tqdm decides how often to draw
        self.bar.update()


@contextlib.contextmanager
def _progress_bar(options: Options) -> Iterator[Any]:
    if not options.progress:
        yield _NoBar()
        return
    bar = _Bar(options.epochs)
    try:
        yield bar
    finally:
        bar.bar.close()


class _NoBar:
    def update(self, logs: dict[str, Any]) -> None:
        pass
