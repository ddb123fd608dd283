"""The compiled program of the fused loop: environments in JAX and learning, many iterations in one call.

It computes the same bits as the host loop: what is a separate program there is isolated here
(`jax_programs.isolate_rounding`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import agent as algorithm
from swingup.core import engine, hindsight
from swingup.core.agent import Behaviour, Metrics
from swingup.core.engine import Plan
from swingup.core.hindsight import Hindsight
from swingup.core.replay_buffer import Replay
from swingup.envs.jax_programs import isolate_rounding, judging, programs
from swingup.loops.base import BackgroundCompiled
from swingup.seeding import TRAIN, episode_seed
from swingup.types import Transition

# The most iterations in a chunk, and numbers in its rows: a second or two of work.
LONGEST, LARGEST = 512, 1 << 21


class Task(NamedTuple):
    """The static arguments of the program: the plan, the environment and its time limit."""

    plan: Plan
    env: Any
    limit: int | None


class Carry(NamedTuple):
    """The state that the program passes from iteration to iteration.

    envs: the states of N environments; obs[N, O], action[N, A]: their observations and the next actions;
    begun[N]: episodes started; length[N]: steps of the running episode.
    """

    state: engine.State
    behaviour: Behaviour
    actors: engine.Actors
    envs: Any
    obs: jax.Array
    action: jax.Array
    begun: jax.Array
    length: jax.Array


class ChunkResult(NamedTuple):
    """What a chunk of I iterations returns to the host: rows[I, K, N, W], metrics[I, len(Metrics)]."""

    rows: jax.Array
    metrics: jax.Array


def start(task: Task, seed: Any) -> Carry:
    """The carry before the first step of a run, on the plan's devices."""
    plan, (reset, _) = task.plan, programs(task.env)
    none = jnp.zeros(plan.n, jnp.int32)
    envs, obs = reset(episode_seed(seed, TRAIN, jnp.arange(plan.n), none))
    state, behaviour, actors, action = engine.start_run(plan, seed, obs)
    return on_devices(task, Carry(state, behaviour, actors, envs, obs, action, none + 1, none))


def env_step(task: Task, seed: Any, carry: Carry) -> tuple[Carry, Any]:
    """One time step of every environment, and its rows[N, W]."""
    plan, (reset, step) = task.plan, programs(task.env)
    envs, (obs, reward, terminated) = step(carry.envs, carry.action)
    length = carry.length + 1
    last = terminated if task.limit is None else terminated | (length >= task.limit)
    discount, flag = 1 - terminated.astype(obs.dtype), last.astype(obs.dtype)
    rows = plan.agent.layout.pack(Transition(carry.obs, carry.action, reward, discount, obs, flag))
    fresh = reset(episode_seed(seed, TRAIN, jnp.arange(plan.n), carry.begun))
    choose = jax.vmap(lambda over, new, old: jax.tree.map(lambda a, b: jnp.where(over, a, b), new, old))
    envs, obs = choose(last, fresh, (envs, obs))
    length = jnp.where(last, 0, length)
    return carry._replace(envs=envs, obs=obs, begun=carry.begun + last, length=length), rows


def choose_actions(task: Task, learning: bool, carry: Carry, rows: Any) -> Carry:
    """The carry with its next actions, after rows[N, W]; isolated, as HostLoop compiles it separately."""
    choose = isolate_rounding(partial(engine.act if learning else engine.random_action, task.plan))
    last = task.plan.agent.layout.unpack(rows).last
    actors, action = choose(carry.behaviour, carry.actors, carry.obs, last)
    return carry._replace(actors=actors, action=action)


def iteration(task: Task, learning: bool, seed: Any, carry: Carry) -> tuple[Carry, ChunkResult]:
    """K time steps, the actions after them, and learning: what `HostLoop.launch` does, in one program."""
    plan = task.plan

    def time_step(acting: Carry, _: Any) -> tuple[Carry, Any]:
        acting, rows = env_step(task, seed, acting)
        return choose_actions(task, learning, acting, rows), rows

    # The learner is not touched here, so it is no part of what the loop passes on.
    acting: Carry = carry._replace(state=None)  # type: ignore[arg-type]
    acting, rows = jax.lax.scan(time_step, acting, length=plan.block - 1)
    acting, last = env_step(task, seed, acting)
    carry = acting._replace(state=carry.state, behaviour=algorithm.behaviour(carry.state.learner))
    carry, rows = choose_actions(task, learning, carry, last), jnp.concatenate([rows, last[None]])
    h = plan.hindsight
    stored = rows if h is None else relabelled(task, h, seed, carry.state.replay, rows)
    if learning:
        state, (_, metrics) = engine.train_step(plan, carry.state, stored)
    else:
        (state, _), metrics = engine.warmup_step(plan, carry.state, stored), jnp.zeros(len(Metrics._fields))
    return carry._replace(state=state), ChunkResult(rows, metrics)


