"""The checkpointer: saves the complete state of a run, and restores it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swingup.config.settings import Config
from swingup.errors import InputError
from swingup.loops.base import Snapshot
from swingup.storage import checkpoint_reader
from swingup.storage.checkpoint_reader import Checkpoint, Unloadable
from swingup.storage.manifest import checkpoint_path

if TYPE_CHECKING:
    from swingup.loops.base import Loop
    from swingup.storage.checkpoint_writer import Checkpoints
    from swingup.storage.disk import WriteGuard
    from swingup.training.callbacks import Callbacks
    from swingup.training.evaluator import Evaluator


# Settings that change nothing of what a run learns, or whose change is what a resume is asked for.
UNLEARNT = {
    "steps",
    "episodes",
    "episode_lines",
    "callback",
    "stop_return",
    "patience",
    "keep",
    "keep_every",
    "final_episodes",
    "within",
    "workers",
    "threads",
    "save_every",
}


def learnt(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what a run learns, as JSON gives them back."""
    return json.loads(json.dumps({k: v for k, v in settings.items() if k not in UNLEARNT}))


DEFAULTS = learnt(dataclasses.asdict(Config()))


class Checkpointer:
    """Saves loop, evaluator and callbacks as checkpoints, and restores them.

    can_restore_episodes: whether running episodes come back bit for bit; profile: what the bits depend on
    besides seed and settings (`runtime.profile`).
    """

    def __init__(
        self,
        writer: Checkpoints,
        loop: Loop,
        evaluator: Evaluator,
        callbacks: Callbacks,
        guard: WriteGuard,
        warn: Callable[[str], None],
        *,
        can_restore_episodes: bool,
        profile: dict[str, Any],
        settings: dict[str, Any],
    ):
        self.writer, self.loop, self.evaluator, self.callbacks = writer, loop, evaluator, callbacks
        self.guard, self.warn = guard, warn
        self.kind = "exact" if can_restore_episodes else "episode-boundary"
        shared = {"seeds_in_program": loop.seeds_in_program} if loop.seeds_in_program > 1 else {}
        self.profile = profile | shared
        self.settings = learnt(settings)
        self.announced = False
        self.step: int | None = None  # of the newest checkpoint

    def save(self, before_evaluation: bool = False, tell: bool = True) -> bool:
        """Save a checkpoint of the current step; whether that worked: a disk error is only a warning.

        before_evaluation: an evaluation of this step follows, which a run that resumes here must make, too;
        tell: whether callbacks hear of it, or of another one that is saved after the evaluation.
        """
        step, saved = self.loop.steps, self.loop.snapshot()
        arrays, evaluator = self.evaluator.state()
        evaluator["interrupted"] |= before_evaluation
        logged, callbacks = self.callbacks.state()
        about = {"class": self.kind, "profile": self.profile, "settings": self.settings}
        about |= {"evaluator": evaluator, "callbacks": callbacks}
        tensors, is_best = saved.tensors | arrays | logged, self.evaluator.best_step == step
        write = lambda: self.writer.save(step, tensors, saved.ring, saved.added, about, is_best)
        if not self.guard(write, "checkpoint"):
            return False
        self.step = step
        if not self.announced:
            self.announced = True
            how = "to the same bits" if self.kind == "exact" else "with a new episode"
            what = f"from here on `swingup resume` continues an interrupted run {how} ({self.kind})"
            self.warn(f"first checkpoint at step {step:,}: {what}")
        if tell:
            self.callbacks.tell("on_checkpoint", step, checkpoint_path(self.writer.folder, step))
        return True

    def restore(self, saved: Checkpoint, require_exact: bool = False) -> str:
        """Restore a checkpoint; returns how the run continues from there.

        `exact`: bit for bit as without an interruption; `episode-boundary`: an environment came back
        differently and has started a new episode; either "on another machine" if the rounding of its programs
        may differ; `weights-only`: the checkpoint was read without its replay. With require_exact, InputError
        for all but the first.
        """
        about = saved.about
        self.announced = True  # the run that saved it said so
        odd = differences(mapping(saved, about, "profile"), self.profile)
        # A setting that did not exist when the checkpoint was made had what is now its default.
        changed = differences(DEFAULTS | mapping(saved, about, "settings"), self.settings)
        if (odd or changed) and require_exact:
            every = "; ".join([*changed, *odd])
            raise InputError(f"{saved.path}: {every}; resume as it was, or without --require-exact")
        for line in odd:
            self.warn(f"warning: {line}, so the last bits of a sum may differ from an uninterrupted run's")
        for line in changed:
            self.warn(
                f"warning: the setting {line} since the checkpoint; training goes on with the new value"
            )
        try:
            exact = self.loop.restore(Snapshot(saved.tensors, saved.ring, saved.added))
            exact &= self.kind == "exact"  # an episode that has just begun shows no difference yet
            if changed and self.loop.steps != saved.step:  # iterations of another length
                what = f"the setting {'; '.join(changed)} since the checkpoint"
                raise InputError(f"{saved.path}: {what}; resume as it was")
            if self.loop.steps != saved.step:
                raise ValueError(f"it counts {self.loop.steps} steps")
            if require_exact and not exact:
                what = f"{self.loop.spec.env} did not come back to the same bits"
                raise InputError(f"{saved.path}: {what}; resume without --require-exact")
            self.evaluator.restore(saved.tensors, mapping(saved, about, "evaluator"))
            self.callbacks.restore(saved.tensors, mapping(saved, about, "callbacks"))
            self.step = saved.step
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise foreign(saved, error) from error
        if not exact:
            self.kind = "episode-boundary"  # what has shown that it does not come back is not promised again
        if saved.ring is None:
            return (
                "weights-only; replay and the running episodes are gone, learning goes on after a new warm-up"
            )
        but = ["with other settings"] * bool(changed) + ["on another machine"] * bool(odd)
        kind = "exact" if exact else "episode-boundary"
        return f"{kind}, but {' and '.join(but)}" if but else kind

    def lost(self) -> str:
        """What could not be saved at the end of the run, in one line; empty if everything is on the disk."""
        if not self.guard.lost:
            return ""
        what = ", ".join(f"{name} ({why})" for name, why in self.guard.lost.items())
        there = self.step is not None
        newest = f"the newest checkpoint is of step {self.step:,}" if there else "there is no checkpoint"
        return f"{self.evaluator.folder}: not saved: {what}; {newest}"


