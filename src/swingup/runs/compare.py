"""`swingup compare A B`: whether B learnt better than A, over their seeds, and how certain that is.

`compare` gathers the figures; `compare_report.report` makes them JSON, `compare_report.show` prints them.
After Agarwal et al. (2108.13264): every seed, intervals and the probability of improvement, not two means.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from swingup.config.settings import Config
from swingup.errors import InputError
from swingup.runs.statistics import ENOUGH, draws, expanded, improvement, iqm, percentiles, student, welch
from swingup.storage import run_folder, tables

Metric = Literal["final", "best", "last-ten"]
Method = Literal["paired", "unpaired", "episodes"]


# Levels of folders below a given one that are searched for runs.
DEPTH = 3

# Budgets that differ by a smaller factor count as equal: a run ends with the iteration of its last step.
ALIKE = 1.01

# Settings never listed as differences: runs share env, differ by seed, and episode_lines changes only output.
NEVER_MIND = {"env", "seed", "episode_lines"}


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where none can be estimated."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Entry:
    """One run: its folder, its seed, its figure and the environment steps it was trained for."""

    run: str
    seed: int
    value: float
    steps: int


@dataclass(frozen=True)
class Side:
    """Side A or B: its runs in the order of their seeds, their mean and their interquartile mean."""

    folder: str
    runs: tuple[Entry, ...]
    mean: Estimate
    iqm: Estimate


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. difference: mean of B minus mean of A; improvement: P(B > A), ties count half.

    method: what the intervals are over. paired, unpaired: seeds (`over_seeds`); episodes: those of the two
    closing evaluations of one run per side (Welch). settings: the values of A and of B, where they differ.
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
        """Each seed's figures, None where a side lacks it, and the difference, None unless paired."""
        a, b = ({r.seed: r.value for r in side.runs} for side in (self.a, self.b))
        paired = self.method == "paired"
        return [
            {"seed": s, "a": a.get(s), "b": b.get(s), "difference": b[s] - a[s] if paired else None}
            for s in sorted(a.keys() | b)
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
        """The conclusion, as a sentence to quote."""
        d, chance, (n, m) = self.difference, self.improvement.value, self.counts
        if self.better == "A":
            d, chance = Estimate(-d.value, *(-x for x in (d.high, d.low) if x is not None)), 1 - chance
        figures = f"difference {self.form(d.value)}{self.between(d, ' [95 % {}]')}"
        if self.method == "episodes":
            figures += "; one run each"
        else:
            sample = f"{n} seeds, paired" if self.method == "paired" else f"{n} and {m} seeds, unpaired"
            figures = f"mean {figures}, probability of improvement {chance:.2f}; {sample}"
        if self.better is None:
            return f"no difference can be told between A and B: {figures}"
        # Few seeds support a statement about these runs only.
        verb = "is better than" if min(n, m) >= ENOUGH else "did better than"
        return f"{self.better} {verb} {'B' if self.better == 'A' else 'A'}: {figures}"

    @property
    def counts(self) -> tuple[int, int]:
        """The number of runs of A and of B."""
        return len(self.a.runs), len(self.b.runs)

    def form(self, x: float) -> str:
        """A figure as text, with decimals chosen by the largest figure of either side."""
        size = max(abs(run.value) for side in (self.a, self.b) for run in side.runs)
        if size >= 100_000:
            return f"{x:.3g}".replace("e+0", "e")  # short enough for three intervals on a line
        return f"{x:,.{3 if size < 10 else 1 if size < 10_000 else 0}f}"

    def between(self, x: Estimate, frame: str = "{}") -> str:
        """An interval as text, inserted into `frame`; empty where there is none."""
        return (
            ""
            if x.low is None or x.high is None
            else frame.format(f"{self.form(x.low)} to {self.form(x.high)}")
        )


def compare(a: str | Path, b: str | Path, metric: Metric = "final") -> Comparison:
    """Compare two runs, or two groups of runs that differ by seed.

    metric: final (the closing evaluation), best (the best evaluation) or last-ten (the mean of the last ten).
    Paired by seed where both sides have the same seeds. Raises InputError for unfinished runs, missing
    figures, a seed twice on one side, a run on both sides and different environments.
    """
    if metric not in get_args(Metric):
        raise InputError(
            f"--metric {metric}: expected {', '.join(get_args(Metric)[:-1])} or {get_args(Metric)[-1]}"
        )
    groups = gather(Path(a), metric), gather(Path(b), metric)
    env = comparable(groups)
    method = how(groups)
    if method == "episodes":
        found = over_episodes(groups[0][0], groups[1][0], metric)
    else:
        values = [np.array([run.value for run in group]) for group in groups]
        found = over_seeds(values[0], values[1], method == "paired")
    left, right = [
        Side(str(folder), tuple(run.entry for run in group), mean, middle)
        for folder, group, mean, middle in zip((a, b), groups, found[0:2], found[2:4], strict=True)
    ]
    warnings = (*inequalities(groups, metric), *cautions(groups, metric, method))
    return Comparison(env, metric, method, left, right, found[4], found[5], settings(groups), warnings)


# Reading runs


@dataclass(frozen=True)
class Finished:
    """A finished run: settings, figure by the metric, closing evaluation (no std or ci95 of one episode)."""

    folder: Path
    config: Config
    value: float
    evaluations: int
    steps: int
    mean: float
    std: float | None
    ci95: tuple[float, ...]
    episodes: int

    @property
    def entry(self) -> Entry:
        """The run as it appears in a `Side`."""
        return Entry(str(self.folder), self.config.seed, self.value, self.steps)


# The runs of A and those of B.
Groups = tuple[list[Finished], list[Finished]]


def gather(folder: Path, metric: Metric) -> list[Finished]:
    """The run in `folder`, or the runs below it, by seed; InputError where there is none, or a seed twice."""
    paths = find(folder, DEPTH) if folder.is_dir() else [run_folder.find_run(folder)]
    if not paths:
        raise InputError(
            f"{folder}: neither a run nor a folder of runs, no config.json down to {DEPTH} levels below it"
        )
    runs = sorted((read(path, metric) for path in paths), key=lambda run: run.config.seed)
    for one, other in pairwise(runs):
        if one.config.seed == other.config.seed:
            both = f"{one.folder} and {other.folder}"
            raise InputError(
                f"{folder}: seed {one.config.seed} twice ({both}); "
                "give folders whose runs differ by seed only"
            )
    return runs


def find(folder: Path, depth: int) -> list[Path]:
    """The folders of runs at or below `folder`."""
    if (folder / "config.json").is_file():
        return [run_folder.find_run(folder)]
    if run_folder.is_group(folder):
        run_folder.find_group(folder)
    below = sorted(path for path in folder.iterdir() if path.is_dir()) if depth else []
    return [run for path in below for run in find(path, depth - 1)]


def read(folder: Path, metric: Metric) -> Finished:
    """A run's figures; InputError where it did not finish or they cannot be read."""
    config, result = run_folder.read_config(folder), run_folder.read_result(folder)
    if not result:
        raise InputError(
            f"{folder}: the run did not finish, it has no result.json; "
            "train it to its end, or move it elsewhere"
        )
    if "source" in result:
        raise InputError(f"{folder}: the run was not evaluated (--eval-env none); compare runs that were")
    mean, steps, std, ci95 = result["mean"], result["steps"], result["std"], tuple(result["ci95"] or ())
    means = np.array([mean]) if metric == "final" else evaluations(folder, steps)
    value = {"final": means[-1], "best": means.max(), "last-ten": means[-10:].mean()}[metric]
    return Finished(folder, config, float(value), len(means), steps, mean, std, ci95, result["episodes"])


def evaluations(folder: Path, steps: int) -> np.ndarray:
    """Mean returns of all evaluations, the closing one last; InputError where some are missing."""
    path = folder / "evaluations.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; only --metric final does without it")
    try:
        table = tables.read_csv(path)
        means, last = table["mean"], table["step"][-1]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); --metric final does without it"
        ) from error
    if last != steps or not np.isfinite(means).all():
        raise InputError(
            f"{path}: evaluations are missing, the closing one or others; --metric final does without them"
        )
    return means