def relabelled(task: Task, h: Hindsight, seed: Any, replay: Replay, rows: Any) -> Any:
    """rows[K, N, W] with relabelled rows of earlier iterations, from replay: [K, N * (1 + R), W]."""
    layout, judge = task.plan.agent.layout, judging(task.env)
    (k, n, _), held, lag = rows.shape, replay.rows.shape[0], h.lag(task.plan.block)
    env = jnp.arange(n) * h.copies

    def chosen(time: Any) -> Any:
        """A time step's rows[N, W], their new goals[N, R, G], and which are the last with theirs."""
        following = (time + jnp.arange(h.limit)) % held
        last = layout.unpack(replay.rows[following[:, None], env]).last
        ahead, final = hindsight.choose_goals(h, last, time, seed)
        goal = hindsight.goal_of(h, layout, replay.rows[(time + ahead) % held, env[:, None]])
        return replay.rows[time % held, env], goal, final

    time = replay.added - lag + jnp.arange(k)
    old, goal, final = jax.vmap(chosen)(time)
    came_to = jnp.repeat(hindsight.goal_of(h, layout, old)[:, :, None], h.relabel, 2)
    judged = judge(came_to.reshape(-1, h.size), goal.reshape(-1, h.size))
    reward, over = (x.reshape(k, n, h.relabel) for x in judged[:2])
    again = jax.vmap(partial(hindsight.relabel, h, layout))(old, goal, reward, over, final)
    as_is = jax.vmap(partial(hindsight.unchanged, h, layout))(rows)
    return jax.vmap(hindsight.beside)(rows, jnp.where((time < 0)[:, None, None, None], as_is, again))


def chunk(
    task: Task, learning: bool, length: int, carry: Carry, seed: Any, count: Any
) -> tuple[Carry, ChunkResult]:
    """`count` iterations (at most `length`); the same compiled program serves every count."""
    one = partial(iteration, task, learning, seed)
    empty = jax.tree.map(lambda s: jnp.zeros((length, *s.shape), s.dtype), jax.eval_shape(one, carry)[1])

    def body(i: Any, both: tuple[Carry, ChunkResult]) -> tuple[Carry, ChunkResult]:
        carry, new = one(both[0])
        write = lambda every, x: jax.lax.dynamic_update_index_in_dim(every, x, i, 0)
        return on_devices(task, carry), jax.tree.map(write, both[1], new)

    return jax.lax.fori_loop(0, count, body, (carry, empty))


def on_devices(task: Task, carry: Any, put: Any = jax.lax.with_sharding_constraint) -> Any:
    """A carry on the plan's devices: arrays with an axis of environments sharded, others replicated."""
    sharding = task.plan.sharding
    if sharding is None:
        return carry
    whole, by_env = sharding.over(None), sharding.over(0)
    spread = jax.tree.map(lambda _: whole, carry)
    names = ("envs", "obs", "action", "begun", "length")
    where = {name: jax.tree.map(lambda _: by_env, getattr(carry, name)) for name in names}
    noise = jax.tree.map(lambda x: by_env if x.shape[:1] == (task.plan.n,) else whole, carry.actors.noise)
    replay = None if carry.state.replay is None else spread.state.replay._replace(rows=sharding.over(1))
    past = jax.tree.map(lambda _: by_env, carry.actors.past)
    actors = spread.actors._replace(noise=noise, past=past)
    where |= {"actors": actors, "state": spread.state._replace(replay=replay)}
    return jax.tree.map(put, carry, spread._replace(**where))


def longest_chunk(plan: Plan, seeds: int = 1) -> int:
    """The most iterations of a chunk, when so many seeds share the program."""
    return max(1, min(LONGEST, LARGEST // (plan.rows * plan.agent.layout.width * seeds)))


# Programs are cached, as a process may train several seeds one after the other.
@lru_cache(4)
def traced_start(task: Task) -> Any:
    return jax.jit(partial(start, task)).trace(np.uint32(0))


@lru_cache(4)
def compiled_start(task: Task) -> Any:
    """`start` of a task, compiled: seed -> Carry."""
    return traced_start(task).lower().compile()


@lru_cache(4)
def compiled_chunks(task: Task, length: int) -> dict[bool, BackgroundCompiled]:
    """The chunks after (True) and before learning starts, compiled in the background."""
    seed, carry = np.uint32(0), traced_start(task).out_info
    shapes = on_devices(task, carry, lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where))
    compiler = ThreadPoolExecutor(1, "compile")
    programs = {
        learning: BackgroundCompiled(
            compiler, partial(chunk, task, learning, length), shapes, seed, np.int32(0)
        )
        for learning in (True, False)
    }
    compiler.shutdown(wait=False)
    return programs


class SingleSeed:
    """The device side of one run: its carry, and the programs that advance it.

    length: the most iterations of a chunk; seeds_in_program: runs that share the programs (see `vmapped`).
    """

    seeds_in_program = 1

    def __init__(self, task: Task, seed: np.uint32):
        self.task, self.seed, self.length = task, seed, longest_chunk(task.plan)
        self.programs = compiled_chunks(task, self.length)
        self.current = compiled_start(task)(seed)

    @property
    def carry(self) -> Carry:
        return self.current

    @carry.setter
    def carry(self, carry: Carry) -> None:
        self.current = on_devices(self.task, carry, jax.device_put)

    def run(self, learning: bool, count: int) -> ChunkResult:
        """Advance by `count` iterations."""
        self.current, result = self.programs[learning](self.current, self.seed, np.int32(count))
        return result
