"""DDPG (Lillicrap et al., 1509.02971, algorithm 1).

    for each minibatch (obs, action, reward, discount, next_obs):
        target        =  reward + discount * critic'(next_obs, actor'(next_obs))
        critic        <- one Adam step down   mean (critic(obs, action) - target)^2
        actor         <- one Adam step up     mean  critic(obs, actor(obs))
        actor', critic' <- move towards actor, critic by tau

`discount` is gamma, or 0 where the episode terminated. A time limit does not terminate: values are bootstrapped through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swingup.nets import Actor, Critic
from swingup.tree import ema, finite, keep_if
from swingup.types import Layout, Transition


@dataclass(frozen=True)
class Agent:
    """The algorithm as a value: two networks, their rates, and how it explores. Hashable, so programs close over it."""

    actor: Actor
    critic: Critic
    noise: Any
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    gamma: float = 0.99
    tau: float = 1e-3
    batch: int = 64

    @property
    def layout(self) -> Layout:
        return Layout(self.actor.obs_size, self.actor.action_size)


class Learner(NamedTuple):
    """What gradient descent changes: the networks, their slow copies, and Adam's moments."""

    actor: Any
    critic: Any
    target_actor: Any
    target_critic: Any
    actor_opt: Any
    critic_opt: Any


class Metrics(NamedTuple):
    """Scalars of one update: the two losses, mean and largest Q of the minibatch, and 1 if every gradient was finite."""

    critic_loss: Any
    actor_loss: Any
    q_mean: Any
    q_max: Any
    finite: Any


def init(agent: Agent, key) -> Learner:
    """Fresh networks; the targets begin as copies. Run it under jit: eager copies would share buffers and block donation."""
    actor_key, critic_key = jax.random.split(key)
    actor, critic = agent.actor.init(actor_key), agent.critic.init(critic_key)
    return Learner(
        actor=actor,
        critic=critic,
        target_actor=actor,
        target_critic=critic,
        actor_opt=optax.adam(agent.actor_lr).init(actor),
        critic_opt=optax.adam(agent.critic_lr).init(critic),
    )


def act(agent: Agent, learner: Learner, noise, key, obs, first):
    """Explore: the actor's action plus noise, within [-1, 1]. obs[N, O], first[N] -> action[N, A], noise state."""
    offset, noise = agent.noise.sample(noise, key, first)
    return jnp.clip(jax.vmap(agent.actor.apply, (None, 0))(learner.actor, obs) + offset, -1, 1), noise


def critic_loss(agent: Agent, critic, learner: Learner, batch: Transition):
    """Mean squared distance of Q from the one-step target, and Q[B] (equation 4 of the paper)."""
    value = jax.vmap(agent.critic.apply, (None, 0, 0))
    next_action = jax.vmap(agent.actor.apply, (None, 0))(learner.target_actor, batch.next_obs)
    target = batch.reward + batch.discount * value(learner.target_critic, batch.next_obs, next_action)
    q = value(critic, batch.obs, batch.action)
    return jnp.mean(jnp.square(q - jax.lax.stop_gradient(target))), q


def actor_loss(agent: Agent, actor, critic, batch: Transition):
    """Minus the mean value of the actor's own actions: its gradient is the policy gradient (equation 6 of the paper)."""

    def value(obs):
        return agent.critic.apply(critic, obs, agent.actor.apply(actor, obs))

    return -jnp.mean(jax.vmap(value)(batch.obs))


def descend(rate: float, params, opt, grads):
    """One Adam step, and whether every gradient was finite. A gradient that is not changes no weight to something that is not."""
    ok = finite(grads)
    updates, opt = optax.adam(rate).update(keep_if(ok, grads), opt)
    return optax.apply_updates(params, updates), opt, ok


def update(agent: Agent, learner: Learner, batch: Transition) -> tuple[Learner, Metrics]:
    """One critic step, one actor step through the fresh critic, one target step. batch[B]."""
    (loss, q), grads = jax.value_and_grad(critic_loss, 1, has_aux=True)(agent, learner.critic, learner, batch)
    critic, critic_opt, critic_ok = descend(agent.critic_lr, learner.critic, learner.critic_opt, grads)

    policy_loss, grads = jax.value_and_grad(actor_loss, 1)(agent, learner.actor, critic, batch)
    actor, actor_opt, actor_ok = descend(agent.actor_lr, learner.actor, learner.actor_opt, grads)

    learner = Learner(
        actor=actor,
        critic=critic,
        target_actor=ema(learner.target_actor, actor, agent.tau),
        target_critic=ema(learner.target_critic, critic, agent.tau),
        actor_opt=actor_opt,
        critic_opt=critic_opt,
    )
    ok = (critic_ok & actor_ok).astype(loss.dtype)
    return learner, Metrics(loss, policy_loss, jnp.mean(q), jnp.max(q), ok)
