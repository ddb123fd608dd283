"""What is kept of a run while it goes: evaluations, the best and the last policy, checkpoints, and the way back to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from swingup import runtime
from swingup.config.settings import Config
from swingup.core.agent import Learner
from swingup.core.pytrees import fill, named
from swingup.envs.api import HostEnv
from swingup.errors import InputError
from swingup.loops.base import Loop, Snapshot
from swingup.loops.evaluation import Evaluation, collapsed, evaluate_policy, replayable
from swingup.reports.metrics_logger import Logs
from swingup.storage import checkpoint_reader, policy_file
from swingup.storage.checkpoint_reader import Checkpoint, Unloadable
from swingup.storage.checkpoint_writer import Checkpoints
from swingup.training.signals import Stop


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
        self.warned = self.told = False

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
        self.guard(lambda: policy_file.save_policy(self.folder / "policy" / f"{name}.safetensors", self.loop.policy()))

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
        done = self.guard(
            lambda: self.writer.save(self.loop.steps, tensors, saved.ring, saved.head, about, self.improved == self.loop.steps)
        )
        if done and not self.told:
            self.told = True
            self.logs.warn(f"first checkpoint at step {self.loop.steps:,}; the way back from it: {self.kind}")
        return done

    def resume(self, saved: Checkpoint, exactly: bool = False) -> str:
        """Become what was saved; returns the class of it.

        `exact`: from here on the bits of an uninterrupted run; `episode-boundary`: an environment came back differently and has
        begun a new episode; either "on another machine" where the rounding of its programs may differ; `weights-only`: it was read
        without its replay. With `exactly` InputError for all but the first.
        """
        about = told(saved)
        odd = differences(about.profile, self.profile)
        if odd and exactly:
            raise InputError(f"{saved.path}: {'; '.join(odd)}; resume as it was, or without --require-exact")
        for line in odd:
            self.logs.warn(f"warning: {line}, so the last bits of a sum may differ from an uninterrupted run's")
        best = {k.removeprefix("best"): v for k, v in saved.tensors.items() if k.startswith("best")}
        try:
            same = self.enter(saved)
            self.learner = fill(self.loop.state.learner, best) if best else None
            if self.loop.steps != saved.step:
                raise ValueError(f"it counts {self.loop.steps} steps")
            if exactly and not same:
                raise InputError(
                    f"{saved.path}: {self.config.env} did not come back to the same bits; resume without --require-exact"
                )
            self.logs.resume(saved.step, saved.tensors, about.logs)
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise foreign(saved, error) from error
        self.pending, self.best = about.pending, about.best
        if saved.ring is None:
            return "weights-only; replay and the running episodes are gone, learning goes on after a new warm-up"
        kind = "exact" if same else "episode-boundary"
        return f"{kind}, but on another machine" if odd else kind

    def enter(self, saved: Checkpoint) -> bool:
        """Bring the loop to where it was; whether every bit of it is."""
        if saved.ring is None:
            prefix = ".state.learner"
            learner = {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
            begun = saved.tensors["host.begun" if "host.begun" in saved.tensors else ".begun"]
            self.loop.refill(fill(self.loop.state.learner, learner), saved.step // self.loop.plan.rows, begun)
            return False
        fits(saved.tensors, self.logs.saved()[0] | self.loop.snapshot().tensors)
        return self.loop.resume(Snapshot(saved.tensors, saved.ring, saved.head))

    def guard(self, write: Any) -> bool:
        """Whether a write went through; the first that does not is told."""
        try:
            write()
        except (OSError, InputError, MemoryError) as error:
            if not self.warned:
                self.warned = True
                where, why = getattr(error, "filename", None) or self.folder, getattr(error, "strerror", None) or error
                self.logs.warn(f"warning: {where}: {why}; not saved, training goes on")
            return False
        return True

    def close(self) -> None:
        self.writer.close()


class About(NamedTuple):
    """What a checkpoint says of the run besides its arrays."""

    pending: bool
    profile: dict[str, Any]
    logs: dict[str, Any]
    best: Evaluation | None


def told(saved: Checkpoint) -> About:
    """The caller's part of a manifest, checked: its seal says that nobody changed it by accident, not who wrote it."""
    about = saved.about
    try:
        profile, logs, best = about["profile"], about["logs"], about["best"]
        if type(about["pending"]) is not bool or type(profile) is not dict or type(logs) is not dict:
            raise TypeError("pending, profile or logs")
        if best is not None:
            returns, lengths = ([float(x) for x in best[0]], [int(x) for x in best[1]])
            if not returns or len(returns) != len(lengths):
                raise ValueError("best")
            best = Evaluation(tuple(returns), tuple(lengths))
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise foreign(saved, error) from error
    return About(about["pending"], profile, logs, best)


def foreign(saved: Checkpoint, error: Exception) -> InputError:
    why = f"{type(error).__name__}: {' '.join(str(error).split())!s:.100}"
    return InputError(f"{saved.path}: not what swingup train saves ({why}); remove that folder, or restore it from a backup")


# Whose first axis is as long as what they remember.
GROWING = ("host.journal.", "health.recent", "health.rewards")


def fits(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """ValueError where an array that is kept on the host is missing, or not of the shape and dtype that it has in this run."""
    for name, array in now.items():
        remembered = name.startswith("health.") and "health.recent" in saved and not name.startswith("health.finished.")
        if not (remembered or name.startswith("host.")):
            continue
        cut = int(name.startswith(GROWING))
        if (saved[name].dtype, saved[name].shape[cut:]) != (array.dtype, array.shape[cut:]) or saved[name].ndim != array.ndim:
            raise ValueError(f"{name} is {saved[name].dtype}{list(saved[name].shape)}")


def newest(folder: Path, warn: Any, replay: bool = True) -> Checkpoint | None:
    """The newest whole checkpoint of a run; None where none was saved yet. replay: whether that belongs to being whole."""
    place = folder / "ckpt"
    try:
        return (
            checkpoint_reader.load(place, warn=warn, replay=replay) if place.is_dir() and checkpoint_reader.steps(place) else None
        )
    except Unloadable as error:
        if replay and readable(place):
            raise Unloadable(f"{error}; its weights are whole: --weights-only goes on with them and a new replay") from error
        raise


def readable(place: Path) -> bool:
    """Whether there is a checkpoint whose weights are whole, if its replay is not."""
    try:
        return bool(checkpoint_reader.load(place, warn=lambda line: None, replay=False))
    except InputError:
        return False


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The machine then and now, field by field where they differ."""
    return [f"{k} was {saved.get(k)}, is {now.get(k)}" for k in sorted(saved.keys() | now.keys()) if saved.get(k) != now.get(k)]
