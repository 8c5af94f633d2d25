"""One positive in fifty: class weights, and early stopping by the score that matters."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.metrics import PrecisionRecallDisplay, average_precision_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier


def main():
    X, y = make_classification(
        6000, 12, n_informative=6, n_redundant=2, weights=[0.98], flip_y=0.002, class_sep=1.2, random_state=0
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    X_train, X_val, y_train, y_val = train_test_split(X_train, y_train, test_size=0.3, stratify=y_train, random_state=0)
    scaler = StandardScaler().fit(X_train)
    X_train, X_val, X_test = map(scaler.transform, (X_train, X_val, X_test))

    models = {}
    print(f"{'class_weight':<14} {'epochs':>6} {'positives found':>16} {'average precision':>18}")
    for class_weight in (None, "balanced"):
        model = MLPClassifier(
            (32, 32), class_weight=class_weight, early_stopping=True, scoring="average_precision",
            n_iter_no_change=15, max_iter=300, random_state=0,
        )  # fmt: skip
        model.fit(X_train, y_train, X_val=X_val, y_val=y_val)
        found = recall_score(y_test, model.predict(X_test))
        precision = average_precision_score(y_test, model.predict_proba(X_test)[:, 1])
        print(f"{class_weight!s:<14} {model.n_iter_:>6} {found:>15.1%} {precision:>18.3f}")
        models[str(class_weight)] = model

    path = Path("figures") / "imbalanced_classes.png"
    path.parent.mkdir(exist_ok=True)
    draw(models, X_test, y_test, path)
    print(f"figure: {path.resolve()}")


def draw(models, X, y, path):
    plt.rcParams.update({"font.size": 12})
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    for name, model in models.items():
        left.plot(model.history_["validation_score"], label=name)
        PrecisionRecallDisplay.from_estimator(model, X, y, ax=right, name=name)
    left.set(title="On the validation set, by epoch", xlabel="epoch", ylabel="average precision")
    left.legend(title="class_weight", frameon=False)
    right.set_title("On the test set")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
