"""Demonstrations: read from files, runs and Minari, put into replay, drawn in the share asked for."""

import sys
import types
from dataclasses import replace

import jax
import numpy as np
import pytest

import swingup
from faultcases import runs
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.engine import Demos
from swingup.core.prioritized import Priority
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.loops.base import Start
from swingup.loops.host import HostLoop
from swingup.storage import checkpoint_reader
from swingup.training.build import plan
from swingup.training.demonstrations import pack, read_demonstrations
from swingup.types import Spec

SPEC = Spec("Any-v0", (2,), (1,), "float32", (-2.0,), (2.0,))


def steps_of(count, ends=(), cuts=()):
    """Steps whose observation is their number, as the arrays of a file."""
    t = np.arange(count, dtype=np.float32)
    return {
        "obs": np.stack([t, t], 1),
        "action": np.full((count, 1), 1.0, np.float32),
        "reward": t,
        "terminated": np.isin(t, ends),
        "truncated": np.isin(t, cuts),
    }


def test_successors_are_the_next_observations_where_they_are_known():
    rows = SPEC.layout.unpack(pack(SPEC, "here", **steps_of(8, ends=(2,), cuts=(5,))))
    assert rows.reward.tolist() == [0, 1, 2, 3, 4, 6]  # what follows 5 and 7 is not in the file
    assert rows.action[:, 0].tolist() == [0.5] * 6
    assert rows.last.tolist() == [0, 0, 1, 0, 1, 1]
    assert rows.discount.tolist() == [1, 1, 0, 1, 1, 1]
    going = rows.discount == 1
    np.testing.assert_array_equal(rows.next_obs[going][:, 0], rows.obs[going][:, 0] + 1)


def test_given_successors_are_kept_at_truncations_too():
    arrays = steps_of(4, cuts=(1,))
    rows = SPEC.layout.unpack(pack(SPEC, "here", **arrays, next_obs=arrays["obs"] + 0.5))
    assert rows.last.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(rows.next_obs, rows.obs + 0.5)


WRONG = [
    ({"obs": np.zeros((9, 3))}, r"obs has shape \(9, 3\); this environment needs \(9, 2\)"),
    ({"action": np.zeros((8, 1))}, r"action has shape \(8, 1\); this environment needs \(9, 1\)"),
    ({"reward": np.full(9, np.nan)}, r"reward\[0\] is nan"),
    ({"obs": np.full((9, 2), np.inf)}, r"obs\[0, 0\] is inf"),
    ({"action": np.full((9, 1), 2.5)}, r"action\[0, 0\] is 2.5, outside of \[-2, 2\]"),
    ({"terminated": np.full(9, 0.5)}, "terminated has other values than true and false"),
    ({"obs": [["x", "y"]] * 9}, "obs is not an array of numbers"),
    ({"truncated": np.ones(9)}, "no transition has a known successor"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG, ids=[says[:20] for _, says in WRONG])
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, wrong, says):
    np.savez(tmp_path / "demos.npz", **steps_of(9) | wrong)
    with pytest.raises(InputError, match=says) as error:
        read_demonstrations(str(tmp_path / "demos.npz"), SPEC)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"--demos {tmp_path}/demos.npz: ")


def test_what_is_no_file_of_arrays_is_one_line(tmp_path):
    arrays = steps_of(9)
    del arrays["truncated"]
    np.savez(tmp_path / "less.npz", **arrays)
    np.savez(tmp_path / "object.npz", **arrays | {"truncated": np.array([None] * 9)})
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 no")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name, says in [
        ("none.npz", "no such file or folder"), ("less.npz", "it has no truncated; it needs obs, action"),
        ("object.npz", "not an npz file of arrays"), ("junk.npz", "not an npz"), ("one.npy", "not an npz"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=says):
            read_demonstrations(str(tmp_path / name), SPEC)


def test_a_minari_dataset_is_read_where_the_package_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match="the package minari is not installed here"):
        read_demonstrations("minari:pen/human-v2", SPEC)

    def load_dataset(name):
        if name != "pen/human-v2":
            raise FileNotFoundError(f"Dataset {name} not found locally")
        episode = lambda k: types.SimpleNamespace(
            observations=np.arange(2 * (k + 1)).reshape(k + 1, 2), actions=np.zeros((k, 1)),
            rewards=np.ones(k), terminations=np.arange(k) == k - 1, truncations=np.zeros(k, bool),
        )  # fmt: skip
        return types.SimpleNamespace(iterate_episodes=lambda: iter([episode(3), episode(2)]))

    monkeypatch.setitem(sys.modules, "minari", types.SimpleNamespace(load_dataset=load_dataset))
    rows = SPEC.layout.unpack(read_demonstrations("minari:pen/human-v2", SPEC))
    assert rows.last.tolist() == [0, 0, 1, 0, 1]
    assert rows.next_obs[:, 0].tolist() == [2, 4, 6, 2, 4]
    with pytest.raises(InputError, match=r"not a dataset on this disk \(FileNotFoundError: Dataset other"):
        read_demonstrations("minari:other", SPEC)


