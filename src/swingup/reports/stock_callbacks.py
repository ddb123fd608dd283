"""Callbacks ready for use: stop at a return or without improvement, save policies, log own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swingup.errors import InputError
from swingup.reports.callback import Callback, RunContext
from swingup.reports.wording import number
from swingup.storage.policy_file import save_policy

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
    from swingup.loops.evaluation import Evaluation


class StopOnReturn(Callback):
    """Stops the run once the mean return of so many evaluations in a row is at least `level`."""

    def __init__(self, level: float, evaluations: int = 1):
        if not math.isfinite(level) or evaluations < 1:
            raise InputError(f"StopOnReturn({level}, {evaluations}): expected a number, and 1 or more")
        self.level, self.evaluations, self.reached = level, evaluations, 0

    def on_start(self, run: RunContext) -> None:
        self.run = run

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.reached = self.reached + 1 if evaluation.mean >= self.level else 0
        if self.reached == self.evaluations:
            self.reached = 0  # so that a run that is resumed later needs as many again
            many = f" in {self.evaluations} evaluations" if self.evaluations > 1 else ""
            self.run.stop(f"the return {number(evaluation.mean)} is at least {number(self.level)}{many}")

    def state(self) -> dict[str, Any]:
        return {"reached": self.reached}

    def restore(self, state: dict[str, Any]) -> None:
        self.reached = int(state["reached"])


class StopOnNoImprovement(Callback):
    """Stops the run after so many evaluations in a row that were not better than the best one before."""

    def __init__(self, evaluations: int):
        if evaluations < 1:
            raise InputError(f"StopOnNoImprovement({evaluations}): expected 1 evaluation or more")
        self.evaluations, self.best, self.since = evaluations, -math.inf, 0

    def on_start(self, run: RunContext) -> None:
        self.run = run

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        better = evaluation.mean > self.best
        self.best, self.since = max(self.best, evaluation.mean), 0 if better else self.since + 1
        if self.since == self.evaluations:
            self.since = 0
            many = "evaluation was" if self.evaluations == 1 else f"{self.evaluations} evaluations were"
            self.run.stop(f"the last {many} not better than {number(self.best)}")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.since = float(state["best"]), int(state["since"])


class SaveEvery(Callback):
    """Saves the greedy policy every `steps` environment steps, as step-N.safetensors.

    folder: where; by default the run's folder `policy`. A file that cannot be written costs a warning.
    """

    def __init__(self, steps: int, folder: str | Path | None = None):
        if steps < 1:
            raise InputError(f"SaveEvery({steps}): expected 1 environment step or more")
        self.every, self.folder = steps, folder

    def on_start(self, run: RunContext) -> None:
        if self.folder is None and run.folder is None:
            raise InputError(f"SaveEvery({self.every}): there is no run folder here; give folder=")
        self.run, self.where = run, Path(self.folder or f"{run.folder}/policy")

    def on_iteration(self, result: IterationResult) -> None:
        assert self.every is not None
        before = result.step - result.rows.shape[0] * result.rows.shape[1]
        if result.step // self.every > before // self.every:
            path = self.where / f"step-{result.step}.safetensors"
            try:
                save_policy(path, self.run.policy())
            except OSError as error:
                self.run.warn(f"warning: {path}: {error.strerror or error}; this policy was not saved")


class CsvColumns(Callback):
    """Numbers of your own as columns of metrics.csv and curves of TensorBoard (user/NAME).

    columns: functions of an iteration's result by name. A row holds the mean over the iterations since the
    row before; NaN counts as no number.
    """

    def __init__(self, **columns: Callable[[IterationResult], float]):
        self.columns = columns
        self.totals = {name: [0.0, 0] for name in columns}  # sum and count since the last row
        self.error: Exception | None = None

    def on_start(self, run: RunContext) -> None:
        if run.folder is None:
            raise InputError("CsvColumns: there is no metrics.csv here; use swingup.train(callbacks=...)")

    def add(self, result: IterationResult) -> None:
        """Called by the metrics logger, before it writes a row; an error waits for `on_iteration`."""
        try:
            for name, column in self.columns.items():
                value = float(column(result))
                if not math.isnan(value):
                    self.totals[name] = [self.totals[name][0] + value, self.totals[name][1] + 1]
        except Exception as error:
            self.error = error

    def on_iteration(self, result: IterationResult) -> None:
        if self.error is not None:
            raise self.error

    def row(self) -> dict[str, Any]:
        """The means since the last row, blank where there was no number; begins the next row."""
        means = {name: total / count if count else "" for name, (total, count) in self.totals.items()}
        self.totals = {name: [0.0, 0] for name in self.columns}
        return means

    def state(self) -> dict[str, Any]:
        return {"totals": self.totals}

    def restore(self, state: dict[str, Any]) -> None:
        saved = state["totals"]
        self.totals |= {k: [float(saved[k][0]), int(saved[k][1])] for k in self.columns if k in saved}
