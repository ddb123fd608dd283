"""Relabels the transitions of the host loop: the newest rows, and the goals that they achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swingup.core.hindsight import Hindsight, beside, choose_goals, goal_of, relabel, unchanged
from swingup.types import Layout

if TYPE_CHECKING:
    from swingup.envs.goals import Goals


class Relabeller:
    """Adds relabelled rows to the rows of N environments (`core.hindsight`).

    lag: time steps after which a row is relabelled. `line[lag, N, W]` holds the rows since then, as a ring;
    `time`: time steps so far.
    """

    def __init__(self, hindsight: Hindsight, goals: Goals, layout: Layout, n: int, seed: int, block: int):
        self.hindsight, self.goals, self.layout, self.seed = hindsight, goals, layout, seed
        self.line = np.zeros((hindsight.lag(block), n, layout.width), np.float32)
        self.time = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """A time step's rows[N, W], with relabelled rows of an earlier one: [N * (1 + R), W]."""
        at = self.time % len(self.line)
        more = (
            unchanged(self.hindsight, self.layout, rows)
            if self.time < len(self.line)
            else self.relabelled(self.time - len(self.line))
        )
        self.line[at] = rows
        self.time += 1
        return beside(rows, more)

    def relabelled(self, time: int) -> np.ndarray:
        """The rows of time step `time`, the oldest that is held, relabelled: [N, R, W]."""
        h, held = self.hindsight, len(self.line)
        last = self.layout.unpack(self.line).last[(time + np.arange(h.limit)) % held]
        ahead, final = choose_goals(h, last, np.int64(time), self.seed)
        env = np.arange(self.line.shape[1])[:, None]
        goal = goal_of(h, self.layout, self.line[(time + ahead) % held, env])
        rows = self.line[time % held]
        came_to = np.repeat(goal_of(h, self.layout, rows), h.relabel, axis=0)
        reward, terminated = self.goals.judge(came_to, goal.reshape(-1, h.size))
        per_env = (len(rows), h.relabel)
        over = None if terminated is None else terminated.reshape(per_env)
        return relabel(h, self.layout, rows, goal, reward.reshape(per_env), over, final)

    def restore(self, ring: np.ndarray, added: int, lost: np.ndarray) -> None:
        """Take the newest rows from a saved replay[C, N * (1 + R), W]; lost[N]: episodes that end there."""
        self.time, held = added, len(self.line)
        times = np.arange(max(added - held, 0), added)
        self.line[times % held] = ring[times % len(ring), :: self.hindsight.copies]
        if added:
            self.layout.unpack(self.line[(added - 1) % held]).last[lost] = 1

    def clear(self) -> None:
        """Begin again with no rows, as replay does."""
        self.time = 0
