"""The solver L-BFGS: scipy's iteration, with losses and gradients by the compiled epoch."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from . import _diagnostics
from . import _validation as validation
from ._trainer import Data, Options, Trainer

if TYPE_CHECKING:
    from ._callbacks import Watcher
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP

Array = NDArray[Any]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def fit(est: "BaseMLP", network: "EstimatorNetwork", data: Data, watcher: "Watcher | None") -> None:
    """Minimises the objective over all rows; sets the network's parameters, `n_iter_` and `loss_`.

    Unlike scikit-learn's, the objective of several outputs is the one whose gradient is followed: their sum.
    """
    _refuse_what_needs_steps(est, network)
    options = Options(batch_size=len(data.rows), shuffle=False, track_gradients=True, shared_penalty=True)
    trainer = Trainer(network, data, options, epochs=1)
    weight = data.weight

    def objective(parameters: Array) -> tuple[float, Array]:
        network.parameters = parameters
        loss, penalty, gradient = trainer.gradient()
        return (loss + penalty) / weight, gradient

    start = network.parameters.copy()
    loss, gradient = objective(start)
    if not (math.isfinite(loss) and np.isfinite(gradient).all()):
        where = _diagnostics.where_not_finite(network, data)
        raise ValueError(f"{NOT_FINITE} The loss of the initial weights or its gradient is not finite.{where}")

    reached: list[Array] = []  # the parameters after the last iteration
    stopped: list[bool] = []  # by a callback

    def after_iteration(intermediate_result: Any) -> None:
        reached[:] = [intermediate_result.x.copy()]
        est.n_iter_ += 1
        if est.verbose:
            print(f"Iteration, loss = {intermediate_result.fun:.8f}")
        if watcher is not None and watcher.root is not None:
            network.parameters = intermediate_result.x
            watcher.begin()
            if watcher.end():
                stopped.append(True)
                raise StopIteration

    est.n_iter_ = 0
    try:
        result = scipy.optimize.minimize(
            objective, start, jac=True, method="L-BFGS-B", callback=after_iteration,
            options={"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol},
        )  # fmt: skip
    except KeyboardInterrupt:
        if not reached:
            raise
        result = scipy.optimize.OptimizeResult(x=reached[0], nit=est.n_iter_, status=0)
        validation.warn(f"Training interrupted by user after {est.n_iter_} iterations.")
    if not np.isfinite(result.x).all():
        raise ValueError(NOT_FINITE)
    network.parameters = result.x
    est.n_iter_ = min(result.nit, est.max_iter)
    loss, penalty, _ = trainer.gradient()
    if not math.isfinite(loss):
        raise ValueError(NOT_FINITE + _diagnostics.where_not_finite(network, data))
    est.loss_ = (loss / est._loss_divisor() + penalty) / weight
    if result.status != 0 and not stopped:
        hint = f"\nIncrease the number of iterations (max_iter={est.max_iter})." if result.nit >= est.max_iter else ""
        validation.warn(
            f"lbfgs failed to converge after {est.n_iter_} iteration(s) (status={result.status}):\n{result.message}\n"
            f"{hint}\nScaling the data may help, too: see sklearn.preprocessing.",
            ConvergenceWarning,
        )


def _refuse_what_needs_steps(est: "BaseMLP", network: "EstimatorNetwork") -> None:
    asked = {
        "dropout": validation.dropout(est.dropout, network.num_layers - 2),
        "clip_norm": est.clip_norm,
        "warmup": est.warmup,
        "diagnostics": est.diagnostics,
    }
    for name, value in asked.items():
        if value:
            raise ValueError(f"{name} needs steps of a batch each, which solver='lbfgs' does not have")
