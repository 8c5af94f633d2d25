"""What a Ctrl-C, or a `partial_fit` that fails, goes back to."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP


class Checkpoint:
    """A fit's state at the end of its last whole epoch: a Ctrl-C may come at any place of the next one."""

    def __init__(self, est: "BaseMLP", network: "EstimatorNetwork"):
        self.est, self.network = est, network
        self.arrays = network._parameters, network._slots, network._updates, network._shuffling()
        self.spare = [np.empty_like(array) for array in self.arrays]
        self.kept: tuple[Any, ...] = ([np.empty_like(array) for array in self.arrays],)
        self.take()

    def take(self) -> None:
        """Keeps the state as it is now."""
        state, copies = self.est.__dict__.copy(), self.spare
        state["history_"] = dict(self.est.history_)
        lists = [self.est.loss_curve_, self.est.validation_scores_ or [], *self.est.history_.values()]
        lengths = [(values, len(values)) for values in lists]
        for copy, array in zip(copies, self.arrays, strict=True):
            np.copyto(copy, array)
        self.spare, self.kept = self.kept[0], (copies, state, lengths)  # at once: a Ctrl-C finds the one or the other

    def restore(self) -> None:
        """Puts back what has been kept."""
        copies, state, lengths = self.kept
        for array, copy in zip(self.arrays, copies, strict=True):
            np.copyto(array, copy)
        _, self.network._slots, self.network._updates, _ = self.arrays  # a divergence has put others in their place
        for values, n in lengths:
            del values[n:]
        self.est.__dict__.update(state)
