"""Draws the figures of kernels.md beside this file: ``python docs/figures.py``."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

# Okabe and Ito's colours: told apart with every kind of colour vision, and in grey.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
DARK = "#8a5f00"  # orange as a colour of text
INK, MUTED, PALE = "#1a1a1a", "#5a5a5a", "#ececec"
TEXT, SMALL = 12.5, 11


def tint(colour, share):
    """`colour` mixed with white."""
    return tuple(1 - share * (1 - channel) for channel in matplotlib.colors.to_rgb(colour))


def canvas(width, height):
    """A figure of 10 inches for `width` units, and its axes, without a frame."""
    figure = plt.figure(figsize=(10, 10 * height / width), dpi=160)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")  # y downwards, as rows are counted
    axes.axis("off")
    return figure, axes


def box(axes, x, y, width, height, colour, label="", edge=INK, line=0.8, hatch=None, size=SMALL, ink=INK):
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, linewidth=line, hatch=hatch))
    if label:
        note(axes, x + width / 2, y + height / 2, label, ink, size, ha="center")


def arrow(axes, start, end, colour, line=1.6, head=14):
    style = {"arrowstyle": "-|>", "mutation_scale": head, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, linewidth=line, **style))


def note(axes, x, y, text, colour=INK, size=SMALL, ha="left", va="center", weight="normal"):
    axes.text(x, y, text, size=size, color=colour, ha=ha, va=va, fontweight=weight, linespacing=1.35)


def tile(path):
    """The tile: MR x NV accumulators, a row of B, a column of A, and the two edges."""
    figure, axes = canvas(100, 76)
    lanes, registers, rows = 16, 3, 8
    inside_rows, inside_cols = 6, 40  # where the matrix ends
    cell, gap, high = 1.06, 0.9, 2.5
    left, top = 39, 29.5  # of the tile
    b_top, a_left, a_width, depth, at = 6, 8, 22.4, 7, 3  # `at`: the step of k that is shown

    def lane_x(j):
        return left + j * cell + (j // lanes) * gap

    right = lane_x(lanes * registers - 1) + cell
    bottom = top + rows * high

    note(axes, 2, 3.2, "One tile of C = S + A @ B", size=14.5, weight="bold")
    sizes = "AVX-512: 8 rows, 3 registers of 16 float32\nAVX2: 5 rows, 2 registers of 8\nSSE2: 4 rows, 2 registers of 4"
    note(axes, 2, 9.6, sizes, MUTED)

    note(axes, left, 3, "B", GREEN, 18, weight="bold")
    note(axes, left + 3.5, 3.2, "k rows; a step of k loads one of them, in 3 registers", MUTED)
    for p in range(depth):
        for j in range(lanes * registers):
            outside = j >= inside_cols
            colour = PALE if outside else tint(GREEN, 0.85 if p == at else 0.13)
            box(axes, lane_x(j), b_top + p * 2.3, cell, 2.0, colour, edge="white", line=0.5)
    note(axes, left - 1.2, b_top + at * 2.3 + 1, "row p", GREEN, TEXT, ha="right", weight="bold")

    note(axes, a_left, top - 6.2, "A", DARK, 18, weight="bold")
    note(axes, a_left + 3.5, top - 6.0, "8 rows, k columns", MUTED)
    step = a_width / depth
    for i in range(rows):
        for p in range(depth):
            colour = PALE if i >= inside_rows else tint(ORANGE, 0.95 if p == at else 0.17)
            box(axes, a_left + p * step, top + i * high, step, high - 0.3, colour, edge="white", line=0.5)
    column_x = a_left + (at + 0.5) * step
    note(axes, column_x, top - 1.9, "column p", DARK, TEXT, ha="center", weight="bold")
    note(axes, (a_left + a_width + left) / 2 - 0.6, top - 1.9, "broadcast", DARK, ha="center")

    note(axes, left, top - 2.1, "C", BLUE, 18, weight="bold")
    for v in range(registers):
        x = lane_x(v * lanes)
        for i in range(rows):
            for j in range(v * lanes, (v + 1) * lanes):
                outside = i >= inside_rows or j >= inside_cols
                colour = PALE if outside else tint(BLUE, 0.34)
                box(axes, lane_x(j), top + i * high, cell, high - 0.3, colour, edge="white", line=0.5)
            chosen = (i, v) == (2, 1)
            fill, label = (BLUE, "one accumulator") if chosen else ("none", "")
            box(axes, x, top + i * high, lanes * cell, high - 0.3, fill, label, edge=MUTED, line=0.7, ink="white")
        middle = x + cell * (lanes if v < registers - 1 else inside_cols - v * lanes) / 2
        arrow(axes, (middle, b_top + depth * 2.3 + 0.4), (middle, top - 0.4), GREEN)
    note(axes, lane_x(lanes) - gap / 2, top - 2.1, "24 accumulators", BLUE, ha="center")
    for i in range(rows):
        y = top + i * high + (high - 0.3) / 2
        arrow(
            axes, (column_x if i < inside_rows else a_left + a_width, y), (left - 0.4, y), "#b07a00", line=1.1, head=10
        )
        if i >= inside_rows:
            note(axes, a_left + a_width / 2, y, f"row {inside_rows} again", RED, ha="center")

    edge = lane_x(inside_cols)
    axes.plot([edge, edge], [b_top - 0.8, bottom + 0.8], color=RED, linewidth=2)
    axes.plot([left - 0.8, right + 0.8], [top + inside_rows * high - 0.15] * 2, color=RED, linewidth=2)
    note(axes, 2, bottom + 3, "Rows beyond the last repeat it: the same\nnumbers, computed and stored again.", RED)
    note(axes, left, bottom + 3, "Lanes beyond the last column are masked:\nneither loaded nor stored.", RED)

    y, high, width, shown = 65, 3.0, 2.52, 8  # below: one instruction
    axes.plot([2, 98], [y - 8] * 2, color="#bdbdbd", linewidth=1)
    title = "One instruction of the 24 in a step: a fused multiply-add, lane by lane (8 of the 16 are drawn)"
    note(axes, 2, y - 4.4, title, size=TEXT, weight="bold")
    operands = (
        ("A[i, p] in every lane", ORANGE, 0.6, "a"), ("a register of row p of B", GREEN, 0.5, "b_{}"),
        ("the accumulator", BLUE, 0.34, "c_{}"), ("the accumulator, after", BLUE, 0.34, "c'_{}"),
    )  # fmt: skip
    for place, (label, colour, share, text) in enumerate(operands):
        x = 2 + place * 25.3
        for j in range(shown):
            name = f"${text.format(j)}$"
            box(axes, x + j * width, y, width, high, tint(colour, share), name, edge="white", size=10.5)
        note(axes, x + shown * width / 2, y + high + 1.8, label, MUTED, ha="center")
        if place:
            sign = ("", r"$\times$", "+", "=")[place]
            note(axes, x - (25.3 - shown * width) / 2, y + high / 2, sign, size=17, ha="center")
    count = "A step of k: 3 loads of B, 8 broadcasts of A, 24 multiply-adds. Only the last step is followed by stores."
    note(axes, 2, y + 8.4, count, size=TEXT)
    figure.savefig(path)
    plt.close(figure)


def split(axes, x, y, width, height, name):
    """A matrix whose upper rows are thread 0's and whose lower rows are thread 1's."""
    box(axes, x, y, width, height / 2, tint(BLUE, 0.55))
    box(axes, x, y + height / 2, width, height / 2, tint(ORANGE, 0.6))
    note(axes, x + width / 2, y - 1.7, name, size=TEXT, ha="center")


def step(path):
    """The two-barrier step: what two threads do, and whose rows of what."""
    figure, axes = canvas(100, 70)
    start, barriers, thick = 3, (47.5, 95.0), 1.3
    y, height = 10, 18
    note(axes, start, 4, "First half: rows of the batch", size=14.5, va="baseline", weight="bold")
    note(axes, 51, 4, "Second half: rows of every dW", size=14.5, va="baseline", weight="bold")

    matrices = (("$X$", 3, 8), ("$A_1$", 15.5, 6), ("$A_2$", 26, 3), (r"$\delta_2$", 32.5, 3), (r"$\delta_1$", 40, 6))
    for name, x, width in matrices:
        split(axes, x, y, width, height, name)
    for left, right, label in zip(matrices, matrices[1:], ("$W_1$", "$W_2$", "$y$", "$W_2^T$"), strict=False):
        ends = left[1] + left[2] + 0.3, right[1] - 0.3
        for part in (0.25, 0.75):
            arrow(axes, (ends[0], y + part * height), (ends[1], y + part * height), MUTED, line=1.2, head=10)
        note(axes, sum(ends) / 2, y + height / 2, label, MUTED, ha="center")
    text = "A thread takes its rows through all layers, forward\nand back. Nobody waits; weights are only read."
    note(axes, start, y + height + 3.4, text)

    for name, x, width in (("$X$", 51, 8), (r"$\delta_1$", 61, 6)):
        box(axes, x, y, width, height, PALE, "all\nrows")
        note(axes, x + width / 2, y - 1.7, name, size=TEXT, ha="center")
    for part in (0.25, 0.75):
        arrow(axes, (67.5, y + part * height), (71.2, y + part * height), MUTED, line=1.2, head=10)
    x, width = 72, 12
    split(axes, x, y, width, height, r"$dW_1 = X^T \delta_1$")
    for part in (0.25, 0.5, 0.75):
        axes.plot([x, x + width], [y + part * height] * 2, color=INK, linewidth=0.8)
    axes.plot([x + width / 2] * 2, [y, y + height], color=INK, linewidth=0.8)
    box(axes, x, y, width / 2, height / 4, BLUE, "block", ink="white")
    split(axes, 90, y, 3, height, "$dW_2$")
    text = (
        "A thread sums over the whole batch for its rows of dW,\nblock by block; each block is updated while it is hot."
    )
    note(axes, 51, y + height + 3.4, text)

    high = 6.6
    forward = (
        ("gather\nrows", 6.5),
        ("forward\nlayer 1", 9),
        ("layer 2", 6.5),
        ("loss,\n" + r"$\delta_2$", 6),
        (r"back: $\delta_1$", 12),
    )
    for member, (top, colour, ink, late) in enumerate(((41.5, BLUE, BLUE, 0), (52.5, ORANGE, DARK, 1.6))):
        note(axes, start, top - 1.9, f"thread {member}", ink, TEXT, weight="bold")
        x = start
        for label, width in forward:
            width += late * (label[0] == "b")
            box(axes, x, top, width, high, tint(colour, 0.45), label, edge="white", line=1.5)
            x += width
        box(axes, x, top, barriers[0] - x, high, "white", hatch="////", edge="#9a9a9a")
        x = barriers[0] + thick
        second = [("db", 3.4)] if member == 0 else []  # of layer 1; that of layer 2 is thread 1's
        second += [("block\nof dW", 6.4), ("update", 6.4)] * 2 + [("block", 5.4), ("update", 6.4), ("...", 3)]
        for label, width in second:
            fill = tint(GREEN, 0.5) if label == "update" else tint(colour, 0.15 if label == "..." else 0.45)
            box(axes, x, top, width, high, fill, label, edge="white", line=1.5, size=10.5)
            x += width
        box(axes, x, top, barriers[1] - x, high, "white", hatch="////", edge="#9a9a9a")
        arrow(axes, (barriers[1] + 1.7, top + high / 2), (99.4, top + high / 2), MUTED)
    for x in barriers:
        box(axes, x, 37.5, thick, 23, INK)
        note(axes, x + thick / 2, 62.2, "barrier", size=TEXT, ha="center", weight="bold")
    arrow(axes, (start, 66.6), (start + 9, 66.6), MUTED)
    note(axes, start + 10, 66.6, "time; hatched: waiting", MUTED)
    text = "Each number is one sum in one order, whoever computes it:\nthe same bits for any number of threads."
    note(axes, 51, 66.6, text)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(__file__).parent
    tile(folder / "tile.png")
    step(folder / "step.png")
