"""Named horizontal lines in a learning curve, such as a published return, with labels that do not overlap."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Points between a line and its label, and between two labels.
ABOVE, BETWEEN = 3, 2


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> np.ndarray:
    """The bottoms nearest to `wanted` (ascending) of boxes that do not overlap and lie from low to high.

    Least squares, by pooling neighbours that are too close (isotonic regression). Where low to high has no
    room for all of them, they begin at low.
    """
    below = np.concatenate([[0.0], np.cumsum(heights)])
    pools: list[list[float]] = []
    for free in np.asarray(wanted, float) - below[:-1]:
        pools.append([free])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    best = np.array([np.mean(pool) for pool in pools for _ in pool])
    return np.maximum(np.minimum(best, high - below[-1]), low) + below[:-1]


def draw_levels(axes: Any, levels: Mapping[str, float]) -> None:
    """Add a dashed line for each level, with its name at the end where fewer points of curves are hidden.

    Call it when the axes are complete: what is added later may change what the places were chosen for.
    """
    curves = [line.get_xydata() for line in axes.lines]
    for level in levels.values():
        axes.axhline(level, color="black", lw=0.8, ls=(0, (5, 4)))
    axes.figure.draw_without_rendering()  # decides where the axes lie
    right = write(axes, levels, 1)
    hidden = covered(axes, curves, right)
    if hidden:
        left = write(axes, levels, 0)
        worse = right if covered(axes, curves, left) < hidden else left
        for label in worse:
            label.remove()


def write(axes: Any, levels: Mapping[str, float], side: int) -> list[Any]:
    """The labels at the left end (0) or at the right end (1) of their lines.

    A label stands above its line, or below it where the next line would run through it.
    """
    ascending = sorted(levels.items(), key=lambda item: item[1])
    place: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8, "va": "bottom",
        "ha": "right" if side else "left", "bbox": {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5},
    }  # fmt: skip
    labels = [axes.annotate(name, (side, level), (2 - 4 * side, 0), **place) for name, level in ascending]
    box, point = axes.get_window_extent(), axes.figure.dpi / 72  # a point in pixels
    for label in labels:
        label.set_in_layout(False)  # a long one shall not make the axes smaller
        shorten_lines(label, box.width)
    heights, apart = [label.get_window_extent().height for label in labels], ABOVE * point
    make_room(axes, ascending[-1][1], heights[-1] + apart)
    lines = [axes.transData.transform((0, level))[1] for _, level in ascending]
    room = np.diff([*lines, np.inf]) - heights
    wanted = [
        line + apart if free > apart else line - apart - height
        for line, height, free in zip(lines, heights, room, strict=True)
    ]
    padded = np.asarray(heights) + BETWEEN * point
    bottoms = spread(wanted, padded, box.y0, box.y1 + BETWEEN * point)
    for label, line, bottom in zip(labels, lines, bottoms, strict=True):
        label.set_position((label.get_position()[0], (bottom - line) / point))
    return labels


def make_room(axes: Any, level: float, pixels: float) -> None:
    """Raise the upper end of the vertical axis until there are so many pixels above the level."""
    box, (low, high) = axes.get_window_extent(), axes.get_ylim()
    line = axes.transData.transform((0, level))[1] - box.y0
    if line > box.height - pixels > 0:
        axes.set_ylim(low, low + (high - low) * line / (box.height - pixels))


def shorten_lines(label: Any, width: float) -> None:
    """Break a label into lines until it is at most `width` pixels wide, or a line has one word."""
    words = label.get_text()
    for columns in range(len(words) - 1, 0, -4):
        if label.get_window_extent().width <= width:
            return
        label.set_text(textwrap.fill(words, columns, break_long_words=False))


def covered(axes: Any, curves: Sequence[np.ndarray], labels: Sequence[Any]) -> int:
    """How many of each curve's two hundred points, evenly apart in x, lie behind labels."""
    boxes, count = [label.get_window_extent() for label in labels], 0
    for x, y in (curve.T for curve in curves if len(curve)):
        steps = np.linspace(x.min(), x.max(), 200)
        across, up = axes.transData.transform(np.column_stack([steps, np.interp(steps, x, y)])).T
        for box in boxes:
            inside = (box.x0 <= across) & (across <= box.x1) & (box.y0 <= up) & (up <= box.y1)
            count += int(np.count_nonzero(inside))
    return count
