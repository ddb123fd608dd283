"""The host loop: collect one step, learn from it, and so on. What happens around it (logs, files, clocks) is not its business.

While the learner computes one iteration, the environments already make the next one's rows: a queue of two, empty wherever someone looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Behaviour, Learner
from swingup.core.engine import Actors, Plan, State
from swingup.core.pytrees import fill, named, own
from swingup.envs.api import HostEnv
from swingup.errors import EnvFault, InputError
from swingup.loops.base import Loop, Program, Snapshot, Tick, bare
from swingup.loops.collector import HostCollector
from swingup.types import Episode


class Queued(NamedTuple):
    """An iteration whose learning is under way: steps done with it, its rows[K, N, W], the episodes that it ended, its metrics to be."""

    step: int
    rows: np.ndarray
    episodes: list[Episode]
    metrics: Any


class Sides(NamedTuple):
    """What a host loop has of a run on the device."""

    state: State
    behaviour: Behaviour
    actors: Actors


class HostLoop(Loop):
    """Training on environments that run in Python; `tick` advances by one step of each of them."""

    def __init__(self, plan: Plan, env: HostEnv, seed: int, *, every: tuple[int, ...] = (1,), end: int = 2**31):
        super().__init__(plan, every, end)
        self.env, self.spec = env, env.spec
        self.collector = HostCollector(env, seed)
        self.queue: deque[Queued] = deque()
        self.fault: EnvFault | None = None
        # The first actions of a run are chosen and its warm-up goes on while the large program is compiled.
        obs, rows = self.collector.obs, np.zeros((plan.block, plan.n, plan.agent.layout.width), np.float32)
        begin = jax.jit(partial(engine.begin, plan)).trace(np.uint32(seed), obs)
        state, behaviour, actors, _ = begin.out_info
        compiler = ThreadPoolExecutor(1, "compile")
        self.improve = Program(compiler, partial(engine.improve, plan), state, rows)
        self.act = Program(compiler, swapped(engine.act, plan), actors, behaviour, obs, np.ones(plan.n, np.float32))
        compiler.shutdown(wait=False)
        self.explore = jax.jit(partial(engine.explore, plan), donate_argnums=0)
        self.wander = jax.jit(swapped(engine.wander, plan), donate_argnums=0)
        try:
            begun = begin.lower().compile()(np.uint32(seed), obs)
            self.state, self.behaviour, self.actors, self.action = jax.block_until_ready(begun)
        except jax.errors.JaxRuntimeError as error:
            need = plan.capacity * plan.agent.layout.width * 4 / 2**30
            raise InputError(
                f"memory: replay of {plan.capacity:,} rows takes {need:,.1f} GiB; lower --capacity or --hidden"
            ) from error
        self.latest = self.behaviour  # what `behaviour` becomes with the next iteration

    @property
    def settled(self) -> bool:  # type: ignore[override]
        return not self.queue

    @property
    def sides(self) -> Sides:
        """All that it has on the device, but for replay."""
        return Sides(bare(self.state), self.behaviour, self.actors)

    def snapshot(self) -> Snapshot:
        """All that this run is; only where it is settled. The arrays may be views of the device's buffers: use them before the next tick."""
        if not self.settled:
            raise RuntimeError("host loop: a snapshot ahead of the last tick; `every` must name the steps at which one is made")
        host = {f"host.{k}": v for k, v in self.collector.saved().items()}
        host |= {"host.action": np.asarray(self.action), "host.q_max": self.q_max, "host.iteration": np.array(self.iteration)}
        ring = self.state.replay
        return Snapshot(named(self.sides) | host, np.asarray(ring.rows), int(ring.head))

    def resume(self, saved: Snapshot) -> bool:
        """Become what was saved; returns whether every running episode goes on exactly.

        Where an environment does not come back to the same bits its episode ends there, as if truncated, and a new one begins.
        Raises InputError where the snapshot is of other networks, sizes or options.
        """
        host = {k.removeprefix("host."): v for k, v in saved.tensors.items() if k.startswith("host.")}
        sides = fill(self.sides, {k: v for k, v in saved.tensors.items() if k.startswith(".")})
        lost = self.collector.resume(host)
        self.state, self.behaviour, self.actors = sides.state._replace(replay=self.ring(saved, lost)), sides.behaviour, sides.actors
        self.latest = own(algorithm.behaviour(self.state.learner))
        self.iteration, self.q_max, self.action = int(host["iteration"]), host["q_max"].copy(), jnp.array(host["action"])
        self.filled = saved.head // self.plan.block
        if lost.any():
            self.q_max[lost] = 0
            choose = self.wander if self.filled <= self.plan.warmup_iterations else self.act
            again = self.actors._replace(step=self.actors.step - 1)  # the same draw, for another observation
            self.actors, action = choose(again, self.behaviour, self.collector.obs, np.float32(lost))
            self.action = jnp.where(lost[:, None], action, self.action)
        return not lost.any()

    def tick(self, ahead: bool = True) -> Tick:
        """One iteration: a step of every environment (D of them where the actor is delayed), and the updates they pay for.

        ahead: whether the next one may be begun meanwhile. Raises EnvFault before a faulty step reaches replay, Diverged before a non-finite
        gradient reaches the weights.
        """
        if not self.queue:
            self.launch()
        first = self.queue[0]
        if ahead and len(self.queue) == 1 and not self.fault and self.unseen(first.step - self.plan.rows) > 1:
            try:
                self.launch()
            except EnvFault as fault:  # of the iteration after this one: told when its turn comes
                self.fault = fault
        self.queue.popleft()
        self.iteration += 1
        metrics = self.checked(np.asarray(first.metrics), first.step) if first.metrics is not None else None
        return Tick(first.step, first.rows, [self.valued(e) for e in first.episodes], metrics)

    def launch(self) -> None:
        """Collect the rows of the next iteration, choose the actions after it, and have the learner begin with them."""
        if self.fault:
            raise self.fault
        learning = self.filled >= self.plan.warmup_iterations
        choose = self.act if learning else self.wander
        blocks, episodes = [], []
        for k in range(self.plan.block):
            rows, ended = self.collector.collect(np.asarray(self.action))
            blocks.append(rows)
            episodes += ended
            if k == self.plan.block - 1:
                self.behaviour = self.latest
            last = self.plan.agent.layout.unpack(rows[-1]).last
            self.actors, self.action = choose(self.actors, self.behaviour, self.collector.obs, last)
        rows, metrics = np.concatenate(blocks), None
        if learning:
            self.state, (self.latest, metrics) = self.improve(self.state, rows)
        else:
            self.state, self.latest = self.explore(self.state, rows)
        self.filled += 1
        self.queue.append(Queued((self.iteration + len(self.queue) + 1) * self.plan.rows, rows, episodes, metrics))

    def restore(self, learner: Learner) -> None:
        """Go on from an earlier learner; replay, noise and counters stay."""
        self.state = self.state._replace(learner=own(learner))
        self.behaviour, self.latest = (own(algorithm.behaviour(self.state.learner)) for _ in range(2))

    def refill(self, learner: Learner, iteration: int, begun: np.ndarray) -> None:
        """Go on from a learner and nothing else, with the warm-up first; begun[N]: episodes there were."""
        self.restore(learner)
        self.state, self.iteration = self.state._replace(iteration=jnp.int32(iteration)), iteration
        self.collector.begun[:] = begun
        every = np.ones(self.plan.n, bool)
        self.collector.obs = self.collector.begin(every)
        self.actors = self.actors._replace(step=jnp.int32(iteration * self.plan.block))
        self.actors, self.action = self.wander(self.actors, self.behaviour, self.collector.obs, np.float32(every))


def swapped(choose: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """`learn.act` or `learn.wander` with the actors first, which are donated; the behaviour is not."""
    return lambda actors, behaviour, obs, first: choose(plan, behaviour, actors, obs, first)
