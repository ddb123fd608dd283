"""What a run shows on the terminal while it trains: a progress bar, or a line for each evaluation."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from swingup.loops.evaluation import Evaluation
from swingup.reports.callback import Callback, RunContext
from swingup.reports.learning_curve import LiveCurve, in_notebook
from swingup.reports.wording import interval, number

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
    from swingup.types import Episode


def console_of(quiet: bool) -> Any:
    """The rich console to which a run prints: stderr, but stdout in a notebook, which shows stderr in red.

    force_jupyter is off because rich would otherwise wrap every line in HTML there.
    """
    from rich.console import Console

    # What environments and libraries say is never markup, and a line of a log file stays one line.
    said = Console(
        file=cast(Any, Unbreakable()),
        highlight=False,
        markup=False,
        emoji=False,
        quiet=quiet,
        force_jupyter=False,
    )
    said.soft_wrap = not said.is_terminal
    return said


class Unbreakable:
    """The stream that a run prints to; what a closed or full one does not take is lost, and never the run."""

    @property
    def stream(self) -> Any:
        """The stream as it is now: tests and notebooks exchange it, and rich puts its own before it."""
        stream = sys.stdout if in_notebook() else sys.stderr
        return getattr(stream, "rich_proxied_file", stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, AttributeError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self.stream.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError, AttributeError):
            return bool(self.stream.isatty())
        return False


def progress_callbacks(
    console: Any, env: str, steps: int, episodes: int | None, episode_lines: bool
) -> list[Callback]:
    """The callbacks that show a run's progress: a curve in a notebook, a bar on a terminal, else lines.

    steps, episodes: the run's budget in both (episodes may be None); episode_lines: print a line for each
    episode in place of the bar.
    """
    curve: list[Callback] = [LiveCurve(env)] if in_notebook() and not console.quiet else []
    if episode_lines or not (console.is_terminal or curve):
        return [*curve, Lines(console, episode_lines)]
    return curve or [Bar(console, steps, episodes)]


class Lines(Callback):
    """Prints a line for each evaluation and, if asked for, the 2017 tutorial's line for each episode."""

    def __init__(self, console: Any, every_episode: bool):
        self.console, self.every_episode, self.episodes = console, every_episode, 0

    def on_start(self, run: RunContext) -> None:
        self.episodes = run.episodes

    def on_episode(self, episode: Episode) -> None:
        if self.every_episode:
            number, q_max = self.episodes, episode.q_max
            self.console.print(f"| Reward: {episode.ret:.0f} | Episode {number} | Qmax: {q_max:.4f}")
        self.episodes += 1

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        ends = interval(evaluation.ci95)
        line = f"greedy after {step:,} steps: {number(evaluation.mean)}"
        ends = f"{ends}, {len(evaluation.returns)} episodes" if ends else ""
        done = "" if evaluation.success is None else f", success {evaluation.success:.0%}"
        self.console.print(f"{line} ({ends}){done}" if ends else line + done)


class Bar(Callback):
    """A progress bar on one line: budget done, time left, speed and returns. Redrawn ten times a second.

    Time left is estimated from the last half minute of training only, because the steps before learning are
    faster; until there is training to measure, it is a dash. A budget of episodes is counted in episodes.
    """

    def __init__(self, console: Any, steps: int, episodes: int | None = None):
        from rich.progress import BarColumn, Progress, TextColumn

        self.unit, self.width = (
            ("steps" if episodes is None else "episodes"),
            24 if console.width > 105 else 8 if console.width > 85 else 4,
        )
        count = TextColumn("{task.completed:,.0f} / {task.total:,.0f} " + self.unit)
        columns = (count, BarColumn(self.width), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self.by_episode, self.total = episodes is not None, episodes or steps
        self.task = self.progress.add_task("", total=self.total)
        self.episodes, self.next, self.greedy = 0, 0.0, ""
        self.recent: deque[float] = deque(maxlen=10)
        self.speed: deque[tuple[float, int, int]] = deque(maxlen=300)  # time, environment steps, budget done

    def on_start(self, run: RunContext) -> None:
        self.episodes = run.episodes
        self.progress.start()

    def on_iteration(self, result: IterationResult) -> None:
        self.episodes += len(result.episodes)
        self.recent.extend(e.ret for e in result.episodes)
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + 0.1
        done = self.episodes if self.by_episode else result.step
        if result.metrics is not None:
            self.speed.append((now, result.step, done))
        parts = self.pace(done)
        parts += [("return ", number(float(np.mean(self.recent))), "")] if self.recent else []
        parts += [("greedy ", self.greedy, "")] if self.greedy else []
        parts += [
            ("", f"{result.step:,}", " steps") if self.by_episode else ("", f"{self.episodes:,}", " episodes")
        ]
        used = len(f"{done:,} / {self.total:,} {self.unit}") + self.width + 2
        text = fitted(parts, self.progress.console.width - used)
        self.progress.update(self.task, completed=done, description=text)
        self.progress.refresh()

    def pace(self, done: int) -> list[Part]:
        """Time left and environment steps per second."""
        if len(self.speed) < 5:
            return [("time left ", "–", "")]
        (t0, s0, d0), (t1, s1, d1) = self.speed[0], self.speed[-1]
        left = (self.total - done) / max(d1 - d0, 1e-9) * (t1 - t0)
        time_left = ("", clock(left), " left") if d1 > d0 else ("time left ", "–", "")
        return [time_left, ("", f"{(s1 - s0) / (t1 - t0):,.0f}", " steps/s")]

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.greedy = number(evaluation.mean)
        self.next = 0.0

    def on_end(self, run: RunContext) -> None:
        self.progress.stop()


# A figure of the bar: the word before it, the figure, the word after it.
Part = tuple[str, str, str]

SHORT = {
    " steps/s": "/s",
    "return ": "ret ",
    "greedy ": "eval ",
    " episodes": " ep",
    " left": "",
    "time left ": "",
}


def fitted(parts: list[Part], room: int) -> str:
    """The parts in one line of at most `room` characters: words get shorter, then last parts go."""
    short = [(SHORT.get(before, before), x, SHORT.get(after, after)) for before, x, after in parts]
    lines = [parts, short, *(short[:k] for k in range(len(short) - 1, 0, -1))]
    texts = [" · ".join("".join(part) for part in line) for line in lines]
    return next((text for text in texts if len(text) <= room), "")


def clock(seconds: float) -> str:
    """Seconds as 8s, 3m20s or 2h05m."""
    s = round(seconds)
    return (
        f"{s}s"
        if s < 60
        else f"{s // 60}m{s % 60:02d}s"
        if s < 3600
        else f"{s // 3600}h{s % 3600 // 60:02d}m"
    )
