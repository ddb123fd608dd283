"""Networks: shapes, the paper's initial weights, and the same forward pass in NumPy and in JAX."""

import jax
import numpy as np
import pytest

from swingup.core.networks import TFLEARN, Actor, Critic


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
