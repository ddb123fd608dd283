"""The host loop: collect one step, learn from it, and so on. What happens around it (logs, files, clocks) is not its business."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from swingup import learn
from swingup.agent import Metrics
from swingup.collect import HostCollector
from swingup.envs.api import HostEnv
from swingup.errors import Diverged, InputError
from swingup.learn import Plan
from swingup.policy import Policy
from swingup.types import Episode


class Tick(NamedTuple):
    """One iteration, seen from outside: environment steps done, episodes it ended, and its metrics once learning has begun."""

    step: int
    episodes: list[Episode]
    metrics: Metrics | None


class Program:
    """A jitted function, its first argument donated, that a thread compiles while the caller goes on."""

    def __init__(self, pool: ThreadPoolExecutor, f: Callable[..., Any], *shapes: Any):
        self.ready = pool.submit(lambda: jax.jit(f, donate_argnums=0).lower(*shapes).compile())

    def __call__(self, *args: Any) -> Any:
        return self.ready.result()(*args)


class HostLoop:
    """Training on environments that run in Python; `tick` advances by one step of each of them."""

    def __init__(self, plan: Plan, env: HostEnv, seed: int):
        self.plan, self.env, self.iteration = plan, env, 0
        self.collector = HostCollector(env, seed)
        self.q_max = np.zeros((plan.n, 2))  # sum and count since each environment's episode began
        # The first actions of a run are chosen and its warm-up goes on while the large program is compiled.
        begin = jax.jit(partial(learn.begin, plan)).trace(np.uint32(seed), self.collector.obs)
        state, _ = begin.out_info
        obs, rows = self.collector.obs, np.zeros((plan.block, plan.n, plan.agent.layout.width), np.float32)
        compiler = ThreadPoolExecutor(1, "compile")
        self.improve = Program(compiler, partial(learn.improve, plan), state, rows, obs)
        self.act, self.wander = (jax.jit(partial(f, plan), donate_argnums=0) for f in (learn.act, learn.wander))
        self.explore = jax.jit(partial(learn.explore, plan), donate_argnums=0)
        compiler.shutdown(wait=False)
        try:
            self.state, self.action = jax.block_until_ready(begin.lower().compile()(np.uint32(seed), obs))
        except jax.errors.JaxRuntimeError as error:
            need = plan.capacity * plan.agent.layout.width * 4 / 2**30
            raise InputError(
                f"memory: replay of {plan.capacity:,} rows takes {need:,.1f} GiB; lower --capacity or --hidden"
            ) from error

    def tick(self) -> Tick:
        """One iteration: a step of every environment (D of them where the actor is delayed), and the updates they pay for.

        Raises EnvFault before a faulty step reaches replay, Diverged before a non-finite gradient reaches the weights.
        """
        rows, episodes = self.collect()
        learning = self.iteration >= self.plan.warmup_iterations
        self.iteration += 1
        step, metrics = self.iteration * self.plan.rows, None
        if learning:
            self.state, (self.action, out) = self.improve(self.state, rows, self.collector.obs)
            metrics = Metrics(*np.asarray(out).tolist())
            if not metrics.finite:
                raise Diverged(
                    f"step {step}: a gradient is not finite (critic loss {metrics.critic_loss:.3g}, Q {metrics.q_mean:.3g}); "
                    "the weights stayed finite, lower --critic-lr or scale the reward down"
                )
            self.q_max += (metrics.q_max, 1)
        else:
            self.state, self.action = self.explore(self.state, rows, self.collector.obs)
        return Tick(step, [self.valued(e) for e in episodes], metrics)

    def collect(self) -> tuple[np.ndarray, list[Episode]]:
        """The rows[K, N, W] of this iteration and the episodes that it ended; its first actions are there already."""
        choose = self.wander if self.iteration <= self.plan.warmup_iterations else self.act
        rows, episodes = self.collector.collect(np.asarray(self.action))
        blocks = [rows]
        for k in range(1, self.plan.block):
            first = self.plan.agent.layout.unpack(rows[-1]).last
            self.state, self.action = choose(self.state, self.collector.obs, first, np.int32(k))
            rows, ended = self.collector.collect(np.asarray(self.action))
            blocks.append(rows)
            episodes += ended
        return np.concatenate(blocks), episodes

    def valued(self, episode: Episode) -> Episode:
        """The episode with its q_max, and the count for the environment's next one begun."""
        total, count = self.q_max[episode.env]
        self.q_max[episode.env] = 0
        return episode._replace(q_max=float(total / count) if count else math.nan)

    @property
    def steps(self) -> int:
        """Environment steps done, summed over the environments."""
        return self.iteration * self.plan.rows

    def policy(self) -> Policy:
        """The greedy policy of now, as NumPy copies (the device's own buffers are overwritten by the next tick)."""
        params, moments = jax.tree.map(np.array, (self.state.learner.actor, self.state.learner.moments))
        if not all(np.isfinite(p).all() for p in jax.tree.leaves(params)):
            raise Diverged(f"step {self.steps}: a weight of the actor is not finite; lower --actor-lr")
        return Policy(self.plan.agent.actor, params, self.env.spec, moments)
