"""A group: ordinary runs of one training with different seeds in one folder, and their combined result."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from swingup.errors import InputError
from swingup.runs.run import Run
from swingup.runs.statistics import expanded, interval, iqm

Mode = Literal["auto", "process", "vmap"]


def mode_of(word: str) -> Mode:
    """`word` as a mode; InputError where it is none."""
    for mode in get_args(Mode):
        if word == mode:
            return mode
    raise InputError(
        f"--seeds-mode {word}: expected {', '.join(get_args(Mode)[:-1])} or {get_args(Mode)[-1]}"
    )


class Group:
    """A group's folder: `runs` in the order of their seeds, `result` over those that have finished."""

    def __init__(
        self, folder: str | Path, env: Any = None, seconds: float = 0.0, failed: dict[int, str] | None = None
    ):
        self.folder, self.env, self.seconds, self.failed = Path(folder), env, seconds, failed or {}
        try:
            self.about = json.loads((self.folder / "group.json").read_text())
            self.seeds = [int(seed) for seed in self.about["seeds"]]
            self.mode: Mode = mode_of(self.about["mode"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.folder / 'group.json'}: cannot be read ({error}); is it the folder of a group?"
            ) from error

    def __repr__(self) -> str:
        return f"Group({str(self.folder)!r})"

    def path(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.folder / f"seed-{seed}"

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of their seeds."""
        return [Run(self.path(seed), self.env) for seed in self.seeds]

    @property
    def unfinished(self) -> list[int]:
        """Seeds whose runs have no closing evaluation yet."""
        return [seed for seed in self.seeds if not (self.path(seed) / "result.json").exists()]

    @property
    def result(self) -> dict[str, Any]:
        """The closing results as JSON values: what `--json` prints."""
        results = {seed: run.result for seed, run in zip(self.seeds, self.runs, strict=True)}
        means = {seed: result["mean"] if result else None for seed, result in results.items()}
        failed = {"failed": {str(k): v for k, v in self.failed.items()}} if self.failed else {}
        return {**summary(means), **failed, "seconds": round(self.seconds, 2), "run": str(self.folder)}


def summary(means: dict[int, float | None]) -> dict[str, Any]:
    """Each seed's mean return, their interquartile mean and its bootstrap interval as in `compare`."""
    there = np.array([mean for mean in means.values() if mean is not None])
    ends = interval(there, expanded(len(there))) if len(there) > 1 else None
    return {
        "iqm": float(iqm(there)) if len(there) else None,
        "ci95": [float(end) for end in ends] if ends else None,
        "seeds": {str(seed): mean for seed, mean in means.items()},
    }


def is_group(folder: Path) -> bool:
    """Whether the folder is that of a group."""
    return (folder / "group.json").is_file()


def evaluate(
    group: Group, episodes: int, seed: int | None, best: bool, within: float | None
) -> dict[str, Any]:
    """Evaluate every seed's policy, as `Run.evaluate` does; the result has the form of `Group.result`."""
    started = time.monotonic()
    means: dict[int, float | None] = {
        run.config.seed: run.evaluate(episodes, seed, best, within).mean for run in group.runs
    }
    return {**summary(means), "seconds": round(time.monotonic() - started, 2), "run": str(group.folder)}
