"""What a run reports while it goes: TensorBoard events, CSV files, a progress bar. None of it can stop training."""

from __future__ import annotations

import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from swingup.core.agent import Agent, Metrics
from swingup.loops.base import Loop, Tick
from swingup.loops.evaluation import Evaluation
from swingup.reports.diagnostics import Figures, Health
from swingup.storage.tables import append_csv, cut_csv
from swingup.types import Episode

# Environment steps between two rows of metrics.csv, and iterations at least.
EVERY, ITERATIONS = 500, 50


def interval(rows: int) -> int:
    """Environment steps between two rows of metrics.csv, for iterations of so many."""
    return max(EVERY, ITERATIONS * rows)


class Logs:
    """Writes episodes.csv, metrics.csv, evaluations.csv and TensorBoard events into a run's folder.

    TensorBoard's tags are those of Stable-Baselines3 (by environment step), and the 2017 tutorial's `Reward` and
    `Qmax_value` (by episode). A write that fails is reported once; training goes on without the logs.
    """

    def __init__(self, folder: Path, warn: Any, loop: Loop, since: int | None = None):
        from tensorboardX import SummaryWriter

        self.folder, self.warn, self.broken, self.loop = folder, warn, False, loop
        self.every = interval(loop.plan.rows)
        self.health: Health | None = Health(loop.plan)
        # TensorBoard hides what an earlier process wrote after the checkpoint from which this one goes on.
        self.board = SummaryWriter(str(folder), write_to_disk=True, purge_step=None if since is None else since + 1)
        self.start = self.since = time.monotonic()
        self.step = self.logged = self.episodes = self.updates = 0
        self.recent: deque[Episode] = deque(maxlen=100)
        self.window: list[Metrics] = []

    def tick(self, tick: Tick) -> None:
        """Take note of one iteration; writes when an episode ended or an interval is over."""
        self.step = tick.step
        if self.health is not None:
            self.health.tick(tick.rows)
        if tick.metrics is not None:
            self.window.append(tick.metrics)
        for episode in tick.episodes:
            self.episode(episode)
        if tick.step // self.every > self.logged // self.every:
            self.interval()

    def episode(self, episode: Episode) -> None:
        self.recent.append(episode)
        self.guard(lambda: self.write_episode(episode))
        self.episodes += 1

    def write_episode(self, episode: Episode) -> None:
        known = not np.isnan(episode.q_max)
        row = {
            "episode": self.episodes, "env": episode.env, "step": self.step, "return": episode.ret, "length": episode.length,
            "seconds": round(time.monotonic() - self.start, 3), "seed": episode.seed, "terminated": int(episode.terminated),
            "q_max": episode.q_max if known else "",
        }  # fmt: skip
        append_csv(self.folder / "episodes.csv", [row])
        self.board.add_scalar("Reward", episode.ret, self.episodes)
        if known:
            self.board.add_scalar("Qmax_value", episode.q_max, self.episodes)

    def interval(self) -> None:
        now = time.monotonic()
        mean = Metrics(*np.mean(self.window, axis=0)) if self.window else None
        row: dict[str, Any] = {
            "step": self.step,
            "episodes": self.episodes,
            "return_mean": np.mean([e.ret for e in self.recent]) if self.recent else "",
            "length_mean": np.mean([e.length for e in self.recent]) if self.recent else "",
            "critic_loss": mean.critic_loss if mean else "",
            "actor_loss": mean.actor_loss if mean else "",
            "q_mean": mean.q_mean if mean else "",
            "q_max": mean.q_max if mean else "",
            "steps_per_second": (self.step - self.logged) / max(now - self.since, 1e-9),
            **self.figures(learning=mean is not None),
        }
        self.window, self.since, self.logged = [], now, self.step
        tags = {
            "return_mean": "rollout/ep_rew_mean", "length_mean": "rollout/ep_len_mean", "critic_loss": "train/critic_loss",
            "actor_loss": "train/actor_loss", "q_mean": "train/q_mean", "q_max": "train/q_max", "steps_per_second": "time/fps",
            "episodes": "time/episodes", **{name: f"health/{name}" for name in Figures._fields},
        }  # fmt: skip
        self.guard(lambda: append_csv(self.folder / "metrics.csv", [row]))
        self.guard(lambda: [self.board.add_scalar(tag, row[k], self.step) for k, tag in tags.items() if row[k] != ""])

    def figures(self, learning: bool) -> dict[str, Any]:
        """The health figures of now, blank before learning; says aloud what has been wrong for a while."""
        blank = dict.fromkeys(Figures._fields, "")
        if self.health is None or not learning:
            return blank
        try:
            found = self.health.figures(self.loop.learner(), self.step)
        except Exception as error:  # a network of the user's own that NumPy cannot run must not stop the other logs
            self.health = None
            self.warn(f"warning: no health figures ({type(error).__name__}: {error}); training goes on")
            return blank
        for text in self.health.diagnoses(found, self.step):
            self.warn(f"health: {text}")
            self.note("health", text)
        return {name: "" if math.isnan(x) else x for name, x in found._asdict().items()}

    def note(self, name: str, text: str) -> None:
        """Write a remark into remarks.csv and TensorBoard's Text tab."""
        self.guard(lambda: append_csv(self.folder / "remarks.csv", [{"step": self.step, "name": name, "text": text}]))
        self.guard(lambda: self.board.add_text(name, text, self.step))

    def rollback(self, step: int, text: str) -> None:
        """Take note of a return to earlier weights."""
        self.step = step
        self.warn(f"guard: {text}")
        self.note("guard", text)

    def evaluation(self, step: int, e: Evaluation) -> None:
        """Take note of a greedy evaluation; the clock of steps per second starts anew after it."""
        low, high = e.ci95
        row = {"step": step, "mean": e.mean, "std": e.std, "ci95_low": low, "ci95_high": high, "episodes": len(e.returns)}
        self.guard(lambda: append_csv(self.folder / "evaluations.csv", [row]))
        self.guard(lambda: self.board.add_scalar("eval/mean_reward", e.mean, step))
        self.guard(lambda: self.board.add_scalar("eval/mean_ep_length", float(np.mean(e.lengths)), step))
        self.since = time.monotonic()

    def saved(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What it remembers: arrays, and numbers for JSON."""
        about = {
            "logged": self.logged,
            "episodes": self.episodes,
            "seconds": time.monotonic() - self.start,
            "window": [list(m) for m in self.window],
            "recent": [list(e) for e in self.recent],
        }
        return {f"health.{k}": v for k, v in self.health.saved().items()} if self.health else {}, about

    def resume(self, step: int, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        """Go on from what was saved at `step`. Nothing on disk is touched before all of it is understood."""
        logged, episodes, seconds = int(about["logged"]), int(about["episodes"]), float(about["seconds"])
        window = [Metrics(*map(float, m)) for m in about["window"]]
        kinds = (int, int, int, float, int, bool, float)
        recent = [Episode(*(kind(x) for kind, x in zip(kinds, e, strict=True))) for e in about["recent"]]
        found = {k.removeprefix("health."): v for k, v in tensors.items() if k.startswith("health.")}
        if self.health and found:
            self.health.resume(found)
        self.step, self.logged, self.episodes, self.window = step, logged, episodes, window
        self.start = time.monotonic() - seconds
        self.recent.extend(recent)
        self.cut(step, logged)

    def cut(self, step: int, logged: int) -> None:
        """Drop what the CSV files say of a future that did not happen: beyond `step`, and of intervals not over then."""
        for name in ("episodes", "metrics", "evaluations", "remarks"):
            self.guard(lambda name=name: cut_csv(self.folder / f"{name}.csv", logged if name == "metrics" else step))

    def settings(self, settings: dict[str, Any]) -> None:
        """The resolved settings, as a table in TensorBoard's Text tab."""
        table = "\n".join(["|setting|value|", "|-|-|", *(f"|{k}|{v}|" for k, v in settings.items())])
        self.guard(lambda: self.board.add_text("settings", table))

    def graph(self, agent: Agent) -> None:
        """The networks and the update, in TensorBoard's Graphs tab."""
        try:
            from swingup.reports.tensorboard_graph import write_graph

            write_graph(self.board, agent)
        except Exception as error:  # an odd network of the user's own must not stop the other logs
            self.warn(f"warning: no graph for TensorBoard ({type(error).__name__}: {error}); training goes on")

    def guard(self, write: Any) -> None:
        if self.broken:
            return
        try:
            write()
        except Exception as error:
            self.broken = True
            self.warn(f"warning: logging stopped ({type(error).__name__}: {error}); training goes on")

    def close(self) -> None:
        if self.step > self.logged:
            self.interval()
        self.guard(self.board.close)
