"""Whose estimators: scikit-learn's, ours, and beside them the class MLP, which shows what an estimator itself costs."""

from functools import partial
from importlib import import_module

import numpy as np

from . import prediction
from .contest import Contestant, repeat
from .workloads import Fit, Prediction, Search, fitted, learned


def _fit(home, case):
    make, small = import_module(home).MLPClassifier, case.checked()
    (X, y), (few, their_y) = case.data(), small.data()
    model = fitted(make(**small.parameters()), few, their_y)
    return learned(model), repeat(lambda: fitted(make(**case.parameters()), X, y))


def _search(home, case):
    make, small = import_module(home).MLPClassifier, case.checked()
    scores = small.search(make(**small.parameters())).cv_results_["mean_test_score"]
    return scores, repeat(lambda: case.search(make(**case.parameters())))


def _mlp(case):
    from fastmlp import MLP, Adam

    output, method = "sigmoid" if case.layer_sizes[-1] == 1 else "softmax", Adam(epsilon=case.epsilon)
    return MLP(
        case.layer_sizes, "relu", output, case.learning_rate, optimizer=method, alpha=1e-4 / 200, dtype=case.dtype
    )


def _fit_mlp(case):
    X, y = case.data()
    small = case.checked()
    model, start = _mlp(small), small.start()[: -small.epochs]
    _put(model, start)
    history = model.fit(*small.data(), epochs=small.epochs, batch_size=200, shuffle=False)
    result = np.concatenate([*map(np.ravel, model.weights), *map(np.ravel, model.biases), history.loss])
    return result, repeat(lambda: _mlp(case).fit(X, y, epochs=case.epochs, batch_size=200))


def _put(model, vector):
    """Parameters in the order of `learned`."""
    for views in (model.weights, model.biases):
        for view in views:
            view[...], vector = vector[: view.size].reshape(view.shape), vector[view.size :]


def _estimator(home, case):
    tasks = {Fit: partial(_fit, home), Search: partial(_search, home)}
    if isinstance(case, Prediction):
        return prediction.prepare(partial(prediction.estimator, home), case)
    return tasks[type(case)](case)


def _class_mlp(case):
    if isinstance(case, Search):
        raise NotImplementedError("searches")
    return _fit_mlp(case) if isinstance(case, Fit) else prediction.prepare(prediction.fastmlp, case)


_QUIET = {"PYTHONWARNINGS": "ignore"}  # not converged, say the processes of a search
CONTESTANTS = (
    Contestant("fastmlp", partial(_estimator, "fastmlp"), "fastmlp", environment=_QUIET),
    # its penalty is the same for a batch that is not full, and its loss is without
    Contestant("fastmlp's MLP", _class_mlp, "fastmlp", difference=2e-2),
    Contestant("scikit-learn", partial(_estimator, "sklearn.neural_network"), "sklearn", environment=_QUIET),
)