SMALL = {"hidden": (8, 8), "batch": 12, "warmup": 30, "capacity": 64, "env": "Pendulum-v1", "threads": 2}


def made_plan(held, **changes):
    config = check(apply(base("Pendulum-v1"), SMALL | {"demos": "x"} | changes, "test"))
    return plan(config, GymEnv(factory("Pendulum-v1")).spec, demos=held)


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_step": 3, "delay": 2, "critics": 2}, {"priority": 0.6, "normalize": True}],
    ids=["ddpg", "td3", "priority"],
)
def test_every_minibatch_has_the_share_that_was_asked_for(changes, monkeypatch):
    """Demonstrations have rewards of a million, replay has none: counted in what `update` is given."""
    made = made_plan(40, demo_share=0.25, **changes)
    layout, seen = made.agent.layout, []
    update = algorithm.update

    def counted(agent, learner, batches, key, weights):
        jax.debug.callback(lambda reward: seen.append(np.asarray(reward)), batches.reward)
        return update(agent, learner, batches, key, weights)

    monkeypatch.setattr(algorithm, "update", counted)
    ring = np.zeros((2 * made.block * 16, made.n, layout.width), np.float32)
    demos = np.zeros((40, layout.width), np.float32)
    layout.unpack(demos).reward[:] = 1e6
    state = engine.fill(made, engine.init(made, jax.random.PRNGKey(0)), ring)
    state = state._replace(demos=state.demos._replace(rows=demos[:, None], added=np.int32(40)))
    learn = jax.jit(lambda state, rows: engine.learn(made, state, rows))
    for _ in range(4):
        state, _ = learn(state, ring[: made.block])
    jax.block_until_ready(state)
    jax.effects_barrier()
    rewards = np.concatenate(seen)
    assert rewards.shape[-1] == 12
    assert ((rewards > 1).sum(-1) == 3).all()
    np.testing.assert_array_equal(state.demos.rows[:, 0], demos)


def test_shares_that_cannot_be_are_one_line():
    for changes, says in [
        ({"demo_share": 0.01}, "0 of a minibatch of 12"),
        ({"demo_share": 1.0}, "12 of a minibatch of 12 .*it must leave some for replay"),
        ({"demo_share": 0.5, "demos": None}, "of which demonstrations"),
    ]:
        with pytest.raises(InputError, match=says):
            made_plan(5, **changes)


def test_priorities_follow_the_losses_of_replay_alone():
    made = replace(made_plan(0), demos=Demos(40, 6), priority=Priority())
    state = engine.init(made, jax.random.PRNGKey(0))
    state = engine.fill(made, state, np.zeros((20, 1, made.agent.layout.width), np.float32))
    after, _ = jax.jit(lambda s, r: engine.learn(made, s, r))(
        state, np.zeros((1, 1, 10), np.float32)[:, :, : made.agent.layout.width]
    )
    held = np.asarray(after.tree.levels[0])
    assert (held[:21] > 0).all()
    assert (held[21:] == 0).all()


def pendulum_file(path, count=60):
    """Steps of a pendulum under random actions."""
    env, rng = factory("Pendulum-v1")(), np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    found = {name: [] for name in ("obs", "action", "reward", "terminated", "truncated", "next_obs")}
    for _ in range(count):
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        after, reward, terminated, truncated, _ = env.step(action)
        for name, value in zip(found, (obs, action, reward, terminated, truncated, after), strict=True):
            found[name].append(value)
        obs = after
    np.savez(path, **found)
    return str(path)


@pytest.mark.slow
def test_demonstrations_are_in_replay_before_the_first_step_and_the_killed_run_keeps_them(tmp_path):
    file = pendulum_file(tmp_path / "demos.npz", 250)
    flags = [*runs.flags(), "--demos", file, "--demo-share", "0.25", "--normalize"]
    whole = tmp_path / "whole"
    assert cli(["train", "Pendulum-v1", *flags, "--quiet", "--run-dir", str(whole)]) == 0
    rows = read_demonstrations(file, swingup.load(whole).policy.spec)
    victim = runs.Killed("Pendulum-v1", flags, tmp_path / "run", 0, steps=900)
    victim.kill(250)
    done = victim.finish()
    assert done.returncode == 0, done.stderr
    assert not runs.differing(runs.final(tmp_path / "run"), runs.final(whole))
    saved = checkpoint_reader.load(whole / "ckpt")
    np.testing.assert_array_equal(saved.tensors[".state.demos.rows"][:, 0], rows)


