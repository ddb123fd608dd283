"""DDPG (Lillicrap et al., 1509.02971, algorithm 1) and its descendants.

    for each of D minibatches (obs, action, reward, discount, next_obs):
        target        =  reward + discount * critic'(next_obs, actor'(next_obs))
        critic        <- one Adam step down   mean (critic(obs, action) - target)^2
    actor             <- one Adam step up     mean  critic(obs, actor(obs))
    actor', critic'   <- move towards actor, critic by tau

`discount` is gamma, or 0 where the episode terminated. A time limit does not terminate: values are bootstrapped through it.

    DDPG is D = 1 and one critic.
    TD3  = replace(DDPG, critics=2, delay=2, smoothing=Smoothing(0.2, 0.5)): the smaller of two critics' targets, D = 2, noise on actor'.
    D4PG = replace(DDPG, head=Categorical(low, high), n_step=5): the critic predicts a distribution; rewards of five steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swingup.core.heads import Categorical, Scalar
from swingup.core.networks import Actor, Critic
from swingup.core.pytrees import ema, finite, keep_if
from swingup.core.running_statistics import Moments, normalize
from swingup.core.running_statistics import init as no_moments
from swingup.core.schedules import Linear
from swingup.types import Layout, Precision, Transition

# JAX's names of matrix products with such factors and float32 sums.
ALGORITHMS = {"float32": "F32_F32_F32", "tensorfloat32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


@dataclass(frozen=True)
class Smoothing:
    """Noise on the target's action: N(0, sigma^2) cut at +-clip, in half-ranges (TD3, 1802.09477, section 5.3)."""

    sigma: float = 0.2
    clip: float = 0.5

    def __call__(self, key, action):
        offset = self.sigma * jax.random.normal(key, action.shape, action.dtype)
        return jnp.clip(action + jnp.clip(offset, -self.clip, self.clip), -1, 1)


@dataclass(frozen=True)
class Agent:
    """The algorithm as a value: networks, rates, and what it adds to DDPG. Hashable, so programs close over it.

    What is None, one or Scalar() is absent from the program. critics: E critics, the smallest of whose targets counts;
    delay: D critic steps for each actor step; n_step: rewards summed before bootstrapping; normalize: observations by
    their running mean and variance; reward_scale: factor on rewards; weight_decay: L2 on the critic's gradient; grad_clip:
    largest global norm of a gradient; precision: of the factors in the update's matrix products on a GPU (sums are float32; None: JAX's
    own choice there).
    """

    actor: Actor
    critic: Critic
    noise: Any
    actor_lr: float | Linear = 1e-4
    critic_lr: float | Linear = 1e-3
    gamma: float = 0.99
    tau: float = 1e-3
    batch: int = 64
    head: Scalar | Categorical = Scalar()  # noqa: RUF009 (frozen)
    critics: int = 1
    delay: int = 1
    smoothing: Smoothing | None = None
    n_step: int = 1
    normalize: bool = False
    reward_scale: float | None = None
    weight_decay: float | None = None
    grad_clip: float | None = None
    precision: Precision | None = None

    @property
    def layout(self) -> Layout:
        return Layout(self.actor.obs_size, self.actor.action_size)


class Learner(NamedTuple):
    """What gradient descent changes: the networks, their slow copies, Adam's moments; and the observations' (or None).

    The critics' leaves have a leading axis [E].
    """

    actor: Any
    critic: Any
    target_actor: Any
    target_critic: Any
    actor_opt: Any
    critic_opt: Any
    moments: Moments | None


class Behaviour(NamedTuple):
    """What acting while collecting needs of a learner: the actor, and the observations' moments (or None)."""

    actor: Any
    moments: Moments | None


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
    actor = agent.actor.init(actor_key)
    critic = jax.vmap(agent.critic.init)(jax.random.split(critic_key, agent.critics))
    return Learner(
        actor=actor,
        critic=critic,
        target_actor=actor,
        target_critic=critic,
        actor_opt=optimizer(agent.actor_lr, None, agent.grad_clip).init(actor),
        critic_opt=optimizer(agent.critic_lr, agent.weight_decay, agent.grad_clip).init(critic),
        moments=no_moments(agent.actor.obs_size) if agent.normalize else None,
    )


def see(learner: Learner | Behaviour, obs):
    """Observations as the networks see them: normalised where the agent does that."""
    return obs if learner.moments is None else normalize(learner.moments, obs)


def behaviour(learner: Learner) -> Behaviour:
    """The policy that the learner has come to."""
    return Behaviour(learner.actor, learner.moments)


def act(agent: Agent, behaviour: Behaviour, noise, key, obs, first):
    """Explore: the actor's action plus noise, within [-1, 1]. obs[N, O], first[N] -> action[N, A], noise state."""
    offset, noise = agent.noise.sample(noise, key, first)
    action = jax.vmap(agent.actor.apply, (None, 0))(behaviour.actor, see(behaviour, obs))
    return jnp.clip(action + offset, -1, 1), noise


def ensemble(agent: Agent, critics, obs, action):
    """What each critic's last layer says: obs[B, O], action[B, A] -> out[E, B] or [E, B, Z]."""
    batch = jax.vmap(agent.critic.apply, (None, 0, 0))
    # Not a vmap over critics: XLA's batched product on the CPU is slower than so many plain ones, by 12 % already for one.
    return jnp.stack([batch(jax.tree.map(lambda x, e=e: x[e], critics), obs, action) for e in range(agent.critics)])


