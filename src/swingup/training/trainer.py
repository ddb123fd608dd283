"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

from swingup.config.settings import Config
from swingup.errors import Diverged, EnvFault
from swingup.loops.evaluation import Evaluation
from swingup.training.signals import Interrupted, Stop

if TYPE_CHECKING:
    from swingup.training.checkpointer import Keeper


def finish(config: Config, keeper: Keeper, stop: Stop) -> Generator[None, None, Evaluation | None]:
    """Tick until the budget is spent, evaluating and saving on the way; keeps the policy whatever happens. None if interrupted.

    Pauses where the next tick is not there yet but has to be computed.
    """
    loop = keeper.loop
    try:
        # Not where it was the closing evaluation that did not end: that one is made anew below.
        if keeper.pending and not stop.asked and due(config, keeper, loop.steps - loop.plan.rows):
            keeper.evaluate(loop.steps, config.eval_episodes)
        while not over(config, keeper) and not (stop.asked and loop.settled):
            if loop.settled:
                yield
            loop.end = end(config, keeper)
            before, tick = loop.steps, loop.tick(ahead=not stop.asked)
            for report in keeper.reports:
                report.tick(tick)
            if due(config, keeper, before):
                keeper.evaluate(tick.step, config.eval_episodes)
            if (
                passed(config.save_every or config.eval_every, before, tick.step)
                or keeper.improved == tick.step
                or over(config, keeper)
            ):
                keeper.save()
        if not stop.asked:
            return keeper.conclude(loop.steps)
    except (EnvFault, Diverged, KeyboardInterrupt) as error:
        error.add_note(f"the policy of step {loop.steps} is in {keeper.folder}")
        raise
    except Interrupted:
        pass
    finally:
        keeper.save_policy("last")
    if not keeper.save():
        keeper.logs.warn(f"warning: step {loop.steps:,} could not be saved; the run can only go on from the checkpoint before it")
    return None


def end(config: Config, keeper: Keeper) -> int:
    """The step at which the budget may be spent at the earliest: any step may end an episode."""
    if config.episodes is None:
        return config.steps
    # Seeds that share a program move on together, however many episodes each of them has left.
    left = config.episodes - keeper.logs.episodes if keeper.loop.lanes == 1 else keeper.loop.plan.rows
    return min(keeper.loop.steps + left, config.steps)


def over(config: Config, keeper: Keeper) -> bool:
    """Whether the budget is spent."""
    return keeper.loop.steps >= config.steps or keeper.logs.episodes >= (config.episodes or math.inf)


def due(config: Config, keeper: Keeper, before: int) -> bool:
    """Whether an evaluation is, after the steps since `before`; the last step has the closing one instead."""
    return passed(config.eval_every, before, keeper.loop.steps) and not over(config, keeper)


def passed(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]."""
    return step // every > before // every
