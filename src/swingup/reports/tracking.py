"""A run's metrics and evaluations in Weights & Biases, as a callback: one that fails costs a warning."""

from __future__ import annotations

import importlib.util
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.errors import InputError
from swingup.reports.callback import Callback, RunContext

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
    from swingup.loops.evaluation import Evaluation

EVERY = 500  # environment steps between two points


def check_installed() -> None:
    """InputError if the package that --track needs is not there."""
    if importlib.util.find_spec("wandb") is None:
        raise InputError(
            "--track: the package wandb is not installed; pip install wandb, or leave --track out: "
            "TensorBoard files are in the run's folder anyway"
        )


class WandbTracker(Callback):
    """Sends a run's returns, losses and evaluations to Weights & Biases, by environment step.

    project: its project there; entity: the team or user (None: the user's own). Returns are means over the
    last 100 episodes.
    """

    def __init__(self, project: str, entity: str | None):
        self.project, self.entity, self.recent, self.due = project, entity, deque[float](maxlen=100), 0
        self.board: Any = None

    def on_start(self, run: RunContext) -> None:
        import wandb

        name = None if run.folder is None else run.folder.name
        where = {"project": self.project, "entity": self.entity, "id": name, "resume": "allow"}
        self.board = wandb.init(**where, name=name, config=run.settings)

    def on_iteration(self, result: IterationResult) -> None:
        self.recent.extend(episode.ret for episode in result.episodes)
        if result.step < self.due:
            return
        self.due = result.step + EVERY
        points = {"rollout/ep_rew_mean": float(np.mean(self.recent))} if self.recent else {}
        if result.metrics is not None:
            names = ("critic_loss", "actor_loss", "q_mean", "q_max")
            points |= {f"train/{name}": float(getattr(result.metrics, name)) for name in names}
        self.board.log(points, step=result.step)

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.board.log({"eval/mean_reward": float(evaluation.mean)}, step=step)

    def on_end(self, run: RunContext) -> None:
        if self.board is not None:
            self.board.finish()
