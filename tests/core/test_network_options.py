"""Dropout, residual blocks and batch norm: against NumPy by hand, and what each changes in an update."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swingup.core import agent as algorithm
from swingup.core.agent import Agent, Smoothing
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.core.policy import Policy
from swingup.storage.policy_file import load_policy, save_policy
from swingup.types import Spec, Transition


def critic_of(**options):
    return Critic(3, 2, (6, 6), **{"action_layer": 1} | options)


def agent_of(critic, **options):
    return Agent(Actor(3, 2, (5,)), critic, Gaussian(0.1), batch=8, **options)


def batch_of(d=None, n=8):
    rng = np.random.default_rng(0)
    lead = (n,) if d is None else (d, n)
    f = lambda *shape: jnp.asarray(rng.normal(size=(*lead, *shape)).astype(np.float32))
    return Transition(f(3), jnp.tanh(f(2)), f(), 0.9 * jnp.ones(lead), f(3), jnp.zeros(lead))


def moved(tree, seed=0):
    """Parameters away from their first values, where scales are one and last layers near zero."""
    return jax.tree.map(
        lambda x: x + 0.3 * np.random.default_rng(seed).normal(size=x.shape).astype("f4"), tree
    )


def layer_norm(z):
    return (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)


# residual blocks


def by_hand(params, obs, action=None, kept=None):
    """SimBa's network: a layer, blocks h + W2 relu(W1 norm(h)), norm, the last layer."""
    product = lambda p, h: h @ p["w"] + p["b"] + (action @ p["a"] if "a" in p else 0)
    h = product(params[0], obs)
    for i, p in enumerate(params[1:-1]):
        z = product(p, layer_norm(h) * p["scale"] + p["shift"])
        z = z if kept is None else z * kept[:, i * 24 : (i + 1) * 24]
        h = h + np.maximum(z, 0) @ p["v"] + p["c"]
    return product(params[-1], layer_norm(h) * params[-1]["scale"] + params[-1]["shift"])


@pytest.mark.parametrize("joins", [1, 2])
def test_residual_blocks_are_simbas(joins, tmp_path):
    actor, critic = Actor(3, 2, (6, 6), residual=True), critic_of(residual=True, action_layer=joins)
    a, c = (jax.tree.map(np.asarray, moved(net.init(jax.random.key(0)))) for net in (actor, critic))
    obs, action = np.asarray(batch_of().obs), np.asarray(batch_of().action)
    assert [sorted(layer) for layer in c][joins - 1][0] == "a"
    assert c[1]["w"].shape == (6, 24)
    np.testing.assert_allclose(actor.apply(a, obs), np.tanh(by_hand(a, obs)), atol=1e-5)
    np.testing.assert_allclose(critic.apply(c, obs, action), by_hand(c, obs, action)[:, 0], atol=1e-5)
    np.testing.assert_allclose(
        jax.vmap(critic.apply, (None, 0, 0))(c, obs, action), critic.apply(c, obs, action), atol=1e-5
    )
    kept = np.random.default_rng(1).choice([0, 2.0], (8, critic.units)).astype("f4")
    np.testing.assert_allclose(
        critic.apply(c, obs, action, kept), by_hand(c, obs, action, kept)[:, 0], atol=1e-5
    )
    policy = Policy(actor, a, Spec("any", (3,), (2,), "float32", (-2.0, 0.0), (2.0, 1.0)))
    save_policy(tmp_path / "p.safetensors", policy)
    np.testing.assert_array_equal(load_policy(tmp_path / "p.safetensors")(obs), policy(obs))


# dropout


