"""One seed of a group: its row in the table, and what keeps the row up to date."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from swingup.errors import Diverged, EnvFault, InputError
from swingup.loops.evaluation import Evaluation
from swingup.runs.run import Run
from swingup.storage.checkpoint_reader import Unloadable

# Seconds between two looks at a row.
EVERY = 0.2

State = Literal["waiting", "starting", "training", "done", "stopped", "failed"]


@dataclass
class Member:
    """A seed, the folder of its run, and how it is doing.

    ret: mean return of the last ten training episodes; greedy: mean of the last evaluation, made at step `seen`; speed: environment
    steps a second; error: why it failed.
    """

    seed: int
    folder: Path
    state: State = "waiting"
    steps: int = 0
    ret: float | None = None
    greedy: float | None = None
    seen: int = 0
    speed: float | None = None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """What changes of it, as JSON takes it."""
        return {k: v for k, v in asdict(self).items() if k not in ("seed", "folder")}

    def update(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            setattr(self, name, value)

    def ended(self, run: Run) -> None:
        """Take note of how its run ended."""
        result = run.result
        self.state, self.speed = ("done" if result else "stopped"), None
        if result:
            self.steps, self.greedy = result["steps"], result["mean"]

    def failed(self, error: BaseException) -> None:
        """Take note of what ended its run; anything that is nobody's fault but ours leaves a traceback on stderr."""
        self.state, self.speed = ("stopped" if isinstance(error, KeyboardInterrupt) else "failed"), None
        known = isinstance(error, (InputError, EnvFault, Diverged, Unloadable, KeyboardInterrupt))
        self.error = str(error) if known else f"{type(error).__name__}: {error}"
        if not known:
            traceback.print_exception(error)


class Watch:
    """Looks on while a run trains, as the bar would, and keeps its member's row; told: called when there is something new."""

    def __init__(self, member: Member, told: Callable[[], None] = lambda: None):
        self.member, self.told, self.next = member, told, 0.0
        self.recent: deque[float] = deque(maxlen=10)
        self.past: deque[tuple[float, int]] = deque(maxlen=50)  # time and steps, of the last ten seconds

    def tick(self, tick: Any) -> None:
        self.recent.extend(e.ret for e in tick.episodes)
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + EVERY
        member, ret = self.member, self.recent
        self.past.append((now, tick.step))
        (since, first), member.state, member.steps = self.past[0], "training", tick.step
        member.ret = sum(ret) / len(ret) if ret else None
        member.speed = (tick.step - first) / (now - since) if now > since else None
        self.told()

    def evaluation(self, step: int, e: Evaluation) -> None:
        self.member.steps, self.member.seen, self.member.greedy = step, step, e.mean
        self.told()

    def close(self) -> None:
        """Nothing to release."""