def targets(agent: Agent, learner: Learner, batch: Transition, key):
    """What the critics are regressed on, [B] or [B, Z]: equation 4 of the paper; with E critics the least of E (TD3, equation 10)."""
    action = jax.vmap(agent.actor.apply, (None, 0))(learner.target_actor, batch.next_obs)
    if agent.smoothing is not None:
        action = agent.smoothing(key, action)
    out = ensemble(agent, learner.target_critic, batch.next_obs, action)
    if agent.critics == 1:
        least = out[0]
    else:
        q = jax.vmap(jax.vmap(agent.head.value))(out)
        least = jax.vmap(lambda o, i: o[i], (1, 0))(out, jnp.argmin(q, 0))
    return jax.vmap(agent.head.target)(least, batch.reward, batch.discount)


def critic_loss(agent: Agent, critics, batch: Transition, target, weight=None):
    """Mean loss against the target (summed over critics, weighted by weight[B] if given), and Q[E, B], surprise[B]."""
    out = ensemble(agent, critics, batch.obs, batch.action)
    loss = jax.vmap(jax.vmap(agent.head.loss), (0, None))(out, jax.lax.stop_gradient(target))
    q = jax.vmap(jax.vmap(agent.head.value))(out)
    weighted = loss if weight is None else weight * loss
    return jnp.sum(jnp.mean(weighted, 1)), (q, jnp.mean(loss, 0))


def actor_loss(agent: Agent, actor, critic, batch: Transition):
    """Minus the mean value of the actor's own actions: its gradient is the policy gradient (equation 6 of the paper).

    critic: the parameters of one of the critics, the first (TD3, algorithm 1).
    """

    def value(obs):
        return agent.head.value(agent.critic.apply(critic, obs, agent.actor.apply(actor, obs)))

    return -jnp.mean(jax.vmap(value)(batch.obs))


def optimizer(rate: float | Linear, decay: float | None, clip: float | None) -> optax.GradientTransformation:
    """Adam, with what else the agent asks for in front of it."""
    parts = [optax.clip_by_global_norm(clip)] if clip is not None else []
    parts += [optax.add_decayed_weights(decay)] if decay is not None else []
    return optax.chain(*parts, optax.adam(rate)) if parts else optax.adam(rate)


def descend(optimizer: optax.GradientTransformation, params, opt, grads):
    """One step, and whether every gradient was finite. A gradient that is not changes no weight to something that is not."""
    ok = finite(grads)
    updates, opt = optimizer.update(keep_if(ok, grads), opt, params)
    return optax.apply_updates(params, updates), opt, ok


def critic_step(agent: Agent, learner: Learner, batch: Transition, key, weight=None):
    """One step of the critics on batch[B] -> learner, (loss, Q[E, B], surprise[B], whether finite)."""
    target = targets(agent, learner, batch, key)
    (loss, (q, surprise)), grads = jax.value_and_grad(critic_loss, 1, has_aux=True)(agent, learner.critic, batch, target, weight)
    adam = optimizer(agent.critic_lr, agent.weight_decay, agent.grad_clip)
    critic, opt, ok = descend(adam, learner.critic, learner.critic_opt, grads)
    return learner._replace(critic=critic, critic_opt=opt), (loss, q, surprise, ok)


def actor_step(agent: Agent, learner: Learner, batch: Transition):
    """One step of the actor through the fresh critic -> learner, (loss, whether finite)."""
    first = jax.tree.map(lambda x: x[0], learner.critic)
    loss, grads = jax.value_and_grad(actor_loss, 1)(agent, learner.actor, first, batch)
    adam = optimizer(agent.actor_lr, None, agent.grad_clip)
    actor, opt, ok = descend(adam, learner.actor, learner.actor_opt, grads)
    return learner._replace(actor=actor, actor_opt=opt), (loss, ok)


def follow(agent: Agent, learner: Learner) -> Learner:
    """The slow copies move towards the networks by tau."""
    return learner._replace(
        target_actor=ema(learner.target_actor, learner.actor, agent.tau),
        target_critic=ema(learner.target_critic, learner.critic, agent.tau),
    )


def update(agent: Agent, learner: Learner, batches: Transition, key, weights=None):
    """D critic steps, one on each of batches[D, B]; one actor step on the last of them; one target step.

    weights[D, B]: importance weights, where replay is prioritised. Returns learner, Metrics and surprise[D, B], the loss of
    each transition.
    """
    steps = []
    usual = jax.config.values["jax_default_matmul_precision"]
    with jax.default_matmul_precision(ALGORITHMS[agent.precision] if agent.precision else usual):
        for d in range(agent.delay):
            batch = jax.tree.map(lambda x, d=d: x[d], batches)
            weight = None if weights is None else weights[d]
            learner, step = critic_step(agent, learner, batch, jax.random.fold_in(key, d), weight)
            steps.append(step)
        learner, (policy_loss, actor_ok) = actor_step(agent, learner, batch)
    loss, q, surprise, critic_ok = (jnp.stack(x) for x in zip(*steps, strict=True))
    ok = (jnp.all(critic_ok) & actor_ok).astype(policy_loss.dtype)
    metrics = Metrics(jnp.mean(loss), policy_loss, jnp.mean(q), jnp.mean(jnp.max(q, (1, 2))), ok)
    return follow(agent, learner), metrics, surprise
