"""What is kept of a run while it goes: evaluations, the best and the last policy, checkpoints, and the way back to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swingup import checkpoint, runtime, store
from swingup.agent import Learner
from swingup.checkpoint import Checkpoint, Checkpoints
from swingup.config import Config
from swingup.envs.api import HostEnv
from swingup.errors import InputError
from swingup.evaluate import Evaluation, collapsed, evaluate_policy, replayable
from swingup.log import Logs
from swingup.loop import Loop, Snapshot, fill, named
from swingup.stop import Stop


class Keeper:
    """Evaluates the policy now and then, keeps the best and the last, saves checkpoints; where asked to, goes back after a collapse.

    reports: what looks on (`tick(tick)`, `evaluation(step, evaluation)`), the logs first; those are saved and restored too.
    """

    def __init__(self, config: Config, folder: Path, loop: Loop, env: HostEnv, logs: Logs, stop: Stop):
        self.config, self.folder, self.loop, self.env, self.logs, self.stop = config, folder, loop, env, logs, stop
        self.reports: list[Any] = [logs]
        self.best: Evaluation | None = None
        self.learner: Learner | None = None  # of the best evaluation, where collapses are guarded against
        self.improved = -1  # step of the best evaluation
        self.pending = False  # whether an evaluation of this very step was begun and not ended
        self.writer = Checkpoints(folder / "ckpt", config.keep, config.keep_every)
        self.exact = replayable(env, config.seed)
        self.warned = False

    @property
    def kind(self) -> str:
        """How a run goes on from a checkpoint: `exact`, or `episode-boundary` where an environment cannot be played again."""
        return "exact" if self.exact else "episode-boundary"

    @property
    def profile(self) -> dict[str, Any]:
        """What the bits depend on: the machine, and the seeds that share the program, if several do."""
        return runtime.profile(self.config.threads) | ({"lanes": self.loop.lanes} if self.loop.lanes > 1 else {})

    def evaluate(self, step: int, episodes: int, within: float | None = None) -> Evaluation:
        self.pending = True
        evaluation = evaluate_policy(self.loop.policy(), self.env, episodes, self.config.seed, within, self.stop.check)
        self.pending = False
        for report in self.reports:
            report.evaluation(step, evaluation)
        if self.best is None or evaluation.mean > self.best.mean:
            self.best, self.improved = evaluation, step
            self.save_policy("best")
            self.learner = self.loop.learner() if self.config.guard_collapse else None
        elif self.learner is not None and self.fallen(evaluation):
            self.loop.restore(self.learner)
            best = "" if self.best is None else f", {self.best.mean:,.1f}"
            self.logs.rollback(step, f"{evaluation.mean:,.1f} is significantly below the best{best}; back to its weights")
        self.save_policy("last")
        return evaluation

    def conclude(self, step: int) -> Evaluation:
        """The closing evaluation, of the weights that stay: after a collapse, of those gone back to."""
        episodes, within = self.config.final_episodes, self.config.within
        evaluation = self.evaluate(step, episodes, within)
        return self.evaluate(step, episodes, within) if self.fallen(evaluation) else evaluation

    def fallen(self, evaluation: Evaluation) -> bool:
        return self.learner is not None and self.best is not None and collapsed(self.best, evaluation)

    def save_policy(self, name: str) -> None:
        self.guard(lambda: store.save_policy(self.folder / "policy" / f"{name}.safetensors", self.loop.policy()))

    def save(self) -> bool:
        """A checkpoint of this very moment; whether the disk took it. A disk that refuses costs one warning, not the run."""
        saved, (health, logs) = self.loop.snapshot(), self.logs.saved()
        best = {f"best{k}": v for k, v in named(self.learner).items()} if self.learner is not None else {}
        about = {
            "class": self.kind,
            "pending": self.pending,
            "profile": self.profile,
            "logs": logs,
            "best": None if self.best is None else [self.best.returns, self.best.lengths],
        }
        tensors = saved.tensors | health | best
        return self.guard(
            lambda: self.writer.save(self.loop.steps, tensors, saved.ring, saved.head, about, self.improved == self.loop.steps)
        )

    def resume(self, saved: Checkpoint, exactly: bool = False) -> str:
        """Become what was saved; returns the class of it.

        `exact`: from here on the bits of an uninterrupted run; `episode-boundary`: an environment came back differently and has
        begun a new episode; either "on another machine" where the rounding of its programs may differ. With `exactly`
        InputError for all but the first.
        """
        if saved.ring is None:
            raise InputError(f"{saved.path}: holds no replay; it was not saved by swingup train")
        odd = differences(saved.about["profile"], self.profile)
        if odd and exactly:
            raise InputError(f"{saved.path}: {'; '.join(odd)}; resume as it was, or without --require-exact")
        for line in odd:
            self.logs.warn(f"warning: {line}, so the last bits of a sum may differ from an uninterrupted run's")
        self.pending = bool(saved.about["pending"])
        same = self.loop.resume(Snapshot(saved.tensors, saved.ring, saved.head))
        self.logs.resume(saved.step, saved.tensors, saved.about["logs"])
        if saved.about["best"] is not None:
            self.best = Evaluation(*(tuple(x) for x in saved.about["best"]))
        best = {k.removeprefix("best"): v for k, v in saved.tensors.items() if k.startswith("best")}
        self.learner = fill(self.loop.state.learner, best) if best else None
        if exactly and not same:
            raise InputError(f"{saved.path}: {self.config.env} did not come back to the same bits; resume without --require-exact")
        kind = "exact" if same else "episode-boundary"
        return f"{kind}, but on another machine" if odd else kind

    def guard(self, write: Any) -> bool:
        """Whether a write went through; the first that does not is told."""
        try:
            write()
        except OSError as error:
            if not self.warned:
                self.warned = True
                self.logs.warn(f"warning: {error.filename or self.folder}: {error.strerror or error}; not saved, training goes on")
            return False
        return True

    def close(self) -> None:
        self.writer.close()


def newest(folder: Path, warn: Any) -> Checkpoint | None:
    """The newest whole checkpoint of a run; None where none was saved yet."""
    place = folder / "ckpt"
    return checkpoint.load(place, warn=warn) if place.is_dir() and checkpoint.steps(place) else None


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The machine then and now, field by field where they differ."""
    return [f"{k} was {saved.get(k)}, is {now.get(k)}" for k in sorted(saved.keys() | now.keys()) if saved.get(k) != now.get(k)]
