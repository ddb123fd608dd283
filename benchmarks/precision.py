"""What `--precision` changes on a GPU: seconds of an update, and what is learnt.

    python benchmarks/precision.py          writes its tables into docs/results/precision.md

Updates: halfcheetah's sizes (17 observations, 6 actions) in one compiled loop, best and median of several
rounds. Learning: the pendulum's preset with 256-256 networks on native/Pendulum-v1, 16 seeds in one program,
each closed by 20 greedy episodes.
"""

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

import swingup
from swingup.core import engine
from swingup.core.agent import Agent
from swingup.core.engine import Plan
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.runs.statistics import interval, iqm

PAGE = Path(__file__).parents[1] / "docs" / "results" / "precision.md"
PRECISIONS = (None, "float32", "tensorfloat32", "bfloat16")
SIZES = ((256, 256), (1024, 1024))  # minibatch, width of both hidden layers
UPDATES, ROUNDS, SEEDS = 100, 7, 16


def loop(batch: int, width: int, precision: str | None):
    """A compiled loop of updates on a full replay, and the state that it begins with."""
    hidden = (width, width)
    plan = Plan(
        Agent(
            Actor(17, 6, hidden), Critic(17, 6, hidden, 1), Gaussian(0.1), batch=batch, precision=precision
        ),
        capacity=100_000,
    )
    rows = np.random.default_rng(0).normal(size=(1, 1, plan.agent.layout.width)).astype(np.float32)
    state = jax.jit(partial(engine.init, plan))(jax.random.PRNGKey(0))
    state = state._replace(
        replay=state.replay._replace(rows=state.replay.rows + 0.1, added=state.replay.added + 100_000)
    )
    run = jax.jit(
        lambda s: jax.lax.fori_loop(0, UPDATES, lambda i, s: engine.train_step(plan, s, rows)[0], s),
        donate_argnums=0,
    )
    return run, jax.block_until_ready(run(state))


def updates() -> list[str]:
    lines = [
        "| minibatch, width | precision | µs per update, best / median | time / default's |",
        "|---|---|---|---|",
    ]
    for batch, width in SIZES:
        made = {p: loop(batch, width, p) for p in PRECISIONS}
        times: dict[str | None, list[float]] = {p: [] for p in PRECISIONS}
        for _ in range(ROUNDS):
            for p, (run, state) in made.items():
                start = time.perf_counter()
                made[p] = run, jax.block_until_ready(run(state))
                times[p].append((time.perf_counter() - start) / UPDATES * 1e6)
        base = statistics.median(times[None])
        for p, t in times.items():
            middle = statistics.median(t)
            lines.append(
                f"| {batch:,}, {width:,} | {p or 'default'} "
                f"| {min(t):,.0f} / {middle:,.0f} | {middle / base:.2f} |"
            )
            print(lines[-1], flush=True)
    return lines


def learning() -> list[str]:
    lines = [
        "| precision | seeds above -200 | interquartile mean and 95 % interval | worst |",
        "|---|---|---|---|",
    ]
    for p in PRECISIONS:
        with tempfile.TemporaryDirectory() as folder:
            group = swingup.train(
                "native/Pendulum-v1", seeds=SEEDS, seeds_mode="vmap", quiet=True,
                run_dir=Path(folder) / "group", hidden=(256, 256), final_episodes=20,
                **({"precision": p} if p else {}),
            )  # fmt: skip
            means = np.array([run.result["mean"] for run in group.runs])
        low, high = interval(means)
        lines.append(
            f"| {p or 'default'} | {(means > -200).sum()} of {SEEDS} "
            f"| {iqm(means):.1f} ({low:.1f} to {high:.1f}) | {means.min():.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> int:
    device = jax.devices()[0]
    if device.platform == "cpu":
        print("precision: products on a CPU are float32; run this where there is a GPU")
        return 2
    lines = [
        f"# Precision of matrix products\n\n{__doc__}",
        f"## {device.device_kind}",
        "",
        f"jax {jax.__version__}.",
        "",
    ]
    for part in (updates, learning):
        lines += [*part(), ""]
        PAGE.write_text(
            "\n".join(lines).rstrip() + "\n"
        )  # what is measured is kept, should the rest take too long
    return 0


if __name__ == "__main__":
    sys.exit(main())
