"""How fast does it train here, how much of that is the machine's matrix products, and where does the rest go?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from swingup.config.settings import Config
from swingup.core.agent import Agent
from swingup.errors import InputError

# Steps that are timed together, and how often; the medians count.
WINDOW, ROUNDS = 100, 7


class Part(NamedTuple):
    """One part of a training step: microseconds, median over rounds."""

    name: str
    us: float


@dataclass(frozen=True)
class Report:
    """What a benchmark found. us: a whole training step; limit_us: its products alone at `gflops`, the machine's best for the largest
    layer; parts: where the step's time goes."""

    env: str
    preset: str
    threads: int
    us: float
    mflop: float
    gflops: float
    parts: tuple[Part, ...]

    @property
    def limit_us(self) -> float:
        return self.mflop / self.gflops * 1e3


def flops(agent: Agent) -> float:
    """Multiplications and additions of the matrix products in one update: targets, critics, and the actor's share of a delay.

    No gradient is counted that nothing needs: towards observations, or of the critic's weights in the actor's loss.
    """

    def stack(net: Any, action: int = 0) -> tuple[int, int]:
        """Products of a forward pass, and of a gradient's way back to the layers above the first; per row."""
        sizes = [net.obs_size, *net.hidden, getattr(net, "outputs", 1) or 1]
        if not action:
            sizes[-1] = net.action_size
        weights = [a * b for a, b in pairwise(sizes)]
        return sum(weights) + (action and action * net.hidden[net.action_layer - 1]), sum(weights[1:])

    actor, actor_back = stack(agent.actor)
    critic, critic_back = stack(agent.critic, agent.actor.action_size)
    joined = agent.critic.hidden[agent.critic.action_layer - 1] * agent.actor.action_size
    sizes = [*agent.critic.hidden, agent.critic.outputs or 1]
    to_action = joined + sum(a * b for a, b in pairwise(sizes[agent.critic.action_layer - 1 :]))
    step = actor + agent.critics * (critic + 2 * critic + critic_back)
    policy = 2 * actor + actor_back + critic + to_action
    return 2.0 * agent.batch * (step + policy / agent.delay)


def seconds(once: Callable[[], Any], count: int = WINDOW) -> float:
    """Seconds of each of the `count` units of work that a call does: the median over rounds, after one that does not count."""
    out = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        once()
        out.append((time.perf_counter() - began) / count)
    return statistics.median(out[1:])


def products(agent: Agent) -> float:
    """GFLOP/s of XLA's matrix product in a hot loop, for the minibatch and the largest layer."""
    import jax
    import jax.numpy as jnp

    k, n = max(pairwise((agent.actor.obs_size, *agent.critic.hidden)), key=lambda pair: pair[0] * pair[1])
    there, back = jnp.full((k, n), 1e-3), jnp.full((n, k), 1e-3)
    run = jax.jit(lambda x: jax.lax.fori_loop(0, WINDOW, lambda i, x: (x @ there) @ back, x))
    x = jnp.ones((agent.batch, k))
    return 2 * agent.batch * k * n / seconds(lambda: run(x).block_until_ready(), 2 * WINDOW) / 1e9


