"""The JAX environments equal Gymnasium's, step by step, and keep the contract of all environments."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swingup.envs.api import Outcome
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.jax_programs import programs
from swingup.envs.registry import NATIVE, find, in_jax
from swingup.envs.spaces import spec_of
from swingup.envs.tasks import mountain_car, pendulum, point_goal, point_mass
from swingup.errors import EnvFault, InputError
from swingup.loops.collector import HostCollector
from swingup.types import Spec

GYMNASIUM = ["Pendulum-v1", "MountainCarContinuous-v0"]
TRANSITIONS = 10_000


def stepped(env, state, action):
    """Where ours goes from states [B] with action[B, A]."""
    return jax.jit(jax.vmap(env.step))(state, action)


def theirs(name, states, actions):
    """Where Gymnasium's goes from each of states[B, S]: obs[B, O], reward[B], terminated[B]."""
    env, answers = gymnasium.make(name).unwrapped, []
    env.reset(seed=0)
    for state, action in zip(states, actions, strict=True):
        env.state = state.copy()
        obs, reward, terminated, _, _ = env.step(action)
        answers.append((obs, reward, terminated))
    return map(np.array, zip(*answers, strict=True))


@pytest.mark.parametrize("name", GYMNASIUM)
def test_the_spec_and_the_limit_are_gymnasiums(name):
    ours, made = find(f"native/{name}"), gymnasium.make(name)
    assert ours.spec == replace(spec_of(made, name), env=f"native/{name}")
    assert ours.limit == made.spec.max_episode_steps


def test_the_pendulum_is_gymnasiums():
    env, rng = pendulum.Pendulum(), np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, TRANSITIONS).astype(np.float32)
    angle[:100] = np.pi * (-1.0) ** np.arange(100)
    angle[100:1000] = np.copysign(np.pi - 0.01 * rng.random(900), angle[100:1000])
    speed = rng.uniform(-8, 8, TRANSITIONS).astype(np.float32)
    action = rng.uniform(-1, 1, (TRANSITIONS, 1)).astype(np.float32)
    action[::50], action[1::50], speed[::70] = 1, -1, 8
    state, (obs, reward, terminated) = stepped(
        env, pendulum.State(angle, speed, np.zeros_like(angle)), action
    )
    want = theirs("Pendulum-v1", np.stack([angle, speed], 1).astype(np.float64), env.spec.to_env(action))
    for got, wanted in zip((obs, reward, terminated), want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-5)
    assert np.abs(state.angle).max() <= np.float32(np.pi)
    np.testing.assert_array_equal(state.torque, env.spec.to_env(action)[:, 0])


def test_a_pendulum_that_goes_round_and_round_stays_gymnasiums():
    env, gym = pendulum.Pendulum(), gymnasium.make("Pendulum-v1").unwrapped
    gym.reset(seed=0)
    gym.state = np.array([3.0, 6.0])
    state, step = pendulum.State(*map(jnp.float32, (3.0, 6.0, 0.0))), jax.jit(env.step)
    for _ in range(150):
        state, outcome = step(state, jnp.ones(1))
        obs, reward, *_ = gym.step(np.array([2.0]))
        np.testing.assert_allclose(outcome.obs, obs, atol=2e-3)
        np.testing.assert_allclose(outcome.reward, reward, atol=2e-2)
    assert gym.state[0] > 6 * np.pi


