"""How many steps demonstrations save: the pendulum to a return of -200, with and without 5,000 steps shown.

    python benchmarks/demonstrations.py            # a teacher, then two runs for each of five seeds
    python benchmarks/demonstrations.py --render   # writes the page and the figure from the CSV alone

The teacher is a run of the preset with a seed of its own; its policy plays 25 episodes of 200 steps with the
exploration noise of its training, since a critic learns little from actions that are always the same.
All runs make 16 gradient steps for each step of the environment: with one, they wait for updates and not for
steps. A run's figure is the step of its first evaluation (10 episodes, every 100 steps) with a mean of at
least -200.
Writes docs/results/demonstrations.md, .csv and .svg.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from swingup.envs.registry import factory
from swingup.runs.group import load
from swingup.storage.tables import read_csv

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
ENV, STEPS, EVERY, GOAL, SEEDS, SHOWN, TEACHER = "Pendulum-v1", 2_000, 100, -200, 5, 5_000, 100
NOISE = 0.3  # of half the range of actions, as in the preset
PLAIN = ["--steps", str(STEPS), "--updates", "16", "--eval-every", str(EVERY), "--final-episodes", "10"]


def train(folder: Path, *flags: str) -> Path:
    """Train a run in a new folder, or go on with the one that is there."""
    words = [ENV, *flags, "--run-dir", str(folder), "--resume", "--quiet"]
    subprocess.run([sys.executable, "-m", "swingup", "train", *words], check=True)
    return folder


def show(teacher: Path, path: Path) -> None:
    """Write steps of the teacher's policy with noise as a file for --demos."""
    if path.exists():
        return
    env, policy = factory(ENV)(), load(teacher).policy
    found: dict[str, list] = {
        name: [] for name in ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    }
    episode, over, obs, rng = 0, True, np.zeros(0), np.random.default_rng(TEACHER)
    low, high = env.action_space.low, env.action_space.high
    for _ in range(SHOWN):
        if over:
            obs, _ = env.reset(seed=10_000 + episode)
            episode += 1
        noise = NOISE * (high - low) / 2 * rng.normal(size=low.shape)
        action = np.clip(policy(obs) + noise, low, high).astype(np.float32)
        after, reward, terminated, truncated, _ = env.step(action)
        for name, value in zip(found, (obs, action, reward, terminated, truncated, after), strict=True):
            found[name].append(value)
        obs, over = after, terminated or truncated
    np.savez(path, **{name: np.array(values) for name, values in found.items()})


def measure(runs: Path) -> None:
    """Train everything, and write the evaluations of all runs into the CSV."""
    runs.mkdir(parents=True, exist_ok=True)
    file = runs / "teacher.npz"
    show(train(runs / "teacher", "--seed", str(TEACHER)), file)
    rows: list[tuple[object, ...]] = []
    for seed in range(SEEDS):
        for shown in (0, SHOWN):
            flags = ["--demos", str(file)] if shown else []
            folder = train(runs / f"{shown}-{seed}", "--seed", str(seed), *PLAIN, *flags)
            found = read_csv(folder / "evaluations.csv")
            rows += [
                (shown, seed, int(s), round(float(m), 2))
                for s, m in zip(found["step"], found["mean"], strict=True)
            ]
    with (RESULTS / "demonstrations.csv").open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("demonstrations", "seed", "step", "mean"))
        writer.writerows(rows)


def curves(shown: int) -> dict[int, np.ndarray]:
    """Per seed the [step, mean] of each evaluation, with so many demonstrations."""
    data = read_csv(RESULTS / "demonstrations.csv")
    where = data["demonstrations"] == shown
    return {
        int(seed): np.stack([data["step"], data["mean"]], 1)[where & (data["seed"] == seed)]
        for seed in np.unique(data["seed"])
    }


def steps_to_goal(curve: np.ndarray) -> float:
    """The step of the first evaluation that reaches the goal; infinite if none does."""
    reached = curve[curve[:, 1] >= GOAL, 0]
    return float(reached[0]) if len(reached) else np.inf


def draw() -> None:
    """Both curves: every seed thin, the mean over seeds thick."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "swingup"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for shown, colour in ((0, "tab:gray"), (SHOWN, "tab:blue")):
        found = curves(shown)
        for curve in found.values():
            axes.plot(*curve.T, color=colour, alpha=0.25, linewidth=0.8)
        mean = np.mean(list(found.values()), 0)
        axes.plot(*mean.T, color=colour, label=f"{shown:,} steps shown" if shown else "none shown")
    axes.axhline(GOAL, color="black", linewidth=0.8, linestyle=":", label=f"goal: {GOAL}")
    axes.set(xlabel="environment steps", ylabel="greedy return", title=f"{ENV}, {SEEDS} seeds")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / "demonstrations.svg", metadata={"Date": None})
    plt.close(figure)


def render() -> None:
    """Write the page and the figure."""
    draw()
    words = lambda x: f"{x:,.0f}" if np.isfinite(x) else f"over {STEPS:,}"
    lines = ["# What demonstrations save", "", "Written by `python benchmarks/demonstrations.py`.", ""]
    lines += ["![both curves](demonstrations.svg)", "", f"Steps to a greedy return of {GOAL}:", ""]
    lines += [
        "| | " + " | ".join(f"seed {s}" for s in range(SEEDS)) + " | median |",
        "|---" * (SEEDS + 2) + "|",
    ]
    medians = []
    for shown in (0, SHOWN):
        steps = [steps_to_goal(c) for c in curves(shown).values()]
        medians.append(float(np.median(steps)))
        cells = " | ".join(map(words, [*steps, medians[-1]]))
        lines.append(f"| {f'{shown:,} steps shown' if shown else 'none shown'} | {cells} |")
    share = medians[1] / medians[0]
    command = f"swingup train {ENV} {' '.join([*PLAIN, '--demos', 'teacher.npz'])} --seed S"
    lines += [
        "",
        f"With demonstrations the median run needs {share:.0%} of the steps.",
        "",
        f"`{command}`",
        "",
    ]
    lines += [
        f"teacher.npz: {SHOWN:,} steps of the policy of `swingup train {ENV} --seed {TEACHER}` with the "
        f"noise of its training (--sigma {NOISE}); without them the same command has no `--demos`. "
        "They count for the warm-up, so learning begins at the first step. "
        "Data: [demonstrations.csv](demonstrations.csv)",
        "",
        "The settings were chosen on seeds 200 to 202. A run that makes one gradient step for each step of "
        "the environment, as the preset does, waits for updates and not for data, and demonstrations save "
        "nothing: seeds 0 to 4 needed 2,750, 2,250, 2,250, 2,250 and 2,500 steps without them, and 2,750, "
        "2,000, 2,750, 2,000 and 3,000 with 5,000 steps of the greedy policy and `--demo-share 0.25`.",
        "",
    ]
    (RESULTS / "demonstrations.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/demonstrations"), help="where the runs go")
    parser.add_argument("--render", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.render:
        measure(args.runs)
    render()


if __name__ == "__main__":
    main()
