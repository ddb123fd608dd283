"""The engine's one step: rows go in, a better learner and the next actions come out. Pure; callers jit and donate.

begin    = init, then the first actions
learn    = replay.add -> replay.draw -> replay.fold -> agent.update        (training)
explore  = replay.add, then the next actions                              (before learning starts)
improve  = learn, then the next actions                                   (after)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from swingup import agent as algorithm
from swingup import moments, noise, priority, replay
from swingup.agent import Agent, Learner, Metrics
from swingup.priority import Priority, Tree
from swingup.split import Split
from swingup.tree import stream


@dataclass(frozen=True)
class Plan:
    """Everything static about a run: the agent, n environments in lockstep, the ring's capacity, and when learning starts.

    warmup: transitions collected before the first update; uniform: whether the actions until then are uniform over the
    box (else the untrained policy's, with noise); updates: gradient steps per environment step, a fraction where many
    environments share them; priority: how replay prefers surprising transitions (None: it does not); split: the devices that share
    environments, replay and minibatch (None: one has it all).
    """

    agent: Agent
    n: int = 1
    capacity: int = 1_000_000
    warmup: int = 1000
    uniform: bool = True
    updates: Fraction = Fraction(1)
    priority: Priority | None = None
    split: Split | None = None

    @property
    def block(self) -> int:
        """Time steps K of an iteration: as few as give the delayed actor a whole number of its steps."""
        need = self.agent.delay * self.updates.denominator
        return need // math.gcd(need, self.updates.numerator * self.n)

    @property
    def rows(self) -> int:
        """Transitions of an iteration."""
        return self.block * self.n

    @property
    def warmup_iterations(self) -> int:
        """Iterations without an update: the next one has at least `warmup` transitions to draw from."""
        return max(-(-self.warmup // self.rows), 1) - 1


class State(NamedTuple):
    """All that evolves: learner, replay, its priorities (or None), the noise of the environments' actions, the run's key,
    iterations done."""

    learner: Learner
    replay: replay.Replay
    tree: Tree | None
    noise: noise.NoiseState
    key: jax.Array
    iteration: jax.Array


def init(plan: Plan, key) -> State:
    """The state before the first step."""
    ring = replay.init(plan.capacity, plan.n, plan.agent.layout.width, plan.block)
    return State(
        learner=algorithm.init(plan.agent, stream(key, "init")),
        replay=ring,
        tree=None if plan.priority is None else priority.init(ring.rows.shape[0] * plan.n),
        noise=plan.agent.noise.init(plan.n, plan.agent.actor.action_size),
        key=key,
        iteration=jnp.int32(0),
    )


def act(plan: Plan, state: State, obs, first, k: int = 0) -> tuple[State, Any]:
    """The actions of time step k of this iteration, with exploration. obs[N, O], first[N] -> action[N, A]."""
    key = stream(state.key, "act", state.iteration * plan.block + k)
    action, moved = algorithm.act(plan.agent, state.learner, state.noise, key, obs, first)
    return state._replace(noise=moved), action


def wander(plan: Plan, state: State, obs, first, k: int = 0) -> tuple[State, Any]:
    """The same in the warm-up: uniform over the box, or the untrained policy's."""
    if not plan.uniform:
        return act(plan, state, obs, first, k)
    key = stream(state.key, "warmup", state.iteration * plan.block + k)
    action = jax.random.uniform(key, state.noise.offset.shape, obs.dtype, -1, 1)
    # Episodes are counted here too, so that a schedule by episode does not depend on the warm-up.
    return state._replace(noise=state.noise._replace(episode=state.noise.episode + first.astype(jnp.int32))), action


def remember(plan: Plan, state: State, rows) -> State:
    """Store rows[K, N, W]; take note of their observations and give them a priority, where the plan asks for that."""
    head, learner, tree = state.replay.head, state.learner, state.tree
    if learner.moments is not None:
        learner = learner._replace(moments=moments.add(learner.moments, plan.agent.layout.unpack(rows).obs))
    ring = replay.add(state.replay, rows)
    if tree is not None:
        # A transition can be drawn once its n - 1 successors are there; what is overwritten cannot be drawn at all.
        k, wait = rows.shape[0], plan.agent.n_step - 1
        time = jnp.arange(-wait, k)
        fresh = jnp.where((time + wait < k) & (head + time >= 0), tree.largest, 0)
        place = (head + time)[:, None] % ring.rows.shape[0] * plan.n + jnp.arange(plan.n)
        tree = priority.assign(tree, place.reshape(-1), jnp.repeat(fresh, plan.n))
    return state._replace(replay=ring, learner=learner, tree=tree)


def learn(plan: Plan, state: State, rows) -> tuple[State, Metrics]:
    """Store rows[K, N, W], then `updates` gradient steps for each on fresh minibatches; metrics are their means."""
    agent, state = plan.agent, remember(plan, state, rows)
    ring, shape = state.replay, (agent.delay, agent.batch)
    count = int(plan.updates * plan.rows / agent.delay)
    take = replay.take if plan.split is None else plan.split.take
    keys = [jax.random.split(stream(state.key, name, state.iteration), count) for name in ("sample", "smooth")]

    def step(carry, keys):
        learner, tree = carry
        if tree is None:
            place, weights = replay.draw(ring, keys[0], shape, agent.n_step), None
        else:
            place = priority.draw(tree, keys[0], shape)
            weights = plan.priority.weigh(tree, place, replay.size(ring))
        batches = replay.fold(agent.layout, take(ring, place, agent.n_step), agent.gamma, agent.reward_scale)
        batches = batches._replace(obs=algorithm.see(learner, batches.obs), next_obs=algorithm.see(learner, batches.next_obs))
        learner, metrics, surprise = algorithm.update(agent, learner, batches, keys[1], weights)
        if tree is not None:
            tree = priority.assign(tree, place.reshape(-1), plan.priority.rank(surprise.reshape(-1)))
        return (learner, tree), metrics

    (learner, tree), metrics = jax.lax.scan(step, (state.learner, state.tree), keys)
    metrics = Metrics(*(jnp.mean(m, 0) for m in metrics))._replace(finite=jnp.min(metrics.finite))
    return state._replace(learner=learner, tree=tree, iteration=state.iteration + 1), metrics


def begin(plan: Plan, seed, obs) -> tuple[State, Any]:
    """The state before the first step, and the first actions, for obs[N, O]."""
    # A raw key: a typed one is a Python object of its own, which cost 45 us in every call of a compiled program.
    state, first = init(plan, jax.random.PRNGKey(seed)), jnp.ones(plan.n, obs.dtype)
    return (wander if plan.warmup_iterations or plan.uniform else act)(plan, state, obs, first)


def explore(plan: Plan, state: State, rows, obs) -> tuple[State, Any]:
    """A warm-up iteration: store rows, choose the next actions for obs[N, O]."""
    state = remember(plan, state, rows)
    return wander(plan, state._replace(iteration=state.iteration + 1), obs, plan.agent.layout.unpack(rows[-1]).last)


def improve(plan: Plan, state: State, rows, obs) -> tuple[State, tuple[Any, Any]]:
    """A training iteration: learn from rows, choose the next actions with the new actor.

    One program, so that a host loop pays for one dispatch; the metrics leave as one array, in the order of `Metrics`.
    """
    state, metrics = learn(plan, state, rows)
    state, action = act(plan, state, obs, plan.agent.layout.unpack(rows[-1]).last)
    return state, (action, jnp.stack(metrics))
