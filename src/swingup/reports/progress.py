"""What a run shows on the terminal while it goes: a bar, or a line for each evaluation."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.loops.evaluation import Evaluation
from swingup.reports.learning_curve import Curve, in_notebook

if TYPE_CHECKING:
    from swingup.loops.base import Tick


def console_of(quiet: bool) -> Any:
    """Where a run speaks: stderr; in a notebook that has a red ground, and rich would put a page of HTML around every line."""
    from rich.console import Console

    return Console(stderr=not in_notebook(), highlight=False, quiet=quiet, force_jupyter=False)


def views(console: Any, env: str, steps: int, budget: int | None, every_episode: bool, episodes: int) -> list[Any]:
    """What a person sees of a run: each has `tick(tick)`, `evaluation(step, evaluation)` and `close()`.

    steps, budget: what the run may take, in steps and in episodes (or None); every_episode: whether each gets a line; episodes: how many
    there were already.
    """
    curve: list[Any] = [Curve(env)] if in_notebook() and not console.quiet else []
    if every_episode or not (console.is_terminal or curve):
        return [*curve, Lines(console, every_episode, episodes)]
    return curve or [Bar(console, steps, budget, episodes)]


class Lines:
    """A line for each evaluation and, if asked for, for each episode, with the 2017 tutorial's three figures."""

    def __init__(self, console: Any, every_episode: bool, episodes: int = 0):
        self.console, self.every_episode, self.episodes = console, every_episode, episodes

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

    def __init__(self, console: Any, steps: int, episodes: int | None = None, done: int = 0):
        from rich.progress import BarColumn, Progress, TextColumn

        unit = "steps" if episodes is None else "episodes"
        count = TextColumn("{task.completed:,.0f} / {task.total:,.0f} " + unit)
        columns = (count, BarColumn(24 if console.width > 105 else 8), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self.by_episode, self.total = episodes is not None, episodes or steps
        self.task = self.progress.add_task("", total=self.total)
        self.progress.start()
        self.episodes, self.next, self.note = done, 0.0, ""
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
