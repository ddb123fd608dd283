"""`swingup bench`: the speed of training on this machine, and the parts of a training step's time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from swingup.core.agent import Agent
from swingup.errors import InputError
from swingup.training.build import RunBuilder

# Calls that are timed together, and rounds of them; the median over rounds is reported.
WINDOW, ROUNDS = 100, 7


class Part(NamedTuple):
    """One part of a training step: its name and microseconds."""

    name: str
    us: float


@dataclass(frozen=True)
class Report:
    """The result of a benchmark.

    us: a time step of all environments with its updates, in microseconds; mflop: its matrix products; gflops:
    the machine's speed for the product of the largest layer; parts: what the step's time consists of.
    """

    env: str
    preset: str
    threads: int
    us: float
    mflop: float
    gflops: float
    parts: tuple[Part, ...]


def flops(agent: Agent) -> float:
    """Multiplications and additions of the matrix products in one update: targets, critics, 1/D of the actor.

    Gradients that nothing needs are not counted: of observations, or of critic weights in the actor's loss.
    """

    first, second = matrices(agent.actor), matrices(agent.critic)
    actor, actor_back = sum(w + a for w, a in first), sum(w for w, _ in first[1:])
    critic, critic_back = sum(w + a for w, a in second), sum(w for w, _ in second[1:])
    joined = next((i for i, (_, a) in enumerate(second) if a), 0)
    to_action = second[joined][1] + sum(w for w, _ in second[joined + 1 :])
    passes = critic + 2 * critic + critic_back if agent.has_targets else 2 * (2 * critic + critic_back)
    step = actor + agent.critics * passes
    policy = 2 * actor + actor_back + critic + to_action
    return 2.0 * agent.batch * (step + policy / agent.delay)


def matrices(net: Any) -> list[tuple[int, int]]:
    """Of each matrix product of a network the elements of its matrix, and those of the action's joined to it.

    A network of the user's own counts as a stack of all its matrices, the first without the action.
    """
    import jax

    params = jax.eval_shape(net.init, jax.random.PRNGKey(0))
    if not hasattr(net, "layers"):
        return [(math.prod(x.shape), 0) for x in jax.tree.leaves(params) if x.ndim == 2]
    size = lambda layer, name: math.prod(layer[name].shape) if name in layer else 0
    found = [[(size(layer, "w"), size(layer, "a")), (size(layer, "v"), 0)] for layer in params]
    return [(w, a) for layer in found for w, a in layer if w]


def seconds(once: Callable[[], Any], count: int = WINDOW) -> float:
    """Seconds of each of the `count` units of work in a call: the median over rounds, after a first one."""
    out = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        once()
        out.append((time.perf_counter() - began) / count)
    return statistics.median(out[1:])


def products(agent: Agent) -> float:
    """GFLOP/s of XLA's matrix product in a compiled loop, for the minibatch and the largest layer."""
    import jax
    import jax.numpy as jnp

    shapes = jax.tree.leaves(jax.eval_shape(agent.critic.init, jax.random.PRNGKey(0)))
    k, n = max((x.shape for x in shapes if x.ndim == 2), key=math.prod)
    there, back = jnp.full((k, n), 1e-3), jnp.full((n, k), 1e-3)
    run = jax.jit(lambda x: jax.lax.fori_loop(0, WINDOW, lambda i, x: (x @ there) @ back, x))
    x = jnp.ones((agent.batch, k))
    return 2 * agent.batch * k * n / seconds(lambda: run(x).block_until_ready(), 2 * WINDOW) / 1e9


