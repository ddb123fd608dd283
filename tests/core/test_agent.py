"""The algorithm against a hand-derived reference and finite differences; what has a gradient and what not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from reference import Adam, Reference
from swingup.core import agent as algorithm
from swingup.core.agent import Agent
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.types import Transition


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def make(joins=2):
    return Agent(
        actor=Actor(3, 2, (16, 12)),
        critic=Critic(3, 2, (16, 12), joins),
        noise=Gaussian(0.1),
        actor_lr=1e-3,
        critic_lr=2e-3,
        gamma=0.9,
        tau=0.02,
        batch=8,
    )


def batch_of(rng, n=8, gamma=0.9):
    alive = rng.random(n) > 0.3
    return Transition(
        obs=rng.normal(size=(n, 3)),
        action=rng.uniform(-1, 1, (n, 2)),
        reward=rng.normal(size=n),
        discount=gamma * alive,
        next_obs=rng.normal(size=(n, 3)),
        last=1.0 - alive,
    )


def one(agent, learner, batch):
    """An update on one minibatch -> learner, metrics."""
    return algorithm.update(
        agent, learner, jax.tree.map(lambda x: jnp.asarray(x)[None], batch), jax.random.key(9)
    )[:2]


def q_loss(agent, critic, learner, batch):
    return algorithm.critic_loss(agent, critic, batch, algorithm.targets(agent, learner, batch, None))


def first(critics):
    return jax.tree.map(lambda x: x[0], critics)


@pytest.mark.parametrize("joins", [1, 2])
def test_a_thousand_updates_equal_the_reference(joins):
    agent, rng = make(joins), np.random.default_rng(0)
    learner = algorithm.init(agent, jax.random.key(0))
    oracle = Reference(learner.actor, first(learner.critic), joins - 1, 1e-3, 2e-3, 0.9, 0.02)
    update = jax.jit(lambda state, batch: one(agent, state, batch)[0])
    for _ in range(1000):
        batch = batch_of(rng)
        learner = update(learner, batch)
        oracle.update(batch.obs, batch.action, batch.reward, batch.discount / 0.9, batch.next_obs)
    for name in ("actor", "critic", "target_actor", "target_critic"):
        layers = getattr(learner, name)
        for ours, theirs in zip(
            first(layers) if "critic" in name else layers, getattr(oracle, name), strict=True
        ):
            for k in ours:
                np.testing.assert_allclose(ours[k], theirs[k], rtol=0, atol=1e-10, err_msg=f"{name}.{k}")


def test_each_of_200_steps_of_adam_in_float32_is_within_2e_6_of_float64():
    """With bias corrections computed in float32 as written, 1 - 0.999^t, they are up to 1e-5 off."""
    assert error(algorithm.optimizer(1e-3, None, None)) < 2e-6
    assert error(optax.adam(1e-3)) > 6e-6


def error(adam):
    """The largest relative error of 200 float32 steps along random gradients, by the float64 reference."""
    rng, exact, errors = np.random.default_rng(0), [{"w": np.zeros((8, 4))}], []
    oracle, step = Adam(exact, 1e-3), jax.jit(adam.update)
    with jax.enable_x64(False):
        state = adam.init({"w": jnp.zeros((8, 4), jnp.float32)})
        for _ in range(200):
            grad = (1 + 0.3 * rng.normal(size=(8, 4))).astype(np.float32)
            update, state = step({"w": grad}, state)
            before = exact[0]["w"]
            oracle.step(exact, [{"w": grad.astype(np.float64)}])
            errors.append(np.abs(update["w"] / (exact[0]["w"] - before) - 1).max())
    assert update["w"].dtype == np.float32
    return max(errors)


def test_losses_match_finite_differences():
    agent, batch = make(), batch_of(np.random.default_rng(1))
    learner = algorithm.init(agent, jax.random.key(1))
    # Away from the start's near-zero last layers, where every gradient is small.
    learner = jax.tree.map(lambda x: x + 0.3 * np.random.default_rng(2).normal(size=x.shape), learner)
    check_grads(lambda c: q_loss(agent, c, learner, batch)[0], (learner.critic,), 1, ["rev"], rtol=1e-4)
    check_grads(
        lambda a: algorithm.actor_loss(agent, a, first(learner.critic), batch),
        (learner.actor,),
        1,
        ["rev"],
        rtol=1e-4,
    )


def test_targets_get_no_gradient_and_the_actor_gets_one():
    agent, batch = make(), batch_of(np.random.default_rng(1))
    learner = algorithm.init(agent, jax.random.key(1))
    grads = jax.grad(lambda s: q_loss(agent, s.critic, s, batch)[0], allow_int=True)(learner)
    norm = lambda tree: sum(float(jnp.abs(g).sum()) for g in jax.tree.leaves(tree))
    assert norm(grads.target_actor) == norm(grads.target_critic) == norm(grads.actor) == 0
    assert norm(grads.critic) > 0
    assert (
        norm(jax.grad(lambda a: algorithm.actor_loss(agent, a, first(learner.critic), batch))(learner.actor))
        > 0
    )


def test_targets_begin_as_copies_and_follow_by_tau():
    agent = make()
    before = algorithm.init(agent, jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before.actor, before.target_actor))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before.critic, before.target_critic))
    after, _ = one(agent, before, batch_of(np.random.default_rng(0)))
    expected = jax.tree.map(lambda old, new: 0.98 * old + 0.02 * new, before.target_critic, after.critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-15), after.target_critic, expected)


def test_the_actor_learns_through_the_fresh_critic():
    agent, batch = make(), batch_of(np.random.default_rng(3))
    before = algorithm.init(agent, jax.random.key(0))
    after, metrics = one(agent, before, batch)
    assert float(metrics.actor_loss) == pytest.approx(
        float(algorithm.actor_loss(agent, before.actor, first(after.critic), batch)), abs=1e-14
    )


def test_a_time_limit_bootstraps_and_a_terminal_state_does_not():
    agent, batch = make(), batch_of(np.random.default_rng(0))
    learner = algorithm.init(agent, jax.random.key(0))
    ended = batch._replace(discount=0 * batch.discount, last=np.ones(8))
    loss, (q, _) = q_loss(agent, learner.critic, learner, ended)
    assert float(loss) == pytest.approx(float(np.mean((q - batch.reward) ** 2)))
    truncated = batch._replace(discount=0.9 + 0 * batch.discount, last=np.ones(8))
    running = truncated._replace(last=np.zeros(8))
    assert (
        q_loss(agent, learner.critic, learner, truncated)[0]
        == q_loss(agent, learner.critic, learner, running)[0]
    )


@pytest.mark.parametrize("field", ["obs", "reward", "next_obs"])
def test_a_gradient_that_is_not_finite_reaches_no_weight(field):
    agent, batch = make(), batch_of(np.random.default_rng(0))
    poisoned = getattr(batch, field).copy()
    poisoned.flat[3] = np.nan
    before = algorithm.init(agent, jax.random.key(0))
    after, metrics = one(agent, before, batch._replace(**{field: poisoned}))
    assert not metrics.finite
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(after))


def test_metrics_are_those_of_the_minibatch():
    agent, batch = make(), batch_of(np.random.default_rng(0))
    learner = algorithm.init(agent, jax.random.key(0))
    q = jax.vmap(agent.critic.apply, (None, 0, 0))(first(learner.critic), batch.obs, batch.action)
    _, metrics = one(agent, learner, batch)
    assert float(metrics.q_max) == float(q.max())
    assert float(metrics.q_mean) == pytest.approx(float(q.mean()))
    assert metrics.finite


def test_exploration_stays_in_the_box_and_is_centred_on_the_policy():
    agent = replace(make(), noise=Gaussian(0.5))
    learner = algorithm.init(agent, jax.random.key(0))
    obs = np.random.default_rng(0).normal(size=(4000, 3))
    action, _ = algorithm.act(
        agent, learner, agent.noise.init(4000, 2), jax.random.key(1), obs, np.zeros(4000)
    )
    assert float(jnp.abs(action).max()) <= 1
    greedy = jax.vmap(agent.actor.apply, (None, 0))(learner.actor, obs)
    np.testing.assert_allclose((action - greedy).mean(), 0, atol=0.02)
