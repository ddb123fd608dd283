"""Networks: shapes, the paper's initial weights, and the same forward pass in NumPy and in JAX."""

import jax
import numpy as np
import pytest

from swingup.core.networks import ACTIVATIONS, TFLEARN, Actor, Critic
from swingup.core.policy import Policy
from swingup.storage.policy_file import load_policy, save_policy
from swingup.types import Spec

BY_HAND = {
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
}


def test_shapes_and_where_the_action_joins():
    actor, critic = (
        Actor(5, 2, (40, 30)).init(jax.random.key(0)),
        Critic(5, 2, (40, 30), 2).init(jax.random.key(0)),
    )
    assert [layer["w"].shape for layer in actor] == [(5, 40), (40, 30), (30, 2)]
    assert [sorted(layer) for layer in critic] == [["b", "w"], ["a", "b", "w"], ["b", "w"]]
    assert critic[1]["a"].shape == (2, 30)
    assert [sorted(layer) for layer in Critic(5, 2, (40, 30), 1).init(jax.random.key(0))] == [
        ["a", "b", "w"],
        ["b", "w"],
        ["b", "w"],
    ]


def test_the_papers_initial_weights():
    params = Critic(100, 50, (400, 300)).init(jax.random.key(0))
    for layer, fan in zip(params[:-1], (100, 450), strict=True):
        for value in layer.values():
            assert np.abs(value).max() <= 1 / np.sqrt(fan)
            assert np.abs(value).max() > 0.95 / np.sqrt(fan)
    for value in params[-1].values():
        assert np.abs(value).max() <= 3e-3
    assert np.std(params[1]["w"]) == pytest.approx(1 / np.sqrt(450) / np.sqrt(3), rel=0.02)


def test_tflearns_initial_weights():
    params = Actor(100, 50, (400, 300), TFLEARN).init(jax.random.key(0))
    hidden = np.asarray(params[1]["w"])
    assert np.abs(hidden).max() <= 0.04
    assert np.std(hidden) == pytest.approx(
        0.02 * 0.8796, rel=0.02
    )  # a normal cut at two sd keeps 0.8796 of it
    assert not any(np.any(layer["b"]) for layer in params)


@pytest.mark.parametrize("joins", [1, 2])
def test_numpy_and_jax_agree_and_one_row_is_one_row_of_the_batch(joins):
    actor, critic = Actor(5, 2, (40, 30)), Critic(5, 2, (40, 30), joins)
    a, c = actor.init(jax.random.key(0)), critic.init(jax.random.key(1))
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(7, 5)).astype("f4"), rng.uniform(-1, 1, (7, 2)).astype("f4")
    a_np, c_np = jax.tree.map(np.asarray, (a, c))
    np.testing.assert_allclose(actor.apply(a_np, obs), jax.vmap(actor.apply, (None, 0))(a, obs), atol=1e-6)
    np.testing.assert_allclose(
        critic.apply(c_np, obs, action), jax.vmap(critic.apply, (None, 0, 0))(c, obs, action), atol=1e-6
    )
    assert type(actor.apply(a_np, obs)) is np.ndarray
    assert critic.apply(c_np, obs[0], action[0]).shape == ()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_its_formula_without_overflow_and_its_slope_is_finite(name):
    assert set(BY_HAND) == set(ACTIVATIONS)
    f, z = ACTIVATIONS[name], np.linspace(-9, 9, 181)
    np.testing.assert_allclose(f(np, z), BY_HAND[name](z), atol=1e-12)
    far = np.array([-1e30, -300.0, 0.0, 300.0, 1e30], np.float32)
    np.testing.assert_allclose(f(np, far), jax.jit(lambda z: f(jax.numpy, z))(far), rtol=1e-6)
    assert np.isfinite(f(np, far)).all()
    slopes = jax.vmap(jax.grad(lambda z: f(jax.numpy, z)))(far)
    assert np.isfinite(slopes).all()
    assert float(slopes[2]) == {"relu": 0.5, "elu": 1, "silu": 0.5, "tanh": 1}[name]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_actor_and_critic_have_the_activation_and_the_policy_file_keeps_it(name, tmp_path):
    actor, critic = Actor(3, 1, (5, 4), activation=name), Critic(3, 1, (6,), 1, activation=name)
    a, c = jax.tree.map(np.asarray, (actor.init(jax.random.key(0)), critic.init(jax.random.key(1))))
    obs, action = np.float32([[1, -2, 0.5], [0, 3, -1]]), np.float32([[0.5], [-0.5]])
    h = BY_HAND[name](obs @ a[0]["w"] + a[0]["b"])
    h = BY_HAND[name](h @ a[1]["w"] + a[1]["b"])
    expected = np.tanh(h @ a[2]["w"] + a[2]["b"])
    np.testing.assert_allclose(actor.apply(a, obs), expected, atol=1e-6)
    h = BY_HAND[name](obs @ c[0]["w"] + action @ c[0]["a"] + c[0]["b"])
    np.testing.assert_allclose(critic.apply(c, obs, action), (h @ c[1]["w"] + c[1]["b"])[:, 0], atol=1e-6)
    policy = Policy(actor, a, Spec("any", (3,), (1,), "float32", (-2.0,), (2.0,)))
    save_policy(tmp_path / "p.safetensors", policy)
    again = load_policy(tmp_path / "p.safetensors")
    assert again.actor.activation == name
    np.testing.assert_array_equal(again(obs), policy(obs))