def test_the_mountain_car_is_gymnasiums():
    env, rng = mountain_car.MountainCar(), np.random.default_rng(0)
    position = rng.uniform(-1.2, 0.6, TRANSITIONS).astype(np.float32)
    position[:2000] = rng.uniform(0.38, 0.6, 2000)
    position[2000:3000] = rng.uniform(-1.2, -1.15, 1000)
    position[3000:3010] = -1.2
    speed = rng.uniform(-0.07, 0.07, TRANSITIONS).astype(np.float32)
    speed[::70], speed[1::70] = 0.07, 0
    action = rng.uniform(-1, 1, (TRANSITIONS, 1)).astype(np.float32)
    action[::50], action[1::50] = 1, -1
    _, (obs, reward, terminated) = stepped(env, mountain_car.State(position, speed), action)
    seen, paid, over = theirs(
        "MountainCarContinuous-v0", np.stack([position, speed], 1), env.spec.to_env(action)
    )
    clear = (np.abs(seen[:, 0] - mountain_car.GOAL) > 1e-6) & (np.abs(seen[:, 1]) > 1e-7)
    assert clear.sum() > 0.95 * TRANSITIONS
    assert 1000 < over.sum() < 5000
    assert (seen[:, 0] == np.float32(-1.2)).sum() > 100
    np.testing.assert_array_equal(np.asarray(terminated)[clear], over[clear])
    np.testing.assert_allclose(np.asarray(reward)[clear], paid[clear], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(obs, seen, rtol=1e-6, atol=1e-6)


def test_the_point_mass_can_be_brought_to_rest_and_walls_stop_it():
    host = JaxVectorEnv(find("native/PointMass-v0"), 64)
    obs, ret = host.reset(range(64)), np.zeros(64)
    assert (obs[:, 2:] == 0).all()
    for _ in range(100):
        step = host.step(np.clip(-4 * obs[:, :2] - 3 * obs[:, 2:], -1, 1))
        obs, ret = step.obs, ret + step.reward
    assert step.truncated.all()
    assert np.abs(obs).max() < 1e-3
    assert -13 < ret.mean() < -7
    host.reset(range(64))
    for _ in range(100):
        step = host.step(np.tile([1.0, -1.0], (64, 1)))
    np.testing.assert_array_equal(step.obs, np.tile(np.float32([1.5, -1.5, 0, 0]), (64, 1)))
    np.testing.assert_allclose(step.reward, -(2 * 1.5**2 + 0.01 * 2), rtol=1e-6)


def test_the_point_reaches_its_goal_in_time_and_the_step_says_so():
    host = JaxVectorEnv(find("native/PointGoal-v0"), 64)
    obs, done = host.reset(range(64)), []
    for _ in range(50):
        away, speed = obs[:, 2:4] - obs[:, 4:6], obs[:, 6:]
        stop = np.sign(speed) * speed**2 / 2  # m, when braked from now on
        step = host.step(np.clip(20 * (away - stop) - 2 * speed, -1, 1).astype(np.float32))
        obs = step.obs
        np.testing.assert_array_equal(obs[:, :2], obs[:, 4:6])
        near = np.square(obs[:, :2] - obs[:, 2:4]).sum(1) < 0.05**2
        np.testing.assert_array_equal(step.reward, np.where(near, 0.0, -1.0))
        np.testing.assert_array_equal(step.success, near)
        done.append(near.mean())
        assert not step.terminated.any()
    assert step.truncated.all()
    assert done[0] < 0.05
    assert done[-1] == 1


@pytest.mark.parametrize(
    ("name", "field", "low", "high"),
    [
        ("native/Pendulum-v1", "angle", -np.pi, np.pi),
        ("native/Pendulum-v1", "speed", -1, 1),
        ("native/MountainCarContinuous-v0", "position", -0.6, -0.4),
        ("native/PointMass-v0", "position", -1, 1),
        ("native/PointGoal-v0", "goal", -1, 1),
    ],
)
def test_episodes_begin_uniformly_in_the_range(name, field, low, high):
    states, _ = jax.jit(jax.vmap(find(name).reset))(jax.random.split(jax.random.key(0), 10_000))
    values = np.asarray(getattr(states, field)).reshape(-1)
    assert values.dtype == np.float32
    assert values.min() >= np.float32(low)
    assert values.max() <= np.float32(high)
    counts, _ = np.histogram(values, 10, (low - 1e-6, high + 1e-6))
    np.testing.assert_allclose(counts, len(values) / 10, rtol=0.15)


def trajectory(host, seeds, actions):
    """The bytes of everything that a host answers to actions[T, N, A]."""
    answers = [host.reset(seeds)]
    for action in actions:
        answers += [answer for answer in host.step(action) if answer is not None]
    return answers


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.slow
def test_many_at_once_are_the_same_as_one_by_one(name):
    env, seeds = find(name), list(range(100, 164))
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 64, env.spec.action_size)).astype(np.float32)
    many, one = trajectory(JaxVectorEnv(env, 64), seeds, actions), JaxVectorEnv(env, 1)
    for i, seed in enumerate(seeds):
        for whole, single in zip(many, trajectory(one, [seed], actions[:, i : i + 1]), strict=True):
            np.testing.assert_array_equal(whole[i : i + 1], single)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.slow
