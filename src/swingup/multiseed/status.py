"""The status of one seed of a group, and the callback that updates it while the seed's run trains."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swingup.errors import Diverged, EnvFault, InputError
from swingup.loops.evaluation import Evaluation
from swingup.reports.callback import Callback
from swingup.runs.run import Run

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
from swingup.storage.checkpoint_reader import Unloadable

# Seconds between two updates of a status.
EVERY = 0.2

State = Literal["waiting", "starting", "training", "done", "stopped", "failed"]


@dataclass
class SeedStatus:
    """A seed, the folder of its run, and its progress.

    ret: mean return of the last ten training episodes; greedy: mean of the last evaluation, made at step
    `evaluated`; speed: environment steps per second; error: why it failed.
    """

    seed: int
    folder: Path
    state: State = "waiting"
    steps: int = 0
    ret: float | None = None
    greedy: float | None = None
    evaluated: int = 0
    speed: float | None = None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """The fields that change, as JSON values."""
        return {k: v for k, v in asdict(self).items() if k not in ("seed", "folder")}

    def update(self, row: dict[str, Any]) -> None:
        """Set the fields in `row`."""
        for name, value in row.items():
            setattr(self, name, value)

    def set_ended(self, run: Run) -> None:
        """Record how its run ended."""
        result = run.result
        self.state, self.speed = ("failed" if run.lost else "done" if result else "stopped"), None
        self.error = run.lost
        if result:
            self.steps, self.greedy = result["steps"], result["mean"]

    def set_failed(self, error: BaseException) -> None:
        """Record what ended its run; an unexpected error also leaves its traceback on stderr."""
        self.state, self.speed = ("stopped" if isinstance(error, KeyboardInterrupt) else "failed"), None
        known = isinstance(error, (InputError, EnvFault, Diverged, Unloadable, KeyboardInterrupt))
        self.error = str(error) if known else f"{type(error).__name__}: {error}"
        if not known:
            traceback.print_exception(error)


class StatusCallback(Callback):
    """Keeps a seed's status up to date while its run trains; changed: called after each update."""

    def __init__(self, seed: SeedStatus, changed: Callable[[], None] = lambda: None):
        self.seed, self.changed, self.next = seed, changed, 0.0
        self.recent: deque[float] = deque(maxlen=10)
        self.past: deque[tuple[float, int]] = deque(maxlen=50)  # time and steps, of the last ten seconds

    def on_iteration(self, result: IterationResult) -> None:
        self.recent.extend(e.ret for e in result.episodes)
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + EVERY
        seed, ret = self.seed, self.recent
        self.past.append((now, result.step))
        (since, first), seed.state, seed.steps = self.past[0], "training", result.step
        seed.ret = sum(ret) / len(ret) if ret else None
        seed.speed = (result.step - first) / (now - since) if now > since else None
        self.changed()

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.seed.steps, self.seed.evaluated, self.seed.greedy = step, step, evaluation.mean
        self.changed()


class SeedConsole:
    """A console that passes each line on with the seed whose run printed it."""

    def __init__(self, seed: SeedStatus, say: Callable[[SeedStatus, str], None]):
        self.seed, self.say = seed, say

    def print(self, text: str) -> None:
        """Pass on a line of the seed's run."""
        self.say(self.seed, text)