def comparable(groups: Groups) -> str:
    """The environment of all runs; InputError if runs have different ones, or one is on both sides."""
    ours, theirs = groups
    known = {run.folder.resolve() for run in ours}
    for run in theirs:
        if run.folder.resolve() in known:
            raise InputError(f"{run.folder}: on both sides; choose two folders that share no run")
    first = ours[0]
    for run in (*ours, *theirs):
        if run.config.env != first.config.env:
            two = f"trained on {run.config.env}, {first.folder} on {first.config.env}"
            raise InputError(f"{run.folder}: {two}; compare runs on one environment")
    return first.config.env


def how(groups: Groups) -> Method:
    """What intervals are over: pairs of seeds if both sides have the same, seeds, or one run's episodes."""
    ours, theirs = ([run.config.seed for run in group] for group in groups)
    if len(ours) == len(theirs) == 1:
        return "episodes"
    return "paired" if ours == theirs else "unpaired"


# Estimating


def over_seeds(a: np.ndarray, b: np.ndarray, paired: bool) -> list[Estimate]:
    """Estimates with 95 % intervals from figures a[N] and b[M] of seeds.

    In order: means of A, B (Student); interquartile means of A, B (bootstrap); mean difference (Student over
    pairs, or Welch); probability of improvement (bootstrap).
    """
    least = min(len(a), len(b))
    picks = draws(len(a)) * 2 if paired else draws(len(a), len(b))
    x, y = a[picks[0]].T, b[picks[1]].T
    moments = [(float(v.mean()), float(v.std(ddof=1)), len(v)) for v in (a, b)] if least > 1 else []
    difference = None if least < 2 else student(b - a) if paired else welch(moments[0], moments[1])
    return [
        Estimate(float(a.mean()), *(student(a) or ())),
        Estimate(float(b.mean()), *(student(b) or ())),
        bootstrapped(iqm(a), iqm(x), len(a)),
        bootstrapped(iqm(b), iqm(y), len(b)),
        Estimate(float(b.mean() - a.mean()), *(difference or ())),
        bootstrapped(improvement(a, b), improvement(x, y), least),
    ]


