"""A group: ordinary runs of one training with different seeds in one folder, and their combined result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from swingup.core.custom_networks import Makers
from swingup.errors import InputError
from swingup.reports.wording import number
from swingup.runs.run import Run
from swingup.runs.statistics import ENOUGH, expanded, interval, iqm
from swingup.storage.run_folder import find_group, is_group, read_result
from swingup.storage.text_file import read_json

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
        self.folder, self.env, self.seconds, self.failed = find_group(folder), env, seconds, failed or {}
        self.about = read_about(self.folder / "group.json")
        self.seeds: list[int] = self.about["seeds"]
        self.mode: Mode = self.about["mode"]

    def __repr__(self) -> str:
        """The group in a line: folder, environment, seeds and what they reached."""
        what, done = (
            f"Group({str(self.folder)!r}: {self.about['env']}",
            len(self.seeds) - len(self.unfinished),
        )
        reached = f", interquartile mean {number(self.result['iqm'])}" if done else ""
        return f"{what}, {done} of {len(self.seeds)} seeds finished{reached})"

    def path(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.folder / f"seed-{seed}"

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of their seeds."""
        return [Run(self.path(seed), self.env) for seed in self.seeds]

    def plot(self, levels: Mapping[str, float] | None = None) -> Any:
        """The seeds' evaluations, thin, and their interquartile mean with its interval, as a figure.

        levels: named returns to compare with, such as published ones, drawn as labelled lines.
        """
        from swingup.reports.learning_curve import draw
        from swingup.runs.curves_over_seeds import learning_curve, single_seeds

        curve = learning_curve(self.runs)
        return draw(self.about["env"], [*single_seeds(self.runs), *([curve] if curve else [])], levels=levels)

    @property
    def unfinished(self) -> list[int]:
        """Seeds whose runs have no closing evaluation yet."""
        return [seed for seed in self.seeds if not read_result(self.path(seed))]

    @property
    def result(self) -> dict[str, Any]:
        """The closing results as JSON values: what `--json` prints."""
        results = {seed: run.result for seed, run in zip(self.seeds, self.runs, strict=True)}
        means = {seed: result["mean"] if result else None for seed, result in results.items()}
        failed = {"failed": {str(k): v for k, v in self.failed.items()}} if self.failed else {}
        return {**summary(means), **failed, "seconds": round(self.seconds, 2), "run": str(self.folder)}


def load(folder: str | Path, env: Any = None, networks: Makers | None = None) -> Run | Group:
    """Open the folder of a run or of a group, or a run from the Hugging Face Hub (`hf:owner/name`).

    env: the environment, where it was an object or a function. networks: the makers of the run's own
    networks, where they cannot be imported by name.
    """
    return Group(folder, env) if is_group(Path(folder)) else Run(folder, env, networks=networks)


def summary(means: dict[int, float | None]) -> dict[str, Any]:
    """Each seed's mean return, their interquartile mean and its bootstrap interval as in `compare`.

    ci95 is None for fewer than ENOUGH seeds, of which only the range can be said.
    """
    there = np.array([mean for mean in means.values() if mean is not None])
    ends = interval(there, expanded(len(there))) if len(there) >= ENOUGH else None
    return {
        "iqm": float(iqm(there)) if len(there) else None,
        "ci95": [float(end) for end in ends] if ends else None,
        "range": [float(there.min()), float(there.max())] if len(there) > 1 else None,
        "seeds": {str(seed): mean for seed, mean in means.items()},
    }


def read_about(path: Path) -> dict[str, Any]:
    """What group.json says, its environment, seeds and mode checked."""
    about = read_json(path)
    seeds = about.get("seeds")
    if type(about.get("env")) is not str:
        wrong = "env is not the id of an environment"
    elif about.get("mode") not in get_args(Mode):
        wrong = f"mode is none of {', '.join(get_args(Mode))}"
    elif type(seeds) is not list or not seeds or any(type(s) is not int or not 0 <= s < 2**32 for s in seeds):
        wrong = "seeds is not a list of seeds"
    elif len(set(seeds)) < len(seeds):
        wrong = "a seed is there twice"
    else:
        return about
    raise InputError(f"{path}: cannot be used ({wrong}); is {path.parent} the folder of a group?")


def evaluate(
    group: Group, episodes: int, seed: int | None, best: bool, within: float | None
) -> dict[str, Any]:
    """Evaluate every seed's policy, as `Run.evaluate` does; the result has the form of `Group.result`."""
    started = time.monotonic()
    means: dict[int, float | None] = {
        run.config.seed: run.evaluate(episodes, seed, best, within).mean for run in group.runs
    }
    return {**summary(means), "seconds": round(time.monotonic() - started, 2), "run": str(group.folder)}
