"""DDPG (Lillicrap et al., 1509.02971, algorithm 1) and its descendants.

    for each of D minibatches (obs, action, reward, discount, next_obs):
        target        =  reward + discount * critic'(next_obs, actor'(next_obs))
        critic        <- one Adam step down   mean (critic(obs, action) - target)^2
    actor             <- one Adam step up     mean  critic(obs, actor(obs))
    actor', critic'   <- move towards actor, critic by tau

`discount` is gamma, or 0 where the episode terminated. A time limit does not terminate an episode: the value
of its last observation is bootstrapped.

    DDPG is D = 1 and one critic.
    TD3  = replace(DDPG, critics=2, delay=2, smoothing=Smoothing(0.2, 0.5)):
           the smaller of two critics' targets, D = 2, noise on actor'.
    D4PG = replace(DDPG, head=Categorical(low, high), n_step=5):
           the critic predicts a distribution; rewards of five steps are summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swingup.core.heads import Categorical, Scalar
from swingup.core.history import History
from swingup.core.networks import Actor, Critic
from swingup.core.pytrees import finite, keep_if, polyak_update
from swingup.core.running_statistics import RunningStatistics, normalize
from swingup.core.running_statistics import init as no_statistics
from swingup.core.schedules import Linear
from swingup.types import Layout, Precision, Transition

# How much of Adam's first and second moments is kept at each step (Kingma and Ba, 1412.6980, algorithm 1).
BETA1, BETA2 = 0.9, 0.999

# How far running batch statistics move towards those of a minibatch (CrossQ, table of hyperparameters: 0.99).
STATISTICS_RATE = 0.01

# JAX's names of matrix products with factors of that precision and float32 sums.
ALGORITHMS = {"float32": "F32_F32_F32", "tensorfloat32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


@dataclass(frozen=True)
class Smoothing:
    """Noise on target actions in [-1, 1]: N(0, sigma^2) cut at +-clip (TD3, 1802.09477, section 5.3)."""

    sigma: float = 0.2
    clip: float = 0.5

    def __call__(self, key, action):
        """action[*, A] with noise, clipped to [-1, 1]."""
        offset = self.sigma * jax.random.normal(key, action.shape, action.dtype)
        return jnp.clip(action + jnp.clip(offset, -self.clip, self.clip), -1, 1)


@dataclass(frozen=True)
class Agent:
    """The algorithm's networks, rates and options beyond DDPG. Hashable, so compiled programs close over it.

    An option that is None, False, 1 or Scalar() adds nothing to the compiled program. critics: E critics, the
    smallest of whose targets counts; delay: D critic steps per actor step; n_step: rewards summed before
    bootstrapping; normalize: observations by their running mean and variance; reward_scale: factor on
    rewards; weight_decay: L2 on the critic's gradient; grad_clip: largest global norm of a gradient;
    precision: of the factors in the update's matrix products on a GPU (sums are float32; None: JAX's own);
    history: past observations and actions in the networks' input (None: the observation is the input);
    dropout: probability that a critic's hidden unit is left out, in targets and losses alike (DroQ,
    2110.02034). A critic with batch norm has no target networks (CrossQ, 1902.05605v4).
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
    history: History | None = None
    dropout: float | None = None

    @property
    def has_targets(self) -> bool:
        """Whether there are target networks."""
        return not getattr(self.critic, "batch_norm", False)

    @property
    def layout(self) -> Layout:
        """Where the fields of a transition lie in a row."""
        size = self.actor.obs_size if self.history is None else self.history.obs_size
        return Layout(size, self.actor.action_size)

    @property
    def window(self) -> int:
        """Rows of replay that a sample needs: its past, itself, and the n - 1 behind it."""
        return self.n_step + (0 if self.history is None else self.history.before)


class Learner(NamedTuple):
    """Networks, target networks, Adam's states and the running statistics of observations (or None).

    The critics' leaves have a leading axis [E]. With batch norm there are no target networks (None);
    critic_statistics: the running mean[E, H] and var[E, H] of each of the critics' layers, else None.
    """

    actor: Any
    critic: Any
    target_actor: Any
    target_critic: Any
    actor_opt: Any
    critic_opt: Any
    obs_statistics: RunningStatistics | None
    critic_statistics: Any = None


class Behaviour(NamedTuple):
    """What collecting needs of a learner: the actor and the running statistics of observations (or None)."""

    actor: Any
    obs_statistics: RunningStatistics | None


class Metrics(NamedTuple):
    """Scalars of one update: losses, mean and largest Q of the minibatch, 1 if every gradient was finite."""

    critic_loss: Any
    actor_loss: Any
    q_mean: Any
    q_max: Any
    finite: Any


