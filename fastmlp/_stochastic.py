"""The loop of the solvers that go in batches: schedules, convergence, early stopping around the compiled epoch."""

import math
import time
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from . import _diagnostics
from . import _validation as validation
from ._checkpoint import Checkpoint
from ._lbfgs import NOT_FINITE
from ._own_loss import OwnLoss
from ._scoring import Judge, Rows, set_aside
from ._trainer import Data, DivergenceError, Options, Trainer
from .schedules import SCHEDULES

if TYPE_CHECKING:
    from ._callbacks import Watcher
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP

Array = NDArray[Any]

_AUTO_BATCH = 200
_LEAST_ADAPTIVE_RATE = 1e-6
_SECONDS_UNSEEN = 0.02  # of epochs in one call, so that Ctrl-C loses no more


def begin(est: "BaseMLP") -> None:
    """The attributes of a fit that goes on from nothing."""
    est._no_improvement_count = est._schedule_epoch = 0
    est._best = est._last = est._split_state = est._rate_init = None
    est.loss_curve_, est.history_ = [], {}
    est.best_loss_ = None if est.early_stopping else np.inf
    est.validation_scores_ = [] if est.early_stopping else None
    est.best_validation_score_ = -np.inf if est.early_stopping else None


def fit(
    est: "BaseMLP",
    network: "EstimatorNetwork",
    data: Data,
    rng: Any,
    watcher: "Watcher | None",
    held_out: Rows | None,
) -> None:
    """Epochs until the loss or the validation score stops improving, or max_iter; one epoch for partial_fit."""
    incremental = watcher is None
    if est.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    if not hasattr(est, "_best") or est.early_stopping != (est.best_loss_ is None):
        begin(est)  # nothing that could go on
    if est._rate_init != est.learning_rate_init:
        est._rate_init = est.learning_rate_init
        est.learning_rate_ = float(est.learning_rate_init)
    if est.early_stopping and held_out is None:
        data, held_out = set_aside(est, data, rng)
    if est._last is not None and np.array_equal(network.parameters, est._best):
        network.parameters = est._last  # where training stopped, not the best that was kept
    network.draw_order_from(rng)
    loop = _Loop(est, network, data, held_out, seen=watcher is None or watcher.root is not None)
    keeps_best = est.early_stopping
    try:
        if watcher is None:
            loop.epochs(1)
        else:
            _until_converged(loop, watcher)
    except KeyboardInterrupt:
        loop.checkpoint.restore()
        if est.n_iter_ == 0:
            raise
        del loop.norms[est.n_iter_ :]
        keeps_best = held_out is not None
        validation.warn(f"Training interrupted by user after {est.n_iter_} epochs.")
    except BaseException:
        if incremental:  # `fit` trains a copy
            loop.checkpoint.restore()
        raise
    if est.diagnostics:
        _diagnostics.diagnose(est, network, data, loop.norms)
    if keeps_best and loop.best_score == -math.inf:
        validation.warn(
            "No epoch had a validation score that is a number: the weights are those of the last epoch.",
            ConvergenceWarning,
        )
        keeps_best = False
    if keeps_best:
        est._last = network.parameters.copy()
        network.parameters = est._best
    else:
        est._best = est._last = None


def _factor(given: Any) -> float:
    """What a schedule gives, checked."""
    factor = float(given) if isinstance(given, Real) else math.nan
    if not 0 <= factor < math.inf:
        raise ValueError(f"learning_rate must give finite numbers of at least 0, got {given!r}")
    return factor


def _until_converged(loop: "_Loop", watcher: "Watcher") -> None:
    while True:
        watcher.begin()
        converged = loop.epochs(loop.unseen())
        if watcher.end() or converged:
            return
        if loop.epochs_left() <= 0:
            break
    if loop.schedule is None:  # a schedule is meant to go to its end
        validation.warn(
            f"Stochastic Optimizer: Maximum iterations ({loop.est.max_iter}) reached and the optimization hasn't"
            " converged yet.",
            ConvergenceWarning,
        )


