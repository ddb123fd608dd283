"""What a run reports while it goes: TensorBoard events, CSV files, a progress bar. None of it can stop training."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from swingup.agent import Agent, Metrics
from swingup.evaluate import Evaluation
from swingup.loop import Tick
from swingup.store import append_csv
from swingup.types import Episode

# Environment steps between two rows of metrics.csv.
EVERY = 500


class Logs:
    """Writes episodes.csv, metrics.csv, evaluations.csv and TensorBoard events into a run's folder.

    TensorBoard's tags are those of Stable-Baselines3 (by environment step), and the 2017 tutorial's `Reward` and
    `Qmax_value` (by episode). A write that fails is reported once; training goes on without the logs.
    """

    def __init__(self, folder: Path, warn: Any):
        from tensorboardX import SummaryWriter

        self.folder, self.warn, self.broken = folder, warn, False
        self.board = SummaryWriter(str(folder), write_to_disk=True)
        self.start = self.since = time.monotonic()
        self.step = self.logged = self.episodes = self.updates = 0
        self.recent: deque[Episode] = deque(maxlen=100)
        self.window: list[Metrics] = []

    def tick(self, tick: Tick) -> None:
        """Take note of one iteration; writes when an episode ended or an interval is over."""
        self.step = tick.step
        if tick.metrics is not None:
            self.window.append(tick.metrics)
        for episode in tick.episodes:
            self.episode(episode)
        if tick.step // EVERY > self.logged // EVERY:
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
        }
        self.window, self.since, self.logged = [], now, self.step
        tags = {
            "return_mean": "rollout/ep_rew_mean", "length_mean": "rollout/ep_len_mean", "critic_loss": "train/critic_loss",
            "actor_loss": "train/actor_loss", "q_mean": "train/q_mean", "q_max": "train/q_max", "steps_per_second": "time/fps",
            "episodes": "time/episodes",
        }  # fmt: skip
        self.guard(lambda: append_csv(self.folder / "metrics.csv", [row]))
        self.guard(lambda: [self.board.add_scalar(tag, row[k], self.step) for k, tag in tags.items() if row[k] != ""])

    def evaluation(self, step: int, e: Evaluation) -> None:
        """Take note of a greedy evaluation; the clock of steps per second starts anew after it."""
        low, high = e.ci95
        row = {"step": step, "mean": e.mean, "std": e.std, "ci95_low": low, "ci95_high": high, "episodes": len(e.returns)}
        self.guard(lambda: append_csv(self.folder / "evaluations.csv", [row]))
        self.guard(lambda: self.board.add_scalar("eval/mean_reward", e.mean, step))
        self.guard(lambda: self.board.add_scalar("eval/mean_ep_length", float(np.mean(e.lengths)), step))
        self.since = time.monotonic()

    def settings(self, settings: dict[str, Any]) -> None:
        """The resolved settings, as a table in TensorBoard's Text tab."""
        table = "\n".join(["|setting|value|", "|-|-|", *(f"|{k}|{v}|" for k, v in settings.items())])
        self.guard(lambda: self.board.add_text("settings", table))

    def graph(self, agent: Agent) -> None:
        """The networks and the update, in TensorBoard's Graphs tab."""
        try:
            from swingup.graph import write_graph

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


class Lines:
    """A line for each evaluation and, if asked for, for each episode, with the 2017 tutorial's three figures."""

    def __init__(self, console: Any, every_episode: bool):
        self.console, self.every_episode, self.episodes = console, every_episode, 0

    def tick(self, tick: Tick) -> None:
        for e in tick.episodes if self.every_episode else ():
            self.console.print(f"| Reward: {e.ret:.0f} | Episode {self.episodes} | Qmax: {e.q_max:.4f}")
            self.episodes += 1

    def evaluation(self, step: int, e: Evaluation) -> None:
        low, high = e.ci95
        self.console.print(f"greedy after {step:,} steps: {e.mean:,.1f} (95 % interval {low:,.1f} to {high:,.1f})")

    def close(self) -> None:
        """Nothing to release."""


class Bar:
    """One line on the terminal: how far, how well, how fast, how long still. Redrawn ten times a second by `tick`.

    Time left comes from the speed of the last half minute of training, so that the fast random steps before it do not
    make it lie; until there is training to measure it shows a dash. A budget of episodes is counted in episodes.
    """

    def __init__(self, console: Any, steps: int, episodes: int | None = None):
        from rich.progress import BarColumn, Progress, TextColumn

        unit = "steps" if episodes is None else "episodes"
        count = TextColumn("{task.completed:,.0f} / {task.total:,.0f} " + unit)
        columns = (count, BarColumn(24 if console.width > 105 else 8), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self.by_episode, self.total = episodes is not None, episodes or steps
        self.task = self.progress.add_task("", total=self.total)
        self.progress.start()
        self.episodes, self.next, self.note = 0, 0.0, ""
        self.recent: deque[float] = deque(maxlen=10)
        self.speed: deque[tuple[float, int, int]] = deque(maxlen=300)  # time, steps, what the budget counts

    def tick(self, tick: Tick) -> None:
        self.episodes += len(tick.episodes)
        self.recent.extend(e.ret for e in tick.episodes)
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + 0.1
        done = self.episodes if self.by_episode else tick.step
        if tick.metrics is not None:
            self.speed.append((now, tick.step, done))
        words = self.pace(done)
        words += [f"return {np.mean(self.recent):,.1f}"] if self.recent else []
        words += [self.note] if self.note else []
        words += [f"{tick.step:,} steps" if self.by_episode else f"{self.episodes:,} episodes"]
        self.progress.update(self.task, completed=done, description=" · ".join(words))
        self.progress.refresh()

    def pace(self, done: int) -> list[str]:
        if len(self.speed) < 5:
            return ["time left –"]
        (t0, s0, d0), (t1, s1, d1) = self.speed[0], self.speed[-1]
        left = (self.total - done) / max(d1 - d0, 1e-9) * (t1 - t0)
        return [f"{clock(left)} left" if d1 > d0 else "time left –", f"{(s1 - s0) / (t1 - t0):,.0f} steps/s"]

    def evaluation(self, step: int, e: Evaluation) -> None:
        self.note = f"greedy {e.mean:,.1f}"
        self.next = 0.0

    def close(self) -> None:
        self.progress.stop()


def clock(seconds: float) -> str:
    """Seconds as 8s, 3m20s or 2h05m."""
    s = round(seconds)
    return f"{s}s" if s < 60 else f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"