def init(agent: Agent, key) -> Learner:
    """Networks and equal targets. Call it under jit: eager copies share buffers, which blocks donation."""
    actor_key, critic_key = jax.random.split(key)
    actor = agent.actor.init(actor_key)
    critic = jax.vmap(agent.critic.init)(jax.random.split(critic_key, agent.critics))
    return Learner(
        actor=actor,
        critic=critic,
        target_actor=actor if agent.has_targets else None,
        target_critic=critic if agent.has_targets else None,
        actor_opt=optimizer(agent.actor_lr, None, agent.grad_clip).init(actor),
        critic_opt=optimizer(agent.critic_lr, agent.weight_decay, agent.grad_clip).init(critic),
        obs_statistics=no_statistics(agent.layout.obs_size) if agent.normalize else None,
        critic_statistics=None if agent.has_targets else batch_statistics(critic),
    )


def batch_statistics(critics) -> tuple[dict[str, Any], ...]:
    """Running statistics of critics' layers before the first minibatch: mean 0 and variance 1."""
    start = lambda scale: {"mean": jnp.zeros_like(scale), "var": jnp.ones_like(scale)}
    return tuple(start(layer["scale"]) if "scale" in layer else {} for layer in critics)


def evaluated_critics(learner: Learner) -> Any:
    """The critics' parameters for use outside their training: with running statistics, if they have any."""
    if learner.critic_statistics is None:
        return learner.critic
    pairs = zip(learner.critic, learner.critic_statistics, strict=True)
    return tuple(layer | statistics for layer, statistics in pairs)


def target_networks(learner: Learner) -> tuple[Any, Any]:
    """The actor and the critics that targets come from."""
    if learner.critic_statistics is None:
        return learner.target_actor, learner.target_critic
    return learner.actor, evaluated_critics(learner)


def normalize_obs(learner: Learner | Behaviour, obs, history: History | None = None):
    """The networks' input for obs[*, O]: normalised if the learner has running statistics.

    history: of the agent; then obs are inputs that hold several observations.
    """
    statistics = learner.obs_statistics
    if statistics is None:
        return obs
    return normalize(statistics if history is None else history.widen(statistics), obs)


def behaviour(learner: Learner) -> Behaviour:
    """The learner's current policy, for collecting."""
    return Behaviour(learner.actor, learner.obs_statistics)


def act(agent: Agent, behaviour: Behaviour, noise, key, obs, first):
    """The actor's action plus noise, clipped to [-1, 1]. obs[N, O], first[N] -> action[N, A], noise state."""
    offset, noise = agent.noise.sample(noise, key, first)
    action = jax.vmap(agent.actor.apply, (None, 0))(
        behaviour.actor, normalize_obs(behaviour, obs, agent.history)
    )
    return jnp.clip(action + offset, -1, 1), noise


def ensemble(agent: Agent, critics, obs, action, kept=None):
    """The output of every critic's last layer: obs[B, O], action[B, A] -> out[E, B] or [E, B, Z].

    kept[E, B, units]: dropout's factors, if any.
    """
    batch = jax.vmap(agent.critic.apply, (None, 0, 0) if kept is None else (None, 0, 0, 0))
    extra = (lambda e: ()) if kept is None else (lambda e: (kept[e],))
    # Not a vmap over critics: on the CPU XLA's batched product is slower than E plain ones, by 12 % at E = 1.
    return jnp.stack(
        [
            batch(jax.tree.map(lambda x, e=e: x[e], critics), obs, action, *extra(e))
            for e in range(agent.critics)
        ]
    )


def draw_dropout(agent: Agent, key) -> Any:
    """Dropout's factors in an update, [2D + 1, E, B, units], or (None, ...).

    For each critic step those of its targets and of its loss, and last those of the actor's step.
    """
    uses = 2 * agent.delay + 1
    if agent.dropout is None:
        return (None,) * uses
    # The keys before this one are those of the critic steps' smoothing.
    key, keep = jax.random.fold_in(key, agent.delay), 1 - agent.dropout
    shape = (uses, agent.critics, agent.batch, agent.critic.units)
    return jax.random.bernoulli(key, keep, shape) / keep


def next_action(agent: Agent, actor, batch: Transition, key):
    """The action[B, A] at the next observation whose value is bootstrapped."""
    action = jax.vmap(agent.actor.apply, (None, 0))(actor, batch.next_obs)
    return action if agent.smoothing is None else agent.smoothing(key, action)


