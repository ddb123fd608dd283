"""Learning results: runs sets of seeds, collects their data and writes a page beside published figures.

    python benchmarks/learning.py                        run what is missing, then write docs/results/
    python benchmarks/learning.py pendulum-td3 --jobs 2  one set, two runs at a time
    python benchmarks/learning.py --missing --jobs 2     only seeds that have no figures yet
    python benchmarks/learning.py --render               only write docs/results/ from the data that is there

Every run is `swingup train` in a process of its own, one XLA thread each; the command stands on the page.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swingup.runs.statistics import interval, iqm, student
from swingup.storage.tables import read_csv

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@dataclass(frozen=True)
class Published:
    """A figure from elsewhere: what was measured how, and where it stands.

    of: the metric of ours that it is; empty if none of ours is measured so.
    """

    value: str
    metric: str
    source: str
    of: str = ""


@dataclass(frozen=True)
class Goal:
    """What a set should reach: the mean over seeds of `metric`, or that many seeds at least."""

    metric: str  # final, best or last ten
    least: float
    seeds: int | None = None


@dataclass(frozen=True)
class Set:
    """Runs that differ only by seed. flags: settings beyond the preset."""

    name: str
    env: str
    preset: str
    steps: int
    seeds: int
    goals: tuple[Goal, ...]
    flags: tuple[str, ...] = ()
    published: tuple[Published, ...] = field(default=())
    notes: tuple[str, ...] = ()

    def command(self, seed: int) -> list[str]:
        flags = f"--preset {self.preset} --steps {self.steps} --seed {seed} --threads 1".split()
        return ["swingup", "train", self.env, *flags, *self.flags]


TD3 = ("--critics", "2", "--delay", "2", "--smoothing", "0.2")
D4PG = ("--atoms", "51", "--value-low", "-600", "--value-high", "600", "--n-step", "5")
SPINNING_UP = "Spinning Up's benchmark data, 10 seeds, training returns without noise"
PAPER = "TD3 paper's curves, 10 seeds, evaluations"
EARLIER = (
    "Measured at commit f703679 and before, where actions came from the newest policy; "
    "now from that of one iteration ago."
)
CENTRED = (
    "The range of values lies around zero, so that the critic begins as optimistic as DDPG's: "
    "on seeds 100 to 129 of native/Pendulum-v1, where it was chosen, 30 of 30 were above -300 "
    "by 4,000 steps. With -1,000 to 0, where it begins at -500, 26 were; "
    "of seeds 0 to 4 one stayed at -970 then, its actor at a bound."
)
ADAM = (
    "Measured with an older engine: before commit 0e3c2d0, where Adam's bias corrections became exact; "
    "a run of today has other bytes."
)
BALANCED = (Goal("final", -200, 4), Goal("final", -170))
LARGEST = "largest mean over seeds of any evaluation"
ZOO = "RL Zoo's benchmark, one agent"
TIANSHOU = "Tianshou's benchmark, 10 seeds"
LEASED = (
    "On an H200, whose products are tensorfloat32, with jax 0.11.2; only the closing evaluations were kept."
)
WARMED = "25,000 random steps come before the steps that it counts"
NNABLA = "nnabla-rl's reproduction, 3 seeds"
PFRL = "PFRL's reproduction, 10 seeds, HalfCheetah-v2"
HUB = "RL Zoo agent on the Hugging Face hub, 1 seed"
CLEANRL = "last 100 training episodes, which explored, 3 seeds"
SETS = (
    Set("pendulum-ddpg", "Pendulum-v1", "pendulum", 20_000, 5, BALANCED, (), (
        Published("-152.1 ± 94.3", "at 20,000 steps, 750 episodes", ZOO, "final"),
        Published("-189.8 ± 112.8", "at 20,000 steps, 10 episodes", HUB, "final"),
        Published("-123.8 ± 6.9", "best window of 100 training episodes", "msinto93/DDPG"),
    ), notes=(ADAM,)),
    Set("pendulum-td3", "Pendulum-v1", "pendulum", 20_000, 5, BALANCED, TD3, (
        Published("-151.9 ± 90.2", "at 20,000 steps, 750 episodes", ZOO, "final"),
    ), notes=(ADAM,)),
    Set("pendulum-d4pg", "Pendulum-v1", "pendulum", 20_000, 5, BALANCED, D4PG, (
        Published("-123.1 ± 6.9", "best window of 100 training episodes", "msinto93/D4PG"),
    ), notes=(CENTRED, ADAM)),
    Set("invertedpendulum-ddpg", "InvertedPendulum-v5", "invertedpendulum", 30_000, 5,
        (Goal("best", 950, 4),), (), (
        Published("1,000 ± 0", "mean of each seed's best, 1,000,000 steps",
                  "PFRL's reproduction, 10 seeds, InvertedPendulum-v2", "best"),
        Published("1,000 ± 0", "at 20,000 steps", f"{NNABLA}, InvertedPendulum-v2", "final"),
        Published("1,000 ± 0", f"at 30,000 steps; {WARMED}", f"{TIANSHOU}, InvertedPendulum-v2", "final"),
        Published("642.7 ± 69.6", f"{CLEANRL}, at 1,000,000", "CleanRL's benchmark, InvertedPendulum-v4"),
    )),
    Set("halfcheetah-ddpg-100k", "HalfCheetah-v5", "halfcheetah", 100_000, 3, (Goal("final", 4339),), (), (
        Published("6,308 ± 1,012", f"at 100,000 steps; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "final"),
        Published("5,110", "at 100,000 steps", f"{NNABLA}, HalfCheetah-v2", "final"),
        Published("4,339 ± 1,013", "at 100,000 steps", f"{SPINNING_UP}, HalfCheetah-v3 (PyTorch)", "final"),
        Published("3,803 ± 824", "at 100,000 steps", f"{SPINNING_UP}, HalfCheetah-v3 (TensorFlow)", "final"),
    ), notes=(LEASED,)),
    Set("halfcheetah-td3-100k", "HalfCheetah-v5", "td3", 100_000, 3, (Goal("final", 5514),), (), (
        Published("5,579 ± 432", "at 100,000 steps", f"{SPINNING_UP}, HalfCheetah-v3 (TensorFlow)", "final"),
        Published("5,514 ± 554", "at 100,000 steps", f"{PAPER}, HalfCheetah-v1", "final"),
        Published("5,393", "at 100,000 steps", f"{NNABLA}, HalfCheetah-v2", "final"),
        Published("5,336 ± 377", f"at 100,000 steps; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "final"),
    ), notes=(LEASED,)),
    Set("hopper-td3-300k", "Hopper-v5", "td3", 300_000, 3, (Goal("final", 2400),), (), (
        Published("2,410 ± 900", "at 300,000 steps", f"{PAPER}, Hopper-v1", "final"),
        Published("2,402", "at 300,000 steps", f"{SPINNING_UP}, Hopper-v3 (PyTorch)", "final"),
        Published("1,583 ± 639", f"at 300,000 steps; {WARMED}", f"{TIANSHOU}, Hopper-v3", "final"),
    )),
    Set("walker2d-td3-300k", "Walker2d-v5", "td3", 300_000, 3, (Goal("final", 2500),), (), (
        Published("3,336 ± 957", "at 300,000 steps", f"{PAPER}, Walker2d-v1", "final"),
        Published("2,233", "at 300,000 steps", f"{SPINNING_UP}, Walker2d-v3 (TensorFlow)", "final"),
    )),
    Set("ant-td3-300k", "Ant-v5", "td3", 300_000, 2, (Goal("final", 2000),), (), (
        Published("1,954 ± 1,014", "at 300,000 steps", f"{PAPER}, Ant-v1", "final"),
        Published("1,408", "at 300,000 steps", f"{SPINNING_UP}, Ant-v3 (PyTorch)", "final"),
    )),
    Set("bipedalwalker-td3-300k", "BipedalWalker-v3", "td3", 300_000, 2, (Goal("best", 250, 1),), (), (
        Published("300", "first evaluation of that, at 300,000 steps", ZOO, "best"),
    )),
    Set("mountaincar-ddpg", "MountainCarContinuous-v0", "mountaincar", 100_000, 5, (Goal("best", 90, 4),),
        (), (
        Published("93.72 ± 0.13", "at 300,000 steps", HUB, "final"),
        Published("93.51 ± 0.05", "at 300,000 steps, 2,260 episodes", ZOO, "final"),
    ), notes=("Seeds 3 and 4 were ended from outside after 50,000 of 100,000 steps (Intel Xeon, jax 0.11.2), "
              "so what is called final is not; the best can only rise.", ADAM)),
    Set("halfcheetah-ddpg-1m", "HalfCheetah-v5", "halfcheetah", 1_000_000, 2,
        (Goal("last ten", 8400),), (), (
        Published("9,751", "mean of the last ten evaluations", PFRL, "last ten"),
        Published("8,401", "mean of the last ten evaluations",
                  "TD3 paper, table 2, its own DDPG, 10 seeds, HalfCheetah-v1", "last ten"),
        Published("11,719 ± 466", f"{LARGEST}; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "largest mean"),
        Published("10,548 ± 1,243", LARGEST, f"{NNABLA}, HalfCheetah-v2", "largest mean"),
        Published("8,577", LARGEST, "TD3 paper, table 1, its own DDPG, 10 seeds, HalfCheetah-v1",
                  "largest mean"),
        Published("11,653 ± 431", f"at 1,000,000 steps; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "final"),
        Published("10,110 ± 979", "at 1,000,000 steps", f"{SPINNING_UP}, HalfCheetah-v3 (PyTorch)", "final"),
        Published("10,374 ± 157", CLEANRL, "CleanRL's benchmark, HalfCheetah-v4"),
    ), notes=(EARLIER, ADAM)),
    Set("halfcheetah-td3-1m", "HalfCheetah-v5", "td3", 1_000_000, 2,
        (Goal("last ten", 8780),), ("--batch", "100"), (
        Published("10,048", "mean of the last ten evaluations", PFRL, "last ten"),
        Published("9,533", "mean of the last ten evaluations",
                  "TD3 paper, table 2, 10 seeds, HalfCheetah-v1", "last ten"),
        Published("10,628 ± 843", LARGEST, f"{NNABLA}, HalfCheetah-v2", "largest mean"),
        Published("10,201 ± 773", f"{LARGEST}; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "largest mean"),
        Published("9,637 ± 859", LARGEST, "TD3 paper, table 1, 10 seeds, HalfCheetah-v1", "largest mean"),
        Published("10,385", "at 1,000,000 steps", "RL Zoo's agent, one run, HalfCheetah-v3", "final"),
        Published("10,127 ± 692", f"at 1,000,000 steps; {WARMED}", f"{TIANSHOU}, HalfCheetah-v3", "final"),
        Published("9,583 ± 126", CLEANRL, "CleanRL's benchmark, HalfCheetah-v4"),
    ), notes=(ADAM,)),
)  # fmt: skip


def run(job: tuple[Set, int, Path]) -> None:
    """Train one seed of a set to its end, unless that is done already; a run that was interrupted goes on."""
    chosen, seed, runs = job
    folder = runs / chosen.name / str(seed)
    if (folder / "result.json").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", *chosen.command(seed), "--run-dir", str(folder), "--resume", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    print((done.stdout or done.stderr).strip().splitlines()[-1], flush=True)


def measured(chosen: Set) -> list[tuple[str, ...]]:
    """The rows of a set's CSV under docs/results/, without their head."""
    path = RESULTS / f"{chosen.name}.csv"
    return [tuple(row) for row in csv.reader(path.read_text().splitlines())][1:] if path.exists() else []


