"""The main job: an MLP learns to read handwritten digits, 1797 images that scikit-learn ships."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from fastmlp import MLP, plotting


def main():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)  # pixels are 0 to 16
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=42)

    mlp = MLP([64, 256, 10], "relu", "softmax", 0.001, weight_init="he", optimizer="adam", random_state=0)
    history = mlp.fit(X_train, y_train, epochs=60, batch_size=32, validation_data=(X_test, y_test), progress=True)

    predicted = mlp.predict_classes(X_test)
    accuracy = {"train": np.mean(mlp.predict_classes(X_train) == y_train), "test": np.mean(predicted == y_test)}
    print(f"{'set':<6} {'images':>6} {'accuracy':>9}")
    for (name, value), images in zip(accuracy.items(), (len(y_train), len(y_test)), strict=True):
        print(f"{name:<6} {images:>6} {value:>9.2%}")

    path = Path("figures") / "digits.png"
    path.parent.mkdir(exist_ok=True)
    draw(history, mlp.predict(X_test), X_test, y_test, path)
    print(f"figure: {path.resolve()}")


def draw(history, probabilities, X, y, path):
    plt.rcParams.update({"font.size": 12})
    predicted = probabilities.argmax(axis=1)
    figure = plt.figure(figsize=(17, 5.2), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1.05, 0.95))

    ax = plotting.training_curves(history, left.subplots())
    ax.lines[1].set_label("test")
    ax.set(title="Loss curves", ylabel="cross-entropy", yscale="log")
    ax.legend(frameon=False)

    ax = middle.subplots()
    matrix = ConfusionMatrixDisplay.from_predictions(y, predicted, ax=ax, cmap="Blues", colorbar=False)
    for text in matrix.text_.ravel():
        text.set_visible(text.get_text() != "0")
    ax.set_title(f"Confusion matrix, {len(y)} test images")

    misread = np.flatnonzero(predicted != y)
    misread = misread[np.argsort(-probabilities[misread].max(axis=1))]  # the surest mistakes first
    right.suptitle(f"Misread: {len(misread)} of {len(y)}")
    panels = right.subplots(2, 3).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, misread, strict=False):
        panel.imshow(X[i].reshape(8, 8), cmap="gray_r")
        panel.set_title(f"read {predicted[i]}, true {y[i]}\n(P = {probabilities[i].max():.2f})", fontsize=11)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
