"""Tasks that need one option: trained with it and without it, on three seeds.

`python benchmarks/options.py [goals] [fetch] [history]` trains the named tasks, or all, and prints a table of
the closing evaluations and of the commands. `fetch` needs the extra `robotics` with MuJoCo 3.10.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import swingup

SEEDS = range(3)


class Angle(gymnasium.ObservationWrapper):
    """The pendulum without its speed."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def observation(self, obs: np.ndarray) -> np.ndarray:
        return obs[:2]


def angle() -> gymnasium.Env:
    return Angle(gymnasium.make("Pendulum-v1"))


STABLE = {"critics": 2, "delay": 2, "smoothing": 0.2}
GOALS = {
    "steps": 40_000,
    "hidden": (128, 128),
    "batch": 256,
    "gamma": 0.98,
    "sigma": 0.2,
    "threads": 1,
    "eval_every": 10_000,
    **STABLE,
}
FETCH = {
    "steps": 20_000,
    "hidden": (128, 128),
    "batch": 128,
    "gamma": 0.95,
    "sigma": 0.2,
    "threads": 1,
    "eval_every": 10_000,
}
# Name -> environment, settings, the option, the figure that is compared, and whether to train without it.
TASKS = {
    "goals": ("native/PointGoal-v0", GOALS, {"hindsight": "future"}, "success", True),
    "fetch": ("gymnasium_robotics:FetchReach-v4", FETCH, {"hindsight": "future"}, "success", False),
    "history": (angle, {"preset": "pendulum", "steps": 10_000}, {"history": 4}, "mean", True),
}


def main(names: list[str]) -> None:
    for name in names or TASKS:
        env, settings, option, figure, both = TASKS[name]
        print(f"{name}: {env if isinstance(env, str) else 'Pendulum-v1, its angle alone'}, {settings}")
        for extra in (option, {}) if both else (option,):
            found = []
            for seed in SEEDS:
                with tempfile.TemporaryDirectory() as folder:
                    run = swingup.train(
                        env, **settings, **extra, seed=seed, run_dir=Path(folder) / "run", quiet=True
                    )
                    found.append(run.result[figure])
            values = "  ".join(f"{value:8.3g}" for value in found)
            print(f"  {extra or 'without'!s:28} {figure} on seeds 0 to 2: {values}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
