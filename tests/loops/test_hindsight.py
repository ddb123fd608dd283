"""Relabelled transitions are those of a model of lists, in every loop, resumed or not; n-step returns too."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

import swingup
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core.hindsight import Hindsight
from swingup.core.replay_buffer import n_step_batch
from swingup.envs.goals import goals_of_gym, goals_of_jax
from swingup.envs.gym_env import GymEnv
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import find
from swingup.errors import EnvFault, InputError
from swingup.loops.base import Snapshot
from swingup.loops.collector import HostCollector
from swingup.loops.fused import FusedLoop
from swingup.loops.host import HostLoop
from swingup.loops.relabeller import Relabeller
from swingup.seeding import HINDSIGHT, episode_seed
from swingup.storage import checkpoint_reader
from swingup.training.build import plan
from swingup.types import Layout

LIMIT, NEAR = 7, 0.3
GOAL = find("native/PointGoal-v0")
SMALL = {"hidden": (8, 8), "batch": 8, "warmup": 60, "capacity": 2000, "hindsight": "future", "relabel": 2}


class Line(gymnasium.Env):
    """A point on a line that moves by its action; it is done, and the episode over, at the goal."""

    observation_space = Dict(
        {
            "observation": Box(-99, 99, (2,), np.float32),
            "desired_goal": Box(-99, 99, (1,), np.float64),
            "achieved_goal": Box(-99, 99, (1,), np.float64),
        }
    )
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal, self.t = np.zeros(1), self.np_random.uniform(-2, 2, 1), 0
        return self.seen(), {}

    def seen(self):
        observed = np.array([self.at[0], self.t], np.float32)
        return {"observation": observed, "desired_goal": self.goal.copy(), "achieved_goal": self.at.copy()}

    def compute_reward(self, achieved, desired, info):
        return -(np.linalg.norm(achieved - desired, axis=-1) > NEAR).astype(np.float64)

    def compute_terminated(self, achieved, desired, info):
        return bool(abs(achieved[0] - desired[0]) <= NEAR)  # of one goal, as many libraries have it

    def step(self, action):
        self.at, self.t = self.at + action.astype(np.float64), self.t + 1
        judges = Line.compute_reward, Line.compute_terminated
        reward, there = (f(self, self.at, self.goal, {}) for f in judges)
        return self.seen(), float(reward), there, False, {"is_success": there}


def line():
    return gymnasium.wrappers.TimeLimit(Line(), LIMIT)


def by_lists(rows, last, achieved, relabel, hold, lag, seed):
    """Relabelling by brute force: for each collected row of each environment, what is stored with it.

    rows: their numbers; returns {(time, env): [(number of the row, number of the goal's row, final)]}.
    """
    stored = {}
    for t, numbers in enumerate(rows):
        for env, number in enumerate(numbers):
            past = t - lag
            if past < 0:
                stored[t, env] = [(number, None, True)] * relabel
                continue
            episode = [past]
            while not last[episode[-1]][env] and len(episode) < LIMIT:
                episode.append(episode[-1] + 1)
            block = [k for k in episode if k // hold == past // hold]
            future = [k for k in episode if k >= block[-1]]
            stored[t, env] = []
            for r in range(relabel):
                bits = int(episode_seed(seed, HINDSIGHT, env * relabel + r, past // hold))
                goal = future[bits % len(future)]
                stored[t, env].append((rows[past][env], rows[goal][env], past == block[-1]))
    return stored


@pytest.mark.parametrize(("hold", "block"), [(1, 1), (3, 1), (3, 2)])
def test_the_collector_relabels_as_a_model_of_lists_does(hold, block):
    n, relabel, steps, seed = 3, 2, 90, 5
    env = GymEnv(line, n, "line")
    goals, layout = goals_of_gym(GymEnv(line, 1, "line")), Layout(4, 1)
    assert (goals.achieved, goals.desired, goals.size, goals.limit) == (0, 1, 1, LIMIT)
    h = Hindsight(relabel, goals.achieved, goals.desired, goals.size, goals.limit, hold)
    collector = HostCollector(env, seed, relabeller=Relabeller(h, goals, layout, n, seed, block))
    rng = np.random.default_rng(0)
    out = [collector.collect(rng.uniform(-1, 1, (n, 1)).astype("f4"))[0][0] for _ in range(steps)]
    out = np.array(out).reshape(steps, n, 1 + relabel, layout.width)
    real = layout.unpack(out[:, :, 0])
    numbers = np.arange(steps * n).reshape(steps, n)
    flat = layout.unpack(out[:, :, 0].reshape(-1, layout.width))
    assert {bool(x) for x in real.discount.ravel()} == {False, True}  # some are terminated, some truncated
    model = by_lists(numbers.tolist(), real.last > 0, None, relabel, hold, LIMIT + block - 1, seed)
    rewards = set()
    for (t, i), wanted in model.items():
        for r, (number, goal, final) in enumerate(wanted):
            got, old = layout.unpack(out[t, i, 1 + r]), jax.tree.map(lambda x, k=number: x[k], flat)
            if goal is None:
                want = old._replace(last=1.0)
            else:
                at = flat.next_obs[goal, 0]
                put = lambda obs, at=at: np.array([obs[0], at, *obs[2:]], "f4")
                there = abs(old.next_obs[0] - at) <= NEAR
                want = old._replace(
                    obs=put(old.obs),
                    next_obs=put(old.next_obs),
                    reward=-float(not there),
                    discount=float(not there),
                    last=float(final or there),
                )
                rewards.add(float(want.reward))
            for name, a, b in zip(got._fields, got, want, strict=True):
                np.testing.assert_array_equal(a, b, f"{name} of step {t}, environment {i}, copy {r}")
    assert rewards == {-1.0, 0.0}


def test_returns_of_several_steps_are_of_one_goal():
    n_step, h = 3, Hindsight(2, 0, 1, 1, LIMIT, 3)
    layout, goals = Layout(4, 1), goals_of_gym(GymEnv(line, 1, "line"))
    collector = HostCollector(GymEnv(line, 1, "line"), 0, relabeller=Relabeller(h, goals, layout, 1, 0, 1))
    rng = np.random.default_rng(0)
    ring = np.concatenate([collector.collect(rng.uniform(-1, 1, (1, 1)).astype("f4"))[0] for _ in range(200)])
    sums = []
    for t in range(LIMIT, 197):
        for column in (1, 2):
            window = ring[t : t + n_step, column]
            batch = n_step_batch(layout, jax.numpy.asarray(window), 0.9)
            steps, total, k = layout.unpack(window), 0.0, 0
            while True:  # the same by hand, up to the last row with this goal
                assert steps.obs[k, 1] == steps.obs[0, 1] == steps.next_obs[k, 1]
                total += 0.9**k * -float(abs(steps.next_obs[k, 0] - steps.obs[0, 1]) > NEAR)
                if steps.last[k] or k == n_step - 1:
                    break
                k += 1
                assert steps.obs[k, 0] == steps.next_obs[k - 1, 0]  # and of steps that followed each other
            assert float(batch.reward) == pytest.approx(total)
            assert float(batch.discount) == pytest.approx(0.9 ** (k + 1) * steps.discount[k])
            sums.append(k + 1)
    assert set(sums) == {1, 2, 3}


def plan_of(goals, spec, **changes):
    return plan(check(apply(base("any"), SMALL | changes, "test")), spec, goals)


def learnt(loop):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves((loop.state.learner, loop.state.replay))]


OPTIONS = {"plain": {}, "td3": {"delay": 2, "critics": 2, "n_step": 3, "priority": 0.6, "envs": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_the_fused_loop_relabels_as_the_host_loop_does(name):
    goals = goals_of_jax(GOAL, None)
    p = plan_of(goals, GOAL.spec, **OPTIONS[name])
    every, length = (97 * p.rows,), 194
    host = HostLoop(p, JaxVectorEnv(GOAL, p.n), 0, every=every, goals=goals)
    device = FusedLoop(p, GOAL, 0, every=every)
    for _ in range(length):
        a, b = host.step(), device.step()
        assert (a.step, a.metrics) == (b.step, b.metrics)
        assert a.rows.shape == (p.block, p.n, p.agent.layout.width)
        np.testing.assert_array_equal(a.rows, b.rows)
    assert host.settled
    assert device.settled
    assert learnt(host) == learnt(device)
    saved = device.snapshot()
    saved = Snapshot({k: np.array(v) for k, v in saved.tensors.items()}, np.array(saved.ring), saved.added)
    again = FusedLoop(p, GOAL, 0, every=every)
    assert again.restore(saved)
    for _ in range(97):
        device.step(), again.step()
    assert learnt(again) == learnt(device)


@pytest.mark.parametrize("capacity", [pytest.param(2000, marks=pytest.mark.slow), 60])
def test_a_host_loop_goes_on_from_a_snapshot_to_the_same_bytes(capacity):
    def made():
        env = GymEnv(line, 2, "line")
        goals = goals_of_gym(GymEnv(line, 1, "line"))
        p = plan_of(goals, env.spec, envs=2, capacity=capacity, n_step=2)
        return HostLoop(p, env, 0, every=(202,), goals=goals)

    whole = made()
    while whole.steps < 202:
        whole.step()
    saved = whole.snapshot()
    saved = Snapshot({k: np.array(v) for k, v in saved.tensors.items()}, np.array(saved.ring), saved.added)
    again = made()
    assert again.restore(saved)
    for _ in range(101):
        whole.step(), again.step()
    assert learnt(again) == learnt(whole)


def test_replay_without_hindsight_has_no_more_columns_than_before():
    p = plan_of(None, GOAL.spec, hindsight=None)
    assert (p.hindsight, p.copies, p.columns) == (None, 1, 1)


def line_of(**changes):
    """A function that makes a line with other methods or attributes."""
    kind = type("Other", (Line,), changes)
    return lambda: gymnasium.wrappers.TimeLimit(kind(), LIMIT)


scalar = lambda self, achieved, desired, info: -float(np.abs(achieved - desired).sum() > NEAR)
other = lambda self, achieved, desired, info: 1 - Line.compute_reward(self, achieved, desired, info)
by_info = lambda self, achieved, desired, info: info["reward"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: gymnasium.make("Pendulum-v1"),
            r"Pendulum-v1 is no goal environment .*; leave --hindsight out",
        ),
        (
            line_of(compute_reward=scalar),
            r"compute_reward of 2 goals returned shape \(\); let it take arrays",
        ),
        (line_of(compute_reward=other), r"a step's reward is -?\d, compute_reward says \d; make them agree"),
        (line_of(compute_reward=by_info), r"compute_reward of 2 goals raised KeyError.* an empty info"),
        (Line, r"episodes of Line have no limit, so none is sure to end; give --episode-steps"),
    ],
)
def test_an_environment_without_usable_goals_is_one_line(make, message):
    env = make()
    with pytest.raises(InputError, match=message) as caught:
        goals_of_gym(GymEnv(lambda: env, 1, env.spec.id if env.spec else "Line"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--hindsight: ")


def test_a_reward_that_stops_being_a_number_is_a_fault():
    goals = goals_of_gym(GymEnv(line, 1, "line"))
    goals.judge.reward = lambda achieved, desired, info: np.full(len(achieved), np.nan)
    with pytest.raises(EnvFault, match="one finite number for each"):
        goals.judge(np.zeros((3, 1)), np.zeros((3, 1)))


def test_replay_must_hold_an_episode_and_its_relabelled_rows():
    goals = goals_of_jax(GOAL, None)
    with pytest.raises(InputError, match=r"--capacity 100: .* do not fit into replay; raise it to 150"):
        plan_of(goals, GOAL.spec, capacity=100)
    assert plan_of(goals, GOAL.spec, capacity=150).capacity == 150


FLAGS = "--steps 400 --warmup 60 --hidden 8 8 --batch 8 --capacity 1000 --hindsight future --relabel 2 "
FLAGS += "--eval-every 200 --eval-episodes 2 --final-episodes 4 --threads 2 --quiet"


@pytest.mark.slow
def test_the_command_trains_resumes_and_verifies_a_goal_environment(tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli(["train", "native/PointGoal-v0", *FLAGS.split(), "--run-dir", str(folder)]) == 0
    assert ", success 0 % " in capsys.readouterr().out.replace("0%", "0 %")
    run = swingup.load(folder)
    assert list(run.evaluations) == ["step", "mean", "std", "ci95_low", "ci95_high", "episodes", "success"]
    assert 0 <= run.result["success"] <= 1
    assert cli(["verify", str(folder)]) == 0
    assert cli(["resume", str(folder), "--steps", "600", "--require-exact", "--quiet"]) == 0
    assert checkpoint_reader.steps(folder / "ckpt")[-1] == 600
    whole = tmp_path / "whole"
    flags = FLAGS.replace("--steps 400", "--steps 600").split()
    assert cli(["train", "native/PointGoal-v0", *flags, "--run-dir", str(whole)]) == 0
    a, b = ((f / "policy" / "last.safetensors").read_bytes() for f in (folder, whole))
    assert a == b
    assert cli(["train", "native/Pendulum-v1", *FLAGS.split(), "--run-dir", str(tmp_path / "no")]) == 2
    assert "native/Pendulum-v1 is no goal environment" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_change_no_byte_and_say_what_succeeded(tmp_path):
    settings = {"steps": 300, "warmup": 60, "hidden": (8, 8), "batch": 8, "capacity": 1000, "threads": 2}
    settings |= {"hindsight": "future", "envs": 2, "final_episodes": 3, "quiet": True}
    runs = [swingup.train(line, run_dir=tmp_path / str(w), workers=w, **settings) for w in (None, 1)]
    a, b = ((r.folder / "policy" / "last.safetensors").read_bytes() for r in runs)
    assert a == b
    assert runs[0].result["success"] == runs[1].result["success"]


def test_the_class_in_stable_baselines_spelling_learns_with_hindsight():
    model = swingup.DDPG(
        line, hindsight="future", hidden=(8, 8), batch=8, warmup=40, capacity=1000, threads=2
    )
    assert model.learn(80).loop.plan.columns == 5
