"""The fused loop: environments in JAX and learning in one compiled program, run in chunks; from outside it is the host loop."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Behaviour, Learner, Metrics
from swingup.core.engine import Plan
from swingup.core.pytrees import fill, named, own
from swingup.envs.jax_env import programs, sealed
from swingup.errors import EnvFault
from swingup.loops.base import Loop, Program, Snapshot, Tick, bare
from swingup.seeding import TRAIN, episode_seed
from swingup.types import Episode, Transition

# Iterations of a chunk, and numbers that it may bring to the host: a second or two of work.
LONGEST, CHUNK = 512, 1 << 21
# What the host counts.
HOST = ("q_max", "ret", "lasted", "number")


class Task(NamedTuple):
    """Everything static: the plan, the environment and its time limit."""

    plan: Plan
    env: Any
    limit: int | None


class Carry(NamedTuple):
    """What the compiled loop keeps: the engine's two sides, N environments with obs[N, O] and the next action[N, A], and per
    environment the number of episodes begun and the length of the running one."""

    state: engine.State
    behaviour: Behaviour
    actors: engine.Actors
    envs: Any
    obs: jax.Array
    action: jax.Array
    begun: jax.Array
    length: jax.Array


class Seen(NamedTuple):
    """What a chunk shows of C iterations: rows[C, K, N, W], metrics[C, M]."""

    rows: jax.Array
    metrics: jax.Array


def start(task: Task, seed: Any) -> Carry:
    """The beginning of a run."""
    plan, (begin, _) = task.plan, programs(task.env)
    none = jnp.zeros(plan.n, jnp.int32)
    envs, obs = begin(episode_seed(seed, TRAIN, jnp.arange(plan.n), none))
    state, behaviour, actors, action = engine.begin(plan, seed, obs)
    return Carry(state, behaviour, actors, envs, obs, action, none + 1, none)


def advance(task: Task, seed: Any, carry: Carry) -> tuple[Carry, Any]:
    """One time step of every environment, and its rows[N, W]."""
    plan, (begin, step) = task.plan, programs(task.env)
    envs, (obs, reward, terminated) = step(carry.envs, carry.action)
    length = carry.length + 1
    last = terminated if task.limit is None else terminated | (length >= task.limit)
    discount, flag = 1 - terminated.astype(obs.dtype), last.astype(obs.dtype)
    rows = plan.agent.layout.pack(Transition(carry.obs, carry.action, reward, discount, obs, flag))
    fresh = begin(episode_seed(seed, TRAIN, jnp.arange(plan.n), carry.begun))
    choose = jax.vmap(lambda over, new, old: jax.tree.map(lambda a, b: jnp.where(over, a, b), new, old))
    envs, obs = choose(last, fresh, (envs, obs))
    return carry._replace(envs=envs, obs=obs, begun=carry.begun + last, length=jnp.where(last, 0, length)), rows


def chosen(task: Task, learning: bool, carry: Carry, rows: Any) -> Carry:
    """The carry with its next actions, after rows[N, W]. Sealed, as choosing them is a program of its own in the host loop."""
    choose = sealed(partial(engine.act if learning else engine.wander, task.plan))
    actors, action = choose(carry.behaviour, carry.actors, carry.obs, task.plan.agent.layout.unpack(rows).last)
    return carry._replace(actors=actors, action=action)


def iteration(task: Task, learning: bool, seed: Any, carry: Carry) -> tuple[Carry, Seen]:
    """K time steps, the actions after them, and learning: what `HostLoop.launch` does, in one program."""
    plan, blocks = task.plan, []
    for k in range(plan.block):
        carry, rows = advance(task, seed, carry)
        blocks.append(rows)
        if k == plan.block - 1:
            carry = carry._replace(behaviour=algorithm.behaviour(carry.state.learner))
        carry = chosen(task, learning, carry, rows)
    rows = jnp.stack(blocks)
    if learning:
        state, (_, metrics) = engine.improve(plan, carry.state, rows)
    else:
        (state, _), metrics = engine.explore(plan, carry.state, rows), jnp.zeros(len(Metrics._fields))
    return carry._replace(state=state), Seen(rows, metrics)


def chunk(task: Task, learning: bool, length: int, carry: Carry, seed: Any, count: Any) -> tuple[Carry, Seen]:
    """`count` iterations (at most `length`); one program for every count."""
    one = partial(iteration, task, learning, seed)
    seen = jax.tree.map(lambda s: jnp.zeros((length, *s.shape), s.dtype), jax.eval_shape(one, carry)[1])

    def body(i: Any, both: tuple[Carry, Seen]) -> tuple[Carry, Seen]:
        carry, new = one(both[0])
        return placed(task, carry), jax.tree.map(lambda every, x: jax.lax.dynamic_update_index_in_dim(every, x, i, 0), both[1], new)

    return jax.lax.fori_loop(0, count, body, (carry, seen))


def begin(task: Task, seed: Any) -> Carry:
    """`start`, where the plan says."""
    return placed(task, start(task, seed))


def placed(task: Task, carry: Any, put: Any = jax.lax.with_sharding_constraint) -> Any:
    """A carry spread over the plan's devices: what belongs to environments by environment, the rest whole on each."""
    split = task.plan.split
    if split is None:
        return carry
    whole, by_env = split.over(None), split.over(0)
    spread = jax.tree.map(lambda _: whole, carry)
    lies = {name: jax.tree.map(lambda _: by_env, getattr(carry, name)) for name in ("envs", "obs", "action", "begun", "length")}
    noise = jax.tree.map(lambda x: by_env if x.shape[:1] == (task.plan.n,) else whole, carry.actors.noise)
    replay = None if carry.state.replay is None else spread.state.replay._replace(rows=split.over(1))
    lies |= {"actors": spread.actors._replace(noise=noise), "state": spread.state._replace(replay=replay)}
    return jax.tree.map(put, carry, spread._replace(**lies))


