"""scikit-learn's callbacks (`set_callbacks`): each epoch is a task of the fit; and plain functions in their place."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.callback import CallbackSupportMixin


class PlainCallback:
    """A function of (estimator, epoch, logs) as a callback; epochs count from 0, and True stops the fit."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing to prepare."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing to put away."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing to do before an epoch."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> Any:
        """Calls the function after an epoch, not after the whole fit."""
        if context.parent is None or context.task_name != "epoch":
            return False
        history = getattr(estimator, "history_", {})
        answer = self.function(estimator, context.task_id, {name: values[-1] for name, values in history.items()})
        return isinstance(answer, bool | np.bool_) and bool(answer)  # not any number that a function may return


class TakesCallbacks(CallbackSupportMixin):
    """`set_callbacks`, which takes functions, too."""

    def set_callbacks(self, *callbacks: Any) -> Any:
        """What is called in a fit.

        Parameters
        ----------
        *callbacks
            scikit-learn's callbacks, such as `sklearn.callback.ProgressBar`; or functions, which are called with
            (estimator, epoch, logs) after each epoch, counted from 0: logs holds the epoch's entries of `history_`.
            A callback that returns True stops the fit. None at all: forget those of before.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            Something else.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> def two_epochs(model, epoch, logs):
        ...     return epoch == 1
        >>> model = MLPRegressor(random_state=0).set_callbacks(two_epochs).fit([[0], [1], [2], [3]], [0, 1, 2, 3])
        >>> model.n_iter_, len(model.history_["loss"])
        (2, 2)
        """
        plain = [hasattr(c, "on_fit_task_end") or not callable(c) for c in callbacks]
        return super().set_callbacks(*(c if p else PlainCallback(c) for c, p in zip(callbacks, plain, strict=True)))


class Watcher:
    """Tells the callbacks of an estimator, if it has any, of the fit and of each epoch."""

    def __init__(self, est: Any, X: Any, y: Any, sample_weight: Any):
        self.est = est
        self.root = None
        if getattr(est, "_skl_callbacks", None):
            metadata = None if sample_weight is None else {"sample_weight": sample_weight}
            self.data = {"X": X, "y": y, "metadata": metadata}
            self.root = est._init_callback_context(max_subtasks=est.max_iter)
            self.root.call_on_fit_task_begin(estimator=est, **self.data)

    def begin(self) -> None:
        """Before an epoch."""
        if self.root is not None:
            self.epoch = self.root.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.est, **self.data)

    def end(self) -> bool:
        """After an epoch; whether a callback wants to stop."""
        return self.root is not None and self._tell_end(self.epoch)

    def close(self) -> None:
        """After the fit."""
        if self.root is not None:
            self._tell_end(self.root)

    def _tell_end(self, context: Any) -> bool:
        def learned() -> dict[str, Any]:
            arrays = self.est.coefs_, self.est.intercepts_
            coefs, intercepts = ([array.copy() for array in given] for given in arrays)
            return {"coefs_": coefs, "intercepts_": intercepts}

        return bool(context.call_on_fit_task_end(estimator=self.est, **self.data, reconstruction_attributes=learned))