def gather(chosen: Set, runs: Path) -> None:
    """Write the evaluations of a set's finished runs into its CSV; other seeds keep their rows."""
    rows: list[tuple[object, ...]] = []
    for seed in range(chosen.seeds):
        folder = runs / chosen.name / str(seed)
        if not (folder / "result.json").exists():
            continue
        seconds = json.loads((folder / "result.json").read_text())["seconds"]
        found = read_csv(folder / "evaluations.csv")
        for step, mean, std, episodes in zip(
            *(found[k] for k in ("step", "mean", "std", "episodes")), strict=True
        ):
            rows.append(
                (seed, int(step), round(float(mean), 2), round(float(std), 2), int(episodes), round(seconds))
            )
    here = {str(row[0]) for row in rows}
    rows = sorted(
        [*rows, *(row for row in measured(chosen) if row[0] not in here)],
        key=lambda row: (int(str(row[0])), int(str(row[1]))),
    )
    if rows:
        with (RESULTS / f"{chosen.name}.csv").open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("seed", "step", "mean", "std", "episodes", "run_seconds"))
            out.writerows(rows)


def curves(chosen: Set) -> dict[int, np.ndarray]:
    """Per seed the mean greedy return at [step, mean] of each evaluation."""
    data = read_csv(RESULTS / f"{chosen.name}.csv")
    if not data:
        return {}
    return {
        int(s): np.stack([data["step"], data["mean"]], 1)[data["seed"] == s] for s in np.unique(data["seed"])
    }


