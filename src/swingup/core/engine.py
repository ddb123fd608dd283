"""One iteration of training as pure functions: actors choose actions, the learner learns from their rows.

start_run      = init, then the first actions
act            = the behaviour's actions with noise                       (the collecting side)
random_action  = uniform actions                                          (the same in the warm-up)
add_to_replay  = replay_buffer.add, running statistics, priorities        (the learning side)
learn          = add_to_replay -> replay_buffer.sample_indices -> replay_buffer.n_step_batch -> agent.update
warmup_step    = add_to_replay, and the behaviour                         (an iteration of the warm-up)
train_step     = learn, and the behaviour after it                        (every later iteration)

Callers jit these functions and donate the state. The actions of an iteration come from the behaviour before
the last `train_step`, so that the environments step while it computes: in every loop the policy that acts is
one iteration old, which off-policy learning allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from swingup.core import agent as algorithm
from swingup.core import history, noise, prioritized, replay_buffer, running_statistics
from swingup.core.agent import Agent, Behaviour, Learner, Metrics
from swingup.core.hindsight import Hindsight
from swingup.core.history import Past
from swingup.core.prioritized import Priority, Tree
from swingup.core.pytrees import stream
from swingup.core.sharding import Sharding
from swingup.types import Transition


class Demos(NamedTuple):
    """Demonstrations of which every minibatch has some: how many there are, and in each minibatch."""

    held: int
    drawn: int


@dataclass(frozen=True)
class Plan:
    """Everything static about a run: the agent, the number n of environments, replay's capacity, the options.

    warmup: transitions collected before the first update; uniform: whether the actions until then are uniform
    over the box (else the untrained policy's, with noise); updates: gradient steps per environment step, a
    fraction where many environments share them; priority: how replay prefers large losses (None: uniform);
    sharding: the devices that share environments, replay and minibatch (None: one device holds all);
    hindsight: how the collector relabels transitions, which gives replay more columns (None: not at all);
    collect: time steps that an iteration has at least;
    demos: demonstrations that are kept beside replay (None: none are).
    """

    agent: Agent
    n: int = 1
    capacity: int = 1_000_000
    warmup: int = 1000
    uniform: bool = True
    updates: Fraction = Fraction(1)
    priority: Priority | None = None
    sharding: Sharding | None = None
    hindsight: Hindsight | None = None
    demos: Demos | None = None
    collect: int = 1

    @property
    def unit(self) -> int:
        """The fewest time steps that give a whole number of actor steps."""
        need = self.agent.delay * self.updates.denominator
        return need // math.gcd(need, self.updates.numerator * self.n)

    @property
    def block(self) -> int:
        """Time steps K of an iteration: `collect`, or the next multiple of `unit`."""
        return -(-self.collect // self.unit) * self.unit

    @property
    def rows(self) -> int:
        """Transitions of an iteration."""
        return self.block * self.n

    @property
    def copies(self) -> int:
        """Rows that the collector makes of each step of an environment."""
        return 1 if self.hindsight is None else self.hindsight.copies

    @property
    def columns(self) -> int:
        """Rows of a time step, M: the columns of replay."""
        return self.n * self.copies

    @property
    def warmup_iterations(self) -> int:
        """Iterations without an update: the next one has at least `warmup` transitions to draw from."""
        return max(-(-self.warmup // self.rows), 1) - 1


class State(NamedTuple):
    """The learning side's state: learner, replay, priorities (or None), the run's key, iterations done.

    demos: the demonstrations that are kept beside replay, or None.
    """

    learner: Learner
    replay: replay_buffer.Replay
    tree: Tree | None
    key: jax.Array
    iteration: jax.Array
    demos: replay_buffer.Replay | None = None


class Actors(NamedTuple):
    """The collecting side's state: the noise, the run's key, time steps for which actions were chosen.

    past: what the environments have observed and done, where the plan has a history.
    """

    noise: noise.NoiseState
    key: jax.Array
    step: jax.Array
    past: Past | None = None


def init(plan: Plan, key) -> State:
    """The learning side before the first step."""
    ring = replay_buffer.init(plan.capacity, plan.columns, plan.agent.layout.width, plan.block)
    return State(
        learner=algorithm.init(plan.agent, stream(key, "init")),
        replay=ring,
        tree=None if plan.priority is None else prioritized.init(ring.rows.shape[0] * plan.columns),
        key=key,
        iteration=jnp.int32(0),
        demos=None if plan.demos is None else replay_buffer.init(plan.demos.held, 1, plan.agent.layout.width),
    )


def actors(plan: Plan, key) -> Actors:
    """The collecting side before the first step."""
    h, layout = plan.agent.history, plan.agent.layout
    past = None if h is None else history.no_past(h, jnp.zeros((plan.n, layout.obs_size)))
    return Actors(plan.agent.noise.init(plan.n, plan.agent.actor.action_size), key, jnp.int32(0), past)


def begin(plan: Plan, actors: Actors, obs, first) -> Actors:
    """The collecting side where first[N] marks environments that begin an episode with obs[N, O]."""
    h, past = plan.agent.history, actors.past
    return actors if h is None or past is None else actors._replace(past=history.begin(h, past, obs, first))


def acted(actors: Actors, obs, action) -> Actors:
    """The collecting side after action[N, A] was chosen at obs[N, O]."""
    past = actors.past
    return actors if past is None else actors._replace(past=history.push(past, obs, action))


def act(plan: Plan, behaviour: Behaviour, actors: Actors, obs, first) -> tuple[Actors, Any]:
    """The next actions, with exploration noise. obs[N, O], first[N] -> actors, action[N, A]."""
    key, actors = stream(actors.key, "act", actors.step), begin(plan, actors, obs, first)
    x = obs if actors.past is None else history.stack(actors.past, obs)
    action, moved = algorithm.act(plan.agent, behaviour, actors.noise, key, x, first)
    return acted(actors._replace(noise=moved, step=actors.step + 1), obs, action), action


def random_action(plan: Plan, behaviour: Behaviour, actors: Actors, obs, first) -> tuple[Actors, Any]:
    """The next actions in the warm-up: uniform over the box, or the untrained policy's with noise."""
    if not plan.uniform:
        return act(plan, behaviour, actors, obs, first)
    key, moved = stream(actors.key, "warmup", actors.step), actors.noise
    action = jax.random.uniform(key, moved.offset.shape, obs.dtype, -1, 1)
    # Episodes are counted here too, so that a schedule by episode does not depend on the warm-up.
    moved = moved._replace(episode=moved.episode + first.astype(jnp.int32))
    actors = begin(plan, actors, obs, first)._replace(noise=moved, step=actors.step + 1)
    return acted(actors, obs, action), action


def add_to_replay(plan: Plan, state: State, rows) -> State:
    """Store rows[K, M, W]; update the running statistics and assign priorities if the plan has them."""
    added, learner, tree = state.replay.added, state.learner, state.tree
    if learner.obs_statistics is not None:
        learner = learner._replace(
            obs_statistics=running_statistics.add(learner.obs_statistics, plan.agent.layout.unpack(rows).obs)
        )
    ring = replay_buffer.add(state.replay, rows)
    if tree is not None:
        # A transition can be sampled once all rows of its window are held. Until then its priority, which is
        # that of the window's first row, is 0, which also replaces the priority of the overwritten one.
        k, wait = rows.shape[0], plan.agent.window - 1
        time = jnp.arange(-wait, k)
        fresh = jnp.where((time + wait < k) & (added + time >= 0), tree.largest, 0)
        index = (added + time)[:, None] % ring.rows.shape[0] * plan.columns + jnp.arange(plan.columns)
        tree = prioritized.assign(tree, index.reshape(-1), jnp.repeat(fresh, plan.columns))
    return state._replace(replay=ring, learner=learner, tree=tree)


def fill_replay(plan: Plan, state: State, rows) -> State:
    """The state with the newest of rows[T, N, W] as its replay, which ends there as if truncated.

    Whole blocks are kept. Running statistics are of these rows where they have none yet.
    """
    kept = min(len(rows), len(state.replay.rows)) // plan.block * plan.block
    tree = None if state.tree is None else prioritized.init(state.replay.rows.shape[0] * plan.columns)
    empty = state._replace(replay=replay_buffer.clear(state.replay), tree=tree)
    filled = fill(plan, empty, jnp.asarray(rows, state.replay.rows.dtype)[len(rows) - kept :])
    seen = state.learner.obs_statistics
    learner = filled.learner if seen is not None and not seen.total else state.learner
    return filled._replace(replay=replay_buffer.truncate(plan.agent.layout, filled.replay), learner=learner)


def learn(plan: Plan, state: State, rows) -> tuple[State, Metrics]:
    """Store rows[K, M, W], then take `updates` gradient steps for each environment step on new minibatches.

    Metrics are the means over these steps; `finite` is their minimum.
    """
    agent, state = plan.agent, add_to_replay(plan, state, rows)
    drawn = 0 if plan.demos is None else plan.demos.drawn
    ring, shape = state.replay, (agent.delay, agent.batch - drawn)
    count = int(plan.updates * plan.rows / agent.delay)
    gather = replay_buffer.gather if plan.sharding is None else plan.sharding.gather
    names = ("sample", "smooth") if plan.demos is None else ("sample", "smooth", "demos")
    keys = [jax.random.split(stream(state.key, name, state.iteration), count) for name in names]

    def step(carry, keys):
        learner, tree = carry
        if tree is None:
            index, weights = replay_buffer.sample_indices(ring, keys[0], shape, agent.window), None
        else:
            index = prioritized.sample_indices(tree, keys[0], shape)
            weights = plan.priority.weigh(tree, index, replay_buffer.size(ring))
        windows = gather(ring, index, agent.window)
        if state.demos is not None:
            shown = replay_buffer.sample(state.demos, keys[2], (agent.delay, drawn), agent.window)
            windows = jnp.concatenate([windows, shown], 1)
            if weights is not None:  # they are drawn uniformly
                weights = jnp.concatenate([weights, jnp.ones((agent.delay, drawn), weights.dtype)], 1)
        batches = batch_of(agent, windows)
        batches = batches._replace(
            obs=algorithm.normalize_obs(learner, batches.obs, agent.history),
            next_obs=algorithm.normalize_obs(learner, batches.next_obs, agent.history),
        )
        learner, metrics, per_sample_loss = algorithm.update(agent, learner, batches, keys[1], weights)
        if tree is not None:
            losses = per_sample_loss[:, : shape[1]].reshape(-1)
            tree = prioritized.assign(tree, index.reshape(-1), plan.priority.rank(losses))
        return (learner, tree), metrics

    (learner, tree), metrics = jax.lax.scan(step, (state.learner, state.tree), keys)
    metrics = Metrics(*(jnp.mean(m, 0) for m in metrics))._replace(finite=jnp.min(metrics.finite))
    return state._replace(learner=learner, tree=tree, iteration=state.iteration + 1), metrics


def batch_of(agent: Agent, rows) -> Transition:
    """Sampled rows[*, window, W] as a batch[*]: rewards of n steps summed, observations with their past."""
    h, layout = agent.history, agent.layout
    if h is None:
        return replay_buffer.n_step_batch(layout, rows, agent.gamma, agent.reward_scale)
    following = rows[..., h.before :, :]
    batch = replay_buffer.n_step_batch(layout, following, agent.gamma, agent.reward_scale)
    steps = jnp.sum(replay_buffer.still_going(layout.unpack(following).last), -1).astype(jnp.int32)
    return history.with_past(h, layout, rows, batch, steps)


def start_run(plan: Plan, seed, obs) -> tuple[State, Behaviour, Actors, Any]:
    """Both sides before the first step, and the first actions[N, A], for obs[N, O]."""
    # A raw key: a typed key is a Python object, which cost 45 us in every call of a compiled program.
    key, first = jax.random.PRNGKey(seed), jnp.ones(plan.n, obs.dtype)
    state = init(plan, key)
    behaviour = algorithm.behaviour(state.learner)
    choose = random_action if plan.warmup_iterations or plan.uniform else act
    return state, behaviour, *choose(plan, behaviour, actors(plan, key), obs, first)


def fill(plan: Plan, state: State, rows) -> State:
    """Store rows[T, N, W] that this run has not collected; T is a multiple of the plan's block."""
    blocks = rows.reshape(-1, plan.block, *rows.shape[1:])
    return jax.lax.scan(lambda state, block: (add_to_replay(plan, state, block), None), state, blocks)[0]


def first_actions(plan: Plan, filled: int, state: State, obs) -> tuple[Behaviour, Actors, Any]:
    """The collecting side before the first step, where replay holds `filled` iterations; for obs[N, O]."""
    behaviour, first = algorithm.behaviour(state.learner), jnp.ones(plan.n, obs.dtype)
    choose = act if filled > plan.warmup_iterations else random_action
    return behaviour, *choose(plan, behaviour, actors(plan, state.key), obs, first)


def warmup_step(plan: Plan, state: State, rows) -> tuple[State, Behaviour]:
    """A warm-up iteration: store rows[K, M, W].

    The behaviour is a copy, because the state is donated to the next iteration while actions are chosen.
    """
    state = add_to_replay(plan, state, rows)
    return state._replace(iteration=state.iteration + 1), algorithm.behaviour(state.learner)


def train_step(plan: Plan, state: State, rows) -> tuple[State, tuple[Behaviour, Any]]:
    """A training iteration: learn from rows[K, M, W]. Metrics are one array, in the order of `Metrics`."""
    state, metrics = learn(plan, state, rows)
    return state, (algorithm.behaviour(state.learner), jnp.stack(metrics))