class _Loop:
    """One epoch after the other; what they lead to is kept in the estimator's attributes.

    `seen` tells whether somebody looks at the estimator after each.
    """

    def __init__(self, est: "BaseMLP", network: "EstimatorNetwork", data: Data, held_out: Rows | None, seen: bool):
        self.est, self.network, self.seen = est, network, seen
        n = len(data.rows)
        size = min(_AUTO_BATCH, n)
        if est.batch_size != "auto":
            size = min(int(est.batch_size), n)
            if size < est.batch_size:
                validation.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        options = Options(
            batch_size=size,
            shuffle=bool(est.shuffle),
            track_gradients=bool(est.diagnostics),
            shared_penalty=True,
            clip_norm=0.0 if est.clip_norm is None else float(est.clip_norm),
            dropout=validation.dropout(est.dropout, network.num_layers - 2),
        )
        self.norms: list[list[float]] = []
        self.seconds = 0.0  # of an epoch
        self.n, self.weight = n, data.weight
        given = est.learning_rate
        self.schedule = SCHEDULES.get(given) if isinstance(given, str) else given
        # a schedule gives each step its own, and may have ended at 0, which is no network's
        network.learning_rate = est.learning_rate_ if self.schedule is None else est.learning_rate_init
        est.loss_curve_ = list(est.loss_curve_)  # a fit that fails leaves the old lists alone
        est.history_ = {name: list(values) for name, values in getattr(est, "history_", {}).items()}
        if est.early_stopping:
            est.validation_scores_ = list(est.validation_scores_)
        self.judge = self.judge_of_training = None
        if held_out is not None:
            self.judge = Judge(est, network, held_out)
            self.best_score = est.best_validation_score_ if est.early_stopping else -math.inf
            if est._best is None or not est.early_stopping:
                est._best = network.parameters.copy()
            if held_out.labels is not None:
                rows = Rows(data.x, data.y.reshape(data.x.shape[0], -1), None)  # as X_val, which has no weights
                self.judge_of_training = Judge(est, network, rows)
        if est._schedule_epoch >= est.max_iter:
            est._schedule_epoch = 0  # it has come to its end and begins anew
        est.n_iter_ = 0
        # scores, of training rows, too, are by the labels as they are
        self.trainer = Trainer(network, est._smoothed(data), options, self._patience())
        self.checkpoint = Checkpoint(est, network)

    def epochs_left(self) -> int:
        """Until max_iter; a schedule goes on to its end, of which the fits before may have done a part."""
        est = self.est
        return int(est.max_iter - (est.n_iter_ if self.schedule is None else est._schedule_epoch))

    def unseen(self) -> int:
        """How many epochs to go through before anything looks at the network, short enough for a Ctrl-C."""
        return min(self._patience(), max(1, int(_SECONDS_UNSEEN / self.seconds)) if self.seconds else 1)

    def _patience(self) -> int:
        """How many epochs can pass before anything looks at the network, or could end the fit or change the rate."""
        est = self.est
        if self.seen or self.judge is not None or est.verbose or self._rate_moves():
            return 1
        return int(max(1, min(est.n_iter_no_change - est._no_improvement_count + 1, self.epochs_left())))

    def _rate_moves(self) -> bool:
        """Whether the learning rate is another one in each epoch."""
        return self.schedule is not None or bool(self.est.warmup) or self.est.learning_rate == "invscaling"

    def epochs(self, n: int) -> bool:
        """Whether training has converged, or cannot go on, after so many more epochs."""
        steps = self.trainer.steps_per_epoch
        first = self.est.n_iter_ * steps
        start = time.perf_counter()
        try:
            losses, norms = self.trainer.run(first, first + n * steps, self._rates(steps))
        except DivergenceError as error:
            return self._diverged(error)
        self.seconds = (time.perf_counter() - start) / n
        self.norms += (norms / steps).tolist()
        converged = any([self._after_epoch(*sums) for sums in losses.tolist()])
        self._complete_history()
        self.checkpoint.take()
        return converged

    def _complete_history(self) -> None:
        """An entry for each epoch in every list: NaN in those that had none."""
        for values in self.est.history_.values():
            values += [math.nan] * (len(self.est.loss_curve_) - len(values))

    def _after_epoch(self, loss: float, penalty: float) -> bool:
        """Whether training has converged with an epoch whose batches had these sums of losses and penalties."""
        est = self.est
        est.n_iter_ += 1
        est._schedule_epoch += self.schedule is not None
        est.t_ += self.n
        est.loss_ = (loss / est._loss_divisor() + penalty) / self.weight
        est.loss_curve_.append(est.loss_)
        if est.verbose:
            print(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        self._record("loss", est.loss_)
        self._record("learning_rate", est.learning_rate_)
        self._count_improvement()
        if est.learning_rate == "invscaling" and est.solver == "sgd":
            self._change_rate(est.learning_rate_init / (est.t_ + 1) ** est.power_t)
        return bool(est._no_improvement_count > est.n_iter_no_change) and self._stops()

    def _record(self, name: str, value: float) -> None:
        """An entry of this epoch; those of epochs that had none are NaN."""
        values = self.est.history_.setdefault(name, [])
        values += [math.nan] * (len(self.est.loss_curve_) - 1 - len(values))
        values.append(value)

    def _rates(self, steps: int) -> Array:
        """The learning rates of the next epoch's steps; empty if all are the network's."""
        est, schedule = self.est, self.schedule
        if schedule is None and not est.warmup:
            return np.empty(0)
        step = np.arange(steps)
        if schedule is None:
            rates = np.full(steps, est.learning_rate_)
        else:
            parts = (est._schedule_epoch * steps + step) / (est.max_iter * steps)
            factors = np.array([_factor(schedule(float(t))) for t in parts])
            rates = est.learning_rate_init * factors
            est.learning_rate_ = float(rates[-1])
        if est.warmup:  # of the training, not of each fit that goes on
            rates = rates * np.minimum(1, (len(est.loss_curve_) * steps + step + 1) / (est.warmup * steps))
        return rates

    def _count_improvement(self) -> None:
        est, score = self.est, math.nan
        if self.judge_of_training is not None:
            self._record("score", self.judge_of_training()[0])
        if self.judge is not None:
            score, loss = self.judge()
            self._record("validation_score", score)
            self._record("validation_loss", loss)
            if score > self.best_score:
                self.best_score, est._best = score, self.network.parameters.copy()
        if not est.early_stopping:
            improved = not est.loss_ > est.best_loss_ - est.tol
            est.best_loss_ = min(est.best_loss_, est.loss_)
        else:
            est.validation_scores_.append(score)
            if est.verbose:
                print(f"Validation score: {score:f}")
            improved = score >= est.best_validation_score_ + est.tol  # no NaN improves anything
            est.best_validation_score_ = self.best_score
        est._no_improvement_count = 0 if improved else est._no_improvement_count + 1

    def _stops(self) -> bool:
        """Whether no improvement means the end, or a smaller learning rate."""
        est = self.est
        what = "Validation score" if est.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} consecutive epochs."
        stops = not (est.learning_rate == "plateau" or (est.learning_rate == "adaptive" and est.solver == "sgd"))
        if not stops and est.learning_rate_ <= _LEAST_ADAPTIVE_RATE:
            stops, message = True, f"{message} Learning rate too small."
        if not stops:
            self._change_rate(est.learning_rate_ / 5)
            est._no_improvement_count = 0
        if est.verbose:
            print(f"{message} Stopping." if stops else f"{message} Setting learning rate to {est.learning_rate_:f}")
        return stops

    def _change_rate(self, rate: float) -> None:
        """scikit-learn's velocity holds the learning rates of the past, ours only gradients: it is rescaled."""
        if self.est.solver == "sgd":
            self.network._slots *= self.est.learning_rate_ / rate
        self.est.learning_rate_ = self.network.learning_rate = rate

    def _diverged(self, error: DivergenceError) -> bool:
        """With early stopping the best weights are there to return to, once there has been an epoch."""
        est = self.est
        where = f"The loss or an update was not finite in epoch {est.n_iter_ + 1}, batch {error.batch}."
        where += _diagnostics.where_not_finite(self.network, self.trainer.data)
        if not est.early_stopping or est.n_iter_ == 0:
            advice = f"Lower learning_rate_init (now {est.learning_rate_init:g}), or scale the data."
            if isinstance(self.network.loss, OwnLoss):
                advice = "Check that your loss and its gradient are finite for every prediction."
            raise ValueError(f"{NOT_FINITE} {where} {advice}") from None
        validation.warn(f"{where} Training stops, with the best weights so far.", ConvergenceWarning)
        est.n_iter_ += 1
        est.loss_ = math.nan
        est.loss_curve_.append(math.nan)
        est.validation_scores_.append(math.nan)
        self._complete_history()
        return True