def test_a_compiled_loop_gives_the_same_bytes_as_a_host_that_drives(name, n):
    env = find(name)
    begin, advance = programs(env)
    weights = (
        np.random.default_rng(0).normal(size=(env.spec.obs_size, env.spec.action_size)).astype(np.float32)
    )

    def once(carry, _):
        states, obs = carry
        action = jnp.tanh(obs @ weights)
        states, outcome = advance(states, action)
        return (states, outcome.obs), (action, outcome)

    last, (actions, outcomes) = jax.jit(lambda seeds: jax.lax.scan(once, begin(seeds), None, 400))(
        np.arange(n, dtype=np.uint32)
    )
    host = JaxVectorEnv(env, n)
    host.reset(range(n))
    for k in range(400):
        step = host.step(actions[k])
        np.testing.assert_array_equal(step.obs, outcomes.obs[k])
        np.testing.assert_array_equal(step.reward, outcomes.reward[k])
        np.testing.assert_array_equal(step.terminated, outcomes.terminated[k])
    jax.tree.map(np.testing.assert_array_equal, host.states, last[0])


def bits(states, i):
    return [np.asarray(leaf)[i].tobytes() for leaf in jax.tree.leaves(states)]


def test_a_reset_is_the_key_of_its_seed_and_leaves_the_others_alone():
    env = find("native/Pendulum-v1")
    host = JaxVectorEnv(env, 3, name="mine")
    assert host.spec == replace(env.spec, env="mine")
    obs = host.reset([5, 2**31 - 1, 0])
    for i, seed in enumerate([5, 2**31 - 1, 0]):
        np.testing.assert_array_equal(obs[i], jax.jit(lambda seed: env.reset(jax.random.key(seed))[1])(seed))
    host.step(np.ones((3, 1)))
    before = host.states
    again = host.reset([None, 5, None])
    assert again.shape == (3, 3)
    np.testing.assert_array_equal(again[1], obs[0])
    assert bits(host.states, 0) == bits(before, 0)
    assert bits(host.states, 2) == bits(before, 2)
    assert bits(host.states, 1) != bits(before, 1)
    assert host.count.tolist() == [[1, 1], [2, 0], [1, 1]]


def test_replaying_an_episode_comes_to_the_same_state_and_leaves_the_others_alone():
    env = find("native/Pendulum-v1")
    host, again = JaxVectorEnv(env, 2), JaxVectorEnv(env, 2)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2, 1)).astype(np.float32)
    answers = trajectory(host, [11, 12], actions)
    again.reset([3, 4])
    again.step(actions[0])
    before = again.states
    np.testing.assert_array_equal(again.restore_episode(1, 12, actions[:, 1]).obs[-1], answers[-4][1])
    assert bits(again.states, 0) == bits(before, 0)
    np.testing.assert_array_equal(again.restore_episode(0, 11, actions[:, 0]).obs[-1], answers[-4][0])
    np.testing.assert_array_equal(again.step(actions[0]).obs, host.step(actions[0]).obs)
    assert again.count[:, 1].tolist() == [21, 21]
    fresh = JaxVectorEnv(env, 2).restore_episode(1, 12, actions[:0, 1])
    np.testing.assert_array_equal(fresh.obs, answers[0][1:2])


@pytest.mark.parametrize(("limit", "length"), [(None, 200), (7, 7), (1000, 200)])
def test_an_episode_is_truncated_at_the_limit_and_its_row_keeps_the_true_successor(limit, length):
    env = find("native/Pendulum-v1")
    collector, free = (
        HostCollector(JaxVectorEnv(env, 2, limit=limit), 0),
        JaxVectorEnv(replace(env, limit=None), 2),
    )
    free.states = collector.env.states
    action = np.full((2, 1), 0.5, np.float32)
    for k in range(length):
        rows, ended = collector.collect(action)
        row, step = collector.layout.unpack(rows[0]), free.step(action)
        np.testing.assert_array_equal(row.next_obs, step.obs)
        assert not step.truncated.any()
        assert (row.last == (k == length - 1)).all()
        assert (row.discount == 1).all()
    assert [(e.length, e.terminated) for e in ended] == [(length, False)] * 2
    assert (collector.obs != row.next_obs).any()
    collector.env.close()


def test_the_mountain_car_terminates_at_the_flag():
    collector = HostCollector(JaxVectorEnv(find("native/MountainCarContinuous-v0")), 0)
    for _ in range(300):  # with the motion, whichever way it goes, climbs out
        rows, ended = collector.collect(np.where(collector.obs[:, 1:] < 0, -1, 1).astype(np.float32))
        if ended:
            break
    row = collector.layout.unpack(rows[0])
    assert ended[0].terminated
    assert row.discount == 0
    assert row.next_obs[0, 0] >= np.float32(0.45)
    assert row.reward == pytest.approx(99.9)


