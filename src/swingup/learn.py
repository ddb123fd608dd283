"""The engine's one step: rows go in, a better learner and the next actions come out. Pure; callers jit and donate.

learn    = replay.add -> replay.sample -> agent.update        (training)
explore  = replay.add, then the next actions                  (before learning starts)
improve  = learn, then the next actions                       (after)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from swingup import agent as algorithm
from swingup import noise, replay
from swingup.agent import Agent, Learner, Metrics
from swingup.tree import stream


@dataclass(frozen=True)
class Plan:
    """Everything static about a run: the agent, n environments in lockstep, the ring's capacity, and when learning starts.

    warmup: transitions collected before the first update (the update that follows the warmup-th one is the first);
    uniform: whether the actions until then are uniform over the box (else the untrained policy's, with noise);
    updates: gradient steps per environment step.
    """

    agent: Agent
    n: int = 1
    capacity: int = 1_000_000
    warmup: int = 1000
    uniform: bool = True
    updates: int = 1

    @property
    def warmup_iterations(self) -> int:
        """Iterations without an update: the next one has at least `warmup` transitions to draw from."""
        return max(-(-self.warmup // self.n), 1) - 1


class State(NamedTuple):
    """All that evolves: learner, replay, the noise of the environments' actions, the run's key, iterations done."""

    learner: Learner
    replay: replay.Replay
    noise: noise.NoiseState
    key: jax.Array
    iteration: jax.Array


def init(plan: Plan, key) -> State:
    """The state before the first step."""
    return State(
        learner=algorithm.init(plan.agent, stream(key, "init")),
        replay=replay.init(plan.capacity, plan.n, plan.agent.layout.width),
        noise=noise.init(plan.n, plan.agent.actor.action_size),
        key=key,
        iteration=jnp.int32(0),
    )


def act(plan: Plan, state: State, obs, first) -> tuple[State, Any]:
    """The actions of this iteration, with exploration. obs[N, O], first[N] -> action[N, A]."""
    key = stream(state.key, "act", state.iteration)
    action, moved = algorithm.act(plan.agent, state.learner, state.noise, key, obs, first)
    return state._replace(noise=moved), action


def wander(plan: Plan, state: State, obs, first) -> tuple[State, Any]:
    """The actions of a warm-up iteration: uniform over the box, or the untrained policy's."""
    if not plan.uniform:
        return act(plan, state, obs, first)
    key = stream(state.key, "warmup", state.iteration)
    action = jax.random.uniform(key, state.noise.offset.shape, obs.dtype, -1, 1)
    # Episodes are counted here too, so that a schedule by episode does not depend on the warm-up.
    return state._replace(noise=state.noise._replace(episode=state.noise.episode + first.astype(jnp.int32))), action


def learn(plan: Plan, state: State, rows) -> tuple[State, Metrics]:
    """Store rows[K, N, W], then `updates` times N gradient steps on fresh minibatches; metrics are their means."""
    agent, ring = plan.agent, replay.add(state.replay, rows)
    key = stream(state.key, "sample", state.iteration)
    count = plan.updates * rows.shape[0] * rows.shape[1]
    batches = replay.sample(ring, key, (count, agent.batch))

    def step(learner, batch):
        return algorithm.update(agent, learner, replay.fold(agent.layout, batch, agent.gamma))

    learner, metrics = jax.lax.scan(step, state.learner, batches)
    metrics = Metrics(*(jnp.mean(m, 0) for m in metrics))._replace(finite=jnp.min(metrics.finite))
    return state._replace(learner=learner, replay=ring, iteration=state.iteration + 1), metrics


def begin(plan: Plan, state: State, obs) -> tuple[State, Any]:
    """The first actions of a run."""
    first = jnp.ones(plan.n, obs.dtype)
    return (wander if plan.warmup_iterations or plan.uniform else act)(plan, state, obs, first)


def explore(plan: Plan, state: State, rows, obs) -> tuple[State, Any]:
    """A warm-up iteration: store rows, choose the next actions for obs[N, O]."""
    state = state._replace(replay=replay.add(state.replay, rows), iteration=state.iteration + 1)
    return wander(plan, state, obs, plan.agent.layout.unpack(rows[-1]).last)


def improve(plan: Plan, state: State, rows, obs) -> tuple[State, tuple[Any, Any]]:
    """A training iteration: learn from rows, choose the next actions with the new actor.

    One program, so that a host loop pays for one dispatch; the metrics leave as one array, in the order of `Metrics`.
    """
    state, metrics = learn(plan, state, rows)
    state, action = act(plan, state, obs, plan.agent.layout.unpack(rows[-1]).last)
    return state, (action, jnp.stack(metrics))
