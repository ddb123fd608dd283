"""Inputs with a history: those of a model of lists, from replay and while acting, over ends and seams."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core import engine, history
from swingup.core.history import History
from swingup.core.prioritized import Priority
from swingup.core.replay_buffer import gather, sample_indices
from swingup.core.running_statistics import normalize
from swingup.envs.gym_env import GymEnv
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import find
from swingup.errors import InputError
from swingup.export.program import program
from swingup.loops.base import Snapshot
from swingup.loops.evaluation import evaluate_policy
from swingup.loops.fused import FusedLoop
from swingup.loops.host import HostLoop
from swingup.storage.policy_file import load_policy, save_policy
from swingup.training.build import plan
from swingup.types import Layout, Transition

O, A, N = 2, 1, 2  # noqa: E741
LAYOUT = Layout(O, A)
PENDULUM = find("native/Pendulum-v1")
SMALL = {"hidden": (8, 8), "batch": 8, "warmup": 40, "capacity": 90}


class Angle(gymnasium.ObservationWrapper):
    """A pendulum that shows its angle and not how fast it turns."""

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1", max_episode_steps=30))
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def observation(self, obs):
        return obs[:2]


def collected(steps, seed=0):
    """Rows[T, N, W] of episodes of 1 to 6 steps, each number in them another one."""
    rng, numbers = np.random.default_rng(seed), iter(range(1, 10**6))
    new = lambda *shape: np.array([next(numbers) for _ in range(int(np.prod(shape)))], "f4").reshape(shape)
    rows, obs = [], new(N, O)
    for _ in range(steps):
        last = (rng.random(N) < 0.3).astype("f4")
        after, action = new(N, O), new(N, A)
        discount = np.where(last > 0, rng.integers(0, 2, N), 1).astype("f4")
        rows.append(LAYOUT.pack(Transition(obs, action, new(N), discount, after, last)))
        obs = np.where(last[:, None] > 0, new(N, O), after)
    return np.array(rows)


def by_lists(rows, t, i, k):
    """The input of row t of environment i, and the one after it: observations, actions, the oldest first."""
    step = lambda s: LAYOUT.unpack(rows[s, i])
    begun = t
    while begun > 0 and not step(begun - 1).last:
        begun -= 1
    episode = range(begun, t + 1)
    seen, done = [step(s).obs for s in episode], [step(s).action for s in episode]

    def made(seen, done):
        seen = [seen[0]] * (k - len(seen)) + seen[-k:]
        done = [np.zeros(A)] * (k - 1 - len(done)) + done[len(done) - min(len(done), k - 1) :]
        return np.concatenate([*seen, *done])

    return made(seen, done[:-1]), made([*seen, step(t).next_obs], done)


def filled(p, rows):
    """The learning side after these rows, one time step after the other."""
    state = engine.init(p, jax.random.key(0))
    add = jax.jit(lambda state, row: engine.add_to_replay(p, state, row))
    for row in rows:
        state = add(state, row[None])
    return state


def plan_of(spec, **changes):
    return plan(check(apply(base("any"), SMALL | changes, "test")), spec)


@pytest.mark.parametrize(("k", "n_step", "steps"), [(2, 1, 30), (4, 1, 57), (4, 3, 57), (4, 3, 12)])
def test_samples_have_the_past_of_a_model_of_lists(k, n_step, steps):
    rows, capacity = collected(steps), 20
    h = History(k, O, A)
    p = plan_of(GymEnv(Angle, 1).spec, history=k, n_step=n_step, envs=N, capacity=capacity * N)
    agent = p.agent
    assert (agent.layout, agent.history, agent.actor.obs_size) == (LAYOUT, h, k * O + (k - 1) * A)
    ring = filled(p, rows).replay
    held = min(steps, capacity)
    index = np.asarray(sample_indices(ring, jax.random.key(1), (4000,), agent.window))
    batch = engine.batch_of(agent, gather(ring, jnp.asarray(index), agent.window))
    seen = set()
    for j in range(0, 4000, 7):
        position, i = divmod(int(index[j]), N)
        oldest = steps - held
        t = next(s for s in range(oldest, steps) if s % capacity == position) + h.before
        seen.add(t)
        m = 0
        while m < n_step - 1 and not LAYOUT.unpack(rows[t + m, i]).last:
            m += 1
        np.testing.assert_array_equal(batch.obs[j], by_lists(rows, t, i, k)[0])
        np.testing.assert_array_equal(batch.next_obs[j], by_lists(rows, t + m, i, k)[1])
        assert float(batch.action[j, 0]) == LAYOUT.unpack(rows[t, i]).action[0]
    assert seen == set(range(steps - held + h.before, steps - n_step + 1))


@pytest.mark.parametrize("xp", [np, jnp])
def test_the_past_while_acting_is_the_one_in_replay(xp):
    k, rows = 3, collected(40)
    h, first = History(k, O, A), np.ones(N)
    past = history.no_past(h, xp.zeros((N, O), xp.float32))
    for t, row in enumerate(rows):
        now = LAYOUT.unpack(xp.asarray(row))
        past = history.begin(h, past, now.obs, xp.asarray(first))
        wanted = [by_lists(rows, t, i, k) for i in range(N)]
        np.testing.assert_array_equal(history.stack(past, now.obs), [w[0] for w in wanted])
        past, first = history.push(past, now.obs, now.action), np.asarray(now.last)
        np.testing.assert_array_equal(history.stack(past, now.next_obs), [w[1] for w in wanted])


def test_priorities_are_of_windows_that_are_held_whole():
    spec = GymEnv(Angle, 1).spec
    p = plan_of(spec, history=4, n_step=2, envs=N, capacity=20 * N, priority=0.6)
    assert isinstance(p.priority, Priority)
    for steps in (3, 4, 5, 19, 33):
        leaves = np.asarray(filled(p, collected(steps)).tree.levels[0])[: 20 * N].reshape(20, N)
        whole = [s % 20 for s in range(max(steps - 20, 0), steps - p.agent.window + 1)]
        np.testing.assert_array_equal(np.flatnonzero(leaves[:, 0]), sorted(whole))


def learnt(loop):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves((loop.state.learner, loop.state.replay))]


def copied(loop):
    s = loop.snapshot()
    return Snapshot({k: np.array(v) for k, v in s.tensors.items()}, np.array(s.ring), s.added)


@pytest.mark.slow
def test_the_fused_loop_is_the_host_loop_and_goes_on_from_a_snapshot():
    p = plan_of(PENDULUM.spec, history=3, n_step=2, envs=2, normalize=True, critics=2, delay=2, priority=0.6)
    every = (60 * p.rows,)
    host, device = (
        HostLoop(p, JaxVectorEnv(PENDULUM, p.n, limit=13), 0, every=every),
        FusedLoop(p, PENDULUM, 0, every=every, limit=13),
    )
    for _ in range(60):
        a, b = host.step(), device.step()
        assert a.metrics == b.metrics
        np.testing.assert_array_equal(a.rows, b.rows)
    assert learnt(host) == learnt(device)
    again = [
        HostLoop(p, JaxVectorEnv(PENDULUM, p.n, limit=13), 0, every=every),
        FusedLoop(p, PENDULUM, 0, every=every, limit=13),
    ]
    for loop, one in zip((host, device), again, strict=True):
        assert one.restore(copied(loop))
        for _ in range(60):
            loop.step(), one.step()
        assert learnt(one) == learnt(loop)
    assert learnt(host) == learnt(device)


def test_actions_come_from_the_input_that_replay_gives():
    p = plan_of(PENDULUM.spec, history=3, envs=2, warmup=6)
    loop = HostLoop(p, JaxVectorEnv(PENDULUM, p.n, limit=5), 0)
    rows = np.concatenate([loop.step().rows for _ in range(30)])
    past = loop.actors.past
    t = p.agent.layout.unpack(rows[-1])
    now = np.where(t.last[:, None] > 0, loop.collector.obs, t.next_obs)
    np.testing.assert_array_equal(np.asarray(past.obs)[:, -1], now)
    np.testing.assert_array_equal(np.asarray(past.action)[:, -1], loop.action)


def make_policy():
    loop = HostLoop(plan_of(GymEnv(Angle, 1).spec, history=3, normalize=True), GymEnv(Angle, 1, "angle"), 0)
    for _ in range(80):
        loop.step()
    return loop.policy()


def test_the_shipped_policy_keeps_its_own_past(tmp_path):
    policy = make_policy()
    save_policy(tmp_path / "p.safetensors", policy)
    loaded = load_policy(tmp_path / "p.safetensors")
    assert loaded.history == policy.history == History(3, 2, 1)
    obs = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype("f4")
    seen, done, wanted = [], [], []
    for o in obs:  # by hand, with the lists of what was seen and done
        seen.append(o)
        padded = [seen[0]] * (3 - len(seen)) + seen[-3:], [np.zeros(1)] * (2 - len(done)) + done[-2:]
        x = np.float32(np.concatenate([*padded[0], *padded[1]]))
        action = policy.actor.apply(policy.params, normalized(policy, x))
        done.append(action)
        wanted.append(policy.spec.to_env(action))
    for one in (policy, loaded):
        one.reset()
        np.testing.assert_allclose([one(o) for o in obs], wanted, rtol=1e-5, atol=1e-6)
        other = [one(o) for o in obs]  # nobody said that an episode began
        assert not np.allclose(other[0], wanted[0])
    with pytest.raises(ValueError, match=r"policy: 2 observations after 1, .* call policy.reset\(\)"):
        loaded(obs[:2])
    loaded.reset()
    both = loaded(obs[:2])
    loaded.reset(np.array([True, False]))
    np.testing.assert_allclose(loaded(obs[:2])[0], both[0], rtol=1e-5)


def normalized(policy, x):
    parts = [normalize(policy.obs_statistics, x[k : k + 2]) for k in range(0, 6, 2)]
    return np.concatenate([*parts, x[6:]]).astype("f4")


def test_environments_side_by_side_are_evaluated_as_one_after_the_other():
    policy = make_policy()
    one, many = (evaluate_policy(policy, GymEnv(Angle, n, "angle"), 5, 0) for n in (1, 3))
    np.testing.assert_allclose(one.returns, many.returns, rtol=1e-4)


FLAGS = "--steps 300 --warmup 60 --hidden 8 8 --batch 8 --history 3 --episode-steps 40 --eval-every 100 "
FLAGS += "--eval-episodes 2 --final-episodes 2 --threads 2 --quiet"


@pytest.mark.slow
def test_the_command_trains_films_resumes_and_verifies_with_a_history(tmp_path):
    part, whole = tmp_path / "part", tmp_path / "whole"
    assert cli(["train", "Pendulum-v1", *FLAGS.split(), "--run-dir", str(part)]) == 0
    run = swingup.load(part)
    assert run.evaluate(2).mean == pytest.approx(run.result["mean"])
    assert not (part / "remarks.csv").exists() or "health figures" not in (part / "remarks.csv").read_text()
    assert np.isfinite(run.metrics["td_error"]).any()
    assert cli(["verify", str(part)]) == 0
    assert cli(["video", str(part)]) == 0
    assert cli(["resume", str(part), "--steps", "700", "--require-exact", "--quiet"]) == 0
    flags = FLAGS.replace("--steps 300", "--steps 700").split()
    assert cli(["train", "Pendulum-v1", *flags, "--run-dir", str(whole)]) == 0
    for name in ("policy/last.safetensors", "evaluations.csv"):
        assert (part / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(InputError, match=r"remembers 3 observations \(--history\)"):
        program(run.policy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history": 1}, "--history 1: expected a number from 2 to 256"),
        ({"history": 30, "n_step": 12}, r"--history 30: too few steps .*warmup 40\); raise it to 41"),
        ({"history": 4, "hindsight": "future"}, r"--history 4: with --hindsight .*; leave one out"),
    ],
)
def test_a_history_that_does_not_fit_is_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        plan_of(PENDULUM.spec, **settings)


def test_the_class_in_stable_baselines_spelling_refuses_a_history():
    with pytest.raises(InputError, match=r"DDPG: history=4: predict remembers nothing"):
        swingup.DDPG("Pendulum-v1", history=4)


def test_without_a_history_nothing_is_added():
    p = plan_of(PENDULUM.spec)
    assert p.agent.history is None
    assert p.agent.window == p.agent.n_step == 1
    assert engine.actors(p, jax.random.key(0)).past is None