def test_a_runs_replay_shows_and_off_is_absent(tmp_path):
    few = {**SMALL, "steps": 80, "eval_every": 40, "eval_episodes": 1, "final_episodes": 1, "quiet": True}
    del few["env"]
    first = swingup.train("Pendulum-v1", run_dir=tmp_path / "first", **few)
    assert not [k for k in checkpoint_reader.load(first.folder / "ckpt").tensors if "demos" in k]
    second = swingup.train("Pendulum-v1", run_dir=tmp_path / "second", demos=first, **few)
    begun = checkpoint_reader.load(second.folder / "ckpt", 0)
    ring = checkpoint_reader.load(first.folder / "ckpt").ring
    assert {r[:6].tobytes() for r in begun.ring[:, 0]} == {r[:6].tobytes() for r in ring[:, 0]}
    assert len(second.metrics["step"])
    with pytest.raises(InputError, match="transitions; give at least 2 and at most --capacity 20"):
        swingup.train("Pendulum-v1", demos=first, **few | {"capacity": 20, "batch": 8})


def test_transitions_are_added_to_a_models_replay(tmp_path):
    arrays = dict(np.load(pendulum_file(tmp_path / "demos.npz", 50)))
    model = swingup.DDPG("Pendulum-v1", **{k: v for k, v in SMALL.items() if k != "env"})
    model.replay.add(**arrays)
    assert len(model.replay) == 50
    model.learn(5)
    assert int(model.loop.state.learner.critic_opt[0].count) == 5  # no warm-up
    model.replay.add(**{name: value[:3] for name, value in arrays.items()})
    rows = model.loop.plan.agent.layout.unpack(np.asarray(model.loop.state.replay.rows)[:, 0])
    assert rows.last[[49, 53, 54, 55, 56, 57]].tolist() == [1, 0, 1, 0, 0, 1]  # neither continues the other
    np.testing.assert_array_equal(rows.obs[55:58], arrays["obs"][:3])
    with pytest.raises(InputError, match=r"replay.add: obs has shape \(2, 7\)"):
        model.replay.add(**arrays | {"obs": np.zeros((2, 7)), "reward": np.zeros(2)})


class Pid:
    """A controller with a memory: it counts the steps of its episode."""

    def reset(self):
        self.t = 0

    def __call__(self, obs):
        self.t += 1
        return [2.0 * np.sin(self.t)]


def test_a_controller_acts_in_the_warm_up_and_after_a_resume():
    config = check(apply(base("Pendulum-v1"), SMALL | {"envs": 2, "episode_steps": 9}, "test"))
    make = lambda: HostLoop(made, GymEnv(factory("Pendulum-v1"), 2, limit=9), 0, warmup_policy=Pid())
    made = plan(config, GymEnv(factory("Pendulum-v1"), 2).spec)
    loop, again = make(), make()
    for _ in range(4):
        loop.step()
    saved = loop.snapshot()
    assert again.restore(saved._replace(tensors={k: np.array(v) for k, v in saved.tensors.items()}))
    for one in (loop, again):
        while one.steps < 40:
            one.step()
    rows = [made.agent.layout.unpack(np.asarray(x.state.replay.rows))[1][:20, :, 0] for x in (loop, again)]
    np.testing.assert_array_equal(*rows)
    wanted = np.sin(np.arange(20) % 9 + 1)
    np.testing.assert_allclose(rows[0][:15], np.stack([wanted, wanted], 1)[:15], atol=1e-6)
    assert np.abs(rows[0][16:] - wanted[16:, None]).max() > 0.1  # then the policy


def test_a_controller_that_does_not_fit_is_one_line(tmp_path):
    few = {k: v for k, v in SMALL.items() if k != "env"} | {"steps": 60, "quiet": True}
    for policy, says in [
        (lambda obs: [1.0, 2.0], r"not an action of Pendulum-v1 \(it has shape \(2,\) and must be \(1,\)"),
        (lambda obs: [np.nan], "of finite numbers"),
        (7, "7 cannot be called"),
    ]:
        with pytest.raises(InputError, match=says):
            swingup.train("Pendulum-v1", warmup_policy=policy, run_dir=tmp_path / str(says[:3]), **few)
    with pytest.raises(InputError, match="is not stepped in this process"):
        swingup.train("native/Pendulum-v1", warmup_policy=Pid(), **few)
    with pytest.raises(InputError, match="for a single run only"):
        swingup.train("Pendulum-v1", warmup_policy=Pid(), seeds=2, **few)


def test_rows_of_demonstrations_count_for_the_statistics_once():
    made = made_plan(0, normalize=True)
    loop = HostLoop(made, GymEnv(factory("Pendulum-v1")), 0)
    rows = np.random.default_rng(0).normal(3, 2, (40, made.agent.layout.width)).astype(np.float32)
    loop.begin_with(Start(demos=rows))
    statistics = loop.state.learner.obs_statistics
    assert float(statistics.total) == 40
    np.testing.assert_allclose(statistics.mean, rows[:, :3].mean(0), rtol=1e-4)
