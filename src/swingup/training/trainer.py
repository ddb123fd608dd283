"""The training loop."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

from swingup.errors import Diverged, EnvFault
from swingup.training.signals import Interrupted, StopRequest

if TYPE_CHECKING:
    from swingup.loops.base import Loop
    from swingup.loops.evaluation import Evaluation
    from swingup.reports.callback import RunContext
    from swingup.training.callbacks import Callbacks
    from swingup.training.checkpointer import Checkpointer
    from swingup.training.evaluator import Evaluator
    from swingup.training.schedule import Schedule


class Training(NamedTuple):
    """The parts of a run."""

    loop: Loop
    schedule: Schedule
    callbacks: Callbacks
    evaluator: Evaluator
    checkpointer: Checkpointer
    stop: StopRequest


def train_loop(run: Training) -> Generator[None, None, Evaluation | None]:
    """Collect, learn, call the callbacks, evaluate and save, until the budget is spent or a stop is asked.

    Returns the closing evaluation, or None if a signal interrupted the run. A generator that pauses before
    each computation, so that several runs of one process can take turns.
    """
    loop, schedule, callbacks, evaluator, checkpointer, stop = run
    if (
        evaluator.interrupted
        and not stop.asked
        and schedule.evaluation_due(loop.steps - loop.plan.rows, loop)
        and evaluator.env is not None
    ):
        evaluator.evaluate()  # repeats an interrupted one; a closing one is repeated below
        if schedule.save_due(loop.steps - loop.plan.rows, loop) or evaluator.best_step == loop.steps:
            checkpointer.save()
    while not schedule.is_over(loop):
        if loop.settled:
            if stop.asked:
                break
            yield
        before = loop.steps
        loop.end = schedule.earliest_end(loop)
        callbacks.on_iteration(loop.step(ahead=not stop.asked))
        if evaluator.due(schedule.evaluation_due(before, loop)):
            if schedule.save_due(before, loop):
                # A fault in the evaluation must not cost the checkpoint.
                checkpointer.save(before_evaluation=True, tell=False)
            evaluator.evaluate()
        if schedule.save_due(before, loop) or evaluator.best_step == loop.steps:
            # The last one is saved before the closing evaluation; a longer run has an ordinary one there.
            checkpointer.save(before_evaluation=schedule.is_over(loop))
    if stop.interrupted:
        return None
    if stop.reason and checkpointer.step != loop.steps:
        checkpointer.save()  # a run that is killed from here on still stops at this step
    return evaluator.evaluate_final()


def train(run: Training, context: RunContext) -> Generator[None, None, Evaluation | None]:
    """`train_loop`; saves the last policy in any case, and a checkpoint if the run was interrupted."""
    loop, folder, evaluation = run.loop, run.evaluator.folder, None
    try:
        run.callbacks.tell("on_start", context)
        evaluation = yield from train_loop(run)
    except (EnvFault, Diverged, KeyboardInterrupt) as error:
        error.add_note(f"the policy of step {loop.steps} is in {folder}")
        raise
    except Interrupted:
        pass
    except Exception as error:
        if error is run.callbacks.error:
            save_after_callback_failed(run, error)
        raise
    finally:
        run.evaluator.save_policy("last")
    if evaluation is None:
        run.checkpointer.save()
    return evaluation


def save_after_callback_failed(run: Training, error: Exception) -> None:
    """Save a checkpoint of a run that a user's callback has ended by an error."""
    while not run.loop.settled:  # iterations already computed belong into the logs and the checkpoint
        run.callbacks.on_iteration(run.loop.step(ahead=False), users=False)
    run.checkpointer.save()
    error.add_note(
        f"a callback failed; policy and checkpoint of step {run.loop.steps} are in {run.evaluator.folder}"
    )
