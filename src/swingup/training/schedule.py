"""When a run evaluates, saves and ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swingup.loops.base import Loop


@dataclass(frozen=True)
class Schedule:
    """A run's budget, in environment steps and training episodes (or None), and its intervals in steps.

    eval_episodes, final_episodes: episodes of an evaluation while training and of the closing one; within:
    see `loops.evaluation.evaluate_policy`.
    """

    steps: int
    episodes: int | None
    eval_every: int
    save_every: int
    eval_episodes: int
    final_episodes: int
    within: float | None

    def is_over(self, loop: Loop) -> bool:
        """Whether the budget is spent."""
        return loop.steps >= self.steps or loop.episodes >= (self.episodes or math.inf)

    def earliest_end(self, loop: Loop) -> int:
        """The earliest step at which the budget may be spent: any step may end an episode."""
        if self.episodes is None:
            return self.steps
        # Seeds in one program advance together by an iteration, however many episodes each has left.
        left = self.episodes - loop.episodes if loop.seeds_in_program == 1 else loop.plan.rows
        return min(loop.steps + left, self.steps)

    def evaluation_due(self, before: int, loop: Loop) -> bool:
        """Whether an evaluation is due after the steps since `before`, other than the closing one."""
        return passed(self.eval_every, before, loop.steps) and not self.is_over(loop)

    def save_due(self, before: int, loop: Loop) -> bool:
        """Whether a checkpoint is due after the steps since `before`."""
        return passed(self.save_every, before, loop.steps) or self.is_over(loop)


def passed(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]."""
    return step // every > before // every
