"""What a training step costs as the replay grows: `python benchmarks/replay.py`, or with `prioritised` behind it.

The Pendulum-sized step (400-300 networks, minibatch 64) one call at a time, as the host loop makes it, with rings of 10,000 to
10 million rows filled beyond their first page. The rings take turns, so that a busy machine slows all of them alike; what counts is the
ratio to the smallest. Exits with 1 if the largest costs more than 1.15 times the smallest (1.5 times from 10,000 to a million
where replay is prioritised).
"""

import os
import statistics
import sys
import time
from functools import partial

from swingup import runtime

THREADS = 1
runtime.prepare(THREADS)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from swingup import learn, priority  # noqa: E402
from swingup.agent import Agent  # noqa: E402
from swingup.learn import Plan  # noqa: E402
from swingup.nets import Actor, Critic  # noqa: E402
from swingup.noise import Gaussian  # noqa: E402
from swingup.priority import Priority  # noqa: E402

PRIORITISED = "prioritised" in sys.argv
SIZES = (10_000, 100_000, 1_000_000) if PRIORITISED else (10_000, 100_000, 1_000_000, 10_000_000)
ROUNDS, CALLS = 30, 50
LIMIT = 1.5 if PRIORITISED else 1.15


class Ring:
    """One replay size: its own state and program, full of random rows."""

    def __init__(self, capacity: int):
        agent = Agent(Actor(3, 1), Critic(3, 1), Gaussian(0.1))
        plan = Plan(agent, capacity=capacity, priority=Priority() if PRIORITISED else None)
        self.rows = np.random.default_rng(0).normal(size=(1, 1, agent.layout.width)).astype(np.float32)
        self.obs = self.rows[0, :, :3].copy()
        self.improve = jax.jit(partial(learn.improve, plan), donate_argnums=0)
        state = jax.jit(partial(learn.init, plan))(jax.random.key(0))
        fill = jax.jit(lambda r: r._replace(rows=r.rows + 0.5, head=r.head + capacity), donate_argnums=0)
        even = jax.jit(lambda t: priority.assign(t, np.arange(capacity), np.ones(capacity, np.float32)))
        self.state = state._replace(replay=fill(state.replay), tree=even(state.tree) if PRIORITISED else None)
        self.calls(CALLS)

    def calls(self, n: int) -> float:
        """Microseconds of one of n calls, each waited for."""
        start = time.perf_counter()
        for _ in range(n):
            self.state, (action, metrics) = self.improve(self.state, self.rows, self.obs)
            np.asarray(action), np.asarray(metrics)
        return (time.perf_counter() - start) / n * 1e6


def main() -> int:
    rings = {size: Ring(size) for size in SIZES}
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):
        for size, ring in rings.items():
            times[size].append(ring.calls(CALLS))
    base = statistics.median(times[SIZES[0]])
    print(f"jax {jax.__version__}, {THREADS} thread, {ROUNDS} rounds of {CALLS} calls, load {os.getloadavg()[0]:.2f}")
    print(f"{'rows':>12} {'us min':>8} {'median':>8} {'max':>8} {'ratio':>7}")
    for size, t in times.items():
        print(f"{size:>12,} {min(t):>8.0f} {statistics.median(t):>8.0f} {max(t):>8.0f} {statistics.median(t) / base:>7.3f}")
    return int(statistics.median(times[SIZES[-1]]) / base > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