def bootstrap(agent: Agent, out, batch: Transition):
    """The targets, [B] or [B, Z], from out[E, B] or [E, B, Z] at the next observation and action."""
    if agent.critics == 1:
        least = out[0]
    else:
        q = jax.vmap(jax.vmap(agent.head.value))(out)
        least = jax.vmap(lambda o, i: o[i], (1, 0))(out, jnp.argmin(q, 0))
    return jax.vmap(agent.head.target)(least, batch.reward, batch.discount)


def targets(agent: Agent, learner: Learner, batch: Transition, key, kept=None):
    """The critics' targets, [B] or [B, Z]: equation 4 of the paper; the smallest of E (TD3, equation 10)."""
    action = next_action(agent, learner.target_actor, batch, key)
    return bootstrap(agent, ensemble(agent, learner.target_critic, batch.next_obs, action, kept), batch)


def critic_loss(agent: Agent, critics, batch: Transition, target, weight=None, kept=None):
    """Mean loss against the target, summed over critics -> loss, (Q[E, B], per_sample_loss[B]).

    weight[B]: factors on the loss of each transition, if given; per_sample_loss is without them.
    """
    return loss_of(agent, ensemble(agent, critics, batch.obs, batch.action, kept), target, weight)


def loss_of(agent: Agent, out, target, weight=None):
    """`critic_loss` from the critics' outputs."""
    loss = jax.vmap(jax.vmap(agent.head.loss), (0, None))(out, jax.lax.stop_gradient(target))
    q = jax.vmap(jax.vmap(agent.head.value))(out)
    weighted = loss if weight is None else weight * loss
    return jnp.sum(jnp.mean(weighted, 1)), (q, jnp.mean(loss, 0))


def joint_loss(agent: Agent, critics, batch: Transition, action, weight, kept):
    """The loss of critics with batch norm, whose targets come from themselves (CrossQ, section 3).

    One pass over (obs, action) and (next_obs, next action) together, so that both are normalised by the same
    statistics. action[B, A]: the next one; kept: a pair of dropout's factors. Returns the loss, and (what
    `critic_loss` returns besides, the statistics of each critic's layers).
    """
    obs, both = jnp.concatenate([batch.obs, batch.next_obs]), jnp.concatenate([batch.action, action])
    factors = None if kept[0] is None else jnp.concatenate([kept[1], kept[0]], 1)
    passes = [
        agent.critic.apply_to_batch(
            jax.tree.map(lambda x, e=e: x[e], critics), obs, both, None if factors is None else factors[e]
        )
        for e in range(agent.critics)
    ]
    out, n = jnp.stack([out for out, _ in passes]), batch.obs.shape[0]
    seen = jax.tree.map(lambda *x: jnp.stack(x), *[statistics for _, statistics in passes])
    target = bootstrap(agent, jax.lax.stop_gradient(out[:, n:]), batch)
    loss, rest = loss_of(agent, out[:, :n], target, weight)
    return loss, (rest, seen)


def actor_loss(agent: Agent, actor, critic, batch: Transition, kept=None):
    """Minus the mean value of the actor's actions; its gradient is minus the policy gradient (equation 6).

    critic: the parameters of one critic; `actor_step` gives the first (TD3, algorithm 1). kept[B, units]:
    dropout's factors, if any.
    """

    def value(obs, *kept):
        return agent.head.value(agent.critic.apply(critic, obs, agent.actor.apply(actor, obs), *kept))

    return -jnp.mean(jax.vmap(value)(batch.obs, *(() if kept is None else (kept,))))


def optimizer(rate: float | Linear, decay: float | None, clip: float | None) -> optax.GradientTransformation:
    """Adam, preceded by clipping to the global norm `clip` and L2 weight decay `decay` if given."""
    parts = [optax.clip_by_global_norm(clip)] if clip is not None else []
    parts += [optax.add_decayed_weights(decay)] if decay is not None else []
    adam = optax.chain(scale_by_adam(), optax.scale_by_learning_rate(rate))
    return optax.chain(*parts, adam) if parts else adam


def scale_by_adam() -> optax.GradientTransformation:
    """`optax.scale_by_adam` with the same state, and bias corrections 1 - beta^t exact to the last bits.

    Computed as written in float32, 1 - 0.999^t is off by 1.3e-5 of its size at t = 1, because 0.999 is
    rounded first; this is off by 1e-7.
    """

    def update(grads, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda g, m: (1 - BETA1) * g + BETA1 * m, grads, state.mu)
        nu = jax.tree.map(lambda g, v: (1 - BETA2) * g**2 + BETA2 * v, grads, state.nu)
        first, second = (-jnp.expm1(count * math.log(beta)) for beta in (BETA1, BETA2))
        steps = jax.tree.map(
            lambda m, v: m / first.astype(m.dtype) / (jnp.sqrt(v / second.astype(v.dtype)) + 1e-8), mu, nu
        )
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def apply_gradients(optimizer: optax.GradientTransformation, params, opt, grads):
    """One step -> params, optimiser state, whether every gradient was finite.

    If one was not, the step is taken with zero gradients, so that the weights stay finite.
    """
    ok = finite(grads)
    updates, opt = optimizer.update(keep_if(ok, grads), opt, params)
    return optax.apply_updates(params, updates), opt, ok


