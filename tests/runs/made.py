"""Run folders made by hand, with everything that a report reads, as large as asked for."""

import dataclasses
import json
from itertools import pairwise

import numpy as np

import swingup
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.reports.diagnostics import Figures
from swingup.storage.policy_file import save_policy
from swingup.types import Spec


def pendulum_policy(hidden=(16,), seed=3):
    """A policy of the pendulum that was not trained."""
    rng, sizes = np.random.default_rng(seed), (3, *hidden, 1)
    layers = [
        {"w": rng.normal(size=(a, b)).astype(np.float32), "b": rng.normal(size=b).astype(np.float32)}
        for a, b in pairwise(sizes)
    ]
    spec = Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,))
    return Policy(Actor(3, 1, hidden), tuple(layers), spec)


def table(path, columns):
    """Write columns as a CSV file."""
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")


def make_run(folder, seed=0, steps=5000, policy=None, **settings):
    """A run folder of the pendulum, as a finished run of so many steps leaves it; returns it."""
    rng = np.random.default_rng(seed)
    save_policy(folder / "policy" / "last.safetensors", policy or pendulum_policy())
    config = swingup.Config(env="Pendulum-v1", preset="pendulum", seed=seed, steps=steps, warmup=100)
    values = dataclasses.asdict(dataclasses.replace(config, **settings))
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "command.txt").write_text("swingup train Pendulum-v1 --sigma 0.2 <b>\n")
    (folder / "machine.json").write_text(json.dumps({"swingup": "9.9", "git_revision": "abc123-dirty"}))
    grown = lambda n: -1500 + 1350 * np.linspace(0, 1, n) + rng.normal(0, 30, n)
    at = np.arange(200, steps + 1, 200)
    episodes = {"episode": np.arange(len(at)), "env": 0 * at, "step": at, "return": grown(len(at))}
    table(folder / "episodes.csv", episodes | {"length": 0 * at + 200, "seed": at, "q_max": grown(len(at))})
    at = np.arange(500, steps + 1, 500)
    table(folder / "metrics.csv", {"step": at, **{name: rng.random(len(at)) for name in Figures._fields}})
    at = np.arange(1000, steps + 1, 1000)
    mean = grown(len(at))
    table(folder / "evaluations.csv", {"step": at, "mean": mean, "ci95_low": mean - 9, "ci95_high": mean + 9})
    (folder / "remarks.csv").write_text("step,name,text\n900,health,the critic <script>alert(1)</script>\n")
    returns = rng.normal(-150, 60, 100)
    table(folder / "closing.csv", {"episode": np.arange(100), "return": returns, "length": 0 * returns + 200})
    mean = float(returns.mean())
    result = {"mean": mean, "std": 60.0, "ci95": [mean - 12, mean + 12], "episodes": 100, "steps": steps}
    (folder / "result.json").write_text(json.dumps(result | {"seconds": 12.5, "run": str(folder)}))
    return folder


def make_group(folder, seeds=5, **options):
    """A group of such runs, one for each seed; returns its folder."""
    for seed in range(seeds):
        make_run(folder / f"seed-{seed}", seed, **options)
    about = {"env": "Pendulum-v1", "mode": "process", "seeds": list(range(seeds))}
    (folder / "group.json").write_text(json.dumps(about))
    return folder
