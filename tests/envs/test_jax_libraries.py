"""Environments of other JAX libraries: their own dynamics, true successors, no hidden resets."""

import sys

import jax
import numpy as np
import pytest

from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import find
from swingup.envs.tasks import pendulum
from swingup.errors import InputError
from swingup.loops.collector import HostCollector

# What these libraries warn about on import is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

PENDULUMS = {"gymnax/Pendulum-v1": "gymnax", "gymnasium-functional/phys2d/Pendulum-v0": "flax"}
OTHERS = {"brax/inverted_pendulum": "brax", "playground/PendulumSwingup": "mujoco_playground"}


def made(name, package):
    pytest.importorskip(package, reason=f"{package} is not installed, an extra of ours")
    return find(name)


@pytest.mark.parametrize(("name", "package"), PENDULUMS.items())
def test_their_pendulum_is_ours(name, package):
    theirs, ours, n = made(name, package), find("native/Pendulum-v1"), 1000
    assert (theirs.spec.low, theirs.spec.high, theirs.spec.obs_shape) == (
        ours.spec.low,
        ours.spec.high,
        ours.spec.obs_shape,
    )
    assert theirs.limit == ours.limit == 200
    one, two = JaxVectorEnv(theirs, n), JaxVectorEnv(ours, n)
    two.reset(range(n))
    obs = one.reset(range(n)).astype(np.float64)
    two.states = pendulum.State(
        np.arctan2(obs[:, 1], obs[:, 0]).astype(np.float32),
        obs[:, 2].astype(np.float32),
        np.zeros(n, np.float32),
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = (host.step(action) for action in [rng.uniform(-1, 1, (n, 1))] for host in (one, two))
        np.testing.assert_allclose(a.obs, b.obs, atol=1e-4)
        np.testing.assert_allclose(a.reward, b.reward, rtol=1e-4, atol=1e-4)
        assert not a.terminated.any()


@pytest.mark.parametrize(("name", "package"), PENDULUMS.items())
def test_the_true_successor_is_stored_where_an_episode_ends(name, package):
    collector, free = (
        HostCollector(JaxVectorEnv(made(name, package), 2), 0),
        JaxVectorEnv(find("native/Pendulum-v1"), 2),
    )
    free.reset([0, 0])
    action = np.full((2, 1), 0.5, np.float32)
    for k in range(200):
        before = collector.obs
        rows, ended = collector.collect(action)
        row = collector.layout.unpack(rows[0])
        assert (row.last == (k == 199)).all()
    assert [(e.length, e.terminated) for e in ended] == [(200, False)] * 2
    assert (row.discount == 1).all()
    free.states = pendulum.State(
        np.arctan2(before[:, 1], before[:, 0]), before[:, 2], np.zeros(2, np.float32)
    )
    np.testing.assert_allclose(free.step(action).obs, row.next_obs, atol=1e-4)
    assert np.abs(collector.obs - row.next_obs).max() > 1e-2
    assert collector.env.advance._cache_size() == 1  # its state has one type from the first step on


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), OTHERS.items())
def test_what_ends_by_itself_ends_with_the_state_where_it_did(name, package):
    env = made(name, package)
    host = JaxVectorEnv(env, 2)
    first = host.reset([1, 2])
    np.testing.assert_array_equal(JaxVectorEnv(env, 2).reset([1, 2]), first)
    assert env.limit == 1000
    ends = 0
    for _ in range(60):
        step = host.step(np.ones((2, 1)))
        if step.terminated.any():
            ends += 1
            assert name.startswith("brax")
            assert (
                np.abs(step.obs[step.terminated, 1]) > 0.2
            ).all()  # the pole has fallen, one that is reset stands
            host.reset([9 if over else None for over in step.terminated])
    assert (ends > 0) == name.startswith("brax")
    kept = jax.tree.map(lambda x: np.asarray(x)[0].tobytes(), host.states)
    host.reset([None, 3])
    assert jax.tree.map(lambda x: np.asarray(x)[0].tobytes(), host.states) == kept
    assert host.advance._cache_size() == 1


@pytest.mark.parametrize(("name", "package"), {**PENDULUMS, **OTHERS}.items())
def test_a_missing_package_is_one_line_with_the_extra(name, package, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InputError, match=r"cannot be imported .*; pip install 'swingup\[[a-z-]+\]'$"
    ) as caught:
        find(name)
    assert "\n" not in str(caught.value)
    assert f"'swingup[{name.partition('/')[0]}]'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("gymnax/Pendulm-v1", "gymnax", "did you mean gymnax/Pendulum-v1"),
        ("gymnax/CartPole-v1", "gymnax", "actions are Discrete"),
        (
            "gymnasium-functional/phys2d/Pendulm-v0",
            "flax",
            "did you mean gymnasium-functional/phys2d/Pendulum-v0",
        ),
        ("gymnasium-functional/phys2d/CartPole-v1", "flax", "actions are Discrete"),
        ("gymnasium-functional/Pendulum-v1", "flax", "not made of pure functions"),
        ("brax/antt", "brax", "did you mean brax/ant"),
        ("playground/PendulumSwingdown", "mujoco_playground", "did you mean playground/PendulumSwingup"),
    ],
)
def test_what_they_cannot_give_is_one_line(name, package, message):
    pytest.importorskip(package, reason=f"{package} is not installed, an extra of ours")
    with pytest.raises(InputError, match=message) as caught:
        find(name)
    assert "\n" not in str(caught.value)
