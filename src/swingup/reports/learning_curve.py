"""The learning curve of a run: drawn once when opened again, or redrawn in a notebook while it trains."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.loops.evaluation import Evaluation
from swingup.reports.callback import Callback, RunContext
from swingup.reports.curves import COLOURS, GREY, STEPS, Curve, short, smoothed
from swingup.reports.levels import draw_levels

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult

# Seconds between two drawings in a notebook: a drawing takes a tenth of that.
REDRAW = 1.5


def figure(
    title: str,
    episodes: Mapping[str, Any],
    evaluations: Mapping[str, Any],
    levels: Mapping[str, float] | None = None,
) -> Any:
    """Training returns as dots and smoothed, evaluations with 95 % intervals, over environment steps.

    episodes: columns `step` and `return`; evaluations: `step`, `mean`, `ci95_low`, `ci95_high`; levels: named
    returns to compare with, such as published ones.
    """
    dots, curves = None, []
    if len(episodes.get("step", ())):
        x, y = (np.asarray(episodes[name], float) for name in ("step", "return"))
        dots = Curve("one training episode, with exploration", x, y)
        if len(x) >= 20:
            curves.append(smoothed("training return", x, y))
    if len(evaluations.get("step", ())):
        names = ("step", "mean", "ci95_low", "ci95_high")
        x, y, low, high = (np.asarray(evaluations[name], float) for name in names)
        curves.append(Curve("greedy evaluation", x, y, low, high, "95 % interval over episodes"))
    return draw(title, curves, dots, levels)


def draw(
    title: str,
    curves: Sequence[Curve],
    dots: Curve | None = None,
    levels: Mapping[str, float] | None = None,
    size: tuple[float, float] = (7, 3.6),
) -> Any:
    """A picture as a paper prints it: curves with their named intervals, the last one in the first colour.

    curves without a name are single seeds, drawn thin; levels: horizontal lines with their names. Made
    without pyplot, so that no window opens and nothing has to be closed.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained")
    axes = fig.subplots()
    if dots is not None:
        axes.plot(dots.x, dots.y, ".", color=GREY, alpha=0.6, ms=4, label=dots.name)
    named = [curve for curve in curves if curve.name]
    for curve in curves:
        colour = COLOURS[(len(named) - 1 - named.index(curve)) % 6] if curve.name else COLOURS[0]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, lw=0, label=curve.band)
        style: dict[str, Any] = {"lw": 1.8, "label": curve.name} if curve.name else {"lw": 0.8, "alpha": 0.3}
        axes.plot(curve.x, curve.y, color=colour, marker="o" if len(curve.x) == 1 else None, **style)
    label_axes(axes, title)
    if levels:
        draw_levels(axes, levels)
    return fig


def label_axes(axes: Any, title: str) -> None:
    """Names, units and thousands on the axes, and the legend."""
    from matplotlib.ticker import FuncFormatter

    axes.set(title=title, xlabel=STEPS, ylabel="return")
    for axis in (axes.xaxis, axes.yaxis):
        biggest = float(np.abs(axis.get_view_interval()).max())
        axis.set_major_formatter(FuncFormatter(lambda value, _, biggest=biggest: short(value, biggest)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, loc="best", fontsize=9)


class LiveCurve(Callback):
    """A learning curve below the running notebook cell, redrawn while the run trains."""

    def __init__(self, title: str):
        self.title, self.next = title, 0.0
        self.episodes: dict[str, list[float]] = {"step": [], "return": []}
        self.evaluations: dict[str, list[float]] = {"step": [], "mean": [], "ci95_low": [], "ci95_high": []}
        says = f"Learning curve of {title}: returns of training episodes and of greedy evaluations by step."
        self.alternative = {"image/png": {"alt": says}}  # where notebook pages look for alternative text

    def on_start(self, run: RunContext) -> None:
        from IPython.display import display

        self.handle = display(figure(self.title, {}, {}), display_id=True, metadata=self.alternative)

    def on_iteration(self, result: IterationResult) -> None:
        for episode in result.episodes:
            self.episodes["step"].append(result.step)
            self.episodes["return"].append(episode.ret)
        if result.episodes and time.monotonic() > self.next:
            self.redraw()

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        for name, value in zip(self.evaluations, (step, evaluation.mean, *evaluation.ci95), strict=True):
            self.evaluations[name].append(value)
        self.redraw()

    def on_end(self, run: RunContext) -> None:
        self.redraw()

    def redraw(self) -> None:
        """Replace the displayed figure by one of the current data."""
        drawn = figure(self.title, self.episodes, self.evaluations)
        self.handle.update(drawn, metadata=self.alternative)
        self.next = time.monotonic() + REDRAW


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, where figures can be shown and replaced."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
