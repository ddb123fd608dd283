"""What a training step costs as one size grows: `python benchmarks/growth.py [KIND ...]`, by default all.

    rows          rings of 10,000 to 10 million rows; at most 1.15 times
    prioritised   the same with prioritised replay, to a million rows; at most 1.5 times
    envs          1, 4 and 16 environments with one update for each step of all of them
    obs           17 and 376 observations (HalfCheetah's and Humanoid's), 256-256 networks, minibatch 256

The compiled step is called one at a time, as in the host loop, without the environments; by default 400-300
networks and minibatch 64. The variants take turns, so that a busy machine slows all of them alike; what
counts is the ratio to the first. Exits with 1 if rows or prioritised miss their limit.
"""

import os
import statistics
import sys
import time
from fractions import Fraction
from functools import partial

from swingup import runtime

THREADS = 1
runtime.prepare(THREADS)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from swingup.core import engine, prioritized  # noqa: E402
from swingup.core.agent import Agent  # noqa: E402
from swingup.core.engine import Plan  # noqa: E402
from swingup.core.networks import Actor, Critic  # noqa: E402
from swingup.core.noise import Gaussian  # noqa: E402
from swingup.core.prioritized import Priority  # noqa: E402

ROUNDS, CALLS = 30, 50
LIMITS = {"rows": 1.15, "prioritised": 1.5}
SMALL = Agent(Actor(3, 1), Critic(3, 1), Gaussian(0.1))


def wide(obs: int) -> Agent:
    return Agent(Actor(obs, 6, (256, 256)), Critic(obs, 6, (256, 256), 1), Gaussian(0.1), batch=256)


GROWTHS: dict[str, dict[int, Plan]] = {
    "rows": {c: Plan(SMALL, capacity=c) for c in (10_000, 100_000, 1_000_000, 10_000_000)},
    "prioritised": {c: Plan(SMALL, capacity=c, priority=Priority()) for c in (10_000, 100_000, 1_000_000)},
    "envs": {n: Plan(SMALL, n=n, capacity=10_000, updates=Fraction(1, n)) for n in (1, 4, 16)},
    "obs": {o: Plan(wide(o), capacity=10_000) for o in (17, 376)},
}


class Step:
    """One variant: its own state and program, its ring full."""

    def __init__(self, plan: Plan):
        width = plan.agent.layout.width
        self.rows = np.random.default_rng(0).normal(size=(plan.block, plan.n, width)).astype(np.float32)
        self.improve = jax.jit(partial(engine.train_step, plan), donate_argnums=0)
        state = jax.jit(partial(engine.init, plan))(jax.random.PRNGKey(0))
        fill = jax.jit(lambda r: r._replace(rows=r.rows + 0.5, added=r.added + len(r.rows)), donate_argnums=0)
        self.state = state._replace(replay=fill(state.replay))
        if plan.priority:
            places = np.arange(plan.capacity)
            even = jax.jit(lambda t: prioritized.assign(t, places, np.ones(plan.capacity, np.float32)))
            self.state = self.state._replace(tree=even(state.tree))
        self.calls(CALLS)

    def calls(self, n: int) -> float:
        """Microseconds of one of n calls, each waited for."""
        start = time.perf_counter()
        for _ in range(n):
            self.state, (_, metrics) = self.improve(self.state, self.rows)
            np.asarray(metrics)
        return (time.perf_counter() - start) / n * 1e6


def grow(name: str) -> bool:
    """Measure one kind of growth; whether it stayed within its limit."""
    steps = {size: Step(plan) for size, plan in GROWTHS[name].items()}
    times: dict[int, list[float]] = {size: [] for size in steps}
    for _ in range(ROUNDS):
        for size, step in steps.items():
            times[size].append(step.calls(CALLS))
    base = statistics.median(next(iter(times.values())))
    print(f"\n| {name} | µs min / median / max | ratio |\n|---|---|---|")
    for size, t in times.items():
        print(
            f"| {size:,} | {min(t):,.0f} / {statistics.median(t):,.0f} / {max(t):,.0f} "
            f"| {statistics.median(t) / base:.3f} |"
        )
    return statistics.median(t) / base <= LIMITS.get(name, float("inf"))


def main() -> int:
    wanted = sys.argv[1:] or [*GROWTHS]
    if unknown := set(wanted) - set(GROWTHS):
        print(f"growth: no such kind: {', '.join(sorted(unknown))}; there are {', '.join(GROWTHS)}")
        return 2
    load = os.getloadavg()[0]
    print(
        f"jax {jax.__version__}, {THREADS} thread, {ROUNDS} rounds of {CALLS} calls, load average {load:.2f}"
    )
    within = [grow(name) for name in wanted]
    return int(not all(within))


if __name__ == "__main__":
    raise SystemExit(main())