def measure(curve: np.ndarray, metric: str) -> float:
    """One seed's figure: the closing evaluation, the best of all, or the mean of the last ten."""
    means = curve[:, 1]
    return float({"final": means[-1], "best": means.max(), "last ten": means[-10:].mean()}[metric])


def row(metric: str, found: dict[int, np.ndarray]) -> list[str]:
    """A metric's cells: each seed's figure, their mean and interquartile mean.

    The largest mean over seeds of any evaluation is one figure: no seed has it.
    """
    if metric == "largest mean":
        length = min(len(c) for c in found.values())
        peak = np.mean([c[:length, 1] for c in found.values()], axis=0).max()
        return [*["" for _ in found], f"{peak:,.1f}", ""]
    figures = [measure(c, metric) for c in found.values()]
    return [f"{f:,.1f}" for f in [*figures, np.mean(figures), iqm(np.array(figures))]]


def best_of(chosen: Set, metric: str) -> Published | None:
    """The best published figure of this metric."""
    return max((p for p in chosen.published if p.of == metric), key=level_of, default=None)


def judge(goal: Goal, figures: list[float]) -> tuple[str, bool]:
    """What was asked for in words, and whether these seeds' figures meet it."""
    if goal.seeds is None:
        return f"{goal.metric}: mean over seeds at least {goal.least:,}", bool(figures) and float(
            np.mean(figures)
        ) >= goal.least
    met = sum(f >= goal.least for f in figures)
    return (
        f"{goal.metric}: at least {goal.least:,} on {goal.seeds} seed{'s' * (goal.seeds > 1)}",
        met >= goal.seeds,
    )


