"""A run's metrics and evaluations in a tracking service, as callbacks: one that fails costs a warning."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from swingup.errors import InputError
from swingup.reports.callback import Callback, RunContext

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
    from swingup.loops.evaluation import Evaluation

TrackerName = Literal["wandb", "mlflow", "trackio"]

EVERY = 500  # environment steps between two points


class Tracker(Callback):
    """Sends a run's returns, losses and evaluations to a service, by environment step.

    project: its project there; entity: the team or user, where the service has such (None: the user's own).
    Returns are means over the last 100 episodes. A resumed run goes on in its record there. Whatever the
    service raises, the run trains on: there is one warning, and nothing more is sent.
    """

    def __init__(self, project: str = "swingup", entity: str | None = None):
        self.project, self.entity, self.recent, self.due = project, entity, deque[float](maxlen=100), 0
        self.id = ""  # of its record; known once there is one
        self.dead = False
        self.warn: Callable[[str], None] = print

    def open(self, name: str | None, settings: dict[str, Any]) -> str:
        """Begin the record, or go on with that of `self.id` if it is not empty; returns its id."""
        raise NotImplementedError

    def send(self, points: dict[str, float], step: int) -> None:
        """Send numbers by their tags."""
        raise NotImplementedError

    def close(self) -> None:
        """End the record."""
        raise NotImplementedError

    def guard(self, do: Callable[[], Any]) -> None:
        """Call `do` unless something has failed before."""
        if self.dead:
            return
        try:
            do()
        except Exception as error:
            self.dead = True
            why = " ".join(f"{type(error).__name__}: {error}".split())
            self.warn(f"warning: {type(self).__name__} failed ({why:.300}); training goes on without it")

    def on_start(self, run: RunContext) -> None:
        self.warn = run.warn
        settings = {k: v for k, v in run.settings.items() if v not in (None, "", ())}
        self.guard(lambda: self.begin(run.folder.name if run.folder else None, settings))

    def begin(self, name: str | None, settings: dict[str, Any]) -> None:
        self.id = self.open(name, settings)

    def on_iteration(self, result: IterationResult) -> None:
        self.recent.extend(episode.ret for episode in result.episodes)
        if result.step < self.due:
            return
        self.due = result.step + EVERY
        points = {"rollout/ep_rew_mean": float(np.mean(self.recent))} if self.recent else {}
        if result.metrics is not None:
            names = ("critic_loss", "actor_loss", "q_mean", "q_max")
            points |= {f"train/{name}": float(getattr(result.metrics, name)) for name in names}
        if points:
            self.guard(lambda: self.send(points, result.step))

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.guard(lambda: self.send({"eval/mean_reward": float(evaluation.mean)}, step))

    def on_end(self, run: RunContext) -> None:
        if self.id:
            self.guard(self.close)

    def state(self) -> dict[str, Any]:
        return {"id": self.id} if self.id else {}

    def restore(self, state: dict[str, Any]) -> None:
        self.id = str(state["id"])


class WandbTracker(Tracker):
    """Weights & Biases."""

    def open(self, name: str | None, settings: dict[str, Any]) -> str:
        import wandb

        again = {"id": self.id, "resume": "allow"} if self.id else {}
        self.board = wandb.init(project=self.project, entity=self.entity, name=name, config=settings, **again)
        return str(self.board.id)

    def send(self, points: dict[str, float], step: int) -> None:
        self.board.log(points, step=step)

    def close(self) -> None:
        self.board.finish()


class MlflowTracker(Tracker):
    """MLflow; the project is its experiment. Where it keeps runs is MLFLOW_TRACKING_URI's to say."""

    def open(self, name: str | None, settings: dict[str, Any]) -> str:
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment(self.project)
        run = mlflow.start_run(run_id=self.id or None, run_name=name, nested=True)
        if not self.id:  # parameters of a record cannot change
            mlflow.log_params(settings)
        return str(run.info.run_id)

    def send(self, points: dict[str, float], step: int) -> None:
        self.mlflow.log_metrics(points, step=step, run_id=self.id)

    def close(self) -> None:
        self.mlflow.end_run()


class TrackioTracker(Tracker):
    """Trackio, which keeps runs on this machine, or where TRACKIO_SPACE_ID says."""

    def open(self, name: str | None, settings: dict[str, Any]) -> str:
        import trackio

        self.board = trackio.init(
            project=self.project,
            name=self.id or name,
            config=settings,
            resume="allow" if self.id else "never",
            embed=False,
        )
        return str(self.board.name)

    def send(self, points: dict[str, float], step: int) -> None:
        self.board.log(points, step=step)

    def close(self) -> None:
        self.board.finish()


TRACKERS: dict[TrackerName, type[Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}


def tracker(name: TrackerName, project: str, entity: str | None) -> Tracker:
    """The callback that reports to this service; InputError if its package is not there."""
    if importlib.util.find_spec(name) is None:
        raise InputError(
            f"--track {name}: the package {name} is not installed; pip install {name}, or leave --track out: "
            "TensorBoard files are in the run's folder anyway"
        )
    return TRACKERS[name](project, entity)
