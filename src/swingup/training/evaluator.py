"""The evaluator: greedy evaluations, the best and the last policy, and the restore after a collapse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.core.named_arrays import flatten_named, unflatten_named
from swingup.loops.evaluation import Evaluation, collapsed, evaluate_policy
from swingup.reports.wording import number
from swingup.storage.policy_file import save_policy

if TYPE_CHECKING:
    from swingup.core.agent import Learner
    from swingup.envs.api import VectorEnv
    from swingup.loops.base import Loop
    from swingup.storage.disk import WriteGuard
    from swingup.training.callbacks import Callbacks
    from swingup.training.schedule import Schedule
    from swingup.training.signals import StopRequest


class Evaluator:
    """Evaluates a loop's policy and keeps policy/best.safetensors and policy/last.safetensors in `folder`.

    restore_after_collapse: whether to restore the weights of the best evaluation if a later one is
    significantly worse; remark: called with (name, text, step) when that happens.
    """

    def __init__(
        self,
        loop: Loop,
        env: VectorEnv,
        seed: int,
        folder: Path,
        schedule: Schedule,
        callbacks: Callbacks,
        stop: StopRequest,
        guard: WriteGuard,
        *,
        restore_after_collapse: bool = False,
        remark: Callable[[str, str, int], None],
    ):
        self.loop, self.env, self.seed, self.folder, self.schedule = loop, env, seed, folder, schedule
        self.callbacks, self.stop, self.guard, self.remark = callbacks, stop, guard, remark
        self.restore_after_collapse = restore_after_collapse
        self.best: Evaluation | None = None
        self.best_step = -1
        self.best_learner: Learner | None = None  # only with restore_after_collapse
        self.interrupted = False  # whether an evaluation of this step was started and not finished

    def evaluate(self, episodes: int | None = None, within: float | None = None) -> Evaluation:
        """Evaluate the current policy, call the callbacks, and keep the policy if it is the best."""
        step, episodes = self.loop.steps, episodes or self.schedule.eval_episodes
        self.interrupted = True
        policy, check = self.loop.policy(), self.stop.raise_if_interrupted
        evaluation = evaluate_policy(policy, self.env, episodes, self.seed, within, check)
        self.interrupted = False
        self.callbacks.tell("on_evaluation", step, evaluation)
        if self.best is None or evaluation.mean > self.best.mean:
            self.best, self.best_step = evaluation, step
            self.save_policy("best")
            self.best_learner = self.loop.learner() if self.restore_after_collapse else None
        elif self.best_learner is not None and self.has_collapsed(evaluation):
            self.loop.set_learner(self.best_learner)
            means = f"{number(evaluation.mean)} is significantly below the best, {number(self.best.mean)}"
            self.remark("guard", f"{means}; back to its weights", step)
        self.save_policy("last")
        return evaluation

    def evaluate_final(self) -> Evaluation:
        """The closing evaluation; if it shows a collapse, that of the restored weights."""
        episodes, within = self.schedule.final_episodes, self.schedule.within
        reason = self.stop.reason
        evaluation = self.evaluate(episodes, within)
        if self.has_collapsed(evaluation):
            evaluation = self.evaluate(episodes, within)
        self.stop.reason = reason  # a callback that asks for a stop now has nothing left to stop
        return evaluation

    def has_collapsed(self, evaluation: Evaluation) -> bool:
        return self.best_learner is not None and self.best is not None and collapsed(self.best, evaluation)

    def save_policy(self, name: str) -> None:
        path = self.folder / "policy" / f"{name}.safetensors"
        self.guard(lambda: save_policy(path, self.loop.policy()), f"policy/{path.name}")

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What must survive a resume: arrays, and values that JSON can hold."""
        learner = flatten_named(self.best_learner) if self.best_learner is not None else {}
        best = None if self.best is None else [self.best.returns, self.best.lengths]
        values = {"interrupted": self.interrupted, "best": best}
        stopped = {"stopped": self.stop.reason} if self.stop.reason else {}
        return {f"best{k}": v for k, v in learner.items()}, values | stopped

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """Restore what `state` returned; InputError, ValueError, TypeError or LookupError if it cannot."""
        if type(values["interrupted"]) is not bool:
            raise TypeError("interrupted")
        best = None
        if values["best"] is not None:
            returns, lengths = [float(x) for x in values["best"][0]], [int(x) for x in values["best"][1]]
            if not returns or len(returns) != len(lengths):
                raise ValueError("best")
            best = Evaluation(tuple(returns), tuple(lengths))
        learner = {k.removeprefix("best"): v for k, v in arrays.items() if k.startswith("best")}
        self.best_learner = unflatten_named(self.loop.learner(), learner) if learner else None
        self.best, self.interrupted = best, values["interrupted"]
        self.stop.end(str(values.get("stopped", "")))  # what remains is its closing evaluation