def draw(chosen: Set, found: dict[int, np.ndarray]) -> str:
    """The curve of a set as SVG: every seed thin, their interquartile mean, the goal, the best published."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "swingup"  # the same picture, the same bytes
    from swingup.reports.curves import Curve
    from swingup.reports.learning_curve import draw as picture

    length = min(len(c) for c in found.values())
    steps = next(iter(found.values()))[:length, 0]
    table, n = np.stack([c[:length, 1] for c in found.values()]), len(found)
    low, high = interval(table) if n > 2 else (None, None)
    mean = Curve(f"interquartile mean of {n} seeds", steps, iqm(table), low, high, "95 % bootstrap interval")
    levels = {f"goal ({goal.metric})": goal.least for goal in chosen.goals[-1:]}
    comparable = [p for p in chosen.published if p.of]
    if comparable:
        best = max(comparable, key=level_of)
        levels[f"best published: {best.source}"] = level_of(best)
    seeds = [Curve("", c[:, 0], c[:, 1]) for c in found.values()]
    name = f"{chosen.name}.svg"
    figure = picture(chosen.name, [*seeds, mean], levels=levels, size=(6.4, 3.4))
    figure.savefig(RESULTS / name, metadata={"Date": None})
    return name


def level_of(published: Published) -> float:
    """The number at the head of a published value."""
    return float(published.value.split(" ")[0].replace(",", ""))


def verdict(chosen: Set, goal: Goal, found: dict[int, np.ndarray]) -> tuple[str, str]:
    """A goal in words, and whether it was reached; seeds that were cut count for the best only."""
    ended = [c for c in found.values() if c[-1, 0] >= chosen.steps]
    judged = list(found.values()) if goal.metric == "best" else ended
    words, met = judge(goal, [measure(c, goal.metric) for c in judged])
    return words, "reached" if met else "**missed**" if judged else "not measured to the end yet"


def summary() -> list[str]:
    """A row for each set: its last goal's metric over seeds with Student's interval, and the verdicts."""
    head = (
        "set",
        "environment",
        "steps, seeds",
        "metric",
        "mean",
        "95 % interval",
        "best published",
        "goals",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for chosen in SETS:
        found, metric = curves(chosen), chosen.goals[-1].metric
        figures = np.array([measure(c, metric) for c in found.values()])
        limits = student(figures) if len(figures) > 1 else None
        best = best_of(chosen, metric)
        cells = (
            f"[{chosen.name}](#{chosen.name})",
            chosen.env,
            f"{chosen.steps:,}, {chosen.seeds}",
            metric,
            f"{figures.mean():,.1f}" if found else "not measured yet",
            "{:,.1f} to {:,.1f}".format(*limits) if limits else "",
            best.value if best else "none known",
            "; ".join(": ".join(verdict(chosen, goal, found)) for goal in chosen.goals),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def section(chosen: Set) -> list[str]:
    """A set's part of the page."""
    found = curves(chosen)
    command = " ".join(chosen.command(0)).replace("--seed 0", "--seed S")
    lines = [f"## {chosen.name}", "", f"`{command}` for S from 0 to {chosen.seeds - 1}", ""]
    if not found:
        return [*lines, "Not measured yet.", ""]
    published = [p.of for p in chosen.published if p.of]
    metrics = list(dict.fromkeys([*(g.metric for g in chosen.goals), "final", *published]))
    if any(len(curve) > 1 for curve in found.values()):
        lines += [f"![{chosen.name}]({draw(chosen, found)})", ""]
    lines += [
        f"Data: [{chosen.name}.csv]({chosen.name}.csv)",
        "",
    ]
    seeds = " | ".join(f"seed {s}" for s in found)
    lines += [
        f"| metric | {seeds} | mean | interquartile mean | best published of this metric |",
        "|---" * (len(found) + 4) + "|",
    ]
    for metric in metrics:
        best = best_of(chosen, metric)
        beside = f"{best.value} ({best.source})" if best else "none known"
        lines.append(f"| {metric} | {' | '.join(row(metric, found))} | {beside} |")
    lines.append("")
    ended = [c for c in found.values() if c[-1, 0] >= chosen.steps]
    for goal in chosen.goals:
        words, state = verdict(chosen, goal, found)
        part = f" ({len(ended)} of {chosen.seeds} seeds ran to the end)" if len(ended) < chosen.seeds else ""
        lines.append(f"- {words}: {state}{part}")
    lines += [f"- {note}" for note in chosen.notes]
    lines += [
        f"- published{'' if p.of else ', of another metric'}: {p.value} ({p.metric}; {p.source})"
        for p in chosen.published
    ]
    return [*lines, ""]


