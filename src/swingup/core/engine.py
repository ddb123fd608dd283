"""The engine's two halves: actors choose actions, the learner turns their rows into a better policy. Pure; callers jit and donate.

begin    = init, then the first actions
act      = the behaviour's actions with noise; wander = uniform ones      (the collecting side)
learn    = replay.add -> replay.draw -> replay.fold -> agent.update       (the learning side)
explore  = replay.add alone                                               (before learning starts)
improve  = learn, and the behaviour that it leads to                      (after)

The actions of an iteration are those of the learner before the last `improve`, so that environments move on while it computes: a policy
that is one iteration old, in every loop alike. An off-policy learner does not mind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from swingup.core import agent as algorithm
from swingup.core import noise, prioritized, replay_buffer, running_statistics
from swingup.core.agent import Agent, Behaviour, Learner, Metrics
from swingup.core.prioritized import Priority, Tree
from swingup.core.pytrees import stream
from swingup.core.sharding import Split


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
    """All that learning changes: learner, replay, its priorities (or None), the run's key, iterations done."""

    learner: Learner
    replay: replay_buffer.Replay
    tree: Tree | None
    key: jax.Array
    iteration: jax.Array


class Actors(NamedTuple):
    """All that acting changes: the noise of the environments' actions; the run's key; time steps for which actions were chosen."""

    noise: noise.NoiseState
    key: jax.Array
    step: jax.Array


def init(plan: Plan, key) -> State:
    """The state before the first step."""
    ring = replay_buffer.init(plan.capacity, plan.n, plan.agent.layout.width, plan.block)
    return State(
        learner=algorithm.init(plan.agent, stream(key, "init")),
        replay=ring,
        tree=None if plan.priority is None else prioritized.init(ring.rows.shape[0] * plan.n),
        key=key,
        iteration=jnp.int32(0),
    )


def actors(plan: Plan, key) -> Actors:
    """The collecting side before the first step."""
    return Actors(plan.agent.noise.init(plan.n, plan.agent.actor.action_size), key, jnp.int32(0))


def act(plan: Plan, behaviour: Behaviour, actors: Actors, obs, first) -> tuple[Actors, Any]:
    """The next actions, with exploration. obs[N, O], first[N] -> action[N, A]."""
    key = stream(actors.key, "act", actors.step)
    action, moved = algorithm.act(plan.agent, behaviour, actors.noise, key, obs, first)
    return actors._replace(noise=moved, step=actors.step + 1), action


def wander(plan: Plan, behaviour: Behaviour, actors: Actors, obs, first) -> tuple[Actors, Any]:
    """The same in the warm-up: uniform over the box, or the untrained policy's."""
    if not plan.uniform:
        return act(plan, behaviour, actors, obs, first)
    key, moved = stream(actors.key, "warmup", actors.step), actors.noise
    action = jax.random.uniform(key, moved.offset.shape, obs.dtype, -1, 1)
    # Episodes are counted here too, so that a schedule by episode does not depend on the warm-up.
    moved = moved._replace(episode=moved.episode + first.astype(jnp.int32))
    return actors._replace(noise=moved, step=actors.step + 1), action


def remember(plan: Plan, state: State, rows) -> State:
    """Store rows[K, N, W]; take note of their observations and give them a priority, where the plan asks for that."""
    head, learner, tree = state.replay.head, state.learner, state.tree
    if learner.moments is not None:
        learner = learner._replace(moments=running_statistics.add(learner.moments, plan.agent.layout.unpack(rows).obs))
    ring = replay_buffer.add(state.replay, rows)
    if tree is not None:
        # A transition can be drawn once its n - 1 successors are there; what is overwritten cannot be drawn at all.
        k, wait = rows.shape[0], plan.agent.n_step - 1
        time = jnp.arange(-wait, k)
        fresh = jnp.where((time + wait < k) & (head + time >= 0), tree.largest, 0)
        place = (head + time)[:, None] % ring.rows.shape[0] * plan.n + jnp.arange(plan.n)
        tree = prioritized.assign(tree, place.reshape(-1), jnp.repeat(fresh, plan.n))
    return state._replace(replay=ring, learner=learner, tree=tree)


def learn(plan: Plan, state: State, rows) -> tuple[State, Metrics]:
    """Store rows[K, N, W], then `updates` gradient steps for each on fresh minibatches; metrics are their means."""
    agent, state = plan.agent, remember(plan, state, rows)
    ring, shape = state.replay, (agent.delay, agent.batch)
    count = int(plan.updates * plan.rows / agent.delay)
    take = replay_buffer.take if plan.split is None else plan.split.take
    keys = [jax.random.split(stream(state.key, name, state.iteration), count) for name in ("sample", "smooth")]

    def step(carry, keys):
        learner, tree = carry
        if tree is None:
            place, weights = replay_buffer.draw(ring, keys[0], shape, agent.n_step), None
        else:
            place = prioritized.draw(tree, keys[0], shape)
            weights = plan.priority.weigh(tree, place, replay_buffer.size(ring))
        batches = replay_buffer.fold(agent.layout, take(ring, place, agent.n_step), agent.gamma, agent.reward_scale)
        batches = batches._replace(obs=algorithm.see(learner, batches.obs), next_obs=algorithm.see(learner, batches.next_obs))
        learner, metrics, surprise = algorithm.update(agent, learner, batches, keys[1], weights)
        if tree is not None:
            tree = prioritized.assign(tree, place.reshape(-1), plan.priority.rank(surprise.reshape(-1)))
        return (learner, tree), metrics

    (learner, tree), metrics = jax.lax.scan(step, (state.learner, state.tree), keys)
    metrics = Metrics(*(jnp.mean(m, 0) for m in metrics))._replace(finite=jnp.min(metrics.finite))
    return state._replace(learner=learner, tree=tree, iteration=state.iteration + 1), metrics


def begin(plan: Plan, seed, obs) -> tuple[State, Behaviour, Actors, Any]:
    """Both sides before the first step, and the first actions, for obs[N, O]."""
    # A raw key: a typed one is a Python object of its own, which cost 45 us in every call of a compiled program.
    key, first = jax.random.PRNGKey(seed), jnp.ones(plan.n, obs.dtype)
    state = init(plan, key)
    behaviour = algorithm.behaviour(state.learner)
    choose = wander if plan.warmup_iterations or plan.uniform else act
    return state, behaviour, *choose(plan, behaviour, actors(plan, key), obs, first)


def explore(plan: Plan, state: State, rows) -> tuple[State, Behaviour]:
    """A warm-up iteration: store rows. The behaviour is a copy: the state is donated to the next iteration while actions are chosen."""
    state = remember(plan, state, rows)
    return state._replace(iteration=state.iteration + 1), algorithm.behaviour(state.learner)


def improve(plan: Plan, state: State, rows) -> tuple[State, tuple[Behaviour, Any]]:
    """A training iteration: learn from rows. The metrics leave as one array, in the order of `Metrics`."""
    state, metrics = learn(plan, state, rows)
    return state, (algorithm.behaviour(state.learner), jnp.stack(metrics))
