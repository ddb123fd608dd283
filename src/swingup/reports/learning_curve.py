"""The learning curve: drawn once for a finished run, or again and again in a notebook while one trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.loops.evaluation import Evaluation

if TYPE_CHECKING:
    from swingup.loops.base import Tick

# Seconds between two drawings in a notebook: a drawing takes a tenth of that.
REDRAW = 1.5


def figure(title: str, episodes: Mapping[str, Any], evaluations: Mapping[str, Any]) -> Any:
    """Training returns as dots, greedy evaluations with their 95 % interval as a line, over environment steps.

    episodes: columns `step` and `return`; evaluations: `step`, `mean`, `ci95_low`, `ci95_high`. Made without pyplot, so
    that no window opens and nothing has to be closed.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7, 3.6), layout="constrained")
    axes = fig.subplots()
    if len(episodes.get("step", ())):
        axes.plot(episodes["step"], episodes["return"], ".", color="#9aa5b1", ms=5, label="training episodes, with exploration")
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


class Curve:
    """A figure under the running notebook cell that is drawn anew while training goes on."""

    def __init__(self, title: str):
        from IPython.display import display

        self.title, self.next = title, 0.0
        self.episodes: dict[str, list[float]] = {"step": [], "return": []}
        self.evaluations: dict[str, list[float]] = {"step": [], "mean": [], "ci95_low": [], "ci95_high": []}
        self.handle = display(figure(title, {}, {}), display_id=True)

    def tick(self, tick: Tick) -> None:
        for e in tick.episodes:
            self.episodes["step"].append(tick.step)
            self.episodes["return"].append(e.ret)
        if tick.episodes and time.monotonic() > self.next:
            self.draw()

    def evaluation(self, step: int, e: Evaluation) -> None:
        for name, value in zip(self.evaluations, (step, e.mean, *e.ci95), strict=True):
            self.evaluations[name].append(value)
        self.draw()

    def draw(self) -> None:
        self.handle.update(figure(self.title, self.episodes, self.evaluations))
        self.next = time.monotonic() + REDRAW

    def close(self) -> None:
        self.draw()


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, where figures can be shown and replaced."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