def longest(plan: Plan, lanes: int = 1) -> int:
    """Iterations of a chunk at most, for so many seeds at once."""
    return max(1, min(LONGEST, CHUNK // (plan.rows * plan.agent.layout.width * lanes)))


# Programs are kept for the seeds that a process trains one after the other.
@lru_cache(4)
def traced(task: Task) -> Any:
    return jax.jit(partial(begin, task)).trace(np.uint32(0))


@lru_cache(4)
def beginning(task: Task) -> Any:
    """What begins a run, compiled: seed -> Carry."""
    return traced(task).lower().compile()


@lru_cache(4)
def chunks(task: Task, length: int) -> dict[bool, Program]:
    """The chunks before and after learning starts, as programs that are compiled in the background."""
    seed, first = np.uint32(0), traced(task)
    shapes = placed(task, first.out_info, lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where))
    compiler = ThreadPoolExecutor(1, "compile")
    run = {k: Program(compiler, partial(chunk, task, k, length), shapes, seed, np.int32(0)) for k in (True, False)}
    compiler.shutdown(wait=False)
    return run


class Alone:
    """The device's side of a run: its carry, and the programs that move it on."""

    def __init__(self, task: Task, seed: np.uint32):
        self.task, self.seed, self.length, self.lanes = task, seed, longest(task.plan), 1
        self.program = chunks(task, self.length)
        self.here = beginning(task)(seed)

    @property
    def carry(self) -> Carry:
        return self.here

    @carry.setter
    def carry(self, carry: Carry) -> None:
        self.here = placed(self.task, carry, jax.device_put)

    def run(self, learning: bool, count: int) -> Seen:
        """Move on by `count` iterations."""
        self.here, seen = self.program[learning](self.here, self.seed, np.int32(count))
        return seen


class FusedLoop(Loop):
    """Training on environments that are written in JAX, in chunks that end wherever someone may want to look.

    limit: steps after which an episode is truncated, where the environment's own is not smaller; every, end: as `Loop` has them;
    device: makes the device's side from (task, seed); its `length` is the longest chunk, `lanes` the seeds that share it.
    """

    def __init__(
        self,
        plan: Plan,
        env: Any,
        seed: int,
        *,
        limit: int | None = None,
        every: tuple[int, ...] = (),
        end: int = 2**31,
        device: Any = Alone,
    ):
        super().__init__(plan, every, end)
        self.seed, self.spec = np.uint32(seed), env.spec
        self.task = task = Task(plan, env, min((x for x in (env.limit, limit) if x is not None), default=None))
        self.device = device(task, self.seed)
        self.lanes = self.device.lanes
        self.ticks: deque[Tick] = deque()
        self.done = 0  # iterations of the device; `iteration` counts those handed out
        # Return, length and number of each environment's running episode.
        self.ret, self.lasted, self.number = np.zeros(plan.n), np.zeros(plan.n, np.int64), np.zeros(plan.n, np.int64)

    @property
    def carry(self) -> Carry:
        """All that the compiled loop keeps."""
        return self.device.carry

    @property
    def state(self) -> engine.State:  # type: ignore[override]
        return self.carry.state

    @property
    def settled(self) -> bool:  # type: ignore[override]
        return not self.ticks

    def tick(self, ahead: bool = True) -> Tick:
        """The next iteration; where the chunk is used up, another one is run first. Raises as HostLoop's does."""
        del ahead  # a chunk that was run is told to its end
        if not self.ticks:
            self.ahead()
        self.iteration += 1
        return self.ticks.popleft()

    def ahead(self) -> None:
        """Run a chunk: up to the warm-up's end, the run's end, or the next step at which someone may look."""
        warm = self.plan.warmup_iterations
        learning, unseen = self.filled >= warm, self.unseen(self.done * self.plan.rows)
        count = min(self.device.length, unseen, *([] if learning else [warm - self.filled]))
        self.filled += count
        seen = self.device.run(learning, count)
        rows, metrics = np.asarray(seen.rows), np.asarray(seen.metrics)
        for c in range(count):
            self.done += 1
            self.ticks.append(self.told(rows[c], metrics[c] if learning else None))

    def told(self, rows: np.ndarray, out: np.ndarray | None) -> Tick:
        """An iteration of the device as the host loop would have told it."""
        step, t = self.done * self.plan.rows, self.plan.agent.layout.unpack(rows)
        metrics = self.checked(out, step) if out is not None else None
        if not np.isfinite(rows).all():
            k, i, w = np.argwhere(~np.isfinite(rows))[0]
            what = f"column {w} of its transition is {rows[k, i, w]}"
            raise EnvFault(f"environment {self.spec.env} [{i}], before step {step}: {what}; mend the environment")
        episodes = []
        for k in range(self.plan.block):
            self.ret += t.reward[k]
            self.lasted += 1
            for i in np.flatnonzero(t.last[k]):
                seed = int(episode_seed(int(self.seed), TRAIN, int(i), int(self.number[i])))
                how = (float(self.ret[i]), int(self.lasted[i]), not t.discount[k, i])
                episodes.append(self.valued(Episode(int(i), int(self.number[i]), seed, *how)))
                self.number[i] += 1
                self.ret[i] = self.lasted[i] = 0
        return Tick(step, rows.copy(), episodes, metrics)

    def restore(self, learner: Learner) -> None:
        """Go on from an earlier learner; replay, noise and counters stay."""
        learner, behaviour = own(learner), own(algorithm.behaviour(learner))
        self.device.carry = self.carry._replace(state=self.state._replace(learner=learner), behaviour=behaviour)

    def refill(self, learner: Learner, iteration: int, begun: np.ndarray) -> None:
        """Go on from a learner and nothing else, with the warm-up first; begun[N]: episodes there were."""
        self.restore(learner)
        begin, number = programs(self.task.env)[0], jnp.asarray(begun, jnp.int32)
        envs, obs = jax.jit(lambda k: begin(episode_seed(self.seed, TRAIN, jnp.arange(self.plan.n), k)))(number)
        actors = self.carry.actors._replace(step=jnp.int32(iteration * self.plan.block))
        choose = jax.jit(partial(engine.wander, self.plan))
        actors, action = choose(self.carry.behaviour, actors, obs, jnp.ones(self.plan.n, obs.dtype))
        state = self.state._replace(iteration=jnp.int32(iteration))
        self.device.carry = self.carry._replace(state=state, actors=actors, envs=envs, obs=obs, action=action, begun=number + 1)
        self.iteration = self.done = iteration
        self.number = np.array(begun, np.int64)

    def snapshot(self) -> Snapshot:
        """All that this run is; only where a chunk ended."""
        if not self.settled:
            raise RuntimeError("fused loop: a snapshot in the middle of a chunk; `every` must name the steps at which one is made")
        host = {f"host.{k}": getattr(self, k) for k in HOST} | {"host.iteration": np.array(self.iteration)}
        ring = self.state.replay
        return Snapshot(named(self.carry._replace(state=bare(self.state))) | host, np.asarray(ring.rows), int(ring.head))

    def resume(self, saved: Snapshot) -> bool:
        """Become what was saved; the environments are part of it, so it is always exact."""
        carry = fill(self.carry._replace(state=bare(self.state)), {k: v for k, v in saved.tensors.items() if k.startswith(".")})
        self.device.carry = carry._replace(state=carry.state._replace(replay=self.ring(saved)))
        self.iteration = self.done = int(saved.tensors["host.iteration"])
        self.filled = saved.head // self.plan.block
        self.q_max, self.ret, self.lasted, self.number = (saved.tensors[f"host.{k}"].copy() for k in HOST)
        return True
