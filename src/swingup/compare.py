"""`swingup compare A B`: whether B learnt better than A, over their seeds, and how surely.

`compare` gathers figures, `report` makes them JSON, `show` prints them. After Agarwal et al. (2108.13264): every seed,
intervals, and the probability of improvement instead of one mean against another.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import tyro

from swingup import store
from swingup.config import Config
from swingup.errors import InputError
from swingup.stats import draws, expanded, improvement, iqm, percentiles, welch

Metric = Literal["final", "best", "last-ten"]
Method = Literal["paired", "unpaired", "episodes"]

MEANING = {
    "final": "return of the closing evaluation",
    "best": "return of the best evaluation",
    "last-ten": "mean return of the last ten evaluations",
}

# How deep in a group its runs may lie.
DEPTH = 3

# Seeds a side from which a 95 % interval is about one: over n of them it cannot miss less often than 1 time in 2^(n - 1).
ENOUGH = 5

# Budgets that differ by less are the same: a run ends with the iteration in which its last step falls.
ALIKE = 1.01

# Settings that runs of one kind differ in, or that change nothing of what is learnt.
NEVER_MIND = {"env", "seed", "episode_lines"}


@dataclass(frozen=True)
class Compare:
    """Compare two runs, or two groups of runs that differ by seed: is B better than A?"""

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """A run's folder, or a folder that holds runs, one for each seed."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The same of what it is compared with."""
    metric: Metric = "final"
    """A run's figure: its closing evaluation, its best one, or the mean of its last ten."""
    json: bool = False
    """JSON on stdout, nothing else."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where there is nothing to tell one from."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Entry:
    """One run: its folder, seed and figure, after how many environment steps and evaluations."""

    run: str
    seed: int
    value: float
    steps: int
    evaluations: int


@dataclass(frozen=True)
class Side:
    """A or B: its runs in the order of their seeds, their mean and their interquartile mean."""

    folder: str
    runs: tuple[Entry, ...]
    mean: Estimate
    iqm: Estimate


@dataclass(frozen=True)
class Comparison:
    """All that `compare` found. difference: mean of B less mean of A; improvement: P(B > A), a tie counting half.

    method: what the intervals are over. paired, unpaired: seeds, drawn for both sides at once or for each (bootstrap);
    episodes: those of the two closing evaluations of one run a side (Welch). settings: what A has and B has, where they differ.
    """

    env: str
    metric: Metric
    method: Method
    a: Side
    b: Side
    difference: Estimate
    improvement: Estimate
    settings: dict[str, tuple[str, str]]
    warnings: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each seed's figures and, where they are a pair, their difference; None where a side has no such seed."""
        a, b = ({r.seed: r.value for r in side.runs} for side in (self.a, self.b))
        paired = self.method == "paired"
        return [
            {"seed": s, "a": a.get(s), "b": b.get(s), "difference": b[s] - a[s] if paired else None} for s in sorted(a.keys() | b)
        ]

    @property
    def better(self) -> Literal["A", "B"] | None:
        """The side that is better, or None where the interval of the difference includes 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return None
        return "B" if low > 0 else "A"

    @property
    def sentence(self) -> str:
        """What can be said, in words to quote."""
        d, p, form = self.difference, self.improvement, self.form
        counts = [len(side.runs) for side in (self.a, self.b)]
        sample = f"{several(counts[0], 'seed')}, paired" if self.method == "paired" else f"{counts[0]} and {counts[1]} seeds, unpaired"
        if self.method == "episodes":
            sample = "one run each"
        if self.better == "A":
            d, p = Estimate(-d.value, *(-x for x in (d.high, d.low) if x is not None)), Estimate(1 - p.value)
        chance = "" if self.method == "episodes" else f", probability of improvement {p.value:.2f}"
        figures = f"{'' if self.method == 'episodes' else 'mean '}difference {form(d.value)}{span(d, form, ' [95 % {}]')}{chance}; {sample}"
        if self.better is None:
            return f"no difference can be told between A and B: {figures}"
        # Of few seeds only what was seen is said, not what is.
        held = "is better than" if min(counts) >= ENOUGH else "did better than"
        return f"{self.better} {held} {'B' if self.better == 'A' else 'A'}: {figures}"

    @property
    def form(self) -> Callable[[float], str]:
        """How figures are written: as many decimals as their size asks for."""
        size = max(abs(r.value) for side in (self.a, self.b) for r in side.runs)
        decimals = 3 if size < 10 else 1 if size < 10_000 else 0
        return lambda x: f"{x:,.{decimals}f}"


def compare(a: str | Path, b: str | Path, metric: Metric = "final") -> Comparison:
    """Compare two runs, or two groups of runs that differ by seed.

    metric: final (the closing evaluation), best (the best evaluation) or last-ten (the mean of the last ten). Paired by seed
    where both sides have the same seeds. Raises InputError for unfinished runs, missing figures, a seed twice on one side,
    different environments.
    """
    if metric not in get_args(Metric):
        raise InputError(f"--metric {metric}: expected {', '.join(get_args(Metric)[:-1])} or {get_args(Metric)[-1]}")
    groups = gather(Path(a), metric), gather(Path(b), metric)
    for one in groups[0]:
        for other in groups[1]:
            if one.folder.resolve() == other.folder.resolve():
                raise InputError(f"{other.folder}: on both sides; choose two folders that share no run")
    env = same_env([*groups[0], *groups[1]])
    seeds = [[run.config.seed for run in group] for group in groups]
    method: Method = "episodes" if len(groups[0]) == len(groups[1]) == 1 else "paired" if seeds[0] == seeds[1] else "unpaired"
    values = [np.array([run.value for run in group]) for group in groups]
    if method == "episodes":
        found = over_episodes(groups[0][0], groups[1][0], metric)
    else:
        found = over_seeds(values[0], values[1], method == "paired")
    sides = [
        Side(str(folder), tuple(run.entry for run in group), mean, middle)
        for folder, group, mean, middle in zip((a, b), groups, found[0:2], found[2:4], strict=True)
    ]
    warnings = tuple(cautions(groups, metric, method))
    return Comparison(env, metric, method, sides[0], sides[1], found[4], found[5], settings(groups), warnings)


def report(comparison: Comparison) -> dict[str, Any]:
    """A comparison for machines: what `--json` prints."""
    told = {"rows": comparison.rows, "better": comparison.better, "sentence": comparison.sentence}
    return {**dataclasses.asdict(comparison), **told}


# Reading runs


@dataclass(frozen=True)
class Finished:
    """A run that ended, opened: its settings, its figure by the metric, and its closing evaluation (std None if of one episode)."""

    folder: Path
    config: Config
    value: float
    evaluations: int
    steps: int
    mean: float
    std: float | None
    episodes: int

    @property
    def entry(self) -> Entry:
        return Entry(str(self.folder), self.config.seed, self.value, self.steps, self.evaluations)


def gather(folder: Path, metric: Metric) -> list[Finished]:
    """The run in `folder`, or those below it, by seed; InputError where there is none, or a seed twice."""
    paths = find(folder, DEPTH) if folder.is_dir() else [store.find_run(folder)]
    if not paths:
        raise InputError(f"{folder}: neither a run nor a folder of runs, no config.json down to {DEPTH} levels below it")
    runs = sorted((read(path, metric) for path in paths), key=lambda run: run.config.seed)
    for one, next in zip(runs, runs[1:], strict=False):
        if one.config.seed == next.config.seed:
            both = f"{one.folder} and {next.folder}"
            raise InputError(f"{folder}: seed {one.config.seed} twice ({both}); give folders whose runs differ by seed only")
    return runs


def find(folder: Path, depth: int) -> list[Path]:
    """The folders of runs at or below `folder`."""
    if (folder / "config.json").is_file():
        return [folder]
    below = sorted(path for path in folder.iterdir() if path.is_dir()) if depth else []
    return [run for path in below for run in find(path, depth - 1)]


def read(folder: Path, metric: Metric) -> Finished:
    """A run's figures; InputError where it did not finish or where they are not there."""
    config, path = store.read_config(folder), folder / "result.json"
    if not path.is_file():
        raise InputError(f"{folder}: the run did not finish, it has no result.json; train it to its end, or move it elsewhere")
    try:
        result = json.loads(path.read_text())
        mean, steps, episodes = float(result["mean"]), int(result["steps"]), int(result["episodes"])
        std = None if result["std"] is None else float(result["std"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a closing evaluation ({type(error).__name__}: {error}); train the run anew") from error
    if not math.isfinite(mean) or not math.isfinite(std or 0):
        raise InputError(f"{path}: a return of {mean} ± {std} cannot be compared; look for what the environment rewards")
    means = np.array([mean]) if metric == "final" else evaluations(folder, steps)
    value = {"final": means[-1], "best": means.max(), "last-ten": means[-10:].mean()}[metric]
    return Finished(folder, config, float(value), len(means), steps, mean, std, episodes)


def evaluations(folder: Path, steps: int) -> np.ndarray:
    """Mean returns of all evaluations, the closing one last; InputError where some are missing."""
    path = folder / "evaluations.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; only --metric final does without it")
    try:
        table = store.read_csv(path)
        means, last = table["mean"], table["step"][-1]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error}); --metric final does without it") from error
    if last != steps or not np.isfinite(means).all():
        raise InputError(f"{path}: evaluations are missing, the closing one or others; --metric final does without them")
    return means