def test_dropout_leaves_out_units_before_the_norm():
    critic, b = critic_of(layer_norm=True), batch_of()
    c = jax.tree.map(np.asarray, moved(critic.init(jax.random.key(0))))
    kept = np.random.default_rng(1).choice([0, 2.0], (8, 12)).astype("f4")
    z = (b.obs @ c[0]["w"] + b.action @ c[0]["a"]) * kept[:, :6]
    h = np.maximum(layer_norm(z) * c[0]["scale"] + c[0]["b"], 0)
    h = np.maximum(layer_norm((h @ c[1]["w"]) * kept[:, 6:]) * c[1]["scale"] + c[1]["b"], 0)
    expected = (h @ c[2]["w"] + c[2]["b"])[:, 0]
    np.testing.assert_allclose(
        critic.apply(c, np.asarray(b.obs), np.asarray(b.action), kept), expected, atol=1e-5
    )


def test_dropout_keeps_its_share_and_the_mean_and_no_two_uses_share_a_draw():
    agent = replace(agent_of(critic_of(), dropout=0.2, critics=2, delay=2), batch=400)
    kept = np.asarray(algorithm.draw_dropout(agent, jax.random.key(0)))
    assert kept.shape == (5, 2, 400, 12)
    assert set(np.unique(kept)) == {0.0, np.float32(1.25)}
    assert (kept == 0).mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(kept.mean((2,)), 1, atol=0.12)
    flat = kept.reshape(10, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(10)).max() < 0.08


