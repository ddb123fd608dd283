"""What a run reports while it goes: TensorBoard events, CSV files, a progress bar. None of it can stop training."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from swingup.agent import Metrics
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

    def __init__(self, folder: Path, n: int, warn: Any):
        from tensorboardX import SummaryWriter

        self.folder, self.warn, self.broken = folder, warn, False
        self.board = SummaryWriter(str(folder), write_to_disk=True)
        self.start = self.since = time.monotonic()
        self.step = self.logged = self.episodes = self.updates = 0
        self.recent: deque[Episode] = deque(maxlen=100)
        self.window: list[Metrics] = []
        self.q_max = np.zeros((n, 2))  # sum and count since each environment's episode began

    def tick(self, tick: Tick) -> None:
        """Take note of one iteration; writes when an episode ended or an interval is over."""
        self.step = tick.step
        if tick.metrics is not None:
            self.window.append(tick.metrics)
            self.q_max += (tick.metrics.q_max, 1)
        for episode in tick.episodes:
            self.episode(episode)
        if tick.step // EVERY > self.logged // EVERY:
            self.interval()

    def episode(self, episode: Episode) -> None:
        total, count = self.q_max[episode.env]
        self.q_max[episode.env] = 0
        self.recent.append(episode)
        q_max = total / count if count else float("nan")
        self.guard(lambda: self.write_episode(episode, q_max))
        self.episodes += 1

    def write_episode(self, episode: Episode, q_max: float) -> None:
        row = {
            "episode": self.episodes, "env": episode.env, "step": self.step, "return": episode.ret, "length": episode.length,
            "seconds": round(time.monotonic() - self.start, 3), "seed": episode.seed, "terminated": int(episode.terminated),
            "q_max": "" if np.isnan(q_max) else q_max,
        }  # fmt: skip
        append_csv(self.folder / "episodes.csv", [row])
        self.board.add_scalar("Reward", episode.ret, self.episodes)
        if not np.isnan(q_max):
            self.board.add_scalar("Qmax_value", q_max, self.episodes)

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


class Bar:
    """One line on the terminal: how far, how well, how fast, how long still. Redrawn ten times a second by `tick`.

    Time left comes from the speed of the last half minute of training, so that the fast random steps before it do not
    make it lie; until there is training to measure it shows a dash.
    """

    def __init__(self, console: Any, steps: int):
        from rich.progress import BarColumn, Progress, TextColumn

        text = TextColumn("{task.description}")
        self.progress = Progress(TextColumn("{task.completed:>9,.0f} / {task.total:,.0f} steps"), BarColumn(24), text,
                                 console=console, auto_refresh=False, transient=True)  # fmt: skip
        self.task = self.progress.add_task("", total=steps)
        self.progress.start()
        self.steps, self.episodes, self.next, self.note = steps, 0, 0.0, ""
        self.recent: deque[float] = deque(maxlen=10)
        self.speed: deque[tuple[float, int]] = deque(maxlen=300)

    def tick(self, tick: Tick) -> None:
        self.episodes += len(tick.episodes)
        self.recent.extend(e.ret for e in tick.episodes)
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + 0.1
        if tick.metrics is not None:
            self.speed.append((now, tick.step))
        words = [f"{self.episodes:,} episodes"]
        if self.recent:
            words.append(f"return {np.mean(self.recent):,.1f}")
        words += [self.note] if self.note else []
        self.draw(tick.step, " · ".join([*words, *self.pace(tick.step)]))

    def pace(self, step: int) -> list[str]:
        if len(self.speed) < 5:
            return ["time left –"]
        (t0, s0), (t1, s1) = self.speed[0], self.speed[-1]
        rate = (s1 - s0) / max(t1 - t0, 1e-9)
        left = (self.steps - step) / max(rate, 1e-9)
        return [f"{rate:,.0f} steps/s", f"{clock(left)} left"]

    def evaluation(self, step: int, e: Evaluation) -> None:
        self.note = f"greedy {e.mean:,.1f}"
        self.next = 0.0

    def draw(self, step: int, text: str) -> None:
        self.progress.update(self.task, completed=step, description=text)
        self.progress.refresh()

    def close(self) -> None:
        self.progress.stop()


def clock(seconds: float) -> str:
    """Seconds as 8s, 3m20s or 2h05m."""
    s = round(seconds)
    return f"{s}s" if s < 60 else f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"