def bench(builder: RunBuilder) -> Report:
    """Train for some seconds and measure the parts of a training step; nothing is saved.

    Raises InputError where the settings or the environment cannot be used, or the environment is in JAX.
    """
    from swingup import runtime
    from swingup.envs.registry import in_jax
    from swingup.training.environments import open_environments
    from swingup.training.options import Options

    env_name = builder.env
    if in_jax(env_name):
        raise InputError(
            f"bench {env_name}: its steps are part of one compiled program; use a Gymnasium environment"
        )
    batch, n = builder.settings["batch"], builder.settings["envs"]
    builder = builder.replace(warmup=max(batch, n), workers=None, steps=2**31 - 1, eval_every=2**30)
    with open_environments(builder.environments(env_name, Options())) as envs:
        builder.check(envs.spec)
        runtime.prepare(builder.threads)
        loop: Any = builder.loop(envs)
        agent, count = loop.plan.agent, iterations(loop)
        while loop.iteration <= loop.plan.warmup_iterations + count:
            loop.step()
        per_step = float(loop.plan.updates) * loop.plan.n  # updates for each time step of the environments
        whole = seconds(lambda: [loop.step() for _ in range(count)], count * loop.plan.block)
        loop.step(ahead=False)
        env, acting = environment(loop), acts(loop)
        update, called = update_in_loop(loop), one_call(loop)
        parts = (
            Part("environment, checks, packing", env * 1e6),
            Part("choosing an action", acting * 1e6),
            Part("update, in a compiled loop", update * 1e6),
            Part("calling it from Python instead", (called - update) * 1e6),
            Part(
                "the loop around it, less what goes on at the same time",
                (whole - env - acting - called) * 1e6,
            ),
        )
        work = flops(agent) * per_step / 1e6
        return Report(env_name, builder.preset, builder.threads, whole * 1e6, work, products(agent), parts)


def environment(loop: Any) -> float:
    """Seconds of a time step of the environments alone."""
    import numpy as np

    action = np.asarray(loop.action)
    return seconds(lambda: [loop.collector.collect(action) for _ in range(WINDOW)])


def acts(loop: Any) -> float:
    """Seconds of a call of `act`, including reading its result."""
    import numpy as np

    first = np.zeros(loop.plan.n, np.float32)

    def once() -> None:
        for _ in range(WINDOW):
            loop.actors, action = loop.act(loop.actors, loop.behaviour, loop.collector.obs, first)
            np.asarray(action)

    return seconds(once)


def iterations(loop: Any) -> int:
    """The iterations of about WINDOW time steps."""
    return -(-WINDOW // loop.plan.block)


def one_call(loop: Any) -> float:
    """Seconds of a time step's share of a call of `train_step`, including reading its metrics."""
    import numpy as np

    rows, count = empty_rows(loop), iterations(loop)

    def once() -> None:
        for _ in range(count):
            loop.state, (_, metrics) = loop.train_step(loop.state, rows)
            np.asarray(metrics)

    return seconds(once, count * loop.plan.block)


def update_in_loop(loop: Any) -> float:
    """Seconds of a time step's share of a `train_step` inside one compiled loop."""
    import jax

    from swingup.core import engine

    plan, rows, count = loop.plan, empty_rows(loop), iterations(loop)
    body = lambda i, state: engine.train_step(plan, state, rows)[0]
    run = jax.jit(lambda state: jax.lax.fori_loop(0, count, body, state), donate_argnums=0)

    def once() -> None:
        loop.state = jax.block_until_ready(run(loop.state))

    return seconds(once, count * loop.plan.block)


def empty_rows(loop: Any) -> Any:
    """The rows[K, N, W] of an iteration, all zero."""
    import numpy as np

    return np.zeros((loop.plan.block, loop.plan.columns, loop.plan.agent.layout.width), np.float32)


def show(report: Report, console: Any) -> None:
    """Print the report on a rich console, as a table."""
    from rich.table import Table

    console.print(
        f"{report.env} · preset {report.preset} · {report.threads} thread{'s' if report.threads > 1 else ''}"
    )
    console.print(
        f"{1e6 / report.us:,.0f} steps/s: {report.us:,.0f} µs a step of every environment, "
        f"medians of {ROUNDS} rounds\n"
    )
    table = Table("where it goes", "µs", "share", box=None)
    for part in report.parts:
        table.add_row(part.name, f"{part.us:,.0f}", f"{part.us / report.us:.0%}")
    console.print(table)
    update = report.parts[2].us
    console.print(
        f"\nThe matrix products of an update are {report.mflop:,.2f} MFLOP, so the update runs at "
        f"{report.mflop / update * 1e3:,.1f} GFLOP/s and the whole step at "
        f"{report.mflop / report.us * 1e3:,.1f}. For comparison: the product of the largest layer alone, "
        f"in a loop, runs at {report.gflops:,.1f} GFLOP/s here."
    )