def bench(config: Config) -> Report:
    """Train for some seconds and take apart what a step costs; nothing is kept.

    Raises InputError where the settings or the environment cannot be used, or the environment is itself compiled.
    """
    from swingup import runtime
    from swingup.config.settings import check
    from swingup.envs.registry import in_jax
    from swingup.training.build import enough_memory, fit, make_loop
    from swingup.training.environments import make_envs
    from swingup.training.options import Options

    if in_jax(config.env):
        raise InputError(f"bench {config.env}: its steps are part of one compiled program; use a Gymnasium environment")
    config = check(replace(config, warmup=max(config.batch, config.envs), workers=None))
    with ExitStack() as stack:
        envs = make_envs(config, config.env, Options())
        for each in envs.hosts:
            stack.callback(each.close)
        fit(config, envs.testing.spec)
        enough_memory(config, envs.testing.spec.layout.width)
        runtime.prepare(config.threads)
        loop: Any = make_loop(replace(config, steps=2**31 - 1, eval_every=2**30), envs)
        while loop.iteration <= loop.plan.warmup_iterations + WINDOW:
            loop.tick()
        agent = loop.plan.agent
        per_step = float(loop.plan.updates) * loop.plan.n  # updates for each time step of the environments
        whole = seconds(lambda: [loop.tick() for _ in range(WINDOW)]) / loop.plan.block
        loop.tick(ahead=False)
        env, acting = environment(loop), acts(loop)
        update, called = fused(loop) / loop.plan.block, one_call(loop) / loop.plan.block
        parts = (
            Part("environment, checks, packing", env * 1e6),
            Part("choosing an action", acting * 1e6),
            Part("update, in a compiled loop", update * 1e6),
            Part("calling it from Python instead", (called - update) * 1e6),
            Part("the loop around it, less what goes on at the same time", (whole - env - acting - called) * 1e6),
        )
        work = flops(agent) * per_step / 1e6
        return Report(config.env, config.preset, config.threads, whole * 1e6, work, products(agent), parts)


def environment(loop: Any) -> float:
    """Seconds of a time step of the environments alone."""
    import numpy as np

    action = np.asarray(loop.action)
    return seconds(lambda: [loop.collector.collect(action) for _ in range(WINDOW)])


def acts(loop: Any) -> float:
    """Seconds of a call of `act`, its answer read."""
    import numpy as np

    first = np.zeros(loop.plan.n, np.float32)

    def once() -> None:
        for _ in range(WINDOW):
            loop.actors, action = loop.act(loop.actors, loop.behaviour, loop.collector.obs, first)
            np.asarray(action)

    return seconds(once)


def one_call(loop: Any) -> float:
    """Seconds of a call of `improve`, its answer read."""
    import numpy as np

    rows = empty_rows(loop)

    def once() -> None:
        for _ in range(WINDOW):
            loop.state, (_, metrics) = loop.improve(loop.state, rows)
            np.asarray(metrics)

    return seconds(once)


def fused(loop: Any) -> float:
    """Seconds of an iteration of `improve` inside one compiled loop."""
    import jax

    from swingup.core import engine

    plan, rows = loop.plan, empty_rows(loop)
    body = lambda i, state: engine.improve(plan, state, rows)[0]
    run = jax.jit(lambda state: jax.lax.fori_loop(0, WINDOW, body, state), donate_argnums=0)

    def once() -> None:
        loop.state = jax.block_until_ready(run(loop.state))

    return seconds(once)


def empty_rows(loop: Any) -> Any:
    import numpy as np

    return np.zeros((loop.plan.block, loop.plan.n, loop.plan.agent.layout.width), np.float32)


def show(report: Report, console: Any) -> None:
    """The report as a table."""
    from rich.table import Table

    console.print(f"{report.env} · preset {report.preset} · {report.threads} thread{'s' if report.threads > 1 else ''}")
    console.print(f"{1e6 / report.us:,.0f} steps/s: {report.us:,.0f} µs a step of every environment, medians of {ROUNDS} rounds\n")
    table = Table("where it goes", "µs", "share", box=None)
    for part in report.parts:
        table.add_row(part.name, f"{part.us:,.0f}", f"{part.us / report.us:.0%}")
    console.print(table)
    update = report.parts[2].us
    console.print(
        f"\nThe update's matrix products: {report.mflop:,.0f} MFLOP, {report.limit_us:,.0f} µs at the {report.gflops:,.0f} GFLOP/s that this machine "
        f"gives them alone. The update runs at {report.limit_us / update:.0%} of that limit, the whole step at {report.limit_us / report.us:.0%}."
    )
