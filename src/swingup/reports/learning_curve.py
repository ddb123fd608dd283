"""The learning curve of a run: drawn once when opened again, or redrawn in a notebook while it trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.loops.evaluation import Evaluation
from swingup.reports.callback import Callback, RunContext

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult

# Seconds between two drawings in a notebook: a drawing takes a tenth of that.
REDRAW = 1.5


def figure(title: str, episodes: Mapping[str, Any], evaluations: Mapping[str, Any]) -> Any:
    """Training returns as dots, evaluations as a line with 95 % intervals, over environment steps.

    episodes: columns `step` and `return`; evaluations: `step`, `mean`, `ci95_low`, `ci95_high`. Made without
    pyplot, so that no window opens and nothing has to be closed.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7, 3.6), layout="constrained")
    axes = fig.subplots()
    if len(episodes.get("step", ())):
        axes.plot(
            episodes["step"],
            episodes["return"],
            ".",
            color="#9aa5b1",
            ms=5,
            label="training episodes, with exploration",
        )
    if len(evaluations.get("step", ())):
        e = {k: np.asarray(v, float) for k, v in evaluations.items()}
        axes.fill_between(e["step"], e["ci95_low"], e["ci95_high"], color="#0b6e99", alpha=0.2, lw=0)
        axes.plot(e["step"], e["mean"], "o-", color="#0b6e99", ms=4, label="greedy evaluation, 95 % interval")
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if axes.has_data():
        axes.legend(frameon=False, loc="best")
    return fig


class LiveCurve(Callback):
    """A learning curve below the running notebook cell, redrawn while the run trains."""

    def __init__(self, title: str):
        self.title, self.next = title, 0.0
        self.episodes: dict[str, list[float]] = {"step": [], "return": []}
        self.evaluations: dict[str, list[float]] = {"step": [], "mean": [], "ci95_low": [], "ci95_high": []}

    def on_start(self, run: RunContext) -> None:
        from IPython.display import display

        self.handle = display(figure(self.title, {}, {}), display_id=True)

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
        self.handle.update(figure(self.title, self.episodes, self.evaluations))
        self.next = time.monotonic() + REDRAW


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, where figures can be shown and replaced."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