def mapping(saved: Checkpoint, about: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a checkpoint's metadata, its type checked: the checksum does not prove who wrote it."""
    found = about.get(name)
    if type(found) is not dict:
        raise foreign(saved, TypeError(name))
    return found


def foreign(saved: Checkpoint, error: Exception) -> InputError:
    why = f"{type(error).__name__}: {' '.join(str(error).split())!s:.100}"
    fix = "remove that folder, or restore it from a backup"
    return InputError(f"{saved.path}: not what swingup train saves ({why}); {fix}")


def newest(folder: Path, warn: Callable[[str], None], replay: bool = True) -> Checkpoint | None:
    """A run's newest whole checkpoint; None before the first. replay: whether replay must be whole, too."""
    where = folder / "ckpt"
    if not where.is_dir() or not checkpoint_reader.steps(where):
        return None
    try:
        return checkpoint_reader.load(where, warn=warn, replay=replay)
    except Unloadable as error:
        if replay and weights_are_whole(where):
            way = "its weights are whole: --weights-only goes on with them and a new replay"
            raise Unloadable(f"{error}; {way}") from error
        raise


def weights_are_whole(where: Path) -> bool:
    """Whether some checkpoint has whole weights, even if its replay is damaged."""
    try:
        return bool(checkpoint_reader.load(where, warn=lambda line: None, replay=False))
    except InputError:
        return False


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The fields of two profiles that differ, each as a sentence."""
    names = sorted(saved.keys() | now.keys())
    return [f"{k} was {saved.get(k)}, is {now.get(k)}" for k in names if saved.get(k) != now.get(k)]
