"""Columns of different kinds, one pipeline, a grid search over the network: scikit-learn's tools as they are."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPRegressor

AREA, YEAR, DISTRICT = range(3)  # columns


def rents(n, rng):
    """Invented flats: the rent grows with the area, at a price that depends on the district and the age."""
    prices = {"harbour": 14, "hill": 17, "old town": 20, "suburb": 11}
    district, area, year = rng.choice(list(prices), n), rng.uniform(25, 150, n), rng.integers(1900, 2025, n)
    flats = np.empty((n, 3), object)  # a pandas or polars frame would do as well
    flats[:, AREA], flats[:, YEAR], flats[:, DISTRICT] = area, year, district
    age = 2025 - year
    price = np.array([prices[name] for name in district]) - 0.05 * age + 0.0004 * age**2
    return flats, area * price + rng.normal(0, 30, n)


def main():
    X, y = rents(1500, np.random.default_rng(0))
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    columns = ColumnTransformer([("numbers", StandardScaler(), [AREA, YEAR]), ("names", OneHotEncoder(), [DISTRICT])])
    network = MLPRegressor(activation="silu", learning_rate="cosine", learning_rate_init=0.02, random_state=0, tol=0)
    network.set_params(max_iter=60, n_iter_no_change=np.inf, batch_size=64)
    grid = {"mlpregressor__hidden_layer_sizes": [(8,), (32,), (32, 32)], "mlpregressor__alpha": [1e-4, 1.0]}
    search = GridSearchCV(make_pipeline(columns, network), grid, cv=4)

    shift, scale = y_train.mean(), y_train.std()
    search.fit(X_train, (y_train - shift) / scale)

    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        alpha, sizes = (parameters[name] for name in sorted(parameters))
        print(f"{sizes!s:<10} {alpha!s:<10} R2 {score:.3f}")
    predicted = search.predict(X_test) * scale + shift
    r2 = 1 - np.mean((y_test - predicted) ** 2) / np.var(y_test)
    print(f"test rows: R2 {r2:.3f}")

    path = Path("figures") / "pipeline_grid_search.png"
    path.parent.mkdir(exist_ok=True)
    plt.rcParams.update({"font.size": 12})
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    left.plot(search.best_estimator_[-1].history_["loss"])
    left.set(title="The best network's loss", xlabel="epoch", yscale="log")
    right.plot(y_test, predicted, ".", alpha=0.5)
    right.axline((500, 500), slope=1, color="black", lw=1)
    right.set(title="Rents of the test rows", xlabel="true", ylabel="predicted")
    figure.savefig(path, dpi=100)
    print(f"figure: {path.resolve()}")


if __name__ == "__main__":
    main()