def test_dropout_is_in_targets_in_losses_and_in_the_actors_step():
    plain = agent_of(critic_of(), critics=2)
    agent = replace(plain, dropout=0.5)
    learner, b, key = algorithm.init(agent, jax.random.key(0)), batch_of(1), jax.random.key(3)
    learner = learner._replace(critic=moved(learner.critic), target_critic=moved(learner.critic, 1))
    one, kept = jax.tree.map(lambda x: x[0], b), algorithm.draw_dropout(agent, key)
    target = algorithm.targets(plain, learner, one, None, kept[0])
    loss = algorithm.critic_loss(plain, learner.critic, one, target, None, kept[1])[0]
    after, metrics, _ = jax.jit(lambda s, b: algorithm.update(agent, s, b, key))(learner, b)
    assert float(metrics.critic_loss) == pytest.approx(float(loss), rel=1e-5)
    first = jax.tree.map(lambda x: x[0], after.critic)
    expected = algorithm.actor_loss(plain, learner.actor, first, one, kept[2][0])
    assert float(metrics.actor_loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(algorithm.critic_loss(plain, learner.critic, one, target)[0]) != pytest.approx(
        float(loss), rel=1e-3
    )


def test_what_is_off_draws_and_costs_nothing():
    agent = agent_of(critic_of())
    learner = algorithm.init(agent, jax.random.key(0))
    program = jax.make_jaxpr(lambda s, b: algorithm.update(agent, s, b, jax.random.key(0)))(
        learner, batch_of(1)
    )
    assert "random_bits" not in str(program)
    assert learner.critic_statistics is None


# batch norm


def norm_by_hand(c, x, action, statistics=None):
    """The critic's output, and the mean and variance of each layer, in double precision."""
    seen, h = [], x
    for p in c[:-1]:
        z = h @ p["w"] + (action @ p["a"] if "a" in p else 0)
        mean, var = (z.mean(0), z.var(0)) if statistics is None else statistics[len(seen)]
        seen.append((mean, var))
        h = np.maximum((z - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["b"], 0)
    return (h @ c[-1]["w"] + c[-1]["b"])[:, 0], seen


def doubled(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def test_batch_norm_is_the_papers_in_training_and_with_running_statistics():
    critic, b = critic_of(batch_norm=True), batch_of()
    c = doubled(moved(critic.init(jax.random.key(0))))
    obs, action = doubled((b.obs, b.action))
    out, seen = critic.apply_to_batch(c, obs, action)
    expected, by_layer = norm_by_hand(c, obs, action)
    np.testing.assert_allclose(out, expected, atol=1e-12)
    assert seen[2] == {}
    for (mean, var), ours in zip(by_layer, seen[:2], strict=True):
        np.testing.assert_allclose(ours["mean"], mean, atol=1e-12)
        np.testing.assert_allclose(ours["var"], var, atol=1e-12)
    running = [(0.1 + 0 * mean, 2.0 + 0 * var) for mean, var in by_layer]
    frozen = tuple(
        p | ({"mean": running[i][0], "var": running[i][1]} if i < 2 else {}) for i, p in enumerate(c)
    )
    np.testing.assert_allclose(
        critic.apply(frozen, obs, action), norm_by_hand(c, obs, action, running)[0], atol=1e-12
    )


def test_critics_with_batch_norm_learn_from_one_pass_over_both_steps_without_targets():
    agent = agent_of(critic_of(batch_norm=True), critics=2, smoothing=Smoothing(0.2, 0.5))
    learner, key = algorithm.init(agent, jax.random.key(0)), jax.random.key(3)
    learner = learner._replace(critic=moved(learner.critic))
    assert learner.target_actor is None
    assert learner.target_critic is None
    b = jax.tree.map(lambda x: x[0], batch_of(1))
    after, (loss, q, _, ok) = algorithm.critic_step(agent, learner, b, key)
    action = algorithm.next_action(agent, learner.actor, b, key)
    obs, both = np.concatenate([b.obs, b.next_obs]), np.concatenate([b.action, action])
    one = lambda e: doubled(jax.tree.map(lambda x: x[e], learner.critic))
    outs, statistics = zip(*(norm_by_hand(one(e), obs, both) for e in (0, 1)), strict=True)
    now, then = np.array(outs)[:, :8], np.array(outs)[:, 8:]
    target = b.reward + b.discount * then.min(0)
    np.testing.assert_allclose(q, now, atol=1e-4)
    assert ok
    assert float(loss) == pytest.approx(np.square(now - np.asarray(target)).mean(1).sum(), rel=1e-4)
    for e in (0, 1):
        for layer in (0, 1):
            mean, var = statistics[e][layer]
            ours = jax.tree.map(lambda x, e=e: x[e], after.critic_statistics[layer])
            np.testing.assert_allclose(ours["mean"], 0.01 * mean, atol=1e-5)
            np.testing.assert_allclose(ours["var"], 1 + 0.01 * (var - 1), atol=1e-5)
    grads = jax.grad(lambda c: algorithm.joint_loss(agent, c, b, action, None, (None, None))[0])(
        learner.critic
    )
    step = jax.tree.map(lambda a, b: a - b, after.critic, learner.critic)
    jax.tree.map(lambda s, g: np.testing.assert_array_equal(np.sign(s), -np.sign(g)), step, grads)


def test_the_actor_sees_critics_with_their_running_statistics():
    agent = agent_of(critic_of(batch_norm=True))
    learner, b = algorithm.init(agent, jax.random.key(0)), jax.tree.map(lambda x: x[0], batch_of(1))
    learner = learner._replace(critic=moved(learner.critic))
    _, (loss, _) = algorithm.actor_step(agent, learner, b)
    actions = jax.vmap(agent.actor.apply, (None, 0))(learner.actor, b.obs)
    first = doubled(jax.tree.map(lambda x: x[0], learner.critic))
    q, _ = norm_by_hand(first, doubled(b.obs), doubled(actions), [(np.zeros(6), np.ones(6))] * 2)
    assert float(loss) == pytest.approx(-q.mean(), rel=1e-4)


def test_a_gradient_that_is_not_finite_reaches_no_running_statistics():
    agent = agent_of(critic_of(batch_norm=True))
    learner, b = algorithm.init(agent, jax.random.key(0)), batch_of(1)
    after, metrics, _ = algorithm.update(
        agent, learner, b._replace(obs=b.obs.at[0, 3, 1].set(jnp.nan)), jax.random.key(0)
    )
    assert not metrics.finite
    jax.tree.map(np.testing.assert_array_equal, after.critic_statistics, learner.critic_statistics)