INTRODUCTION = (
    "Greedy evaluation; written by `python benchmarks/learning.py`. "
    "The presets td3 and d4pg are combined with the environment's own",
    "since these runs were made; each command below gives the values that it gave then.",
    "",
    "**final** is the closing evaluation, **best** a seed's best evaluation, **last ten** the mean of its "
    "last ten, **largest mean** the largest mean over",
    "seeds of any evaluation. These differ by up to a factor of two on the same runs, so each stands beside "
    "the best published figure of the same metric and",
    "algorithm, the strongest included. Published figures are of other versions of an environment and often "
    "of other numbers of seeds.",
    "Where an older engine made the figures, the set says so.",
)


def render() -> None:
    """Write docs/results/README.md and the curves from the CSV files beside it."""
    lines = ["# Learning results", "", *summary(), "", *INTRODUCTION, ""]
    for chosen in SETS:
        lines += section(chosen)
    (RESULTS / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(s.name for s in SETS))
    parser.add_argument("--seed", type=int, nargs="*", help="only these seeds")
    parser.add_argument("--missing", action="store_true", help="only seeds that are not in docs/results/ yet")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"), help="where the run folders go")
    parser.add_argument("--render", action="store_true", help="train nothing")
    args = parser.parse_args()
    chosen = [s for s in SETS if not args.sets or s.name in args.sets]
    if unknown := set(args.sets) - {s.name for s in SETS}:
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    if not args.render:
        done = {(s.name, int(row[0])) for s in chosen for row in measured(s)} if args.missing else set()
        wanted = [
            (s, seed) for s in chosen for seed in range(s.seeds) if args.seed is None or seed in args.seed
        ]
        jobs = [(s, seed, args.runs) for s, seed in wanted if (s.name, seed) not in done]
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(run, jobs))
    RESULTS.mkdir(exist_ok=True)
    for s in chosen:
        gather(s, args.runs)
    render()


if __name__ == "__main__":
    main()