def same_env(runs: Sequence[Finished]) -> str:
    """The environment of all runs; InputError where there are two."""
    for run in runs:
        if run.config.env != runs[0].config.env:
            two = f"{runs[0].folder} on {runs[0].config.env}"
            raise InputError(f"{run.folder}: trained on {run.config.env}, {two}; compare runs on one environment")
    return runs[0].config.env


# Estimating


def over_seeds(a: np.ndarray, b: np.ndarray, paired: bool) -> list[Estimate]:
    """Means of A, B; interquartile means of A, B; mean difference; probability of improvement. Bootstrap intervals. a[N], b[M]"""
    picks = draws(len(a)) * 2 if paired else draws(len(a), len(b))

    def figures(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        return a.mean(0), b.mean(0), iqm(a), iqm(b), b.mean(0) - a.mean(0), improvement(a, b)

    # A side of one seed always resamples to itself: that says nothing, so there is no interval of it.
    n, m, least = len(a), len(b), min(len(a), len(b))
    columns = zip((n, m, n, m, least, least), figures(a, b), figures(a[picks[0]].T, b[picks[1]].T), strict=True)
    return [
        Estimate(float(value), *(float(end) for end in percentiles(resampled, expanded(k)))) if k > 1 else Estimate(float(value))
        for k, value, resampled in columns
    ]


def over_episodes(a: Finished, b: Finished, metric: Metric) -> list[Estimate]:
    """The same of one run a side; only closing evaluations have intervals, Student's and Welch's, over their episodes."""
    ends: list[tuple[float, ...]] = [(), (), ()]
    if metric == "final" and a.std is not None and b.std is not None:
        ours, theirs = (a.mean, a.std, a.episodes), (b.mean, b.std, b.episodes)
        ends = [student(*ours), student(*theirs), welch(ours, theirs)]
    chance = float(improvement(np.array([a.value]), np.array([b.value])))
    sides = [Estimate(a.value, *ends[0]), Estimate(b.value, *ends[1])]
    return [*sides, *sides, Estimate(b.value - a.value, *ends[2]), Estimate(chance)]


# Saying it


def settings(groups: Iterable[Sequence[Finished]]) -> dict[str, tuple[str, str]]:
    """What A has and B has, of each setting in which they differ."""
    a, b = (held(group) for group in groups)
    return {name: (a[name], b[name]) for name in a if a[name] != b[name]}


def held(group: Sequence[Finished]) -> dict[str, str]:
    """Each setting of a group's runs in words; several values where they differ."""
    names = [f.name for f in dataclasses.fields(Config) if f.name not in NEVER_MIND]
    return {n: " or ".join(dict.fromkeys(words(getattr(run.config, n)) for run in group)) for n in names}


def cautions(groups: Sequence[Sequence[Finished]], metric: Metric, method: Method) -> Iterable[str]:
    """What a reader of the figures should know."""
    runs, sizes = [run for group in groups for run in group], [len(group) for group in groups]
    if method == "episodes":
        yield "One seed says nothing about the algorithm: the interval is over episodes; train more (--seed 1, 2, ...)."
        if metric != "final" or any(run.std is None for run in runs):
            yield "There is an interval only of closing evaluations (--metric final) of two episodes or more."
    elif 1 in sizes:
        yield f"{'A' if sizes[0] == 1 else 'B'} is one run: how it varies is not known, so there is no interval of the difference."
    elif min(sizes) < ENOUGH:
        yield f"{min(sizes)} seeds are few: such an interval misses more often than 1 time in 20; train {ENOUGH} or more a side."
    seeds = [{run.config.seed for run in group} for group in groups]
    if method == "unpaired" and seeds[0] & seeds[1]:
        yield "The sides share some seeds, not all: unpaired."
    for name, group in zip("AB", groups, strict=True):
        mixed = [n for n, value in held(group).items() if len({words(getattr(run.config, n)) for run in group}) > 1 and value]
        if mixed:
            yield f"The runs of {name} differ in more than their seeds: {', '.join(mixed)}."
    budgets = [ranging(run.steps for run in group) for group in groups]
    if max(run.steps for run in runs) > ALIKE * min(run.steps for run in runs):
        yield f"Different step budgets: A {budgets[0]}, B {budgets[1]}."
    if len({run.config.episode_steps for run in runs}) > 1:
        yield "Episodes are cut at different lengths (episode_steps): their returns may not be comparable."
    counts = [ranging(run.evaluations for run in group) for group in groups]
    if metric == "best" and counts[0] != counts[1]:
        yield f"The best of different numbers of evaluations (A {counts[0]}, B {counts[1]}): more tries flatter."
    if metric == "last-ten" and min(run.evaluations for run in runs) < 10:
        yield f"Fewer than ten evaluations (A {counts[0]}, B {counts[1]}): the mean is of all there are."