class Ticking(NamedTuple):
    """What only a strange environment keeps: a typed key, and a count of steps."""

    key: object
    t: object


@dataclass(frozen=True)
class Faulty:
    """Sound until step `when`; then the observation, or the reward, is not a number."""

    when: int
    broken: str
    spec: Spec = Spec("faulty", (2,), (1,), "float32", (-1.0,), (1.0,))  # noqa: RUF009
    limit: int | None = None

    def reset(self, key):
        return Ticking(key, jnp.int32(0)), self.value("obs", 0) * jnp.ones(2)

    def step(self, state, action):
        t = state.t + 1
        outcome = Outcome(jnp.stack([t * 1.0, self.value("obs", t)]), self.value("reward", t), t < 0)
        return Ticking(jax.random.split(state.key)[0], t), outcome

    def value(self, what, t):
        return jnp.where((t == self.when) & (what == self.broken), jnp.inf, 1.0)


@pytest.mark.parametrize(
    ("broken", "message"), [("obs", r"observation\[1\] is inf"), ("reward", "the reward is inf")]
)
def test_what_is_not_finite_is_named_before_it_leaves(broken, message):
    host = JaxVectorEnv(Faulty(3, broken), 2)
    host.reset([0, 1])
    host.step(np.zeros((2, 1)))
    host.reset([None, 2])
    host.step(np.zeros((2, 1)))
    with pytest.raises(EnvFault, match=message) as caught:
        host.step(np.zeros((2, 1)))
    assert str(caught.value).startswith("environment faulty [0], episode 0, step 3: ")
    assert str(caught.value).endswith("; mend the environment; nothing of this step was stored")
    with pytest.raises(
        EnvFault, match=r"environment faulty \[1\], episode 0, step 0: observation\[0\] is inf"
    ):
        JaxVectorEnv(Faulty(0, "obs"), 2).reset([None, 1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("native/Pendulm-v1", "did you mean native/Pendulum-v1"),
        ("native/mountaincarcontinuous-v0", "did you mean native/MountainCarContinuous-v0"),
        ("native/", "there are native/Pendulum-v1, native/MountainCarContinuous-v0, native/PointMass-v0"),
        ("somewhere/Else-v0", "there are native/Pendulum-v1"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name, message):
    with pytest.raises(InputError, match=message) as caught:
        find(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"environment {name}: ")


def test_ids_of_gymnasium_stay_gymnasiums():
    assert in_jax("native/Pendulum-v1")
    assert in_jax("gymnax/Pendulum-v1")
    assert not any(
        map(in_jax, ["Pendulum-v1", "phys2d/Pendulum-v0", "native", "my.module:native/Pendulum-v1", ""])
    )


def test_refusing_a_name_needs_no_jax():
    code = (
        "import sys; from swingup.envs.registry import find\n"
        "try: find('native/Pendulm-v1')\n"
        "except ValueError: assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FRAMES = {
    "native/Pendulum-v1": [pendulum.State(0.3, 0.0, t) for t in (0.0, 1.5, -1.5)]
    + [pendulum.State(2.0, 0.0, 0.0)],
    "native/MountainCarContinuous-v0": [mountain_car.State(x, 0.0) for x in (-1.2, -0.5, 0.45)],
    "native/PointMass-v0": [
        point_mass.State(np.array(p), np.zeros(2), np.array(a))
        for p, a in (((0, 0), (0, 0)), ((0, 0), (1, 0)), ((1.5, -1.5), (0, 0)))
    ],
    "native/PointGoal-v0": [
        point_goal.State(np.array(p), np.zeros(2), np.array(g), np.zeros(2))
        for p, g in (((0, 0), (1, 0)), ((0, 0), (0, 1)), ((1, 1), (0, 1)))
    ],
}


@pytest.mark.parametrize("name", NATIVE)
def test_frames_show_the_state(name):
    env = find(name)
    frames = [env.frame(state) for state in FRAMES[name]]
    assert {(f.shape, f.dtype) for f in frames} == {(frames[0].shape, np.dtype(np.uint8))}
    assert frames[0].shape[2] == 3
    assert len({f.tobytes() for f in frames}) == len(frames)
    np.testing.assert_array_equal(env.frame(FRAMES[name][0]), frames[0])
    state, _ = env.reset(jax.random.key(0))
    assert env.frame(state).std() > 5