def bootstrapped(value: Any, resampled: np.ndarray, n: int) -> Estimate:
    """A figure over n seeds with its bootstrap interval; without one where that would be their range."""
    ends = percentiles(resampled, expanded(n)) if n >= ENOUGH else ()
    return Estimate(float(value), *map(float, ends))


def over_episodes(a: Finished, b: Finished, metric: Metric) -> list[Estimate]:
    """The same for one run per side; only closing evaluations have intervals, Student's and Welch's."""
    ends: tuple[tuple[float, ...], ...] = ((), (), ())
    if metric == "final" and a.std is not None and b.std is not None:
        ends = a.ci95, b.ci95, welch((a.mean, a.std, a.episodes), (b.mean, b.std, b.episodes))
    values = a.value, b.value, b.value - a.value
    mean_a, mean_b, difference = (Estimate(value, *end) for value, end in zip(values, ends, strict=True))
    chance = Estimate(float(improvement(np.array([a.value]), np.array([b.value]))))
    return [mean_a, mean_b, Estimate(a.value), Estimate(b.value), difference, chance]


# Differences in settings, and warnings


def variety(group: Sequence[Finished]) -> dict[str, list[str]]:
    """For each setting, the different values of a group's runs, as text."""
    names = [f.name for f in dataclasses.fields(Config) if f.name not in NEVER_MIND]
    return {name: list(dict.fromkeys(text(getattr(run.config, name)) for run in group)) for name in names}


def settings(groups: Groups) -> dict[str, tuple[str, str]]:
    """The values of A and of B, for each setting in which they differ."""
    a, b = map(variety, groups)
    return {name: (" or ".join(a[name]), " or ".join(b[name])) for name in a if set(a[name]) != set(b[name])}


def cautions(groups: Groups, metric: Metric, method: Method) -> Iterator[str]:
    """Warnings about too few, unpaired or mixed runs."""
    sizes = [len(group) for group in groups]
    if method == "episodes":
        yield (
            "One seed says nothing about the algorithm: train others (--seed 1, 2, ...) "
            "and compare the folders that hold them."
        )
        if metric != "final" or any(group[0].std is None for group in groups):
            yield (
                "With one run a side only closing evaluations (--metric final) "
                "of two episodes or more have an interval."
            )
    elif 1 in sizes:
        yield (
            f"{'AB'[sizes.index(1)]} is one run: how its algorithm varies is not known, "
            "so the difference has no interval."
        )
    elif min(sizes) < ENOUGH:
        yield (
            f"{min(sizes)} seeds are few: only means have an interval, and a wide one; "
            f"train {ENOUGH} or more a side."
        )
    if method == "unpaired" and {run.config.seed for run in groups[0]} & {
        run.config.seed for run in groups[1]
    }:
        yield "Some seeds are on one side only, so the runs are not paired."
    for name, group in zip("AB", groups, strict=True):
        mixed = [setting for setting, values in variety(group).items() if len(values) > 1]
        if mixed:
            yield f"The runs of {name} differ in more than their seeds: {', '.join(mixed)}."


def inequalities(groups: Groups, metric: Metric) -> Iterator[str]:
    """Warnings about unequal budgets, episode limits or numbers of evaluations."""
    runs = [run for group in groups for run in group]
    steps, counts = (
        [span(getattr(run, name) for run in group) for group in groups] for name in ("steps", "evaluations")
    )
    if max(run.steps for run in runs) > ALIKE * min(run.steps for run in runs):
        yield f"Different budgets: A trained for {steps[0]} steps, B for {steps[1]}."
    if len({run.config.episode_steps for run in runs}) > 1:
        yield "Episodes are cut at different lengths (episode_steps), so their returns may not be comparable."
    if metric == "best" and counts[0] != counts[1]:
        yield (
            f"The best of different numbers of evaluations (A {counts[0]}, B {counts[1]}): "
            "the best of more is higher by chance."
        )
    if metric == "last-ten" and min(run.evaluations for run in runs) < 10:
        yield f"There are not ten evaluations (A {counts[0]}, B {counts[1]}); the mean is of those there are."


def span(numbers: Iterable[int]) -> str:
    """The range of numbers as text, such as `5,000` or `4,000 to 5,000`."""
    found = sorted(numbers)
    return " to ".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1])))


def text(value: Any) -> str:
    """A setting's value as a user would type it."""
    return "none" if value is None else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