def critic_step(agent: Agent, learner: Learner, batch: Transition, key, weight=None, kept=(None, None)):
    """One step of all critics on batch[B] -> learner, (loss, Q[E, B], per_sample_loss[B], whether finite).

    kept: dropout's factors for the targets and for the loss, [E, B, units] each, if any.
    """
    if not agent.has_targets:
        return joint_critic_step(agent, learner, batch, key, weight, kept)
    target = targets(agent, learner, batch, key, kept[0])
    (loss, (q, per_sample_loss)), grads = jax.value_and_grad(critic_loss, 1, has_aux=True)(
        agent, learner.critic, batch, target, weight, kept[1]
    )
    adam = optimizer(agent.critic_lr, agent.weight_decay, agent.grad_clip)
    critic, opt, ok = apply_gradients(adam, learner.critic, learner.critic_opt, grads)
    return learner._replace(critic=critic, critic_opt=opt), (loss, q, per_sample_loss, ok)


def joint_critic_step(agent: Agent, learner: Learner, batch: Transition, key, weight, kept):
    """`critic_step` of critics with batch norm; their running statistics move on with each minibatch."""
    action = next_action(agent, learner.actor, batch, key)
    (loss, ((q, per_sample_loss), seen)), grads = jax.value_and_grad(joint_loss, 1, has_aux=True)(
        agent, learner.critic, batch, action, weight, kept
    )
    adam = optimizer(agent.critic_lr, agent.weight_decay, agent.grad_clip)
    critic, opt, ok = apply_gradients(adam, learner.critic, learner.critic_opt, grads)
    old = learner.critic_statistics
    moved = polyak_update(old, seen, STATISTICS_RATE)
    moved = jax.tree.map(lambda new, kept: jnp.where(ok, new, kept), moved, old)
    learner = learner._replace(critic=critic, critic_opt=opt, critic_statistics=moved)
    return learner, (loss, q, per_sample_loss, ok)


def actor_step(agent: Agent, learner: Learner, batch: Transition, kept=None):
    """One step of the actor through the updated first critic -> learner, (loss, whether finite)."""
    first = jax.tree.map(lambda x: x[0], evaluated_critics(learner))
    loss, grads = jax.value_and_grad(actor_loss, 1)(agent, learner.actor, first, batch, kept)
    adam = optimizer(agent.actor_lr, None, agent.grad_clip)
    actor, opt, ok = apply_gradients(adam, learner.actor, learner.actor_opt, grads)
    return learner._replace(actor=actor, actor_opt=opt), (loss, ok)


def update_targets(agent: Agent, learner: Learner) -> Learner:
    """Move the target networks, if there are any, towards the networks by tau."""
    if not agent.has_targets:
        return learner
    return learner._replace(
        target_actor=polyak_update(learner.target_actor, learner.actor, agent.tau),
        target_critic=polyak_update(learner.target_critic, learner.critic, agent.tau),
    )


def update(agent: Agent, learner: Learner, batches: Transition, key, weights=None):
    """D critic steps, one on each of batches[D, B]; one actor step on the last batch; one target step.

    weights[D, B]: importance weights of prioritised replay. Returns learner, Metrics, per_sample_loss[D, B].
    """
    steps, kept = [], draw_dropout(agent, key)
    usual = jax.config.values["jax_default_matmul_precision"]
    with jax.default_matmul_precision(ALGORITHMS[agent.precision] if agent.precision else usual):
        for d in range(agent.delay):
            batch = jax.tree.map(lambda x, d=d: x[d], batches)
            weight = None if weights is None else weights[d]
            learner, step = critic_step(
                agent, learner, batch, jax.random.fold_in(key, d), weight, (kept[2 * d], kept[2 * d + 1])
            )
            steps.append(step)
        learner, (policy_loss, actor_ok) = actor_step(
            agent, learner, batch, None if agent.dropout is None else kept[-1][0]
        )
    loss, q, per_sample_loss, critic_ok = (jnp.stack(x) for x in zip(*steps, strict=True))
    ok = (jnp.all(critic_ok) & actor_ok).astype(policy_loss.dtype)
    metrics = Metrics(jnp.mean(loss), policy_loss, jnp.mean(q), jnp.mean(jnp.max(q, (1, 2))), ok)
    return update_targets(agent, learner), metrics, per_sample_loss
