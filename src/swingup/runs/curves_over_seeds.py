"""The curves of a run, or of several that differ by seed, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from swingup.reports.curves import Curve, thinned, together
from swingup.runs.statistics import ENOUGH, expanded, interval, iqm

if TYPE_CHECKING:
    from swingup.runs.run import Run


def learning_curve(runs: Sequence[Run]) -> Curve | None:
    """Greedy evaluations over environment steps; None if there is none.

    One run: its means, with the 95 % interval over episodes. Several: their interquartile mean, with its
    bootstrap interval over seeds, or their range where they are too few for one.
    """
    names = ("step", "mean", "ci95_low", "ci95_high")
    tables = [t for run in runs if (t := columns(run.evaluations, *names))]
    if not tables:
        return None
    if len(tables) == 1:
        x, y, low, high = tables[0]
        band = "95 % interval over episodes" if np.isfinite(low).any() else ""
        return thinned(Curve("greedy evaluation", x, y, low, high, band))
    steps, values = together([(t[0], t[1]) for t in tables])
    n, name = len(tables), f"interquartile mean of {len(tables)} seeds"
    if n < ENOUGH:
        return Curve(name, steps, iqm(values), values.min(0), values.max(0), f"range of {n} seeds")
    low, high = interval(values, expanded(n))
    return Curve(name, steps, iqm(values), low, high, f"95 % bootstrap interval over {n} seeds")


def single_seeds(runs: Sequence[Run]) -> list[Curve]:
    """The greedy evaluations of each run, without a name."""
    found = [columns(run.evaluations, "step", "mean") for run in runs]
    return [thinned(Curve("", t[0], t[1])) for t in found if t]


def metric(runs: Sequence[Run], column: str, name: str) -> Curve | None:
    """A column of metrics.csv over environment steps: a run's, or the mean and the range of several."""
    tables = []
    for run in runs:
        x, y = columns(run.metrics, "step", column) or (np.zeros(0), np.zeros(0))
        there = np.isfinite(y)
        if there.any():
            tables.append((x[there], y[there]))
    if not tables:
        return None
    if len(tables) == 1:
        return thinned(Curve(name, *tables[0]))
    steps, values = together(tables)
    if not len(steps):
        return None
    band = f"range of {len(tables)} seeds"
    return Curve(
        f"{name}, mean of {len(tables)} seeds", steps, values.mean(0), values.min(0), values.max(0), band
    )


def training_returns(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps and returns of a run's training episodes; empty before the first."""
    x, y = columns(run.episodes, "step", "return") or (np.zeros(0), np.zeros(0))
    return x, y


def columns(table: Mapping[str, np.ndarray], *names: str) -> tuple[np.ndarray, ...]:
    """The named columns; () if the table has no rows or lacks one of them."""
    if not all(len(table.get(name, ())) for name in names):
        return ()
    return tuple(table[name] for name in names)
