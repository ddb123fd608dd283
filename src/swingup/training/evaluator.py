"""The evaluator: greedy evaluations, the best and the last policy, and the restore after a collapse."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.core.named_arrays import flatten_named, unflatten_named
from swingup.loops.evaluation import ENDLESS, Evaluation, collapsed, evaluate, evaluate_policy
from swingup.reports.callback import Callback
from swingup.reports.wording import number
from swingup.storage.policy_file import save_policy

if TYPE_CHECKING:
    from swingup.core.agent import Learner
    from swingup.core.policy import Policy
    from swingup.loops.base import Loop
    from swingup.storage.disk import WriteGuard
    from swingup.training.callbacks import Callbacks
    from swingup.training.environments import Environments
    from swingup.training.schedule import Schedule
    from swingup.training.signals import StopRequest
    from swingup.types import Episode


class LastEpisodes(Callback):
    """The last training episodes, which stand for an evaluation where there is none."""

    def __init__(self, count: int):
        self.episodes: deque[tuple[float, int]] = deque(maxlen=count)

    def on_episode(self, episode: Episode) -> None:
        self.episodes.append((episode.ret, episode.length))

    def state(self) -> dict[str, Any]:
        return {"episodes": [list(episode) for episode in self.episodes]}

    def restore(self, state: dict[str, Any]) -> None:
        self.episodes.extend((float(ret), int(length)) for ret, length in state["episodes"])


class Evaluator:
    """Evaluates a loop's policy and keeps policy/best.safetensors and policy/last.safetensors in `folder`.

    restore_after_collapse: whether to restore the weights of the best evaluation if a later one is
    significantly worse; remark: called with (name, text, step) when that happens. Environments that are
    shared with training are used where one of its episodes has just ended, and left as they were.
    """

    def __init__(
        self,
        loop: Loop,
        envs: Environments,
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
        self.loop, self.env, self.shared = loop, envs.evaluation, envs.shared
        self.seed, self.folder, self.schedule = seed, folder, schedule
        self.ends = self.env is None or self.env.known_limit is not None  # whether episodes are known to end
        self.trained = LastEpisodes(schedule.final_episodes)
        if self.env is None:
            callbacks.ours.append(self.trained)
        self.waiting = False  # whether an evaluation is due and its environment is in use
        self.callbacks, self.stop, self.guard, self.remark = callbacks, stop, guard, remark
        self.restore_after_collapse = restore_after_collapse
        self.best: Evaluation | None = None
        self.best_step = -1
        self.best_learner: Learner | None = None  # only with restore_after_collapse
        self.interrupted = False  # whether an evaluation of this step was started and not finished

    def due(self, now: bool) -> bool:
        """Whether to evaluate: it is due `now` or was before, and the environment is free for it."""
        self.waiting = (self.waiting or now) and self.env is not None
        if not self.waiting or (self.shared and not self.loop.between_episodes):
            return False
        self.waiting = False
        return True

    def evaluate(self, episodes: int | None = None, within: float | None = None) -> Evaluation:
        """Evaluate the current policy, call the callbacks, and keep the policy if it is the best."""
        assert self.env is not None
        step, episodes = self.loop.steps, episodes or self.schedule.eval_episodes
        self.interrupted = True
        policy, check = self.loop.policy(), self.stop.raise_if_interrupted
        if not self.ends:
            self.wait_for_an_end(policy)
        evaluation = evaluate_policy(policy, self.env, episodes, self.seed, within, check)
        if self.shared:
            self.loop.restore(self.loop.snapshot())  # its episode goes on where it was
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

    def wait_for_an_end(self, policy: Policy) -> None:
        """Play one episode, on one copy, where none has ended in training and no time limit is known.

        EnvFault if it does not end in time: ten copies would not, either.
        """
        assert self.env is not None
        loop = self.loop
        each = loop.steps // loop.plan.n
        if not loop.episodes:
            patience = min(ENDLESS, max(2_000, 10 * each))
            what = f"no episode has ended in {each:,} steps of training, and no time limit is known"
            self.remark(
                "endless",
                f"{what}; --episode-steps sets one (one is now played, to {patience:,} steps)",
                loop.steps,
            )
            evaluate(
                policy.act, self.env, 1, self.seed, pause=self.stop.raise_if_interrupted, endless=patience
            )
        self.ends = True

    def evaluate_final(self) -> Evaluation:
        """The closing evaluation; if it shows a collapse, that of the restored weights.

        Without environments to evaluate on, the last training episodes, which explored.
        """
        if self.env is None:
            played = self.trained.episodes
            return Evaluation(tuple(ret for ret, _ in played), tuple(length for _, length in played))
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
        values: dict[str, Any] = {"interrupted": self.interrupted, "best": best}
        values |= {"stopped": self.stop.reason} if self.stop.reason else {}
        values |= {"waiting": True} if self.waiting else {}
        return {f"best{k}": v for k, v in learner.items()}, values

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
        self.waiting = values.get("waiting", False) is True
